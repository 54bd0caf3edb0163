//! Chroma upsampling and conversion of `YCbCr` to RGB, bit for bit as in libjpeg.

/// Number of pixels that are converted together.
pub(super) const PIXELS: usize = 32;

/// Fractional bits of the conversion factors.
const BITS: u32 = 16;
const HALF: i32 = 1 << (BITS - 1);

/// Converts a row to RGB. `luma`, `blue` and `red` are padded to a multiple of [`PIXELS`].
#[allow(clippy::inline_always, reason = "compiled once for each kind of processor")]
#[inline(always)]
pub(super) fn to_rgb(luma: &[u8], blue: &[u8], red: &[u8], out: &mut [u8]) {
    let (luma, blue, red) = (luma.as_chunks().0, blue.as_chunks().0, red.as_chunks().0);
    for (out, ((luma, blue), red)) in out.chunks_mut(PIXELS * 3).zip(luma.iter().zip(blue).zip(red))
    {
        let rgb = pixels(luma, blue, red);
        let rgb = rgb.as_flattened();
        match out.as_mut_array::<{ PIXELS * 3 }>() {
            Some(out) => out.copy_from_slice(rgb),
            None => out.copy_from_slice(&rgb[..out.len()]),
        }
    }
}

/// Converts [`PIXELS`] pixels.
#[allow(clippy::inline_always, reason = "compiled once for each kind of processor")]
#[inline(always)]
fn pixels(luma: &[u8; PIXELS], blue: &[u8; PIXELS], red: &[u8; PIXELS]) -> [[u8; 3]; PIXELS] {
    let mut planes = [[0_u8; PIXELS]; 3];
    for at in 0..PIXELS {
        let luma = i32::from(luma[at]);
        let (blue, red) = (i32::from(blue[at]) - 128, i32::from(red[at]) - 128);
        planes[0][at] = (luma + ((91881 * red + HALF) >> BITS)).clamp(0, 255) as u8;
        planes[1][at] = (luma + ((-22554 * blue - 46802 * red + HALF) >> BITS)).clamp(0, 255) as u8;
        planes[2][at] = (luma + ((116_130 * blue + HALF) >> BITS)).clamp(0, 255) as u8;
    }
    let mut pixels = [[0; 3]; PIXELS];
    for at in 0..PIXELS {
        pixels[at] = [planes[0][at], planes[1][at], planes[2][at]];
    }
    pixels
}

/// Upsampler of chroma rows to twice their width ("fancy upsampling" in libjpeg).
///
/// Each output is 3/4 of the nearest input and 1/4 of the second nearest; the first and last input
/// count as their own neighbours. A row of one or two samples is repeated without smoothing.
pub(super) struct Upsampler {
    /// Row with one more sample at each end.
    padded: Vec<u16>,
}

impl Upsampler {
    /// Creates an upsampler of rows of `width` samples.
    pub(super) fn new(width: usize) -> Self {
        Self { padded: vec![0; width + 2] }
    }

    /// Upsamples a row of an image with as many rows of chroma as of luma.
    #[allow(clippy::inline_always, reason = "compiled once for each kind of processor")]
    #[inline(always)]
    pub(super) fn across(&mut self, row: &[u8], out: &mut [u8]) {
        if self.is_narrow() {
            return repeat(row, out);
        }
        for (padded, &sample) in self.padded[1..].iter_mut().zip(row) {
            *padded = sample.into();
        }
        self.upsample::<2>([1, 2], out);
    }

    /// Upsamples the row 3/4 `near` + 1/4 `far` of an image with half as many rows of chroma.
    #[allow(clippy::inline_always, reason = "compiled once for each kind of processor")]
    #[inline(always)]
    pub(super) fn both_ways(&mut self, near: &[u8], far: &[u8], out: &mut [u8]) {
        if self.is_narrow() {
            return repeat(near, out);
        }
        for (padded, (&near, &far)) in self.padded[1..].iter_mut().zip(near.iter().zip(far)) {
            *padded = 3 * u16::from(near) + u16::from(far);
        }
        self.upsample::<4>([8, 7], out);
    }

    /// Returns true if rows are too short to be smoothed.
    fn is_narrow(&self) -> bool {
        self.padded.len() <= 4
    }

    /// Upsamples the padded row. `rounding` is for the outputs left and right of an input.
    #[allow(clippy::inline_always, reason = "compiled once for each kind of processor")]
    #[inline(always)]
    fn upsample<const SHIFT: u32>(&mut self, rounding: [u16; 2], out: &mut [u8]) {
        let end = self.padded.len() - 1;
        self.padded[0] = self.padded[1];
        self.padded[end] = self.padded[end - 1];
        let (before, after) = (&self.padded[..end - 1], &self.padded[2..]);
        let sides = before.iter().zip(after);
        for ((out, sample), (before, after)) in
            out.as_chunks_mut::<2>().0.iter_mut().zip(&self.padded[1..end]).zip(sides)
        {
            out[0] = ((3 * sample + before + rounding[0]) >> SHIFT) as u8;
            out[1] = ((3 * sample + after + rounding[1]) >> SHIFT) as u8;
        }
    }
}

/// Writes each sample twice.
fn repeat(row: &[u8], out: &mut [u8]) {
    for (out, &sample) in out.as_chunks_mut::<2>().0.iter_mut().zip(row) {
        *out = [sample; 2];
    }
}
