//! Detection of NaN, infinity and overflow in weights.

use std::path::Path;

use half::f16;
use tch::Kind;

use super::error::WeightsError;

/// Checks that all values in `bytes`, of type `from`, are finite and remain finite as `to`.
///
/// Takes one pass without copies.
pub(super) fn check(
    path: &Path,
    name: &str,
    bytes: &[u8],
    from: Kind,
    to: Kind,
) -> Result<(), WeightsError> {
    let Some(largest) = largest_magnitude(bytes, from) else { return Ok(()) };
    if !largest.is_finite() {
        let value = if largest.is_nan() { "not a number" } else { "infinite" };
        return Err(WeightsError::NotFinite {
            path: path.to_owned(),
            name: name.to_owned(),
            value,
        });
    }
    if largest < first_beyond(to) {
        return Ok(());
    }
    Err(WeightsError::TooLarge { path: path.to_owned(), name: name.to_owned(), largest, kind: to })
}

/// Returns the largest absolute value of floating-point numbers, or NaN if one of them is NaN.
fn largest_magnitude(bytes: &[u8], kind: Kind) -> Option<f64> {
    // Without the sign bit, the bit patterns of floating-point numbers are ordered like the
    // numbers, with infinity above all of them and NaN above infinity.
    let half = || bytes.as_chunks().0.iter().map(|b| u16::from_le_bytes(*b) & 0x7fff).max();
    Some(match kind {
        Kind::Half => f16::from_bits(half()?).to_f64(),
        Kind::BFloat16 => f32::from_bits(u32::from(half()?) << 16).into(),
        Kind::Float => {
            let bits = bytes.as_chunks().0.iter().map(|b| u32::from_le_bytes(*b) & 0x7fff_ffff);
            f32::from_bits(bits.max()?).into()
        }
        Kind::Double => {
            let bits = bytes.as_chunks().0.iter().map(|b| u64::from_le_bytes(*b) & (u64::MAX >> 1));
            f64::from_bits(bits.max()?)
        }
        _ => return None,
    })
}

/// Returns the smallest magnitude that rounds to infinity.
fn first_beyond(kind: Kind) -> f64 {
    match kind {
        Kind::Half => 65_520.0,
        // Half a unit in the last place above the largest finite number.
        Kind::BFloat16 => 2f64.powi(128) - 2f64.powi(119),
        Kind::Float => 2f64.powi(128) - 2f64.powi(103),
        _ => f64::INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(values: &[[u8; N]]) -> Vec<u8> {
        values.concat()
    }

    #[test]
    fn largest_magnitudes_are_read_from_the_bits_of_each_type() {
        let f32s =
            |values: &[f32]| bytes(&values.iter().map(|v| v.to_le_bytes()).collect::<Vec<_>>());
        assert_eq!(largest_magnitude(&f32s(&[1.5, -7.25, 3.0]), Kind::Float), Some(7.25));
        assert!(largest_magnitude(&f32s(&[1.5, -f32::NAN]), Kind::Float).unwrap().is_nan());
        assert_eq!(
            largest_magnitude(&f32s(&[1.0, f32::NEG_INFINITY]), Kind::Float),
            Some(f64::INFINITY)
        );
        assert_eq!(largest_magnitude(&(-1e300_f64).to_le_bytes(), Kind::Double), Some(1e300));
        // 65504, the smallest subnormal, -inf and NaN in half precision.
        for (bits, value) in
            [(0x7bff_u16, 65_504.0), (0x0001, 2f64.powi(-24)), (0xfc00, f64::INFINITY)]
        {
            assert_eq!(largest_magnitude(&bits.to_le_bytes(), Kind::Half), Some(value));
        }
        assert!(largest_magnitude(&0x7e00_u16.to_le_bytes(), Kind::Half).unwrap().is_nan());
        assert_eq!(largest_magnitude(&0xc0a0_u16.to_le_bytes(), Kind::BFloat16), Some(5.0));
        assert_eq!(largest_magnitude(&[], Kind::Float), None);
        assert_eq!(largest_magnitude(&[255; 8], Kind::Int64), None);
    }

    #[test]
    fn values_that_round_to_infinity_are_too_large() {
        let path = Path::new("w.safetensors");
        let checked = |value: f32, to| check(path, "a", &value.to_le_bytes(), Kind::Float, to);
        assert!(checked(65_519.9, Kind::Half).is_ok());
        let error = checked(-65_520.0, Kind::Half).unwrap_err().to_string();
        assert!(error.contains("w.safetensors: tensor a") && error.contains("65520"), "{error}");
        assert!(checked(3.389e38, Kind::BFloat16).is_ok());
        assert!(checked(f32::MAX, Kind::BFloat16).is_err());
        assert!(checked(f32::MAX, Kind::Float).is_ok());
        let wide = |value: f64| check(path, "a", &value.to_le_bytes(), Kind::Double, Kind::Float);
        assert!(wide(f64::from(f32::MAX)).is_ok());
        assert!(wide(3.5e38).is_err());
    }
}
