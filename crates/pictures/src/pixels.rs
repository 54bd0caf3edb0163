//! Decoded images, the errors of decoding, and what the formats have in common.

use std::io::{self, Cursor};
use std::path::PathBuf;

use foreign_text::printable_path;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader};

/// Largest number of pixels of an image; Pillow's limit for a decompression bomb.
///
/// Images that claim more are refused before memory is allocated for them.
pub const MAX_PIXELS: u64 = 89_478_485;

/// Largest size of an image file; [`MAX_PIXELS`] of 16-bit RGBA take less.
pub const MAX_BYTES: u64 = 1 << 30;

/// Decoded image in RGB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RgbPixels {
    /// Width in pixels, at least 1.
    pub width: u32,
    /// Height in pixels, at least 1.
    pub height: u32,
    /// Red, green and blue of each pixel, row by row: `[height, width, 3]`.
    pub data: Vec<u8>,
}

/// Error of a file that cannot be decoded.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", printable_path(path))]
pub struct PictureError {
    /// The file.
    pub path: PathBuf,
    /// Reason for the error.
    pub problem: PictureProblem,
}

/// Reason why an image cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub enum PictureProblem {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A folder, a device, a pipe or a socket.
    #[error("is not a regular file")]
    NotRegular,
    /// The file has more bytes than [`MAX_BYTES`].
    #[error("has {0} bytes, more than the {MAX_BYTES} that a picture may have")]
    TooLong(u64),
    /// The file has no bytes.
    #[error("the file is empty")]
    Empty,
    /// The first bytes are not those of a supported format.
    #[error("is not a JPEG, PNG, GIF, BMP, WebP, PNM or TIFF picture; it begins with {0:?}")]
    NotAPicture(String),
    /// The file is of a well-known format that is not supported.
    #[error(
        "is a {format} picture, which capsmith does not read\nhint: convert it to JPEG or PNG, for \
         example by `{program}` or ImageMagick's `magick mogrify -format jpg`"
    )]
    OtherFormat {
        /// Name of the format.
        format: &'static str,
        /// Command that converts it.
        program: &'static str,
    },
    /// The header claims more pixels than are allowed.
    #[error("claims {width}x{height} pixels, more than the {allowed} that are allowed")]
    TooLarge {
        /// Largest allowed number of pixels.
        allowed: u64,
        /// Claimed width.
        width: u32,
        /// Claimed height.
        height: u32,
    },
    /// The file ends before the image does.
    #[error("is cut short: {0}")]
    CutShort(String),
    /// The file breaks the rules of its format.
    #[error("is damaged: {0}")]
    Damaged(String),
    /// The image cannot be converted to RGB as Pillow does it.
    #[error("is of an unsupported kind: {0}")]
    Unsupported(String),
}

impl PictureProblem {
    /// Returns the error for 16-bit grey, which Pillow clips.
    pub(crate) fn sixteen_bit_grey() -> Self {
        Self::Unsupported("16-bit grey; convert it to 8 bits a channel".to_owned())
    }
}

/// Fails if a header claims no pixels or more than `allowed`.
pub(crate) fn check_size(width: u32, height: u32, allowed: u64) -> Result<(), PictureProblem> {
    if width == 0 || height == 0 {
        return Err(PictureProblem::Damaged(format!("it claims {width}x{height} pixels")));
    }
    if u64::from(width) * u64::from(height) > allowed {
        return Err(PictureProblem::TooLarge { allowed, width, height });
    }
    Ok(())
}

/// Decodes an image of at most `allowed` pixels with the `image` crate.
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

/// Drops alpha and triples grey, as Pillow's `convert("RGB")` does.
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

/// Returns the high byte of each colour, as Pillow does; rounding would differ by one at times.
fn high_bytes(samples: &[u16], channels: usize) -> Vec<u8> {
    samples
        .chunks_exact(channels)
        .flat_map(|pixel| pixel.iter().take(3))
        .map(|&sample| (sample >> 8) as u8)
        .collect()
}

/// Converts CMYK, where 255 is full ink, to RGB with Pillow's arithmetic.
pub(crate) fn rgb_of_cmyk([cyan, magenta, yellow, black]: [u8; 4]) -> [u8; 3] {
    [cyan, magenta, yellow].map(|ink| {
        let product = u32::from(ink) * u32::from(255 - black) + 128;
        let hidden = (product + (product >> 8)) >> 8;
        255 - black - hidden as u8
    })
}

/// Converts an error of the `image` crate.
pub(crate) fn problem(error: ImageError) -> PictureProblem {
    match error {
        ImageError::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            PictureProblem::CutShort(error.to_string())
        }
        ImageError::Unsupported(error) => PictureProblem::Unsupported(error.to_string()),
        other => PictureProblem::Damaged(other.to_string()),
    }
}
