//! GPT-2, equal to Hugging Face's transformers.
//!
//! Paper: Radford et al., "Language Models are Unsupervised Multitask Learners" (2019). Reference:
//! transformers 4.57's `GPT2LMHeadModel`. A parameter's path is its name in the checkpoint
//! (`transformer.h.0.attn.c_attn.weight`, stored as `[in, out]`); the output head is the token
//! embedding unless the config says otherwise. Differences: positions always count from 0, as
//! captions need no others, and attention is libtorch's fused kernel, equal up to rounding.

mod cache;
mod cached;
mod config;
mod folded;
mod layers;
mod load;
mod model;
mod packing;

pub use cache::KvCache;
pub use config::{Activation, Gpt2Config};
pub use load::{Vocabulary, load_pretrained, other_heads};
pub(crate) use load::{check_tied_head, is_ignored};
pub use model::Gpt2;
pub use packing::{Packing, Selection};
