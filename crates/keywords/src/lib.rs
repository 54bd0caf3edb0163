//! SBG's keywords: captions to labels, labels to an encyclopedia, images to keywords.
//!
//! [`build`] makes a [`Folder`] of labels and an encyclopedia: `words` makes labels from captions,
//! and this crate drops near-synonyms, for example by a [`SentenceEncoder`], and files them in an
//! [`Encyclopedia`], by CLIP ([`compare::nearest_by_clip`]), WordNet or BART ([`ZeroShot`]). A
//! [`Selector`] holds the paper's rules and the texts to compare images with. [`TextEncoder`]
//! computes embeddings of texts, and [`compare`]'s `select_all` applies the rules to all images.
//! [`ImageKeywords`] is the file of the results, and [`prompt`] formats them for a language model.
//!
//! The rules use similarities and no tensors, so they can be tested with plain numbers:
//!
//! ```
//! use keywords::{Selector, prompt};
//! use words::{Label, PartOfSpeech};
//!
//! let label = |word: &str| Label {
//!     word: word.to_owned(),
//!     part_of_speech: PartOfSpeech::Noun,
//!     frequency: 1,
//! };
//! let selector = Selector::new(&[label("dog"), label("cat"), label("grass")], None);
//! assert_eq!(selector.texts(), ["dog", "cat", "grass"]);
//! let keywords = selector.select(&[0.25, 0.20, 0.25]);
//! let words: Vec<&str> = keywords.iter().map(|keyword| keyword.word.as_str()).collect();
//! assert_eq!(prompt(&words), "dog, grass ###");
//! ```

mod build;
pub mod compare;
mod encyclopedia;
mod error;
mod files;
mod folder;
mod hypernyms;
mod nli;
mod prompt;
mod selection;
mod sentence_encoder;
mod text_encoder;

pub use build::{Categories, LabelSource, Synonyms, build};
pub use encyclopedia::{Encyclopedia, Leaf, TREE};
pub use error::Error;
pub use files::{labels_sha256, read_labels, write_labels};
pub use folder::{ALL_LABELS, ENCYCLOPEDIA, Folder, LABELS};
pub use hypernyms::nearest_by_wordnet;
pub use nli::ZeroShot;
pub use prompt::{SEPARATOR, prompt};
pub use runs::{ImageKeywords, Keyword, KeywordsIdentity};
pub use selection::Selector;
pub use sentence_encoder::SentenceEncoder;
pub use text_encoder::TextEncoder;
