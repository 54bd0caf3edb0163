//! Data sets: captions, splits and image files. Reads, never writes.
//!
//! A [`Corpus`] holds a folder's captions by image, from any [`Layout`]; a [`Split`] divides
//! its images into parts; [`ImageFiles`] finds the images alone. [`audit()`] checks the whole data
//! set and reports every problem.
//!
//! ```
//! use datasets::{Corpus, Split, SplitKind, SplitSpec};
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
//! let spec = SplitSpec { kind: SplitKind::Paper, test_captions: 2, validation_captions: 0, seed: 0 };
//! let split = Split::new(&corpus, &spec)?;
//! assert_eq!(corpus.images[split.test[0]].file_name, "c.jpg");
//! # Ok(())
//! # }
//! ```
//!
//! Nothing here depends on libtorch; the crate `pictures` decodes the images.

mod audit;
mod coco;
mod corpus;
mod descriptions;
mod error;
mod fingerprint;
mod image_files;
mod imagefolder;
mod kaggle;
mod karpathy;
mod layout;
mod loading;
mod names;
mod original;
mod patterns;
mod picture_paths;
mod reading;
mod rows;
mod shares;
mod source;
mod splits;
mod table;
mod text;
mod text_files;
mod warnings;
mod webdataset;

pub use audit::{Audit, AuditedSplit, SplitOutcome, UnreadablePicture, WordCounts, audit};
pub use corpus::{Corpus, Image, ImageLocations, Part};
pub use error::{LoadError, Location};
pub use image_files::ImageFiles;
pub use layout::Layout;
pub use loading::is_absent;
pub use names::{DRAWN_FILE, DRAWN_MARK, DRAWN_NAME, is_drawn};
pub use picture_paths::picture_paths;
pub use reading::IMAGE_FOLDERS;
pub use shares::Shares;
pub use source::{Columns, Source};
pub use splits::{Split, SplitError, SplitKind, SplitSpec};
pub use warnings::{Warning, WarningKind};
