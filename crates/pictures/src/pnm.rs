//! PBM, PGM and PPM decoding, plain and raw.
//!
//! Samples are scaled to 0 to 255 as in Pillow, rounding half to even. The crate `image` rounds
//! half up, in `f32`, and scales 16-bit samples to 65,535, so some of its pixels are off by one.

use crate::pixels::{PictureProblem, RgbPixels, check_size};

/// Largest number of digits in a header or in plain data.
const MAX_TOKEN_DIGITS: usize = 10;

/// Decodes a PBM, PGM or PPM of at most `allowed` pixels into RGB.
pub(crate) fn decode(bytes: &[u8], allowed: u64) -> Result<RgbPixels, PictureProblem> {
    let kind = bytes.get(1).copied().unwrap_or_default();
    let mut tokens = Tokens { rest: bytes.get(2..).unwrap_or_default() };
    if !matches!(kind, b'1'..=b'6') || !tokens.rest.first().is_some_and(|&byte| is_blank(byte)) {
        return Err(PictureProblem::Unsupported("PNM other than PBM, PGM and PPM".to_owned()));
    }
    let (width, height) = (tokens.number()?, tokens.number()?);
    check_size(width, height, allowed)?;
    let size = (width as usize, height as usize);
    if matches!(kind, b'1' | b'4') {
        let bits = if kind == b'1' { tokens.plain_bits(size)? } else { tokens.raw_bits(size)? };
        let data = bits.iter().flat_map(|&black| [if black { 0 } else { 255 }; 3]).collect();
        return Ok(RgbPixels { width, height, data });
    }
    let highest = tokens.number()?;
    if !(1..=0xffff).contains(&highest) {
        return Err(PictureProblem::Damaged(format!("its highest value is {highest}")));
    }
    let is_grey = matches!(kind, b'2' | b'5');
    if is_grey && highest > 255 {
        return Err(PictureProblem::sixteen_bit_grey());
    }
    let count = size.0 * size.1 * if is_grey { 1 } else { 3 };
    let samples = if matches!(kind, b'2' | b'3') {
        tokens.plain_samples(count, highest)?
    } else {
        tokens.raw_samples(count, highest)?
    };
    let data = if is_grey { samples.iter().flat_map(|&grey| [grey; 3]).collect() } else { samples };
    Ok(RgbPixels { width, height, data })
}

/// Reader of the numbers and samples in the rest of a file.
struct Tokens<'b> {
    rest: &'b [u8],
}

impl Tokens<'_> {
    /// Returns the next byte outside comments.
    fn byte(&mut self) -> Option<u8> {
        loop {
            let (&byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            if byte != b'#' {
                return Some(byte);
            }
            let end = rest.iter().position(|&byte| matches!(byte, b'\n' | b'\r'));
            self.rest = rest.get(end? + 1..)?;
        }
    }

    /// Reads the next number and the one blank after it.
    fn number(&mut self) -> Result<u32, PictureProblem> {
        let mut digits = String::new();
        while let Some(byte) = self.byte() {
            if is_blank(byte) && digits.is_empty() {
                continue;
            }
            if is_blank(byte) {
                break;
            }
            digits.push(char::from(byte));
            if digits.len() > MAX_TOKEN_DIGITS {
                break;
            }
        }
        if digits.is_empty() {
            return Err(cut());
        }
        digits.parse().map_err(|_| PictureProblem::Damaged(format!("{digits:?} is not a number")))
    }

    /// Reads pixels written as `0` and `1`; true is black.
    fn plain_bits(&mut self, (width, height): (usize, usize)) -> Result<Vec<bool>, PictureProblem> {
        let mut bits = Vec::with_capacity(width * height);
        while bits.len() < width * height {
            match self.byte().ok_or_else(cut)? {
                byte if is_blank(byte) => {}
                bit @ (b'0' | b'1') => bits.push(bit == b'1'),
                other => {
                    let problem = format!("{:?} is not a bit", char::from(other));
                    return Err(PictureProblem::Damaged(problem));
                }
            }
        }
        Ok(bits)
    }

    /// Reads packed pixels; each row begins at a byte. True is black.
    fn raw_bits(&mut self, (width, height): (usize, usize)) -> Result<Vec<bool>, PictureProblem> {
        let row = width.div_ceil(8);
        let bytes = self.rest.get(..row * height).ok_or_else(cut)?;
        let rows = bytes.chunks_exact(row);
        let bits = rows.flat_map(|row| (0..width).map(|x| row[x / 8] >> (7 - x % 8) & 1 == 1));
        Ok(bits.collect())
    }

    /// Reads samples written as decimal numbers.
    fn plain_samples(&mut self, count: usize, highest: u32) -> Result<Vec<u8>, PictureProblem> {
        let sample = |_| match self.number()? {
            sample if sample <= highest => Ok(scaled(sample, highest)),
            sample => Err(PictureProblem::Damaged(format!("sample {sample} exceeds {highest}"))),
        };
        (0..count).map(sample).collect()
    }

    /// Reads samples of one byte each, or two if `highest` is more than 255.
    fn raw_samples(&mut self, count: usize, highest: u32) -> Result<Vec<u8>, PictureProblem> {
        let bytes = if highest > 255 { 2 } else { 1 };
        let samples = self.rest.get(..count * bytes).ok_or_else(cut)?;
        Ok(match highest {
            255 => samples.to_vec(),
            256.. => {
                let pairs = samples.as_chunks().0;
                pairs.iter().map(|&pair| scaled(u16::from_be_bytes(pair).into(), highest)).collect()
            }
            _ => samples.iter().map(|&sample| scaled(sample.into(), highest)).collect(),
        })
    }
}

/// Scales a sample from `0..=highest` to `0..=255`.
fn scaled(sample: u32, highest: u32) -> u8 {
    let scaled = f64::from(sample) / f64::from(highest) * 255.0;
    scaled.round_ties_even().min(255.0) as u8
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn cut() -> PictureProblem {
    PictureProblem::CutShort("data end too early".to_owned())
}
