//! Contents of a file of embeddings, and those of one batch.

use crate::ahead::Batch;
use crate::plan::Plan;
use crate::skipped::Skipped;
use crate::sources::Source;

/// Contents of a file of embeddings besides its identity and rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Contents {
    /// Images with a row, in the order of the rows.
    pub(crate) names: Vec<String>,
    /// Images without a row.
    pub(crate) skipped: Vec<Skipped>,
    /// File of each image of `names` and then of `skipped`; empty if they were not recorded.
    pub(crate) sources: Vec<Source>,
}

impl Contents {
    /// Appends the contents of a file whose rows follow.
    pub(crate) fn append(&mut self, mut next: Self) {
        let end = self.names.len();
        self.sources.extend(next.sources.split_off(next.names.len()));
        self.sources.splice(end..end, next.sources);
        self.names.append(&mut next.names);
        self.skipped.append(&mut next.skipped);
    }
}

/// Embeddings of one batch.
pub(crate) struct EncodedBatch {
    pub(crate) contents: Contents,
    /// `[names, dimension]`, row by row.
    pub(crate) rows: Vec<f32>,
}

impl EncodedBatch {
    /// Joins a decoded batch and its embeddings.
    pub(crate) fn new(plan: &Plan, batch: &Batch, rows: Vec<f32>) -> Self {
        let sources = plan.batch(batch.index).zip(&batch.sources);
        let (with_row, without): (Vec<_>, Vec<_>) =
            sources.partition(|(image, _)| batch.pictures.contains(image));
        let names = batch.pictures.iter().map(|&image| plan.names[image].clone()).collect();
        let sources = with_row.into_iter().chain(without).map(|(_, source)| *source).collect();
        Self { contents: Contents { names, skipped: batch.skipped.clone(), sources }, rows }
    }
}
