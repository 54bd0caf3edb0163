//! SBG's keywords: from captions to labels, from labels to an encyclopedia, and from pictures to the
//! words that describe them.
//!
//! `words` makes labels of captions; here they are filed in an [`Encyclopedia`], by CLIP
//! ([`compare::nearest_by_clip`]), WordNet or BART ([`ZeroShot`]). A [`Selector`] knows the paper's rules and
//! the texts that pictures must be compared with; [`TextEncoder`] makes embeddings of texts, and
//! [`compare`]'s `select_all` puts them together. [`ImageKeywords`] is the result in a file, and
//! [`prompt`] what a language model is told of it.
//!
//! The rules see similarities and no tensors, so they are checked by numbers alone:
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

pub mod compare;
mod encyclopedia;
mod error;
mod files;
mod hypernyms;
mod nli;
mod prompt;
mod selected;
mod selection;
pub mod stages;
mod text_encoder;

pub use encyclopedia::{Encyclopedia, Leaf, TREE};
pub use error::Error;
pub use files::{labels_sha256, read_labels, write_labels};
pub use hypernyms::nearest_by_wordnet;
pub use nli::ZeroShot;
pub use prompt::{SEPARATOR, prompt};
pub use selected::{Identity, ImageKeywords, Keyword};
pub use selection::Selector;
pub use text_encoder::TextEncoder;
