//! The inverse discrete cosine transform of a JPEG's blocks, as libjpeg's accurate one does it.
//!
//! The algorithm of Loeffler, Ligtenberg and Moschytz (1989) with 11 multiplications for eight values,
//! in 13-bit fixed point, down the columns and then along the rows. Eight blocks are transformed
//! together: their coefficients of one place lie side by side, so that one instruction works on all.

use crate::transpose::transpose;

/// Blocks that are transformed together.
pub(super) const LANES: usize = 8;

/// The coefficients of [`LANES`] blocks, by place in natural order and then by block.
pub(super) type Blocks = [[i16; LANES]; 64];

/// The place, row by row, of each coefficient in the order in which they are stored; for what would
/// come after the last coefficient, the last place.
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

/// Fractional bits of the constants.
const CONSTANT_BITS: u32 = 13;

/// Fractional bits that are kept between the passes.
const BETWEEN_BITS: u32 = 2;

/// Transforms eight values and divides the results by 2^`SHIFT`, rounding half up; `offset` is added.
/// The sums have [`CONSTANT_BITS`] more fractional bits. Values that no real picture has wrap around.
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
    // All results have this as a summand.
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

/// The samples of `blocks`: rows of `LANES * 8` in `out`, `stride` apart.
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
    // One word a row and column, of a byte a block.
    let mut words = [[0_u64; 8]; 8];
    for (row, between) in between.as_chunks::<8>().0.iter().enumerate() {
        let mut samples = [[0_u8; LANES]; 8];
        for lane in 0..LANES {
            let input = std::array::from_fn(|column| between[column][lane]);
            // Sums of eight in both directions are three bits too large.
            let results = transform::<{ CONSTANT_BITS + BETWEEN_BITS + 3 }>(input, 128);
            for (column, result) in results.into_iter().enumerate() {
                samples[column][lane] = result.clamp(0, 255) as u8;
            }
        }
        for (words, samples) in words.iter_mut().zip(samples) {
            words[row] = u64::from_le_bytes(samples);
        }
    }
    // Now one word a row and block, of a byte a column.
    transpose(&mut words);
    for (row, out) in out.chunks_mut(stride).enumerate().take(8) {
        for (out, words) in out.as_chunks_mut().0.iter_mut().zip(&words) {
            *out = words[row].to_le_bytes();
        }
    }
}
