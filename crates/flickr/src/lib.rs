//! Flickr8k and Flickr30k: captions, splits and pictures. Reads, never writes.
//!
//! A [`Corpus`] is a folder's captions by image, from any of four layouts; a [`Split`] divides its
//! images; [`decode`] reads one picture as Pillow would, and [`Preprocessing`] turns it into what a
//! CLIP vision tower takes. [`audit()`] looks at everything once and says what is wrong.
//!
//! ```
//! use flickr::{Corpus, Split, SplitKind, SplitSpec};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # std::fs::create_dir(folder.path().join("Images"))?;
//! # let mut rows = String::from("image,caption\n");
//! # for name in ["a.jpg", "b.jpg", "c.jpg"] {
//! #     std::fs::write(folder.path().join("Images").join(name), b"")?;
//! #     rows += &format!("{name},A dog .\n{name},\"A dog , again .\"\n");
//! # }
//! # std::fs::write(folder.path().join("captions.txt"), rows)?;
//! # let dir = folder.path();
//! let corpus = Corpus::load(dir, None)?;
//! for warning in &corpus.warnings {
//!     eprintln!("warning: {warning}");
//! }
//! let spec = SplitSpec { kind: SplitKind::Paper, test_captions: 2, validation_captions: 0 };
//! let split = Split::new(&corpus, &spec)?;
//! assert_eq!(corpus.images[split.test[0]].file_name, "c.jpg");
//! # Ok(())
//! # }
//! ```
//!
//! Nothing here depends on libtorch: pictures leave as `u8` pixels or `f32` planes.

mod audit;
mod corpus;
mod error;
mod fingerprint;
mod gif;
mod jpeg;
mod kaggle;
mod karpathy;
mod original;
mod picture_file;
mod pictures;
mod pixels;
mod png;
mod pnm;
mod preprocessing;
mod reading;
mod resample;
mod splits;
mod text;
mod tiff;
mod transpose;
mod unpacked;
mod warnings;
mod webdataset;

pub use audit::{Audit, AuditedSplit, SplitOutcome, UnreadablePicture, WordCounts, audit};
pub use corpus::{Corpus, Image, KarpathySplit, Layout, Places};
pub use error::{LoadError, Place};
pub use picture_file::{FileStamp, MAX_BYTES, PictureFile};
pub use pictures::Pictures;
pub use pixels::{
    MAX_PIXELS, PictureError, PictureProblem, RgbPixels, decode, decode_bytes, decode_within,
};
pub use preprocessing::{Preprocessing, PreprocessingError, Size};
pub use resample::Filter;
pub use splits::{Split, SplitError, SplitKind, SplitSpec};
pub use warnings::{Warning, WarningKind};
