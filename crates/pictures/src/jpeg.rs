//! JPEG: whole or refused.
//!
//! Nearly all JPEGs are sequential and of 8 bits, grey or luma and chroma in one scan: [`sequential`]
//! decodes these, to the bytes that Pillow gives. All others, such as progressive and CMYK ones, and
//! all that look damaged go to zune-jpeg, whose pixels differ from Pillow's by at most 3 of 255; more
//! where the picture is under 5 pixels wide and its colours are stored at half the width.
//!
//! zune-jpeg gives a picture with a grey rest for a file that was cut off; Pillow refuses such a
//! file. So the markers are walked first, and a JPEG without its end-of-image marker is cut short.
//! Pillow refuses a cut at every other offset too; where nothing but this marker is lost it reads
//! some files, which are refused here.
//!
//! Where the compressed data end too early before that marker, Pillow fills with grey and zune-jpeg
//! notices it at times. So bits that no JPEG code begins with are put between data and marker: a
//! decoder that still wants data runs into them.

mod colour;
mod headers;
mod huffman;
mod idct;
mod sequential;

use memchr::memchr;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::pixels::{PictureProblem, RgbPixels, check_size};

const START_OF_SCAN: u8 = 0xda;
const END_OF_IMAGE: u8 = 0xd9;

/// Put in the place of the end-of-image marker: 64 bits of 1, longer than any code and its extra bits
/// (0xff is written 0xff 0x00), and the marker.
const STOPPER: [u8; 18] = {
    let mut bytes = [0; 18];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = 0xff;
        at += 2;
    }
    bytes[17] = END_OF_IMAGE;
    bytes
};

/// Decodes a JPEG of at most `allowed` pixels into RGB.
pub(crate) fn decode(bytes: &[u8], allowed: u64) -> Result<RgbPixels, PictureProblem> {
    if let Some(pixels) = sequential::decode(bytes, allowed) {
        return Ok(pixels);
    }
    let bytes = whole(bytes)?;
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&*bytes), options);
    decoder.decode_headers().map_err(problem)?;
    let (width, height) = decoder.dimensions().unwrap_or((0, 0));
    let (width, height) = (width as u32, height as u32);
    check_size(width, height, allowed)?;
    let data = decoder.decode().map_err(problem)?;
    if data.len() as u64 != u64::from(width) * u64::from(height) * 3 {
        return Err(PictureProblem::Unsupported("a JPEG that does not decode to RGB".to_owned()));
    }
    Ok(RgbPixels { width, height, data })
}

fn problem(error: DecodeErrors) -> PictureProblem {
    match error {
        DecodeErrors::Unsupported(kind) => PictureProblem::Unsupported(format!("{kind:?}")),
        DecodeErrors::ExhaustedData => PictureProblem::CutShort("data end too early".to_owned()),
        other => PictureProblem::Damaged(format!("{other:?}")),
    }
}

/// The bytes up to the end-of-image marker, and [`STOPPER`]; without stray bytes between the headers,
/// which decoders skip, but strict mode would not.
fn whole(bytes: &[u8]) -> Result<Vec<u8>, PictureProblem> {
    let cut = || PictureProblem::CutShort("the JPEG has no end-of-image marker".to_owned());
    let mut stray = Vec::new();
    let mut in_headers = true;
    // The start-of-image marker is what told the format.
    let mut at = 2;
    let end = loop {
        let rest = bytes.get(at..).ok_or_else(cut)?;
        let skipped = memchr(0xff, rest).ok_or_else(cut)?;
        if in_headers && skipped > 0 {
            stray.push(at..at + skipped);
        }
        at += skipped;
        let marker = at;
        let rest = bytes.get(at..).unwrap_or_default();
        let fill = rest.iter().position(|&byte| byte != 0xff).ok_or_else(cut)?;
        at += fill;
        let code = *bytes.get(at).ok_or_else(cut)?;
        at += 1;
        match code {
            END_OF_IMAGE => break marker,
            // A stuffed byte, a restart, or a marker that stands alone.
            0x00 | 0x01 | 0xd0..=0xd8 => {}
            _ => {
                let length = bytes.get(at..at + 2).ok_or_else(cut)?;
                at += length.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte));
                in_headers &= code != START_OF_SCAN;
            }
        }
    };
    let picture = bytes.get(..end).unwrap_or(bytes);
    let mut clean = Vec::with_capacity(picture.len() + STOPPER.len());
    let mut from = 0;
    for gap in stray {
        clean.extend_from_slice(picture.get(from..gap.start).unwrap_or_default());
        from = gap.end;
    }
    clean.extend_from_slice(picture.get(from..).unwrap_or_default());
    clean.extend_from_slice(&STOPPER);
    Ok(clean)
}
