//! Tokenizers of GPT-2, CLIP, BART and BERT, whole-word vocabularies, and labels of captions.
//!
//! The crate also trains byte-level BPEs. Labels are words in base forms with parts of speech.
//!
//! Texts become rows of token ids; this crate does not depend on tensors. The tokenizers are read
//! from Hugging Face folders and give the same ids as transformers' fast tokenizers.
//!
//! ```
//! # fn main() -> Result<(), words::TokenizerError> {
//! use words::Gpt2Tokenizer;
//!
//! let captions = ["a dog runs .", "a dog sleeps ."];
//! let tokenizer = Gpt2Tokenizer::train(captions, 300)?;
//! let ids = tokenizer.encode("a dog sleeps .")?;
//! assert_eq!(tokenizer.decode(&ids)?, "a dog sleeps .");
//! # Ok(())
//! # }
//! ```
//!
//! The `tokenizers` crate does the work, the same code as behind transformers' fast tokenizers.
//! This crate checks the files first, since the library drops parts of damaged files or panics on
//! them, and keeps its types out of public signatures.

mod added;
mod alphabet;
mod analysis;
mod bart;
mod bert;
mod clean_up;
mod clip;
mod error;
mod folder;
mod gpt2;
mod json;
mod label;
pub mod labels;
mod tagger;
mod vocabulary;
mod wordnet;

pub use analysis::{Word, analyse};
pub use bart::BartTokenizer;
pub use bert::BertTokenizer;
pub use clean_up::clean_up_tokenization;
pub use clip::{ClipTokenizer, PaddedRows};
pub use error::{TokenizerError, check_vocabulary};
pub use gpt2::Gpt2Tokenizer;
pub use label::{Label, PartOfSpeech};
pub use vocabulary::{Vocabulary, karpathy_tokens};
pub use wordnet::{Part, WordNet};

/// Returns token ids of texts, and the number of texts that were truncated.
///
/// Computes on all cores; adds special tokens if `special`.
fn encode_batch<S: AsRef<str>>(
    tokenizer: &tokenizers::Tokenizer,
    texts: &[S],
    special: bool,
) -> Result<(Vec<Vec<u32>>, usize), TokenizerError> {
    let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
    let encodings = tokenizer.encode_batch_fast(texts, special).map_err(TokenizerError::library)?;
    let cut = encodings.iter().filter(|encoding| !encoding.get_overflowing().is_empty()).count();
    Ok((encodings.iter().map(|encoding| encoding.get_ids().to_vec()).collect(), cut))
}
