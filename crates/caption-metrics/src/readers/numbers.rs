//! Numbers that name images, compared as Python compares them.

/// Returns the identifier that a JSON number stands for, with all its digits.
///
/// Numbers that Python takes for equal are one identifier: `1.0` is `1`, and `1e2` is `100`. A
/// float is the 64-bit float that Python reads. `None` for what is no number, or no finite one.
pub(crate) fn identifier(token: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(token).ok()?;
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_integer = digits.bytes().all(|byte| byte.is_ascii_digit());
    let has_leading_zero = digits.len() > 1 && digits.starts_with('0');
    if is_integer && !has_leading_zero && !digits.is_empty() {
        return Some(if digits == "0" { digits } else { text }.to_owned());
    }
    let value: f64 = serde_json::from_str(text).ok()?;
    if value == 0.0 {
        return Some("0".to_owned());
    }
    if value.fract() == 0.0 {
        return Some(format!("{value:.0}"));
    }
    Some(if value.abs() < 1e-4 { exponential(value) } else { value.to_string() })
}

/// Returns a small float as Python prints it: `1.5e-05`.
fn exponential(value: f64) -> String {
    let text = format!("{value:e}");
    match text.split_once("e-") {
        Some((digits, exponent)) => format!("{digits}e-{exponent:0>2}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Right sides are `str(int(x))` of Python for whole numbers and `repr(x)` for others.
    #[test]
    fn numbers_are_one_identifier_where_python_takes_them_for_equal() {
        for (token, expected) in [
            ("7", "7"),
            ("-7", "-7"),
            ("0", "0"),
            ("-0", "0"),
            ("-0.0", "0"),
            ("1.0", "1"),
            ("1e+20", "100000000000000000000"),
            ("1E2", "100"),
            ("1e23", "99999999999999991611392"),
            ("100000000000000000000000", "100000000000000000000000"),
            ("9007199254740993", "9007199254740993"),
            ("9007199254740993.0", "9007199254740992"),
            ("1.5", "1.5"),
            ("0.1", "0.1"),
            ("-0.0001", "-0.0001"),
            ("1.5e-5", "1.5e-05"),
            ("1e-300", "1e-300"),
            (
                "12345678901234567890123456789012345678901234567890",
                "12345678901234567890123456789012345678901234567890",
            ),
        ] {
            assert_eq!(identifier(token.as_bytes()).as_deref(), Some(expected), "{token}");
        }
    }

    #[test]
    fn what_is_no_finite_number_is_no_identifier() {
        for token in ["", "-", "01", "-01", "1e999", "NaN", "true", "1.", ".5", "+1", "0x10", "1_0"]
        {
            assert_eq!(identifier(token.as_bytes()), None, "{token}");
        }
    }
}
