//! Labels and encyclopedia of a data set's captions, in stages that are files of a [`Folder`].

use std::path::PathBuf;

use durable::kept::Key;
use foreign_text::printable_path;
use progress::{Progress, Unit};
use words::{Label, labels};

use crate::compare;
use crate::encyclopedia::Encyclopedia;
use crate::error::Error;
use crate::files::{labels_sha256, write_labels};
use crate::folder::{ALL_LABELS, ENCYCLOPEDIA, Folder, LABELS};
use crate::hypernyms::nearest_by_wordnet;
use crate::nli::ZeroShot;
use crate::sentence_encoder::SentenceEncoder;
use crate::text_encoder::TextEncoder;

/// Format number of labels and encyclopedias.
///
/// Raise it when a change alters the results of the same captions or labels: existing files are
/// then rebuilt.
const RESULTS_VERSION: u32 = 1;

/// Source of the labels.
pub enum LabelSource<'a> {
    /// All words of a data set's captions.
    Captions {
        /// Captions.
        captions: Vec<&'a String>,
        /// Fingerprint of the data set.
        fingerprint: String,
    },
    /// A given list, whose near-synonyms are kept.
    List(Vec<Label>),
}

/// Method of finding near-synonyms, of which the most frequent is kept.
pub enum Synonyms<'a> {
    /// A cosine above [`compare::SYNONYM_COSINE`] by CLIP's text tower.
    Clip(&'a TextEncoder),
    /// The same by a sentence encoder.
    Sentence(&'a SentenceEncoder),
    /// The same most frequent sense in WordNet.
    Wordnet,
    /// Keeps all labels.
    None,
}

/// Method of filing labels under categories.
pub enum Categories<'a> {
    /// The highest cosine with a category's name by CLIP's text tower.
    Clip(&'a TextEncoder),
    /// The shortest distance in WordNet.
    Wordnet,
    /// Natural language inference by BART.
    Nli(&'a ZeroShot),
}

impl Synonyms<'_> {
    fn name(&self) -> String {
        match self {
            Self::Clip(encoder) => format!("clip {}", encoder.identity()),
            Self::Sentence(encoder) => format!("sentence {}", encoder.identity()),
            Self::Wordnet => "wordnet".to_owned(),
            Self::None => "none".to_owned(),
        }
    }
}

impl Categories<'_> {
    fn name(&self) -> String {
        match self {
            Self::Clip(encoder) => format!("clip {}", encoder.identity()),
            Self::Wordnet => "wordnet".to_owned(),
            Self::Nli(bart) => format!("nli {}", bart.identity()),
        }
    }
}

/// Builds the files of `folder` that are missing or outdated; returns those it wrote.
///
/// # Errors
/// Names a file that is damaged or cannot be written. Also fails if memory is exhausted.
pub fn build(
    folder: &Folder,
    source: LabelSource,
    synonyms: &Synonyms,
    categories: &Categories,
    progress: &mut dyn Progress,
) -> Result<Vec<PathBuf>, Error> {
    let mut builder = Builder { folder, progress, written: Vec::new() };
    let (labels, synonyms) = match source {
        LabelSource::List(labels) => (labels, &Synonyms::None),
        LabelSource::Captions { captions, fingerprint } => {
            let from = sources([("captions", fingerprint)]);
            let count = || Ok(labels::count(&captions));
            (builder.labels(ALL_LABELS, &from, "words", count)?, synonyms)
        }
    };
    let from = sources([("labels", labels_sha256(&labels)), ("synonyms", synonyms.name())]);
    let labels = builder.labels(LABELS, &from, "labels", || {
        Ok(match synonyms {
            Synonyms::Clip(encoder) => {
                compare::without_synonyms(labels, |words| encoder.encode(words))?
            }
            Synonyms::Sentence(encoder) => {
                compare::without_synonyms(labels, |words| encoder.encode(words))?
            }
            Synonyms::Wordnet => labels::without_synonyms(labels),
            Synonyms::None => labels,
        })
    })?;
    builder.encyclopedia(&labels, categories)?;
    Ok(builder.written)
}

/// Returns the sources of a file, with the version of the results.
fn sources<const N: usize>(named: [(&str, String); N]) -> Key {
    Key::new([("version", RESULTS_VERSION)]).and(Key::new(named))
}

struct Builder<'a> {
    folder: &'a Folder,
    progress: &'a mut dyn Progress,
    written: Vec<PathBuf>,
}

impl Builder<'_> {
    fn has(&self, name: &str, from: &Key) -> Result<bool, Error> {
        // Files of version 0.1.0 have no version of their results, which was the first one.
        let first = |found: Key| Key::new([("version", 1)]).and(found.without("capsmith"));
        Ok(self.folder.sources(name)?.map(first).as_ref() == Some(from))
    }

    /// Returns the labels in a file, made by `make` unless the file has these sources.
    fn labels(
        &mut self,
        name: &str,
        from: &Key,
        entries: &'static str,
        make: impl FnOnce() -> Result<Vec<Label>, Error>,
    ) -> Result<Vec<Label>, Error> {
        if !self.has(name, from)? {
            let labels = make()?;
            self.folder.write(name, |path| write_labels(path, from, &labels))?;
            self.written(name, labels.len(), entries);
        }
        self.folder.labels(name)
    }

    fn encyclopedia(&mut self, labels: &[Label], categories: &Categories) -> Result<(), Error> {
        let from = sources([("labels", labels_sha256(labels)), ("categories", categories.name())]);
        if self.has(ENCYCLOPEDIA, &from)? {
            return Ok(());
        }
        let filed = Encyclopedia::file::<Error>(labels, |labels, names| match categories {
            Categories::Clip(encoder) => compare::nearest_by_clip(encoder, labels, names),
            Categories::Wordnet => Ok(nearest_by_wordnet(labels, names)),
            Categories::Nli(bart) => self.nearest_by_nli(bart, labels, names),
        })?;
        self.folder.write(ENCYCLOPEDIA, |path| filed.save(path, &from))?;
        self.written(ENCYCLOPEDIA, labels.len(), "labels filed");
        self.folder.remove_partials()
    }

    fn nearest_by_nli(
        &mut self,
        bart: &ZeroShot,
        labels: &[&Label],
        categories: &[&str],
    ) -> Result<Vec<usize>, Error> {
        let owned: Vec<Label> = labels.iter().map(|label| (*label).clone()).collect();
        let key = format!("nli-{:.16}-{:.16}", bart.identity(), labels_sha256(&owned));
        let total = Some(labels.len() as u64);
        self.progress.start("asking BART", Unit::Count("labels"), total, 0);
        let nearest = bart.nearest(labels, categories, self.folder.partial(&key), |found| {
            self.progress.position(found.len() as u64);
            self.folder.write_partial(&key, found)
        })?;
        self.progress.finish();
        Ok(nearest)
    }

    fn written(&mut self, name: &str, count: usize, entries: &'static str) {
        let file = self.folder.file(name);
        self.progress.note(&format!("{}: {count} {entries}", printable_path(&file)));
        self.written.push(file);
    }
}
