//! GIF decoding: the first frame on its canvas, as Pillow shows it.
//!
//! `image` leaves the canvas outside the frame transparent black. Pillow fills it with the
//! transparent entry of the palette, or with entry 0 if there is none, and ignores the background
//! that the file names. The canvas grows to a frame that reaches beyond it. Pillow ignores a
//! palette whose entry `i` is grey `i` throughout: then the global palette counts, and without that
//! one too an index is a shade of grey. Entries beyond a palette are black.

use std::borrow::Cow;

use gif::{ColorOutput, DecodeOptions, DecodingError, MemoryLimit};

use crate::pixels::{PictureProblem, RgbPixels, check_size};

/// Decodes the first frame of a GIF of at most `allowed` pixels into RGB.
pub(crate) fn decode(bytes: &[u8], allowed: u64) -> Result<RgbPixels, PictureProblem> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    options.check_frame_consistency(false);
    options.allow_unknown_blocks(true);
    // The frame goes into our own buffer, whose size is checked first.
    options.set_memory_limit(MemoryLimit::Unlimited);
    let bytes = with_palette(bytes);
    let mut decoder = options.read_info(&*bytes).map_err(problem)?;
    let Some(frame) = decoder.next_frame_info().map_err(problem)?.cloned() else {
        return Err(PictureProblem::Damaged("the GIF has no frame".to_owned()));
    };
    let (left, top) = (usize::from(frame.left), usize::from(frame.top));
    let (columns, rows) = (usize::from(frame.width), usize::from(frame.height));
    let width = usize::from(decoder.width()).max(left + columns);
    let height = usize::from(decoder.height()).max(top + rows);
    check_size(width as u32, height as u32, allowed)?;
    check_size(columns as u32, rows as u32, allowed)?;
    let mut indexes = vec![0; columns * rows];
    decoder.read_into_buffer(&mut indexes).map_err(problem)?;

    let colours = colours(frame.palette.as_deref(), decoder.global_palette());
    let uncovered = colours[usize::from(frame.transparent.unwrap_or(0))];
    let mut data = vec![uncovered; width * height];
    for (row, indexes) in indexes.chunks_exact(columns).enumerate() {
        let start = (top + row) * width + left;
        for (pixel, index) in data[start..start + columns].iter_mut().zip(indexes) {
            *pixel = colours[usize::from(*index)];
        }
    }
    let (width, height) = (width as u32, height as u32);
    Ok(RgbPixels { width, height, data: data.into_flattened() })
}

/// Offset of the byte with the global palette's size and presence.
const FLAGS: usize = 10;
const HAS_PALETTE: u8 = 0x80;
/// Bytes before the global palette.
const SCREEN: usize = 13;

/// Adds a global palette of greys to a GIF without one, which the decoder would refuse.
fn with_palette(bytes: &[u8]) -> Cow<'_, [u8]> {
    match bytes.split_at_checked(SCREEN) {
        Some((screen, rest)) if screen[FLAGS] & HAS_PALETTE == 0 => {
            let mut with = screen.to_vec();
            with[FLAGS] |= HAS_PALETTE | 7;
            with.extend((0..=255).flat_map(|grey| [grey; 3]));
            with.extend_from_slice(rest);
            with.into()
        }
        _ => bytes.into(),
    }
}

/// Returns the colour of each index.
fn colours(local: Option<&[u8]>, global: Option<&[u8]>) -> [[u8; 3]; 256] {
    let grey = |index: usize| [index as u8; 3];
    for palette in [local, global].into_iter().flatten() {
        let entries: &[[u8; 3]] = palette.as_chunks().0;
        if entries.iter().enumerate().any(|(index, entry)| *entry != grey(index)) {
            return std::array::from_fn(|index| entries.get(index).copied().unwrap_or_default());
        }
    }
    std::array::from_fn(grey)
}

/// Converts an error of the `gif` crate.
fn problem(error: DecodingError) -> PictureProblem {
    match error {
        DecodingError::Io(error) => PictureProblem::CutShort(error.to_string()),
        other => PictureProblem::Damaged(other.to_string()),
    }
}
