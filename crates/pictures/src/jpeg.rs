//! JPEG decoding to the pixels that Pillow (libjpeg-turbo) gives.
//!
//! `libjpeg-turbo-rs` 0.9 equals Pillow on 200 full-size Flickr8k originals, all 8,091 copies of
//! 112x112 and 2,160 generated files (progressive, CMYK, odd sizes). Milliseconds an image for 60
//! originals, one thread with AVX2: `libjpeg-turbo-rs` 1.75, C libjpeg-turbo (`turbojpeg` 1.5.1,
//! which needs cmake and nasm) 1.75, Pillow 1.89.
//!
//! Differences from Pillow: a file that ends before its last pixel or without an end-of-image
//! marker is an error, where Pillow fills with grey or overlooks the missing marker. CMYK with
//! subsampled components differs by up to 4 of 255 in the last row and in images under 3 columns
//! wide, and by more where YCCK is subsampled vertically alone.

use libjpeg_turbo_rs::{ComponentInfo, DecodeLimits, Decoder, FrameHeader, JpegError, PixelFormat};
use memchr::memchr;

use crate::pixels::{PictureProblem, RgbPixels, check_size, rgb_of_cmyk};

const END_OF_IMAGE: u8 = 0xd9;

/// Scans at most: encoders write about 10, and each costs a pass over all coefficients.
const MAX_SCANS: usize = 100;

/// Decodes a JPEG of at most `allowed` pixels into RGB.
pub(crate) fn decode(bytes: &[u8], allowed: u64) -> Result<RgbPixels, PictureProblem> {
    let limits = DecodeLimits { max_scans: MAX_SCANS, ..DecodeLimits::default() };
    let mut decoder = Decoder::new_with_limits(bytes, limits).map_err(problem)?;
    let frame = decoder.header();
    let (width, height) = (u32::from(frame.width), u32::from(frame.height));
    check_size(width, height, allowed)?;
    let (precision, components) = (frame.precision, frame.components.len());
    if precision != 8 || !matches!(components, 1 | 3 | 4) {
        let kind = format!("a JPEG of {components} components of {precision} bits");
        return Err(PictureProblem::Unsupported(kind));
    }
    if has_fractional_sampling(frame) {
        let kind = "a JPEG whose components' sizes are no whole parts of each other";
        return Err(PictureProblem::Unsupported(kind.to_owned()));
    }
    if !has_end_marker(bytes) {
        return Err(PictureProblem::CutShort("the JPEG has no end-of-image marker".to_owned()));
    }
    // libjpeg's default, for progressive files that omit the last bits of their coefficients.
    decoder.set_block_smoothing(true);
    let is_cmyk = components == 4;
    decoder.set_output_format(if is_cmyk { PixelFormat::Cmyk } else { PixelFormat::Rgb });
    let mut data = decoder.decode_image().map_err(problem)?.data;
    if is_cmyk {
        // Pillow assumes Adobe's convention: full ink is stored as 0.
        let pixels = data.as_chunks().0.iter();
        data = pixels.flat_map(|pixel: &[u8; 4]| rgb_of_cmyk(pixel.map(|ink| !ink))).collect();
    }
    Ok(RgbPixels { width, height, data })
}

/// Returns true if a component's sampling factor does not divide the largest, as libjpeg asks.
fn has_fractional_sampling(frame: &FrameHeader) -> bool {
    let factors = |factor: fn(&ComponentInfo) -> u8| frame.components.iter().map(factor);
    let divide = |factor: fn(&ComponentInfo) -> u8| {
        let largest = factors(factor).max().unwrap_or(1);
        factors(factor).all(|factor| largest.checked_rem(factor) == Some(0))
    };
    !(divide(|component| component.horizontal_sampling)
        && divide(|component| component.vertical_sampling))
}

fn problem(error: JpegError) -> PictureProblem {
    match error {
        JpegError::Unsupported(kind) => PictureProblem::Unsupported(kind),
        JpegError::UnexpectedEof => PictureProblem::CutShort("data end too early".to_owned()),
        other => PictureProblem::Damaged(other.to_string()),
    }
}

/// Returns true if the markers from the start of the file lead to an end-of-image marker.
///
/// The decoder does not need it after a single scan; a cut file lacks it.
fn has_end_marker(bytes: &[u8]) -> bool {
    let find = || {
        // After the start-of-image marker.
        let mut at = 2;
        loop {
            at += memchr(0xff, bytes.get(at..)?)?;
            at += bytes.get(at..)?.iter().position(|&byte| byte != 0xff)?;
            let code = *bytes.get(at)?;
            at += 1;
            match code {
                END_OF_IMAGE => return Some(()),
                // A stuffed byte, a restart, or another marker without a segment.
                0x00 | 0x01 | 0xd0..=0xd8 => {}
                _ => at += usize::from(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?)),
            }
        }
    };
    find().is_some()
}
