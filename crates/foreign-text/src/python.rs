//! Conversion of JSON as Python's `json.dump` writes it.

use std::borrow::Cow;

use memchr::{memchr2, memchr3};

/// Words that Python writes for floats that JSON cannot express.
///
/// `-Infinity` comes first because it contains `Infinity`.
const WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// Replaces Python's `NaN`, `Infinity` and `-Infinity` in `text` with `null`.
///
/// Strings and line numbers stay unchanged. Text that is invalid JSON for another reason stays
/// invalid. Lone surrogates need no treatment: `serde_json` skips them in fields that nobody reads.
#[must_use]
pub fn python_json(text: &str) -> Cow<'_, str> {
    let mut strict = String::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = memchr3(b'"', b'N', b'I', &text.as_bytes()[at..]) {
        at += found;
        if text.as_bytes()[at] == b'"' {
            at = string_end(text.as_bytes(), at);
            continue;
        }
        match word(text, at) {
            Some((start, end)) => {
                strict.push_str(&text[copied..start]);
                strict.push_str("null");
                (copied, at) = (end, end);
            }
            None => at += 1,
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    strict.push_str(&text[copied..]);
    Cow::Owned(strict)
}

/// Returns the position after the string that begins at `start`.
fn string_end(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(found) = memchr2(b'"', b'\\', text.get(at..).unwrap_or_default()) {
        at += found;
        if text[at] == b'"' {
            return at + 1;
        }
        // Skips a backslash and the character that it escapes.
        at += 2;
    }
    text.len()
}

/// Returns the span of the whole word around the letter at `at`, if it is one of [`WORDS`].
fn word(text: &str, at: usize) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let minus = at.checked_sub(1).filter(|&before| bytes[before] == b'-');
    let start = minus.unwrap_or(at);
    let before = start.checked_sub(1).map(|before| bytes[before]);
    let found = WORDS.iter().find(|word| text[start..].starts_with(**word))?;
    let end = start + found.len();
    let part_of_a_word =
        |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (!part_of_a_word(before) && !part_of_a_word(bytes.get(end).copied())).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_that_json_has_not_become_null_and_strings_stay() {
        for (python, strict) in [
            ("NaN", "null"),
            ("[NaN,Infinity,-Infinity]", "[null,null,null]"),
            (r#"{"NaN": NaN, "a\"NaN": "-Infinity"}"#, r#"{"NaN": null, "a\"NaN": "-Infinity"}"#),
            (
                r#"{"a\\":NaN,"\u00e9": "Infinity\\", "b" : Infinity }"#,
                r#"{"a\\":null,"\u00e9": "Infinity\\", "b" : null }"#,
            ),
            (
                "{\"caption\": \"caf\u{e9} NaN\", \"p\": NaN}",
                "{\"caption\": \"caf\u{e9} NaN\", \"p\": null}",
            ),
        ] {
            assert_eq!(python_json(python), strict);
        }
    }

    #[test]
    fn what_python_refuses_stays_no_json() {
        for text in ["NaNa", "aNaN", "-NaN", "Inf", "nan", "1NaN", "\"NaN", "\"\\", "+Infinity"] {
            let strict = python_json(text);
            assert!(
                serde_json::from_str::<serde_json::Value>(&strict).is_err(),
                "{text}: {strict}"
            );
        }
    }

    #[test]
    fn strict_json_is_not_copied() {
        assert!(matches!(python_json(r#"{"Name": "Ida", "n": 1}"#), Cow::Borrowed(_)));
    }
}
