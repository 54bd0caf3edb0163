//! Decoding a picture into RGB, as Pillow's `Image.open(path).convert("RGB")` does.
//!
//! Alpha is dropped without blending, palettes are looked up, an EXIF orientation is not applied,
//! and of an animation the first frame counts: all as in Pillow. What cannot be decoded whole is an
//! error with the file's name, never a picture with a grey or black part. Two limits are stricter
//! than Pillow's: 16-bit grey (which Pillow clips rather than scales), and more than
//! [`MAX_PIXELS`].

use std::io::{self, Cursor};
use std::path::{Path, PathBuf};

use foreign_text::printable_path;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader};

use crate::{gif, jpeg, png, pnm, tiff};

/// Pictures with more pixels are refused before anything is allocated for them. Pillow warns of a
/// decompression bomb at this number.
pub const MAX_PIXELS: u64 = 89_478_485;

/// Files with more bytes are refused: [`MAX_PIXELS`] of 16-bit colour take less.
pub const MAX_BYTES: u64 = 1 << 30;

/// A decoded picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RgbPixels {
    /// Pixels in a row, at least 1.
    pub width: u32,
    /// Rows, at least 1.
    pub height: u32,
    /// Red, green and blue of each pixel, row by row: `[height, width, 3]`.
    pub data: Vec<u8>,
}

/// A picture that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", printable_path(path))]
pub struct PictureError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: PictureProblem,
}

/// What is wrong with a picture.
#[derive(Debug, thiserror::Error)]
pub enum PictureProblem {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A folder, a device, a pipe or a socket.
    #[error("is not a regular file")]
    NotRegular,
    /// More bytes than [`MAX_BYTES`].
    #[error("has {0} bytes, more than the {MAX_BYTES} that a picture may have")]
    TooLong(u64),
    /// The file has no bytes.
    #[error("the file is empty")]
    Empty,
    /// The bytes are of no picture format that is read here.
    #[error("is not a JPEG, PNG, GIF, BMP, WebP, PNM or TIFF picture; it begins with {0:?}")]
    NotAPicture(String),
    /// More pixels than are allowed, by the file's header.
    #[error("claims {width}x{height} pixels, more than the {allowed} that are allowed")]
    TooLarge {
        /// Pixels at most.
        allowed: u64,
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// The file ends before the picture does.
    #[error("is cut short: {0}")]
    CutShort(String),
    /// The bytes contradict their format.
    #[error("is damaged: {0}")]
    Damaged(String),
    /// A kind of picture that cannot be turned into RGB as Pillow does.
    #[error("is of an unsupported kind: {0}")]
    Unsupported(String),
}

impl PictureProblem {
    pub(crate) fn sixteen_bit_grey() -> Self {
        Self::Unsupported("16-bit grey; convert it to 8 bits a channel".to_owned())
    }
}

/// Decodes a picture that is in memory; `name` is for the error.
pub fn decode_bytes(bytes: &[u8], name: &Path) -> Result<RgbPixels, PictureError> {
    decode_within(bytes, MAX_PIXELS)
        .map_err(|problem| PictureError { path: name.to_owned(), problem })
}

/// Decodes a picture that is in memory, unless its header claims more than `allowed` pixels: then
/// nothing is allocated for them.
pub fn decode_within(bytes: &[u8], allowed: u64) -> Result<RgbPixels, PictureProblem> {
    match format_of(bytes)? {
        ImageFormat::Jpeg => jpeg::decode(bytes, allowed),
        ImageFormat::Gif => gif::decode(bytes, allowed),
        ImageFormat::Png => png::decode(bytes, allowed),
        ImageFormat::Pnm => pnm::decode(bytes, allowed),
        ImageFormat::Tiff => tiff::decode(bytes, allowed),
        format => decode_with_image(bytes, format, allowed),
    }
}

/// Tells the format by a picture's first bytes.
pub(crate) fn format_of(bytes: &[u8]) -> Result<ImageFormat, PictureProblem> {
    if bytes.is_empty() {
        return Err(PictureProblem::Empty);
    }
    let format = image::guess_format(bytes).ok().filter(|format| {
        use ImageFormat::{Bmp, Gif, Jpeg, Png, Pnm, Tiff, WebP};
        matches!(format, Jpeg | Png | Gif | Bmp | WebP | Pnm | Tiff)
    });
    format.ok_or_else(|| {
        let start = bytes.get(..16).unwrap_or(bytes);
        PictureProblem::NotAPicture(String::from_utf8_lossy(start).into_owned())
    })
}

/// Refuses a header's claim of no pixels, or of more than are allowed.
pub(crate) fn check_size(width: u32, height: u32, allowed: u64) -> Result<(), PictureProblem> {
    if width == 0 || height == 0 {
        return Err(PictureProblem::Damaged(format!("it claims {width}x{height} pixels")));
    }
    if u64::from(width) * u64::from(height) > allowed {
        return Err(PictureProblem::TooLarge { allowed, width, height });
    }
    Ok(())
}

pub(crate) fn decode_with_image(
    bytes: &[u8],
    format: ImageFormat,
    allowed: u64,
) -> Result<RgbPixels, PictureProblem> {
    let decoder =
        ImageReader::with_format(Cursor::new(bytes), format).into_decoder().map_err(problem)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height, allowed)?;
    into_rgb(DynamicImage::from_decoder(decoder).map_err(problem)?)
}

/// Drops alpha and doubles grey, as Pillow's `convert("RGB")` does.
pub(crate) fn into_rgb(picture: DynamicImage) -> Result<RgbPixels, PictureProblem> {
    let (width, height) = (picture.width(), picture.height());
    let data = match picture {
        DynamicImage::ImageLuma16(_) | DynamicImage::ImageLumaA16(_) => {
            return Err(PictureProblem::sixteen_bit_grey());
        }
        DynamicImage::ImageRgb32F(_) | DynamicImage::ImageRgba32F(_) => {
            return Err(PictureProblem::Unsupported(
                "floating-point colour; convert it to 8 bits a channel".to_owned(),
            ));
        }
        DynamicImage::ImageRgb16(picture) => high_bytes(picture.as_raw(), 3),
        DynamicImage::ImageRgba16(picture) => high_bytes(picture.as_raw(), 4),
        other => other.into_rgb8().into_raw(),
    };
    Ok(RgbPixels { width, height, data })
}

/// Pillow takes the high byte of a 16-bit colour; rounding would be off by one at times.
fn high_bytes(samples: &[u16], channels: usize) -> Vec<u8> {
    samples
        .chunks_exact(channels)
        .flat_map(|pixel| pixel.iter().take(3))
        .map(|&sample| (sample >> 8) as u8)
        .collect()
}

pub(crate) fn problem(error: ImageError) -> PictureProblem {
    match error {
        ImageError::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            PictureProblem::CutShort(error.to_string())
        }
        ImageError::Unsupported(error) => PictureProblem::Unsupported(error.to_string()),
        other => PictureProblem::Damaged(other.to_string()),
    }
}
