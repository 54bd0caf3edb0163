//! JPEG: whole or refused.
//!
//! zune-jpeg returns a picture for a file that was cut off, with a grey rest; Pillow refuses it. So
//! the markers are walked first: a JPEG without its end-of-image marker is cut short.

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::pixels::{PictureProblem, RgbPixels, check_size};

/// Decodes a JPEG into RGB.
pub(crate) fn decode(bytes: &[u8]) -> Result<RgbPixels, PictureProblem> {
    let damaged =
        |error: zune_jpeg::errors::DecodeErrors| PictureProblem::Damaged(error.to_string());
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(damaged)?;
    let (width, height) = decoder.dimensions().unwrap_or((0, 0));
    let (width, height) = (width as u32, height as u32);
    check_size(width, height)?;
    let data = decoder.decode().map_err(damaged)?;
    Ok(RgbPixels { width, height, data })
}
