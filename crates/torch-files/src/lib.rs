//! PyTorch checkpoints, pickles and safetensors, read without PyTorch and without running what they ask
//! for; and ClipCap's embeddings, written as Python reads them.
//!
//! A pickle is a program, and `pickle.load` runs it. Here a small machine reads it instead (protocols
//! 0 to 5) that knows the names of `torch.load(weights_only=True)` and a few of Python's and numpy's, all
//! of which only put tensors, arrays and plain data together. Any other name is an error that says
//! which, and nothing is ever imported or called.
//!
//! [`Tree`] is a file's values, [`StateDict`] its weights, [`Embeddings`] the pickles that ClipCap
//! trains from, [`Tree::to_json`] plain data as JSON. Files are mapped, not read: a tensor's values are
//! copied only where they do not already lie in row order. Refused are, among others, `TorchScript`
//! archives, tar, big-endian data, compressed archives, values that outgrow their file.
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
//! The formats are those of PyTorch's `torch/serialization.py` and Python's `pickletools`; the tests
//! read files that PyTorch 2.11 wrote.

mod container;
mod dtype;
mod embeddings;
mod error;
mod expansion;
mod finish;
mod json;
mod pickle;
mod state_dict;
mod tensor;
mod tree;

pub use dtype::Dtype;
pub use embeddings::{Caption, Embeddings};
pub use error::{Error, Problem};
pub use finish::MAX_DEPTH;
pub use state_dict::StateDict;
pub use tensor::Tensor;
pub use tree::{Dict, Items, Tree, Value};
