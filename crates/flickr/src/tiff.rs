//! TIFF: its first picture, turned as it says.

use std::io::Cursor;

use image::codecs::tiff::TiffDecoder;
use image::{DynamicImage, ImageDecoder, Limits};

use crate::pixels::{PictureProblem, RgbPixels, check_size, into_rgb, problem};

/// Decodes a TIFF of at most `allowed` pixels into RGB.
pub(crate) fn decode(bytes: &[u8], allowed: u64) -> Result<RgbPixels, PictureProblem> {
    let mut decoder = TiffDecoder::new(Cursor::new(bytes)).map_err(problem)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height, allowed)?;
    let mut limits = Limits::default();
    // Of 16-bit colour with transparency, twice: its strips and the picture.
    limits.max_alloc = Some(allowed.saturating_mul(16));
    decoder.set_limits(limits).map_err(problem)?;
    let orientation = decoder.orientation().map_err(problem)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(problem)?;
    picture.apply_orientation(orientation);
    into_rgb(picture)
}
