//! GIF: the first frame on its canvas, as Pillow shows it.
//!
//! Where the frame does not cover the canvas Pillow has entry 0 of the palette, or the transparent one
//! where there is such; the background that the file names does not count. A canvas grows to a frame
//! that reaches beyond it. Entries beyond the palette are grey.

use gif::{ColorOutput, DecodeOptions, DecodingError, MemoryLimit};

use crate::pixels::{PictureProblem, RgbPixels, check_size};

/// Decodes the first frame of a GIF of at most `allowed` pixels into RGB.
pub(crate) fn decode(bytes: &[u8], allowed: u64) -> Result<RgbPixels, PictureProblem> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    options.check_frame_consistency(false);
    options.allow_unknown_blocks(true);
    // The frame goes to memory of ours, which is checked first.
    options.set_memory_limit(MemoryLimit::Unlimited);
    let mut decoder = options.read_info(bytes).map_err(problem)?;
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

    let colours =
        colours(frame.palette.as_deref().or(decoder.global_palette()).unwrap_or_default());
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

/// The palette's colours, and grey for entries beyond it.
fn colours(palette: &[u8]) -> [[u8; 3]; 256] {
    let mut colours = std::array::from_fn(|index| [index as u8; 3]);
    for (colour, entry) in colours.iter_mut().zip(palette.as_chunks().0) {
        *colour = *entry;
    }
    colours
}

fn problem(error: DecodingError) -> PictureProblem {
    match error {
        DecodingError::Io(error) => PictureProblem::CutShort(error.to_string()),
        other => PictureProblem::Damaged(other.to_string()),
    }
}
