//! Inverse discrete cosine transform, bit for bit libjpeg's `islow`.
//!
//! The algorithm of Loeffler, Ligtenberg and Moschytz (1989) with 11 multiplications for eight
//! values, in 13-bit fixed point, first in columns, then in rows. Eight blocks are transformed
//! together: their coefficients of one position are adjacent, so one instruction works on all.

use crate::transpose::transpose;

/// Number of blocks that are transformed together.
pub(super) const LANES: usize = 8;

/// Coefficients of [`LANES`] blocks, by position in natural order, then by block.
pub(super) type Blocks = [[i16; LANES]; 64];

/// Position, row by row, of each coefficient in storage order. Coefficients beyond the last one,
/// which damaged data may have, get the last position.
pub(super) const NATURAL_ORDER: [u8; 128] = {
    let mut order = [63; 128];
    let mut at = 0;
    while at < ZIGZAG.len() {
        order[at] = ZIGZAG[at];
        at += 1;
    }
    order
};

#[rustfmt::skip]
const ZIGZAG: [u8; 64] = [
     0,  1,  8, 16,  9,  2,  3, 10, 17, 24, 32, 25, 18, 11,  4,  5,
    12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13,  6,  7, 14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
    58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// Fractional bits of the multipliers.
const CONSTANT_BITS: u32 = 13;

/// Fractional bits of the values between the passes.
const BETWEEN_BITS: u32 = 2;

/// Transforms eight values, divides by 2^`SHIFT`, rounding half up, and adds `offset`.
///
/// The sums have [`CONSTANT_BITS`] more fractional bits. Values that overflow, which no encoder
/// writes, wrap around.
#[allow(clippy::inline_always, reason = "compiled once for each kind of processor")]
#[inline(always)]
fn transform<const SHIFT: u32>(input: [i32; 8], offset: i32) -> [i32; 8] {
    let [i0, i1, i2, i3, i4, i5, i6, i7] = input;
    let add = i32::wrapping_add;
    let sub = i32::wrapping_sub;
    let mul = i32::wrapping_mul;

    let rotated = mul(add(i2, i6), 4433);
    let even2 = sub(rotated, mul(i6, 15137));
    let even3 = add(rotated, mul(i2, 6270));
    // Summand of all results.
    let first = add(mul(i0, 1 << CONSTANT_BITS), (offset << SHIFT) + (1 << (SHIFT - 1)));
    let even0 = add(first, mul(i4, 1 << CONSTANT_BITS));
    let even1 = sub(first, mul(i4, 1 << CONSTANT_BITS));
    let e0 = add(even0, even3);
    let e1 = add(even1, even2);
    let e2 = sub(even1, even2);
    let e3 = sub(even0, even3);

    let rotated = mul(add(add(i7, i3), add(i5, i1)), 9633);
    let z1 = mul(add(i7, i1), -7373);
    let z2 = mul(add(i5, i3), -20995);
    let z3 = add(mul(add(i7, i3), -16069), rotated);
    let z4 = add(mul(add(i5, i1), -3196), rotated);
    let o0 = add(mul(i1, 12299), add(z1, z4));
    let o1 = add(mul(i3, 25172), add(z2, z3));
    let o2 = add(mul(i5, 16819), add(z2, z4));
    let o3 = add(mul(i7, 2446), add(z1, z3));

    [
        add(e0, o0),
        add(e1, o1),
        add(e2, o2),
        add(e3, o3),
        sub(e3, o3),
        sub(e2, o2),
        sub(e1, o1),
        sub(e0, o0),
    ]
    .map(|sum| sum >> SHIFT)
}

/// Writes the samples of `blocks` to `out`: 8 rows of `LANES * 8`, `stride` apart.
#[allow(clippy::inline_always, reason = "compiled once for each kind of processor")]
#[inline(always)]
pub(super) fn samples(blocks: &Blocks, quantisation: &[u16; 64], out: &mut [u8], stride: usize) {
    let mut between = [[0_i32; LANES]; 64];
    for column in 0..8 {
        for lane in 0..LANES {
            let input = std::array::from_fn(|row| {
                let at = row * 8 + column;
                i32::from(blocks[at][lane].wrapping_mul(quantisation[at] as i16))
            });
            let results = transform::<{ CONSTANT_BITS - BETWEEN_BITS }>(input, 0);
            for (row, result) in results.into_iter().enumerate() {
                between[row * 8 + column][lane] = result;
            }
        }
    }
    // Words by row and column, with a byte for each block.
    let mut words = [[0_u64; 8]; 8];
    for (row, between) in between.as_chunks::<8>().0.iter().enumerate() {
        let mut samples = [[0_u8; LANES]; 8];
        for lane in 0..LANES {
            let input = std::array::from_fn(|column| between[column][lane]);
            // The two passes scale by 8 together.
            let results = transform::<{ CONSTANT_BITS + BETWEEN_BITS + 3 }>(input, 128);
            for (column, result) in results.into_iter().enumerate() {
                samples[column][lane] = result.clamp(0, 255) as u8;
            }
        }
        for (words, samples) in words.iter_mut().zip(samples) {
            words[row] = u64::from_le_bytes(samples);
        }
    }
    // Words by row and block, with a byte for each column.
    transpose(&mut words);
    for (row, out) in out.chunks_mut(stride).enumerate().take(8) {
        for (out, words) in out.as_chunks_mut().0.iter_mut().zip(&words) {
            *out = words[row].to_le_bytes();
        }
    }
}
