//! TIFF decoding: the first image, turned as its orientation tag says.
//!
//! Grey, RGB, RGBA and CMYK have Pillow's pixels; with JPEG compression they are within 1 of 255.
//! Palettes, YCbCr, grey of 2, 4 and 16 bits and floating point are refused.
//!
//! `image` decodes all but CMYK, which it converts with other rounding: those samples come from the
//! `tiff` crate. The `tiff` crate also reads the tags of kinds that `image` decodes wrongly.

use std::io::Cursor;

use image::codecs::tiff::TiffDecoder;
use image::{DynamicImage, ImageDecoder, Limits, RgbImage};
use tiff::decoder::{Decoder, DecodingResult};
use tiff::tags::Tag;
use tiff::{ColorType, TiffError};

use crate::pixels::{PictureProblem, RgbPixels, check_size, into_rgb, problem, rgb_of_cmyk};

/// Decodes a TIFF of at most `allowed` pixels into RGB.
pub(crate) fn decode(bytes: &[u8], allowed: u64) -> Result<RgbPixels, PictureProblem> {
    let mut tags = Decoder::new(Cursor::new(bytes)).map_err(damaged)?;
    check_tags(&mut tags)?;
    let mut decoder = TiffDecoder::new(Cursor::new(bytes)).map_err(problem)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height, allowed)?;
    let mut limits = Limits::default();
    // Twice 8 bytes a pixel of 16-bit RGBA: its strips and the image.
    limits.max_alloc = Some(allowed.saturating_mul(16));
    decoder.set_limits(limits).map_err(problem)?;
    let orientation = decoder.orientation().map_err(problem)?;
    let mut picture = if let ColorType::CMYK(_) = tags.colortype().map_err(damaged)? {
        RgbImage::from_raw(width, height, read_cmyk(&mut tags)?)
            .map(DynamicImage::ImageRgb8)
            .ok_or_else(|| PictureProblem::CutShort("data end too early".to_owned()))?
    } else {
        DynamicImage::from_decoder(decoder).map_err(problem)?
    };
    picture.apply_orientation(orientation);
    into_rgb(picture)
}

/// Reads CMYK pixels and returns them in RGB.
fn read_cmyk(decoder: &mut Decoder<Cursor<&[u8]>>) -> Result<Vec<u8>, PictureProblem> {
    let samples = match decoder.read_image().map_err(damaged)? {
        DecodingResult::U8(samples) => samples,
        DecodingResult::U16(samples) => {
            samples.into_iter().map(|sample| (sample >> 8) as u8).collect()
        }
        _ => return Err(PictureProblem::Unsupported("a TIFF of unusual CMYK".to_owned())),
    };
    let pixels: &[[u8; 4]] = samples.as_chunks().0;
    Ok(pixels.iter().flat_map(|&pixel| rgb_of_cmyk(pixel)).collect())
}

/// Fails for kinds of TIFF that the decoder reads differently from Pillow.
fn check_tags(decoder: &mut Decoder<Cursor<&[u8]>>) -> Result<(), PictureProblem> {
    let mut values = |tag| -> Result<Vec<u32>, PictureProblem> {
        Ok(decoder.find_tag_unsigned_vec(tag).map_err(damaged)?.unwrap_or_default())
    };
    let is_planar = values(Tag::PlanarConfiguration)?.contains(&2);
    let bits = values(Tag::BitsPerSample)?;
    let kind = if values(Tag::FillOrder)?.contains(&2) {
        "a TIFF with bits in reverse order"
    } else if values(Tag::ExtraSamples)?.contains(&1) {
        "a TIFF with premultiplied alpha"
    } else if is_planar && (bits.contains(&16) || bits.len() > 3) {
        "a TIFF with a plane for each channel, of 16 bits or of more than three channels"
    } else {
        return Ok(());
    };
    Err(PictureProblem::Unsupported(format!("{kind}; convert it to PNG")))
}

/// Converts an error of the `tiff` crate.
#[allow(clippy::needless_pass_by_value, reason = "`map_err` passes a value")]
fn damaged(error: TiffError) -> PictureProblem {
    PictureProblem::Damaged(error.to_string())
}
