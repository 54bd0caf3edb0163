//! Errors between a file of captions and its scores.

use std::io;
use std::path::PathBuf;

use foreign_text::printable_path;

use crate::{Metric, Tokenizer};

/// An input that cannot be scored, or a file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system could not read the file.
    #[error("cannot read {}: {source}", printable_path(path))]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is not text of a format that this crate reads.
    #[error("{}: {message}", printable_path(path))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The place, what is there, what was expected, and what to do.
        message: String,
    },
    /// The contents of a file break a rule; `source` is the rule.
    #[error("{}: {source}", printable_path(path))]
    InFile {
        /// The file.
        path: PathBuf,
        /// The rule that is broken.
        source: Box<Error>,
    },
    /// An image identifier occurs twice where it may occur once.
    #[error("image {id:?} is given twice; keep one of the two entries")]
    DuplicateId {
        /// The identifier.
        id: String,
    },
    /// An image without references cannot be scored.
    #[error("image {id:?} has no reference captions; add at least one or remove the image")]
    NoReferences {
        /// The identifier.
        id: String,
    },
    /// Neither file names an image.
    #[error("there are no images to score")]
    NoImages,
    /// No image has both references and a prediction.
    #[error(
        "references and predictions have no image in common: references name {reference:?}, \
         predictions {prediction:?}\nhint: identifiers must be the same to the letter, with the \
         folder and the ending of the file name"
    )]
    NoCommonImages {
        /// First identifier of the references.
        reference: String,
        /// First identifier of the predictions.
        prediction: String,
    },
    /// Some images have references and no prediction.
    #[error(
        "{count} of the images with references have no prediction, among them {examples}; \
         every image needs exactly one, or score only the images that have one with --subset predictions"
    )]
    MissingPredictions {
        /// Number of images.
        count: usize,
        /// The first few identifiers.
        examples: String,
    },
    /// Some predictions are for images without references.
    #[error(
        "{count} of the predictions are for images that have no references, among them \
         {examples}; remove them or add references"
    )]
    ExtraPredictions {
        /// Number of images.
        count: usize,
        /// The first few identifiers.
        examples: String,
    },
    /// Some images of the subset have no references.
    #[error(
        "{count} of the images of the subset have no references, among them {examples}; \
         identifiers must be those of the references"
    )]
    UnknownImages {
        /// Number of images.
        count: usize,
        /// The first few identifiers.
        examples: String,
    },
    /// The stored document frequencies are of other tokens.
    #[error(
        "the document frequencies were counted with tokenizer {stored}, and captions are scored \
         with {used}; use --tokenizer {stored}, or count them again"
    )]
    FrequenciesOfOtherTokens {
        /// Tokenizer of the document frequencies.
        stored: Tokenizer,
        /// Tokenizer of the evaluation.
        used: Tokenizer,
    },
    /// CIDEr weighs n-grams by how many images' references hold them.
    #[error(
        "CIDEr is undefined: no reference caption holds a word; leave CIDEr out of the metrics"
    )]
    NoReferenceWords,
    /// METEOR was asked for without its resources.
    #[error(
        "METEOR needs its synonyms and paraphrases; run `caption-eval fetch meteor` \
         (or `capsmith fetch meteor`) once, or leave METEOR out of the metrics"
    )]
    NoMeteorResources,
    /// CLIPScore, or another score by a CLIP, was asked for without one.
    #[error(
        "{} compares captions with pictures; use `capsmith evaluate` with --clip M and \
         --embeddings F, or leave it out of the metrics",
        .0.name()
    )]
    NoClip(Metric),
    /// The CLIP of CLIPScore failed.
    #[error(transparent)]
    Clip(Box<dyn std::error::Error + Send + Sync>),
    /// Two evaluations that are not of the same images, metrics and tokenizer.
    #[error("the two evaluations are of different images, metrics or tokenizers")]
    NotComparable,
    /// A rated caption whose text is not known.
    #[error(
        "there is no caption {id:?}; it must be `image#k`, the k-th reference of an image from 0, \
         or be among the candidates"
    )]
    UnknownCaption {
        /// The identifier.
        id: String,
    },
    /// A file of a judge suite is not there.
    #[error("{} has no {file}\nhint: {hint}", printable_path(folder))]
    MissingSuiteFile {
        /// The folder that was named.
        folder: PathBuf,
        /// The file, or those of which one is needed.
        file: String,
        /// Instruction about the files that belong there.
        hint: &'static str,
    },
    /// A file's digest cannot be computed.
    #[error(transparent)]
    Digest(#[from] durable::Error),
    /// METEOR's search is limited.
    #[error(transparent)]
    TooLongForMeteor(#[from] crate::meteor::TooLong),
    /// METEOR's resources cannot be read.
    #[error(transparent)]
    MeteorResources(#[from] crate::meteor::resources::Error),
}

impl Error {
    /// Adds the file that the error was found in.
    pub(crate) fn in_file(self, path: &std::path::Path) -> Self {
        Self::InFile { path: path.to_owned(), source: Box::new(self) }
    }
}
