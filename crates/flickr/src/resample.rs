//! Pillow's antialiased bicubic resize, to the bit.
//!
//! The filter is the cubic convolution kernel with `a = -0.5` (Keys 1981), stretched by the scale
//! when shrinking so that it also low-passes. Weights are computed in f64, normalised to sum 1, and
//! rounded to 22-bit fixed point. Rows are resized first, rounded and clipped to u8, then columns:
//! that clipping between the passes is what sets this apart from resizers that keep the overshoot.
//!
//! Only what the crop keeps is computed.

use std::ops::Range;

/// Fractional bits of a weight: 32 less 8 for the sample and 2 for the overshoot.
const PRECISION: u32 = 22;
const HALF: i32 = 1 << (PRECISION - 1);

/// The kernel reaches two samples to each side, before stretching.
const REACH: f64 = 2.0;

/// Samples computed at once: as many as two AVX2 registers hold.
const LANES: usize = 16;

fn kernel(distance: f64) -> f64 {
    const A: f64 = -0.5;
    let x = distance.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < REACH {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// How one axis is resized: for each output position, which inputs count and how much.
struct Axis {
    /// The first input of each output position.
    starts: Vec<usize>,
    /// The weights of each output position, `[outputs, taps]`, with zeros at the end of a row.
    weights: Vec<i32>,
    taps: Vec<usize>,
    stride: usize,
}

impl Axis {
    /// From `input` samples to the `kept` ones of `output` samples.
    fn new(input: usize, output: usize, kept: Range<usize>) -> Self {
        let scale = input as f64 / output as f64;
        let stretch = scale.max(1.0);
        let shrink = 1.0 / stretch;
        let support = REACH * stretch;
        let stride = support.ceil() as usize * 2 + 1;
        let mut axis = Self {
            starts: Vec::with_capacity(kept.len()),
            weights: Vec::with_capacity(kept.len() * stride),
            taps: Vec::with_capacity(kept.len()),
            stride,
        };
        let mut exact = Vec::with_capacity(stride);
        for position in kept {
            let center = (position as f64 + 0.5) * scale;
            // Truncation towards zero and then the clamp, in this order.
            let start = ((center - support + 0.5) as i64).max(0) as usize;
            let end = ((center + support + 0.5) as i64).min(input as i64) as usize;
            exact.clear();
            exact.extend((start..end).map(|x| kernel((x as f64 - center + 0.5) * shrink)));
            axis.push(start, &exact);
        }
        axis
    }

    fn push(&mut self, start: usize, exact: &[f64]) {
        let sum: f64 = exact.iter().sum();
        self.starts.push(start);
        self.taps.push(exact.len());
        let row = self.weights.len();
        self.weights.extend(exact.iter().map(|weight| fixed_point(weight / sum)));
        self.weights.resize(row + self.stride, 0);
    }

    fn row(&self, position: usize) -> (usize, &[i32]) {
        let first = position * self.stride;
        (self.starts[position], &self.weights[first..first + self.taps[position]])
    }

    /// The inputs that any kept output needs.
    fn needed(&self) -> Range<usize> {
        let first = self.starts.first().copied().unwrap_or(0);
        let last = self.starts.iter().zip(&self.taps).map(|(start, taps)| start + taps).max();
        first..last.unwrap_or(first)
    }
}

/// Rounds half away from zero.
fn fixed_point(weight: f64) -> i32 {
    let scaled = weight * f64::from(1 << PRECISION);
    if weight < 0.0 { (scaled - 0.5) as i32 } else { (scaled + 0.5) as i32 }
}

fn to_u8(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// A picture's size in pixels: width, height.
pub(crate) type Size = (usize, usize);

/// Resizes RGB `pixels` (`[height, width, 3]`) from size `from` to size `to` and returns the window
/// `columns` x `rows` of the result, `[rows, columns, 3]`.
pub(crate) fn resize_window(
    pixels: &[u8],
    from: Size,
    to: Size,
    columns: Range<usize>,
    rows: Range<usize>,
) -> Vec<u8> {
    let across = Axis::new(from.0, to.0, columns);
    let down = Axis::new(from.1, to.1, rows);
    let needed = down.needed();
    let band = &pixels[needed.start * from.0 * 3..needed.end * from.0 * 3];
    let narrow = resize_rows(band, from.0, &across);
    resize_columns(&narrow, across.starts.len() * 3, &down, needed.start)
}

/// `[rows, width, 3]` to `[rows, outputs, 3]`.
fn resize_rows(pixels: &[u8], width: usize, axis: &Axis) -> Vec<u8> {
    let outputs = axis.starts.len();
    let mut narrow = vec![0; pixels.len() / width * outputs];
    for (row, out) in pixels.chunks_exact(width * 3).zip(narrow.chunks_exact_mut(outputs * 3)) {
        for (position, out) in out.chunks_exact_mut(3).enumerate() {
            let (start, weights) = axis.row(position);
            let mut sums = [HALF; 3];
            for (pixel, &weight) in row[start * 3..].chunks_exact(3).zip(weights) {
                for (sum, &sample) in sums.iter_mut().zip(pixel) {
                    *sum = sum.wrapping_add(i32::from(sample).wrapping_mul(weight));
                }
            }
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = to_u8(sum);
            }
        }
    }
    narrow
}

/// `[rows, samples]` to `[outputs, samples]`; row 0 of `narrow` is input `first_row`.
fn resize_columns(narrow: &[u8], samples: usize, axis: &Axis, first_row: usize) -> Vec<u8> {
    let mut out = vec![0; axis.starts.len() * samples];
    for (position, out) in out.chunks_exact_mut(samples).enumerate() {
        let (start, weights) = axis.row(position);
        let first = (start - first_row) * samples;
        for (lane, out) in out.chunks_mut(LANES).enumerate() {
            let mut sums = [HALF; LANES];
            for (tap, &weight) in weights.iter().enumerate() {
                let from = first + tap * samples + lane * LANES;
                for (sum, &sample) in sums.iter_mut().zip(&narrow[from..from + out.len()]) {
                    *sum = sum.wrapping_add(i32::from(sample).wrapping_mul(weight));
                }
            }
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = to_u8(sum);
            }
        }
    }
    out
}
