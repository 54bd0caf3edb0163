//! Decoder of ordinary JPEGs: sequential, Huffman-coded, 8-bit grey or `YCbCr` in one scan.
//!
//! It declines all other JPEGs and any that look damaged; the caller's other decoder reads them or
//! reports the damage.

use super::colour::{self, Upsampler};
use super::headers::{Component, Headers};
use super::huffman::Data;
use super::idct::{self, Blocks, LANES};
use crate::pixels::{RgbPixels, check_size};

const END_OF_IMAGE: u8 = 0xd9;

/// Width and height of a block in samples.
const SIDE: usize = 8;

/// Decodes a JPEG of at most `allowed` pixels into RGB. Returns `None` to decline.
pub(super) fn decode(bytes: &[u8], allowed: u64) -> Option<RgbPixels> {
    let headers = Headers::read(bytes)?;
    check_size(headers.width as u32, headers.height as u32, allowed).ok()?;
    let planes = Planes::new(&headers)?;
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2") {
        // SAFETY: the processor has both features.
        return unsafe { decode_avx2(&headers, planes) };
    }
    decode_scan(&headers, planes)
}

/// Runs [`decode_scan`] compiled for AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2")]
fn decode_avx2(headers: &Headers, planes: Planes) -> Option<RgbPixels> {
    decode_scan(headers, planes)
}

/// Decodes the scan into RGB.
#[allow(clippy::inline_always, reason = "compiled once for each kind of processor")]
#[inline(always)]
fn decode_scan(headers: &Headers, mut planes: Planes) -> Option<RgbPixels> {
    planes.read(headers)?;
    let data = planes.to_rgb(headers.width, headers.height);
    Some(RgbPixels { width: headers.width as u32, height: headers.height as u32, data })
}

/// Samples of a component.
struct Plane<'h> {
    component: &'h Component,
    /// Samples from one row to the next, a multiple of [`LANES`] blocks.
    stride: usize,
    /// Columns inside the image.
    width: usize,
    /// Rows inside the image.
    height: usize,
    samples: Vec<u8>,
    /// Coefficients of [`LANES`] minimum coded units: rows of blocks, in groups of [`LANES`].
    blocks: Vec<Blocks>,
    /// First coefficient of the previous block.
    previous: i16,
}

/// Samples of all components, and the size of the image in minimum coded units.
struct Planes<'h> {
    all: Vec<Plane<'h>>,
    units_across: usize,
    units_down: usize,
}

impl<'h> Planes<'h> {
    /// Allocates the planes. Returns `None` if the data are too short to fill them.
    fn new(headers: &'h Headers) -> Option<Self> {
        let luma = headers.components.first()?;
        let units_across = headers.width.div_ceil(luma.across * SIDE);
        let units_down = headers.height.div_ceil(luma.down * SIDE);
        let blocks: usize =
            headers.components.iter().map(|component| component.across * component.down).sum();
        // A block takes two bits or more: allocate no more than the data can fill.
        if units_across * units_down * blocks > headers.data.len() * 4 {
            return None;
        }
        let planes = headers.components.iter().map(|component| {
            let stride = units_across.next_multiple_of(LANES) * component.across * SIDE;
            Plane {
                component,
                stride,
                width: (headers.width * component.across).div_ceil(luma.across),
                height: (headers.height * component.down).div_ceil(luma.down),
                samples: vec![0; stride * units_down * component.down * SIDE],
                blocks: vec![[[0; LANES]; SIDE * SIDE]; component.across * component.down],
                previous: 0,
            }
        });
        Some(Self { all: planes.collect(), units_across, units_down })
    }

    /// Decodes the scan into samples. Returns `None` if it is damaged or not followed by the end.
    #[allow(clippy::inline_always, reason = "compiled once for each kind of processor")]
    #[inline(always)]
    fn read(&mut self, headers: &Headers) -> Option<()> {
        let mut data = Data::new(headers.data)?;
        let (mut until_restart, mut restarts) = (headers.restart_interval, 0);
        for unit_row in 0..self.units_down {
            for first in (0..self.units_across).step_by(LANES) {
                for plane in &mut self.all {
                    plane.blocks.as_flattened_mut().fill([0; LANES]);
                }
                for unit in 0..LANES.min(self.units_across - first) {
                    if until_restart == 0 {
                        data.restart(restarts)?;
                        restarts += 1;
                        until_restart = headers.restart_interval;
                        self.all.iter_mut().for_each(|plane| plane.previous = 0);
                    }
                    until_restart -= 1;
                    for plane in &mut self.all {
                        plane.read_unit(&mut data, unit)?;
                    }
                }
                for plane in &mut self.all {
                    plane.transform(first, unit_row);
                }
            }
        }
        data.ended_with(END_OF_IMAGE).then_some(())
    }

    /// Upsamples chroma and converts the samples to RGB.
    #[allow(clippy::inline_always, reason = "compiled once for each kind of processor")]
    #[inline(always)]
    fn to_rgb(&self, width: usize, height: usize) -> Vec<u8> {
        let mut out = vec![0; width * height * 3];
        let rows = out.chunks_exact_mut(width * 3).enumerate();
        match &self.all[..] {
            [luma, blue, red] if luma.component.across == 1 => {
                for (y, out) in rows {
                    colour::to_rgb(luma.row(y), blue.row(y), red.row(y), out);
                }
            }
            [luma, blue, red] => {
                let mut upsampler = Upsampler::new(blue.width);
                let mut wide = [vec![0; luma.stride], vec![0; luma.stride]];
                for (y, out) in rows {
                    for (chroma, wide) in [blue, red].into_iter().zip(&mut wide) {
                        if luma.component.down == 1 {
                            upsampler.across(chroma.row(y), wide);
                        } else {
                            let near = y / 2;
                            let far = if y % 2 == 0 { near.saturating_sub(1) } else { near + 1 };
                            let far = chroma.row(far.min(chroma.height - 1));
                            upsampler.both_ways(chroma.row(near), far, wide);
                        }
                    }
                    colour::to_rgb(luma.row(y), &wide[0], &wide[1], out);
                }
            }
            planes => {
                for (plane, (y, out)) in planes.iter().cycle().zip(rows) {
                    for (out, &grey) in out.as_chunks_mut().0.iter_mut().zip(plane.row(y)) {
                        *out = [grey; 3];
                    }
                }
            }
        }
        out
    }
}

impl Plane<'_> {
    /// Returns row `y` with its padding.
    fn row(&self, y: usize) -> &[u8] {
        &self.samples[y * self.stride..(y + 1) * self.stride]
    }

    /// Reads this component's blocks of one of [`LANES`] minimum coded units.
    #[allow(clippy::inline_always, reason = "compiled once for each kind of processor")]
    #[inline(always)]
    fn read_unit(&mut self, data: &mut Data, unit: usize) -> Option<()> {
        let Component { across, down, dc, ac, .. } = self.component;
        for row in 0..*down {
            for column in unit * across..(unit + 1) * across {
                let blocks = self.blocks.get_mut(row * across + column / LANES)?;
                data.block((dc, ac), &mut self.previous, blocks, column % LANES)?;
            }
        }
        Some(())
    }

    /// Transforms the coefficients of [`LANES`] minimum coded units, from unit `first` of a row on.
    #[allow(clippy::inline_always, reason = "compiled once for each kind of processor")]
    #[inline(always)]
    fn transform(&mut self, first: usize, unit_row: usize) {
        let Component { across, down, quantisation, .. } = self.component;
        let rows = self.samples.chunks_exact_mut(self.stride * SIDE).skip(unit_row * down);
        for (groups, rows) in self.blocks.chunks_exact(*across).zip(rows) {
            for (group, blocks) in groups.iter().enumerate() {
                let out = &mut rows[(first * across + group * LANES) * SIDE..];
                idct::samples(blocks, quantisation, out, self.stride);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

    use super::*;
    use crate::pixels::MAX_PIXELS;

    fn portable(bytes: &[u8]) -> Option<RgbPixels> {
        let headers = Headers::read(bytes)?;
        decode_scan(&headers, Planes::new(&headers)?)
    }

    /// Returns a grey JPEG of 8 rows with these compressed data.
    fn grey(width: u8, data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0xff, 0xd8, 0xff, 0xdb, 0, 67, 0];
        bytes.extend([8; 64]);
        bytes.extend([0xff, 0xc0, 0, 11, 8, 0, 8, 0, width, 1, 1, 0x11, 0]);
        // Codes 00 and 01: two bits of difference or none; the end of a block, or a run of 15 zeros
        // and one bit of coefficient.
        for (class, symbols) in [(0x00, [2, 0]), (0x10, [0, 0xf1])] {
            bytes.extend([0xff, 0xc4, 0, 21, class, 0, 2]);
            bytes.extend([0; 14]);
            bytes.extend(symbols);
        }
        bytes.extend([0xff, 0xda, 0, 8, 1, 1, 0x00, 0, 63, 0]);
        bytes.extend(data);
        bytes
    }

    #[test]
    fn a_block_of_one_coefficient_is_flat() {
        // -3 * 8 / 8 below the middle.
        let pixels = decode(&grey(8, &[0b0000_0011, 0xff, 0xd9]), MAX_PIXELS).unwrap();
        assert_eq!((pixels.width, pixels.height), (8, 8));
        assert_eq!(pixels.data, [125; 8 * 8 * 3]);
    }

    #[test]
    fn what_is_not_whole_and_in_order_is_declined() {
        let declined = |data: &[u8]| decode(&grey(8, data), MAX_PIXELS).is_none();
        // Nothing; no marker; another marker; bytes left; a code that is none.
        assert!(declined(&[]));
        assert!(declined(&[0b0000_0011]));
        assert!(declined(&[0b0000_0011, 0xff, 0xd0]));
        assert!(declined(&[0b0000_0011, 0b1111_1111, 0, 0xff, 0xd9]));
        assert!(declined(&[0b0000_1111, 0xff, 0xd9]));
        // Three coefficients, each after a run of 15, have room; four have none.
        assert!(!declined(&[0b0000_0110, 0b1101_1000, 0xff, 0xd9]));
        assert!(declined(&[0b0000_0110, 0b1101_1011, 0xff, 0xd9]));
        // A sampling that there is not, though a lone component's does not matter.
        let mut bytes = grey(8, &[0b0000_0011, 0xff, 0xd9]);
        bytes[82] = 0x22;
        assert!(decode(&bytes, MAX_PIXELS).is_some());
        bytes[82] = 0x25;
        assert!(decode(&bytes, MAX_PIXELS).is_none());
        // Two blocks, and the data of one.
        assert!(decode(&grey(16, &[0b0000_0011, 0xff, 0xd9]), MAX_PIXELS).is_none());
    }

    #[test]
    fn every_processor_gives_the_same_bytes() {
        #[derive(serde::Deserialize)]
        struct Case {
            name: String,
            jpeg: String,
        }
        let cases: Vec<Case> =
            serde_json::from_str(include_str!("../../../../tests/fixtures/pictures/jpegs.json"))
                .unwrap();
        for Case { name, jpeg } in cases {
            let bytes = hex::decode(jpeg).unwrap();
            let pixels = decode(&bytes, MAX_PIXELS);
            assert!(pixels.is_some(), "{name} was declined");
            assert_eq!(pixels, portable(&bytes), "{name}");
        }
    }
}
