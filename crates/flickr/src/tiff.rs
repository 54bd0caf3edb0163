//! TIFF: its first picture, turned as it says.
//!
//! Grey, RGB and RGBA have Pillow's pixels; CMYK and what is compressed as JPEG are within 1.
//! Palettes, YCbCr, grey of 2, 4 and 16 bits and floating point are refused, and so is what the
//! decoder takes for something else.

use std::io::Cursor;

use image::codecs::tiff::TiffDecoder;
use image::{DynamicImage, ImageDecoder, Limits};
use tiff::decoder::Decoder;
use tiff::tags::Tag;

use crate::pixels::{PictureProblem, RgbPixels, check_size, into_rgb, problem};

/// Decodes a TIFF of at most `allowed` pixels into RGB.
pub(crate) fn decode(bytes: &[u8], allowed: u64) -> Result<RgbPixels, PictureProblem> {
    check_tags(bytes)?;
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

/// Refuses kinds that the decoder gives other pixels than Pillow.
fn check_tags(bytes: &[u8]) -> Result<(), PictureProblem> {
    let damaged = |error: tiff::TiffError| PictureProblem::Damaged(error.to_string());
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(damaged)?;
    let mut values = |tag| -> Result<Vec<u32>, PictureProblem> {
        Ok(decoder.find_tag_unsigned_vec(tag).map_err(damaged)?.unwrap_or_default())
    };
    let kind = if values(Tag::FillOrder)?.contains(&2) {
        "a TIFF whose bits are in reverse order"
    } else if values(Tag::ExtraSamples)?.contains(&1) {
        "a TIFF whose colours are multiplied by its transparency"
    } else if values(Tag::PlanarConfiguration)?.contains(&2)
        && values(Tag::BitsPerSample)?.contains(&16)
    {
        "a TIFF of 16 bits with a plane for each colour"
    } else {
        return Ok(());
    };
    Err(PictureProblem::Unsupported(format!("{kind}; convert it to PNG")))
}
