//! CLIP, VGG-16, EfficientNet-Lite, GPT-2, BART, BERT and captioners, on libtorch: tensors in and
//! out.
//!
//! This crate knows no data sets, tokenizers or run folders: images are pixels, words are ids, and
//! the caller names the weight files. A variable's path in the store equals the parameter's name in
//! the published checkpoint, so that transformers' and ClipCap's files need no table of names.
//!
//! Building a captioner from scratch, computing one training loss, and generating captions:
//!
//! ```
//! use networks::decode::{self, Options, Strategy};
//! use networks::gpt2::Gpt2Config;
//! use networks::prefix::{ClipCaptioner, MapperConfig, MapperKind, TokenBatch};
//! use tch::{Kind, Tensor, nn};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let device = networks::device::parse_device("cpu")?;
//! let store = nn::VarStore::new(device);
//! let config = Gpt2Config { vocab_size: 99, n_embd: 32, n_layer: 2, n_head: 4, ..Gpt2Config::default() };
//! let mapper = MapperConfig::plain(MapperKind::Mlp, 16, 10);
//! let captioner = ClipCaptioner::new(store.root(), &config, &mapper);
//!
//! let embeddings = Tensor::randn([2, 16], (Kind::Float, device));
//! let captions = TokenBatch::new(&[&[64, 3, 9, 13], &[64, 7, 13]], &[0, 1], 10, device);
//! captioner.caption_loss(&embeddings, &captions, networks::Pass::TRAINING).backward();
//!
//! let stops: Vec<bool> = (0..99).map(|id| id == 13).collect();
//! let options = Options { strategy: Strategy::Beam { num_beams: 5 }, max_tokens: 67, stops: &stops, ..Options::default() };
//! let prefix = captioner.prefix(&embeddings);
//! let written = decode::generate(captioner.gpt2(), &prefix, &[0, 1], &options)?;
//! assert_eq!((written.len(), written[0].len()), (2, 5));
//! # Ok(())
//! # }
//! ```

pub mod bart;
pub mod bert;
mod bf16;
pub mod clip;
mod config;
pub mod decode;
pub mod device;
pub mod efficientnet;
mod error;
pub mod gpt2;
pub mod language_model;
mod layers;
pub mod libtorch;
pub mod memory;
pub mod merge_rnn;
mod packed;
mod pass;
mod precision;
pub mod prefix;
mod standardization;
mod token_rows;
pub mod transfer;
pub mod vgg;
pub mod weights;

pub use bf16::Bf16Copies;
pub use error::ModelError;
pub use layers::{InitialWeights, normalized};
pub use pass::{GradientCheckpointing, Pass};
pub use precision::Precision;
pub use standardization::{STANDARDIZATION, Standardization};
pub use token_rows::compute_by_length;
