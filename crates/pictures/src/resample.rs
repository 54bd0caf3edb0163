//! Pillow's antialiased resize, equal to the bit: bicubic, bilinear and all other filters.
//!
//! CLIP uses bicubic, torchvision's networks use bilinear.
//!
//! The bicubic filter is the cubic convolution kernel with `a = -0.5` (Keys 1981), the bilinear one
//! a triangle; all but the nearest neighbour are stretched by the scale when shrinking so that they
//! also low-pass. Weights are computed in f64, normalised to sum 1, and rounded to 22-bit fixed
//! point. Rows are resized first, rounded and clipped to u8, then columns: that clipping between
//! the passes is what sets this apart from resizers that keep the overshoot. This order is that of
//! Pillow 9.4 to 12.3, and of the paper's time. Pillow 13.0 shrinks pictures that are over twice as
//! tall as wide in the other order, which moves values of such pictures by up to 13.
//!
//! Only the cropped part is computed, eight rows at a time. Samples within a row depend on each
//! other's positions, those of a column do not: after transposing eight rows into columns one
//! instruction works on all eight. The compiler vectorises this code without intrinsics.

use std::f64::consts::PI;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::transpose::transpose;

/// Fractional bits of a weight: 32 less 8 for the sample and 2 for the overshoot.
const PRECISION: u32 = 22;
const HALF: i32 = 1 << (PRECISION - 1);

/// Number of rows that are resized at the same time.
const ROWS: usize = 8;

/// Number of samples of a row that are processed at the same time.
const LANES: usize = 32;

/// `LANES` samples of each of `ROWS` rows, eight samples to a word.
type Block = [[u64; LANES / 8]; ROWS];

/// Sample of each of `ROWS` rows at one position.
type Column = [u8; ROWS];

/// Resampling filter: the weights of neighbouring samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// Cubic convolution.
    #[default]
    Bicubic,
    /// Triangle.
    Bilinear,
    /// Nearest sample; never stretched.
    Nearest,
    /// Mean of the samples within reach.
    Box,
    /// Hamming-windowed sinc within one sample.
    Hamming,
    /// Sinc within three samples, windowed by its own first lobe.
    Lanczos,
}

impl Filter {
    /// Returns the reach of the kernel to each side in samples, before stretching.
    fn reach(self) -> f64 {
        match self {
            Self::Bicubic => 2.0,
            Self::Bilinear | Self::Hamming => 1.0,
            Self::Nearest => 0.0,
            Self::Box => 0.5,
            Self::Lanczos => 3.0,
        }
    }

    fn kernel(self, distance: f64) -> f64 {
        const A: f64 = -0.5;
        let x = distance.abs();
        match self {
            // The only kernel that is not symmetric.
            Self::Box if distance > -0.5 && distance <= 0.5 => 1.0,
            Self::Hamming if x < 1.0 => sinc(distance) * (0.54 + 0.46 * (PI * distance).cos()),
            Self::Lanczos if (-3.0..3.0).contains(&distance) => {
                sinc(distance) * sinc(distance / 3.0)
            }
            Self::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            Self::Bilinear if x < 1.0 => 1.0 - x,
            _ => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

/// Resize of one axis: the first input and the weights of each output position.
struct Axis {
    /// The first input of each output position.
    starts: Vec<usize>,
    /// The weights of each output position, `[outputs, taps]`, with zeros at the end of a row.
    weights: Vec<i32>,
    taps: Vec<usize>,
    stride: usize,
}

impl Axis {
    /// Returns the resize from `input` samples to the `kept` ones of `output` samples.
    fn new(filter: Filter, input: usize, output: usize, kept: Range<usize>) -> Self {
        let scale = input as f64 / output as f64;
        if filter == Filter::Nearest {
            return Self::nearest(scale, input, kept);
        }
        let stretch = scale.max(1.0);
        let shrink = 1.0 / stretch;
        let support = filter.reach() * stretch;
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
            exact.extend((start..end).map(|x| filter.kernel((x as f64 - center + 0.5) * shrink)));
            axis.push(start, &exact);
        }
        axis
    }

    /// Returns Pillow's affine transform: positions are summed up from the first output on.
    fn nearest(scale: f64, input: usize, kept: Range<usize>) -> Self {
        let mut positions = (0..kept.end).scan(scale * 0.5, |position, _| {
            let sample = *position as usize;
            *position += scale;
            Some(sample.min(input - 1))
        });
        let starts: Vec<usize> = positions.by_ref().skip(kept.start).collect();
        let one = 1 << PRECISION;
        Self { weights: vec![one; starts.len()], taps: vec![1; starts.len()], starts, stride: 1 }
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

    /// Returns the range of inputs that any kept output needs.
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

/// Size of an image in pixels: width, height.
pub(crate) type Size = (usize, usize);

/// Resizes RGB `pixels` `[height, width, 3]` from size `from` to size `to`.
///
/// Returns the window `columns` x `rows` of the result, `[rows, columns, 3]`.
pub(crate) fn resize_window(
    filter: Filter,
    pixels: &[u8],
    from: Size,
    to: Size,
    columns: Range<usize>,
    rows: Range<usize>,
) -> Vec<u8> {
    let across = Axis::new(filter, from.0, to.0, columns);
    let down = Axis::new(filter, from.1, to.1, rows);
    let needed = down.needed();
    let band = &pixels[needed.start * from.0 * 3..needed.end * from.0 * 3];
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor was just asked for AVX2.
        return unsafe { both_passes_avx2(band, from.0, &across, &down) };
    }
    both_passes(band, from.0, &across, &down)
}

/// Calls [`both_passes`], compiled for AVX2, which multiplies eight 32-bit integers at once.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn both_passes_avx2(band: &[u8], width: usize, across: &Axis, down: &Axis) -> Vec<u8> {
    both_passes(band, width, across, down)
}

/// Resizes `band`, the rows that `down` needs, first across and then down.
#[allow(clippy::inline_always, reason = "compiled once for each kind of processor")]
#[inline(always)]
fn both_passes(band: &[u8], width: usize, across: &Axis, down: &Axis) -> Vec<u8> {
    let samples = across.starts.len() * 3;
    let narrow = resize_rows(band, width * 3, across);
    resize_columns(&narrow, samples, down)
}

/// Resizes `[rows, row_samples]` to `[rows, outputs * 3]`, both rounded up to whole blocks.
#[allow(clippy::inline_always, reason = "compiled once for each kind of processor")]
#[inline(always)]
fn resize_rows(band: &[u8], row_samples: usize, axis: &Axis) -> Vec<u8> {
    let needed = axis.needed();
    let skipped = needed.start * 3;
    let mut columns: Vec<Column> = vec![[0; ROWS]; (needed.len() * 3).next_multiple_of(LANES)];
    let stride = (axis.starts.len() * 3).next_multiple_of(LANES);
    let mut resized: Vec<Column> = vec![[0; ROWS]; stride];
    let blocks = (band.len() / row_samples).div_ceil(ROWS);
    let mut narrow = vec![0; blocks * ROWS * stride];
    for (rows, out) in band.chunks(row_samples * ROWS).zip(narrow.chunks_exact_mut(stride * ROWS)) {
        rows_to_columns(rows, row_samples, skipped, &mut columns);
        for (position, out) in resized.chunks_exact_mut(3).take(axis.starts.len()).enumerate() {
            let (start, weights) = axis.row(position);
            let mut sums = [HALF; 3 * ROWS];
            let samples = columns[start * 3 - skipped..].as_flattened();
            for (samples, &weight) in samples.as_chunks().0.iter().zip(weights) {
                add_weighted(&mut sums, samples, weight);
            }
            out.as_flattened_mut().copy_from_slice(&sums.map(to_u8));
        }
        columns_to_rows(&resized, stride, out);
    }
    narrow
}

/// Resizes `[rows, samples]`, padded by [`resize_rows`], to `[outputs, samples]`.
#[allow(clippy::inline_always, reason = "compiled once for each kind of processor")]
#[inline(always)]
fn resize_columns(narrow: &[u8], samples: usize, axis: &Axis) -> Vec<u8> {
    let stride = samples.next_multiple_of(LANES);
    let first_row = axis.needed().start;
    let mut out = vec![0; axis.starts.len() * samples];
    for (position, out) in out.chunks_exact_mut(samples).enumerate() {
        let (start, weights) = axis.row(position);
        let rows = &narrow[(start - first_row) * stride..];
        for (lane, out) in out.chunks_mut(LANES).enumerate() {
            let mut sums = [HALF; LANES];
            for (row, &weight) in rows.chunks_exact(stride).zip(weights) {
                if let Some(row) = row[lane * LANES..].first_chunk::<LANES>() {
                    add_weighted(&mut sums, row, weight);
                }
            }
            out.copy_from_slice(&sums.map(to_u8)[..out.len()]);
        }
    }
    out
}

#[allow(clippy::inline_always, reason = "compiled once for each kind of processor")]
#[inline(always)]
fn add_weighted<const N: usize>(sums: &mut [i32; N], samples: &[u8; N], weight: i32) {
    for (sum, &sample) in sums.iter_mut().zip(samples) {
        // No sum of weights times 255 leaves 32 bits; wrapping only spares the check.
        *sum = sum.wrapping_add(i32::from(sample).wrapping_mul(weight));
    }
}

/// Turns up to `ROWS` rows into columns, from sample `skipped` on; missing rows stay 0.
#[allow(clippy::inline_always, reason = "compiled once for each kind of processor")]
#[inline(always)]
fn rows_to_columns(rows: &[u8], row_samples: usize, skipped: usize, columns: &mut [Column]) {
    for (at, columns) in columns.chunks_exact_mut(LANES).enumerate() {
        let mut block: Block = Default::default();
        for (row, words) in rows.chunks_exact(row_samples).zip(&mut block) {
            let rest = &row[(skipped + at * LANES).min(row_samples)..];
            let samples = rest.first_chunk::<LANES>().copied().unwrap_or_else(|| {
                let mut padded = [0; LANES];
                padded[..rest.len()].copy_from_slice(rest);
                padded
            });
            for (word, bytes) in words.iter_mut().zip(samples.as_chunks().0) {
                *word = u64::from_le_bytes(*bytes);
            }
        }
        transpose(&mut block);
        for (word, columns) in columns.chunks_exact_mut(ROWS).enumerate() {
            for (column, words) in columns.iter_mut().zip(&block) {
                *column = words[word].to_le_bytes();
            }
        }
    }
}

/// Turns `columns` into `ROWS` rows of `stride` samples.
#[allow(clippy::inline_always, reason = "compiled once for each kind of processor")]
#[inline(always)]
fn columns_to_rows(columns: &[Column], stride: usize, rows: &mut [u8]) {
    for (at, columns) in columns.chunks_exact(LANES).enumerate() {
        let mut block: Block = Default::default();
        for (word, columns) in columns.chunks_exact(ROWS).enumerate() {
            for (column, words) in columns.iter().zip(&mut block) {
                words[word] = u64::from_le_bytes(*column);
            }
        }
        transpose(&mut block);
        for (row, words) in rows.chunks_exact_mut(stride).zip(&block) {
            let out = row[at * LANES..].as_chunks_mut().0;
            for (out, word) in out.iter_mut().zip(words) {
                *out = word.to_le_bytes();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_processor_gives_the_same_bytes() {
        let (width, height) = (61, 45);
        let pixels: Vec<u8> = (0..width * height * 3).map(|i| (i * i / 7 % 256) as u8).collect();
        for (filter, to) in [Filter::Bicubic, Filter::Bilinear, Filter::Nearest, Filter::Lanczos]
            .into_iter()
            .flat_map(|filter| [(80, 59), (30, 22), (61, 45)].map(|to| (filter, to)))
        {
            let (columns, rows) = (3..to.0 - 2, 1..to.1 - 4);
            let across = Axis::new(filter, width, to.0, columns.clone());
            let down = Axis::new(filter, height, to.1, rows.clone());
            let needed = down.needed();
            let band = &pixels[needed.start * width * 3..needed.end * width * 3];
            let portable = both_passes(band, width, &across, &down);
            assert_eq!(
                portable,
                resize_window(filter, &pixels, (width, height), to, columns, rows)
            );
        }
    }
}
