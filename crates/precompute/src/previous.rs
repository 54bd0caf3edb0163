//! A finished output some of whose pictures have changed since, and what of it holds still.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use crate::error::Error;
use crate::finished::Embeddings;
use crate::plan::{Plan, Skipped};
use crate::sources::{self, Source, Verdict};

/// Version of a file: size and time tell it from the next one, which is renamed over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileVersion {
    length: u64,
    modified: SystemTime,
}

impl FileVersion {
    /// The version that is there; none where nothing is.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self { length: metadata.len(), modified: metadata.modified().ok()? })
    }
}

/// A finished output beside the pictures as they are now.
pub(crate) struct Previous {
    pub(crate) embeddings: Embeddings,
    skipped: HashMap<String, Skipped>,
    /// The files of the plan's pictures, unchanged ones with their present times.
    sources: Vec<Source>,
    /// True for each picture of the plan that has changed.
    changed: Vec<bool>,
    /// True if the file of an unchanged picture has another time.
    pub(crate) touched: bool,
}

/// Rows, skipped pictures and files of a batch.
type BatchParts = (Vec<f32>, Vec<Skipped>, Vec<Source>);

impl Previous {
    /// Compares the plan's pictures with the files that `embeddings` were made from; none where
    /// `stop` was raised meanwhile. `recorded` has the file of each picture of the plan.
    pub(crate) fn compare(
        plan: &Plan,
        embeddings: Embeddings,
        recorded: Vec<Source>,
        progress: impl FnMut(usize, usize),
        stop: &AtomicBool,
    ) -> Option<Self> {
        let records: Vec<_> = recorded.into_iter().enumerate().collect();
        let find = |picture| plan.file(picture);
        let verdicts = sources::compare(&records, find, progress, stop)?;
        let touched = verdicts.iter().any(|verdict| matches!(verdict, Verdict::Touched(_)));
        let changed = verdicts.iter().map(|verdict| *verdict == Verdict::Changed).collect();
        let sources =
            records.into_iter().zip(verdicts).map(|((_, source), verdict)| match verdict {
                Verdict::Touched(record) => Some(record),
                Verdict::Same | Verdict::Changed => source,
            });
        let skipped =
            embeddings.skipped().iter().map(|skipped| (skipped.name.clone(), skipped.clone()));
        let skipped = skipped.collect();
        Some(Self { embeddings, skipped, sources: sources.collect(), changed, touched })
    }

    /// The pictures that have changed, as places in the plan's list.
    pub(crate) fn changed(&self) -> Vec<usize> {
        let places = self.changed.iter().enumerate();
        places.filter(|(_, changed)| **changed).map(|(picture, _)| picture).collect()
    }

    /// The pictures without a row that have not changed.
    pub(crate) fn still_skipped(&self, plan: &Plan) -> Vec<Skipped> {
        let pictures = plan.names.iter().zip(&self.changed).filter(|(_, changed)| !**changed);
        pictures.filter_map(|(name, _)| self.skipped.get(name)).cloned().collect()
    }

    /// The file of each picture of the plan.
    pub(crate) fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The parts of a batch of the plan; none where one of its pictures has changed.
    pub(crate) fn batch(&self, plan: &Plan, batch: usize) -> Result<Option<BatchParts>, Error> {
        let pictures = plan.batch(batch);
        if self.changed[pictures.clone()].contains(&true) {
            return Ok(None);
        }
        let names = &plan.names[pictures.clone()];
        let skipped = names.iter().filter_map(|name| self.skipped.get(name)).cloned().collect();
        let rows: Vec<_> = names.iter().filter_map(|name| self.embeddings.row_of(name)).collect();
        let values = self.embeddings.values(&rows)?;
        Ok(Some((values, skipped, self.sources[pictures].to_vec())))
    }
}
