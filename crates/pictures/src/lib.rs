//! Image decoding as in Pillow, and preprocessing as in Hugging Face's image processors.
//!
//! [`PictureFile`] is a file or a member of an archive; [`decode`] decodes a file as Pillow does,
//! and [`Preprocessing`] resizes, crops and normalises pixels as Hugging Face's image processors
//! do.
//!
//! ```no_run
//! use pictures::{Preprocessing, decode};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pixels = decode("dog.jpg".as_ref())?; // [height, width, 3], u8
//! let planes = Preprocessing::clip(224).planes(&pixels); // [3, 224, 224]
//! # Ok(())
//! # }
//! ```
//!
//! Nothing here depends on libtorch: images are returned as `u8` pixels or `f32` planes.

mod decode;
mod gif;
mod jpeg;
mod orientation;
mod picture_file;
mod pixels;
mod png;
mod pnm;
mod preprocessing;
mod resample;
mod thumbnail;
mod tiff;
mod transpose;
mod unpacked;

pub use decode::{decode_bytes, decode_within, media_type};
pub use orientation::is_turned;
pub use picture_file::{FileStamp, PictureFile, decode, decode_upright};
pub use pixels::{MAX_BYTES, MAX_PIXELS, PictureError, PictureProblem, RgbPixels};
pub use preprocessing::{Preprocessing, PreprocessingError, Size};
pub use resample::Filter;
pub use thumbnail::Thumbnail;
pub use unpacked::stream;
