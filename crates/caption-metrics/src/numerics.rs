//! Sums as numpy takes them.
//!
//! pycocoevalcap's means are `numpy.mean`, whose rounding comes from pairwise summation; the same
//! order of additions gives the same last bit, however many threads computed the terms.

/// The length below which numpy adds from left to right.
const SHORT: usize = 8;
/// The length up to which numpy adds in eight interleaved lanes; it halves longer arrays.
const BLOCK: usize = 128;

/// Returns the sum of `values` with numpy's rounding for a contiguous array of doubles.
#[must_use]
pub fn pairwise_sum(values: &[f64]) -> f64 {
    if values.len() <= BLOCK {
        return block_sum(values);
    }
    let half = values.len() / 2;
    let (left, right) = values.split_at(half - half % SHORT);
    pairwise_sum(left) + pairwise_sum(right)
}

fn block_sum(values: &[f64]) -> f64 {
    if values.len() < SHORT {
        return values.iter().fold(0.0, |sum, value| sum + value);
    }
    let (lanes, rest) = values.as_chunks::<SHORT>();
    let mut sums = [0.0; SHORT];
    for (index, lane) in lanes.iter().enumerate() {
        for (sum, value) in sums.iter_mut().zip(lane) {
            // The first lane is copied, not added: 0.0 + -0.0 would lose a sign.
            *sum = if index == 0 { *value } else { *sum + value };
        }
    }
    let [a, b, c, d, e, f, g, h] = sums;
    let sum = ((a + b) + (c + d)) + ((e + f) + (g + h));
    rest.iter().fold(sum, |sum, value| sum + value)
}

/// Returns the mean of `values` with numpy's rounding; not a number for no values.
#[must_use]
pub fn mean(values: &[f64]) -> f64 {
    pairwise_sum(values) / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Terms whose sum depends on the order of additions; the expected sums are numpy 2.4.6's.
    fn terms(n: usize) -> Vec<f64> {
        (0..n).map(|i| 1.0 / (i as f64 + 1.0) * if i % 3 == 0 { -1e3 } else { 1.0 }).collect()
    }

    #[test]
    fn sums_of_every_regime_equal_numpy_to_the_last_bit() {
        let expected = [
            (0_usize, 0x0000_0000_0000_0000_u64),
            (1, 0xc08f_4000_0000_0000),
            (7, 0xc095_bea0_ea0e_a0e9),
            (8, 0xc095_be20_ea0e_a0ea),
            (9, 0xc095_bdaf_22f2_2f23),
            (15, 0xc098_8020_8894_2c2c),
            (16, 0xc099_7a20_8894_2c2c),
            (100, 0xc0a1_4dbd_1c3d_3c6b),
            (127, 0xc0a1_eaa8_5bac_a58e),
            (128, 0xc0a1_eaa4_5bac_a58e),
            (129, 0xc0a1_eaa0_639c_c54e),
            (136, 0xc0a2_17b1_c7a8_c3f2),
            (257, 0xc0a3_b919_054d_44e0),
            (1000, 0xc0a7_40c6_5cf3_f48e),
            (1001, 0xc0a7_40c5_da03_0b51),
            (12345, 0xc0ad_c7e5_e2fd_16cf),
        ];
        for (n, bits) in expected {
            assert_eq!(pairwise_sum(&terms(n)).to_bits(), bits, "{n} terms");
        }
    }

    #[test]
    fn the_expectations_would_catch_a_plain_sum() {
        let plain = terms(1000).iter().fold(0.0, |sum, value| sum + value);
        assert_ne!(plain.to_bits(), pairwise_sum(&terms(1000)).to_bits());
    }
}
