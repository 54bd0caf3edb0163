//! The inverse discrete cosine transform of a JPEG's blocks, as libjpeg's accurate one does it.
//!
//! The algorithm of Loeffler, Ligtenberg and Moschytz (1989) with 11 multiplications for eight values,
//! in 13-bit fixed point, down the columns and then along the rows. Eight blocks are transformed
//! together: their coefficients of one place lie side by side, so that one instruction works on all.

/// Blocks that are transformed together.
pub(super) const LANES: usize = 8;

/// The coefficients of [`LANES`] blocks, by place in natural order and then by block.
pub(super) type Blocks = [[i16; LANES]; 64];

/// The place, row by row, of each coefficient in the order in which they are stored.
#[rustfmt::skip]
pub(super) const NATURAL_ORDER: [usize; 64] = [
     0,  1,  8, 16,  9,  2,  3, 10, 17, 24, 32, 25, 18, 11,  4,  5,
    12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13,  6,  7, 14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
    58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// Fractional bits of the constants.
const CONSTANT_BITS: u32 = 13;

/// Fractional bits that are kept between the passes.
const BETWEEN_BITS: u32 = 2;

/// Transforms eight values; the results have [`CONSTANT_BITS`] more fractional bits. Values that no
/// real picture has wrap around.
#[allow(clippy::inline_always, reason = "compiled once for each kind of processor")]
#[inline(always)]
fn transform(input: [i32; 8]) -> [i32; 8] {
    let [i0, i1, i2, i3, i4, i5, i6, i7] = input;
    let add = i32::wrapping_add;
    let sub = i32::wrapping_sub;
    let mul = i32::wrapping_mul;

    let rotated = mul(add(i2, i6), 4433);
    let even2 = sub(rotated, mul(i6, 15137));
    let even3 = add(rotated, mul(i2, 6270));
    let even0 = mul(add(i0, i4), 1 << CONSTANT_BITS);
    let even1 = mul(sub(i0, i4), 1 << CONSTANT_BITS);
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
}

/// `value / 2^bits`, rounded half up.
#[allow(clippy::inline_always, reason = "compiled once for each kind of processor")]
#[inline(always)]
fn descale(value: i32, bits: u32) -> i32 {
    value.wrapping_add(1 << (bits - 1)) >> bits
}

/// The samples of `blocks`: rows of `LANES * 8` in `out`, `stride` apart.
#[allow(clippy::inline_always, reason = "compiled once for each kind of processor")]
#[inline(always)]
pub(super) fn samples(blocks: &Blocks, quantisation: &[u16; 64], out: &mut [u8], stride: usize) {
    let mut between = [[0_i32; LANES]; 64];
    for column in 0..8 {
        for lane in 0..LANES {
            let results = transform(std::array::from_fn(|row| {
                let at = row * 8 + column;
                i32::from(blocks[at][lane].wrapping_mul(quantisation[at] as i16))
            }));
            for (row, result) in results.into_iter().enumerate() {
                between[row * 8 + column][lane] = descale(result, CONSTANT_BITS - BETWEEN_BITS);
            }
        }
    }
    for (between, out) in between.as_chunks::<8>().0.iter().zip(out.chunks_mut(stride)) {
        let mut row = [[0_u8; LANES]; 8];
        for lane in 0..LANES {
            let results = transform(std::array::from_fn(|column| between[column][lane]));
            for (column, result) in results.into_iter().enumerate() {
                // The sum of all eight is three bits more.
                let sample = descale(result, CONSTANT_BITS + BETWEEN_BITS + 3) + 128;
                row[column][lane] = sample.clamp(0, 255) as u8;
            }
        }
        let mut square = row.map(u64::from_le_bytes);
        transpose(&mut square);
        for (out, word) in out.as_chunks_mut().0.iter_mut().zip(square) {
            *out = word.to_le_bytes();
        }
    }
}

/// Transposes a square of bytes: exchanges its two off-diagonal quarters, then those of each quarter,
/// then those of each quarter of these.
#[allow(clippy::inline_always, reason = "compiled once for each kind of processor")]
#[inline(always)]
fn transpose(square: &mut [u64; 8]) {
    const LOW_HALVES: [(usize, u64); 3] =
        [(4, 0x0000_0000_ffff_ffff), (2, 0x0000_ffff_0000_ffff), (1, 0x00ff_00ff_00ff_00ff)];
    for (distance, low) in LOW_HALVES {
        for rows in square.chunks_exact_mut(2 * distance) {
            let (upper, lower) = rows.split_at_mut(distance);
            for (upper, lower) in upper.iter_mut().zip(lower) {
                let moved = ((*upper >> (distance * 8)) ^ *lower) & low;
                *lower ^= moved;
                *upper ^= moved << (distance * 8);
            }
        }
    }
}
