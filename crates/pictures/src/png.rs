//! PNG decoding from the chunks that decide pixels.
//!
//! `image` inflates colour profiles, which can be a thousand times as large as they are in the
//! file, and needs the last chunk and its checksum. So it gets a copy of the file without metadata
//! and with an end. Pillow also reads a file that ends after its pixels and before its last chunk.

use image::ImageFormat;

use crate::pixels::{PictureProblem, RgbPixels, decode_with_image};

/// Bytes of the signature before the first chunk.
const SIGNATURE: usize = 8;

/// Bytes of the checksum after a chunk's body.
const CHECKSUM: usize = 4;

/// Chunks that are copied.
const KEPT: [&[u8; 4]; 4] = [b"IHDR", b"PLTE", b"tRNS", b"IDAT"];

/// Decodes a PNG of at most `allowed` pixels into RGB.
pub(crate) fn decode(bytes: &[u8], allowed: u64) -> Result<RgbPixels, PictureProblem> {
    let (clean, has_end) = without_metadata(bytes)?;
    decode_with_image(&clean, ImageFormat::Png, allowed).map_err(|problem| match problem {
        PictureProblem::Damaged(reason) if !has_end => PictureProblem::CutShort(reason),
        other => other,
    })
}

/// Returns a copy of header, palette and pixels, and true if the file has an end chunk.
///
/// A last chunk of pixels that is cut is closed where the file ends. The decoder then fails if
/// pixels are missing.
fn without_metadata(bytes: &[u8]) -> Result<(Vec<u8>, bool), PictureProblem> {
    let (signature, mut rest) = bytes
        .split_at_checked(SIGNATURE)
        .ok_or_else(|| PictureProblem::CutShort("the PNG has no header".to_owned()))?;
    let mut clean = Vec::with_capacity(bytes.len());
    clean.extend_from_slice(signature);
    let mut has_end = false;
    while let Some((header, after)) = rest.split_first_chunk::<8>() {
        let [length @ .., _, _, _, _] = *header;
        let [_, _, _, _, kind @ ..] = *header;
        if kind == *b"IEND" {
            has_end = true;
            break;
        }
        let length = u32::from_be_bytes(length) as usize;
        let whole = length + CHECKSUM;
        let is_kept = KEPT.contains(&&kind);
        let Some((body, next)) = after.split_at_checked(whole) else {
            if kind == *b"IDAT" {
                push_chunk(&mut clean, kind, after.get(..length).unwrap_or(after));
            }
            break;
        };
        if is_kept {
            clean.extend_from_slice(header);
            clean.extend_from_slice(body);
        }
        rest = next;
    }
    push_chunk(&mut clean, *b"IEND", &[]);
    Ok((clean, has_end))
}

/// Appends a chunk with its length and checksum.
fn push_chunk(png: &mut Vec<u8>, kind: [u8; 4], body: &[u8]) {
    png.extend((body.len() as u32).to_be_bytes());
    let start = png.len();
    png.extend(kind);
    png.extend_from_slice(body);
    let checksum = crc32fast::hash(&png[start..]);
    png.extend(checksum.to_be_bytes());
}
