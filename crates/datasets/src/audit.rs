//! Audit of a data set: sizes, oddities, splits, and unreadable images.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use foreign_text::printable_path;
use pictures::{decode_bytes, is_turned};
use rayon::prelude::*;
use serde::Serialize;

use crate::corpus::Corpus;
use crate::layout::Layout;
use crate::splits::{Split, SplitError, SplitKind, SplitSpec};
use crate::warnings::Warning;

/// Result of an audit.
#[derive(Debug, Clone, Serialize)]
pub struct Audit {
    /// Folder of the data set.
    pub root: PathBuf,
    /// Folder of the images.
    pub images_dir: PathBuf,
    /// Layout of the captions.
    pub layout: Layout,
    /// Files that the captions are from.
    pub caption_files: Vec<PathBuf>,
    /// Same as [`Corpus::fingerprint`].
    pub fingerprint: String,
    /// Number of images with captions.
    pub images: usize,
    /// Number of captions of all images.
    pub captions: usize,
    /// Number of images for each number of captions.
    pub images_by_captions: BTreeMap<usize, usize>,
    /// Lengths of captions.
    pub words: WordCounts,
    /// Sizes of the requested splits.
    pub splits: Vec<AuditedSplit>,
    /// Oddities of the caption files.
    pub warnings: Vec<Warning>,
    /// Number of images that their EXIF orientation turns; see [`Layout::is_flickrs`].
    pub turned: usize,
    /// Image files that are missing or cannot be decoded, in the order of the images.
    pub unreadable: Vec<UnreadablePicture>,
}

/// Lengths of captions in words between blanks (a lone " ." counts as one).
#[derive(Debug, Clone, Default, Serialize)]
pub struct WordCounts {
    /// Number of captions for each number of words.
    pub captions_by_words: BTreeMap<usize, usize>,
    /// Mean number of words.
    pub mean: f64,
}

/// Outcome of one requested split.
#[derive(Debug, Clone, Serialize)]
pub struct AuditedSplit {
    /// Kind of split.
    pub kind: SplitKind,
    /// Outcome of the split.
    pub outcome: SplitOutcome,
}

/// Outcome of a split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SplitOutcome {
    /// Number of images in each part.
    Made {
        /// Training images.
        train: usize,
        /// Validation images.
        validation: usize,
        /// Test images.
        test: usize,
    },
    /// The data set has no such split.
    ///
    /// It has no lists, or too few captions, or the boundary lies within an image's rows.
    NotApplicable(String),
    /// The files of the split contradict each other or the captions.
    Broken(String),
}

/// Image file that cannot be used.
#[derive(Debug, Clone, Serialize)]
pub struct UnreadablePicture {
    /// File name of the image.
    pub file_name: String,
    /// Error message, which names the file.
    pub problem: String,
}

/// Splits `corpus` by each of `specs`, and decodes every image on all cores.
///
/// `progress` receives the number of finished images, from any thread and in any order.
pub fn audit(corpus: &Corpus, specs: &[SplitSpec], progress: impl Fn(usize) + Sync) -> Audit {
    let done = AtomicUsize::new(0);
    let turned = AtomicUsize::new(0);
    let unreadable = (0..corpus.images.len())
        .into_par_iter()
        .filter_map(|index| {
            let file = corpus.picture(index);
            let decoded = file.read().and_then(|(bytes, _)| {
                turned.fetch_add(usize::from(is_turned(&bytes)), Ordering::Relaxed);
                decode_bytes(&bytes, file.path())
            });
            let problem = decoded.err();
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
            Some(UnreadablePicture {
                file_name: corpus.images.get(index)?.file_name.clone(),
                problem: problem?.to_string(),
            })
        })
        .collect();
    let mut images_by_captions = BTreeMap::new();
    for image in &corpus.images {
        *images_by_captions.entry(image.captions.len()).or_default() += 1;
    }
    Audit {
        root: corpus.root.clone(),
        images_dir: corpus.locations.folder.clone(),
        layout: corpus.layout,
        caption_files: corpus.caption_files.clone(),
        fingerprint: corpus.fingerprint(),
        images: corpus.images.len(),
        captions: corpus.caption_count(),
        images_by_captions,
        words: WordCounts::of(corpus),
        splits: specs.iter().map(|spec| AuditedSplit::of(corpus, spec)).collect(),
        warnings: corpus.warnings.clone(),
        turned: turned.into_inner(),
        unreadable,
    }
}

impl WordCounts {
    fn of(corpus: &Corpus) -> Self {
        let mut captions_by_words = BTreeMap::new();
        for caption in corpus.images.iter().flat_map(|image| &image.captions) {
            *captions_by_words.entry(caption.split_whitespace().count()).or_default() += 1;
        }
        let words: usize = captions_by_words.iter().map(|(words, count)| words * count).sum();
        let captions: usize = captions_by_words.values().sum();
        Self { captions_by_words, mean: words as f64 / captions.max(1) as f64 }
    }

    /// Returns the number of words that a share `part` of the captions does not exceed.
    #[must_use]
    pub fn quantile(&self, part: f64) -> usize {
        let captions: usize = self.captions_by_words.values().sum();
        let mut below = 0;
        for (&words, &count) in &self.captions_by_words {
            below += count;
            if below as f64 >= part * captions as f64 {
                return words;
            }
        }
        0
    }
}

impl AuditedSplit {
    fn of(corpus: &Corpus, spec: &SplitSpec) -> Self {
        let outcome = match Split::new(corpus, spec) {
            Ok(split) => SplitOutcome::Made {
                train: split.train.len(),
                validation: split.validation.len(),
                test: split.test.len(),
            },
            Err(
                error @ (SplitError::NoLists { .. }
                | SplitError::InsideImage { .. }
                | SplitError::TooFewCaptions { .. }
                | SplitError::TooFewImages { .. }
                | SplitError::NothingToTrain { .. }),
            ) => SplitOutcome::NotApplicable(error.to_string()),
            Err(error) => SplitOutcome::Broken(error.to_string()),
        };
        Self { kind: spec.kind, outcome }
    }
}

impl Audit {
    /// Returns true if the data set cannot be used unchanged.
    ///
    /// An image cannot be read, or the files of a split contradict each other. A split that does
    /// not apply to the data set does not count.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        !self.unreadable.is_empty()
            || self.splits.iter().any(|split| matches!(split.outcome, SplitOutcome::Broken(_)))
    }

    /// Returns true if any of the requested splits applies to the data set.
    #[must_use]
    pub fn has_split(&self) -> bool {
        self.splits.iter().any(|split| matches!(split.outcome, SplitOutcome::Made { .. }))
    }
}

/// Largest number of unreadable images to list; the rest is counted.
const MAX_LISTED: usize = 20;

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "data set     {} ({} layout)", printable_path(&self.root), self.layout)?;
        if let Some(file) = self.caption_files.first() {
            write!(f, "captions in  {}", printable_path(file))?;
            match self.caption_files.len() - 1 {
                0 => writeln!(f)?,
                more => writeln!(f, " and {more} more")?,
            }
        }
        writeln!(f, "pictures in  {}", printable_path(&self.images_dir))?;
        writeln!(f, "fingerprint  {}", self.fingerprint)?;
        write!(f, "images       {}", self.images)?;
        for (position, (captions, images)) in self.images_by_captions.iter().enumerate() {
            let before = if position == 0 { ": " } else { ", " };
            write!(f, "{before}{images} with {captions} captions")?;
        }
        writeln!(f, "\ncaptions     {}", self.captions)?;
        writeln!(f, "words        {}", self.words)?;
        for split in &self.splits {
            let kind = split.kind.to_string();
            match &split.outcome {
                SplitOutcome::Made { train, validation, test } => writeln!(
                    f,
                    "split        {kind:<9} train {train}, validation {validation}, test {test}"
                )?,
                SplitOutcome::NotApplicable(why) => {
                    let why = why.lines().next().unwrap_or_default();
                    writeln!(f, "split        {kind:<9} does not apply: {why}")?;
                }
                SplitOutcome::Broken(why) => {
                    writeln!(f, "split        {kind:<9} is broken: {why}")?;
                }
            }
        }
        if self.turned > 0 {
            let treatment = if self.layout.is_flickrs() {
                format!(
                    "`precompute` does not turn them, as the reference ({} layout)",
                    self.layout
                )
            } else {
                "`precompute` turns them".to_owned()
            };
            writeln!(
                f,
                "orientation  {} pictures lie on a side by EXIF; {treatment}",
                self.turned
            )?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning      {warning}")?;
        }
        for picture in self.unreadable.iter().take(MAX_LISTED) {
            writeln!(f, "unreadable   {}", picture.problem)?;
        }
        if self.unreadable.len() > MAX_LISTED {
            writeln!(f, "unreadable   and {} more", self.unreadable.len() - MAX_LISTED)?;
        }
        let verdict = match (self.is_broken(), self.has_split()) {
            (true, _) => "broken",
            (false, true) => "usable",
            (false, false) => "no split applies",
        };
        let unreadable = self.unreadable.len();
        writeln!(f, "verdict      {verdict}: {unreadable} missing or unreadable pictures")?;
        if !self.has_split() {
            let shares = SplitKind::fitting(self.images);
            writeln!(f, "hint         set split to \"{shares}\" (--split {shares})")?;
        }
        Ok(())
    }
}

impl fmt::Display for WordCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "mean {:.2}, least {}, 5 % {}, median {}, 95 % {}, 99 % {}, most {}",
            self.mean,
            self.captions_by_words.keys().next().unwrap_or(&0),
            self.quantile(0.05),
            self.quantile(0.5),
            self.quantile(0.95),
            self.quantile(0.99),
            self.captions_by_words.keys().next_back().unwrap_or(&0),
        )
    }
}
