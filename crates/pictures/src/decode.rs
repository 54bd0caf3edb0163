//! Image decoding into RGB, as Pillow's `Image.open(path).convert("RGB")` does it.
//!
//! As in Pillow, alpha is dropped without blending, palettes are looked up, an EXIF orientation is
//! not applied, and an animation is its first frame. An image that cannot be decoded whole is an
//! error with the file's name, never an image with a grey or black part. Two limits are stricter
//! than Pillow's: 16-bit grey is refused, because Pillow clips instead of scaling it, and so are
//! more than [`MAX_PIXELS`].
//!
//! BMP and WebP go to the `image` crate as they are. The module of each other format says what
//! `image` does differently from Pillow.

use std::path::Path;

use image::ImageFormat;

use crate::pixels::{MAX_PIXELS, PictureError, PictureProblem, RgbPixels, decode_with_image};
use crate::{gif, jpeg, png, pnm, tiff};

/// Decodes an image in memory; errors name it `name`.
pub fn decode_bytes(bytes: &[u8], name: &Path) -> Result<RgbPixels, PictureError> {
    decode_within(bytes, MAX_PIXELS)
        .map_err(|problem| PictureError { path: name.to_owned(), problem })
}

/// Decodes an image of at most `allowed` pixels in memory.
///
/// # Errors
/// Fails with [`PictureProblem::TooLarge`], before memory is allocated for pixels, if the header
/// claims more of them.
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

/// Returns the format that the first bytes of a file belong to.
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
