//! Reader of PyTorch checkpoints, pickles and safetensors that runs no code.
//!
//! It also writes ClipCap's embeddings so that Python can read them.
//!
//! A pickle is a program, and `pickle.load` runs it. This crate interprets it with a small machine
//! instead (protocols 0 to 5). The machine knows the names of `torch.load(weights_only=True)` and a
//! few of Python's and numpy's, all of which only build tensors, arrays and plain data. Any other
//! name is an error that names it, and nothing is ever imported or called.
//!
//! [`Tree`] holds a file's values, [`StateDict`] its weights, [`Embeddings`] the pickles that
//! ClipCap trains from, and [`Tree::to_json`] converts plain data to JSON. Files are mapped, not
//! read: a tensor's values are copied only if they are not in row order. `TorchScript` archives,
//! tar, big-endian data, compressed archives and values that outgrow their file are refused, among
//! others.
//!
//! ```
//! use torch_files::StateDict;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
//! #     .join("../../tests/fixtures/torch_files/sound/mlp.pt");
//! let weights = StateDict::load(&path)?;
//! for (name, tensor) in weights.iter() {
//!     println!("{name}: {} {:?}, {} bytes", tensor.dtype(), tensor.shape(), tensor.bytes().len());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The formats are those of PyTorch's `torch/serialization.py` and Python's `pickletools`. The
//! tests read files that PyTorch 2.11 wrote.

mod check;
mod container;
mod dtype;
mod embeddings;
mod error;
mod json;
mod pickle;
mod state_dict;
mod tensor;
mod tree;

pub use dtype::Dtype;
pub use embeddings::{Caption, Embeddings};
pub use error::{Error, Problem};
pub use state_dict::StateDict;
pub use tensor::Tensor;
pub use tree::{Dict, Items, Tree, Value};
