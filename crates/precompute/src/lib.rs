//! Image embeddings of a data set: decode ahead on all cores, encode in batches, store.
//!
//! [`run`] writes one file of embeddings of images on disk. Images are decoded and preprocessed on
//! all cores while the model works on the previous batch; memory does not grow with the data set.
//! After any interruption, the same call resumes and ends with the same bytes. [`Embeddings`] reads
//! the finished file.
//!
//! The model is any function from pixels `[batch, 3, n, n]` to `[batch, dimension]`, such as an
//! [`ImageEncoder`].
//!
//! ```
//! use std::sync::atomic::AtomicBool;
//! use precompute::{Dtype, Embeddings, Identity, Network, Plan, run};
//! use tch::{Device, Kind};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # for name in ["cat.png", "dog.png"] {
//! #     image::RgbImage::new(8, 6).save(folder.path().join(name))?;
//! # }
//! let output = folder.path().join("embeddings.safetensors");
//! let plan = Plan {
//!     names: ["cat.png", "dog.png"].map(str::to_owned).to_vec(),
//!     find: Box::new(|_, name| folder.path().join(name).into()),
//!     identity: Identity {
//!         network: Network::Clip,
//!         model: "mean colour".to_owned(),
//!         model_sha256: "none".to_owned(),
//!         preprocessing: Some(pictures::Preprocessing::clip(4)),
//!         upright: false,
//!         normalize: false,
//!         dtype: Dtype::F32,
//!         dataset_fingerprint: "two pictures".to_owned(),
//!         dimension: 3,
//!     },
//!     device: Device::Cpu,
//!     batch_size: 32,
//!     skip_corrupt: false,
//!     process: launchers::ProcessRank::SINGLE,
//!     output: &output,
//! };
//! let mean = |pixels: &tch::Tensor| pixels.f_mean_dim([2i64, 3].as_slice(), false, Kind::Float);
//! let summary = run(&plan, mean, &mut progress::Silent, &AtomicBool::new(false))?;
//! assert_eq!(summary.encoded, 2);
//!
//! let embeddings = Embeddings::open(&output)?;
//! assert_eq!(embeddings.row_of("dog.png"), Some(1));
//! assert_eq!(embeddings.tensor(Device::Cpu)?.size(), [2, 3]);
//! # Ok(())
//! # }
//! ```

mod ahead;
mod contents;
mod encode;
mod encoder;
mod error;
mod file_writer;
mod finished;
mod locked;
mod normaliser;
mod piece;
mod plan;
mod run;
mod skipped;
mod sources;

pub use encoder::{EncoderError, EncoderSource, ImageEncoder, kind_of};
pub use error::Error;
pub use finished::Embeddings;
pub use locked::{locked_encoder, locked_identity, project};
pub use plan::{Find, Plan, Summary};
pub use run::run;
pub use runs::{Dtype, Identity, Network};
pub use skipped::Skipped;
