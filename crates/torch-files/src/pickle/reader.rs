//! Reader of a pickle's bytes, one argument at a time, that checks the length before every read.

use bytes::Bytes;

use crate::error::Problem;

/// Most bytes of an integer; PyTorch's own magic number has ten.
const MAX_INTEGER: usize = size_of::<i128>();

pub(super) struct Reader<'a> {
    input: &'a Bytes,
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(input: &'a Bytes, at: usize) -> Self {
        Self { input, at }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Returns the next `wanted` bytes.
    pub(super) fn take(&mut self, wanted: u64) -> Result<&'a [u8], Problem> {
        let start = self.check(wanted)?;
        self.at += wanted as usize;
        Ok(&self.input[start..self.at])
    }

    /// Returns the next `wanted` bytes, shared instead of copied.
    pub(super) fn share(&mut self, wanted: u64) -> Result<Bytes, Problem> {
        let start = self.check(wanted)?;
        self.at += wanted as usize;
        Ok(self.input.slice(start..self.at))
    }

    /// Checks that `wanted` more bytes exist and returns where they begin.
    pub(super) fn check(&self, wanted: u64) -> Result<usize, Problem> {
        let left = self.input.len().saturating_sub(self.at) as u64;
        if wanted > left {
            let end = self.input.len() as u64;
            return Err(Problem::CutShort { at: self.at as u64, wanted, end });
        }
        Ok(self.at)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Problem> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16, Problem> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Problem> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn i32(&mut self) -> Result<i32, Problem> {
        Ok(i32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Problem> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Reads the argument of BINFLOAT, the only big-endian number in a pickle.
    pub(super) fn f64_big_endian(&mut self) -> Result<f64, Problem> {
        Ok(f64::from_be_bytes(self.array()?))
    }

    /// Returns the bytes up to the next newline, without it.
    pub(super) fn line(&mut self) -> Result<&'a [u8], Problem> {
        let rest = self.input.get(self.at..).unwrap_or_default();
        let Some(length) = rest.iter().position(|&byte| byte == b'\n') else {
            let end = self.input.len() as u64;
            return Err(Problem::CutShort { at: self.at as u64, wanted: end + 1, end });
        };
        self.at += length + 1;
        Ok(&rest[..length])
    }
}

/// Decodes a two's complement little-endian integer of at most [`MAX_INTEGER`] bytes.
pub(super) fn integer(bytes: &[u8]) -> Result<i128, String> {
    if bytes.len() > MAX_INTEGER {
        return Err(format!("an integer of {} bytes, more than {MAX_INTEGER}", bytes.len()));
    }
    let sign = if bytes.last().is_some_and(|&byte| byte >= 0x80) { 0xff } else { 0 };
    let mut all = [sign; MAX_INTEGER];
    all[..bytes.len()].copy_from_slice(bytes);
    Ok(i128::from_le_bytes(all))
}

/// Decodes the argument of UNICODE as Python writes it.
///
/// It is Latin-1 with `\uXXXX` and `\UXXXXXXXX`; a backslash itself is also written so.
pub(super) fn raw_unicode_escape(bytes: &[u8]) -> Option<String> {
    let mut text = String::new();
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            text.push(char::from(byte));
            continue;
        }
        let (&kind, after) = rest.split_first()?;
        let (digits, after) = after.split_at_checked(match kind {
            b'u' => 4,
            b'U' => 8,
            _ => return None,
        })?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let code = u32::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
        text.push(char::from_u32(code)?);
        rest = after;
    }
    Some(text)
}

/// Returns true for a text with lone surrogates that is valid UTF-8 otherwise.
///
/// Python writes each lone surrogate as three bytes.
pub(super) fn has_lone_surrogates(bytes: &[u8]) -> bool {
    let (mut rest, mut found) = (bytes, false);
    while let Err(error) = str::from_utf8(rest) {
        let Some([0xed, 0xa0..=0xbf, 0x80..=0xbf, after @ ..]) = rest.get(error.valid_up_to()..)
        else {
            return false;
        };
        (rest, found) = (after, true);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_keep_their_sign() {
        assert_eq!(integer(&[]), Ok(0));
        assert_eq!(integer(&[0xff]), Ok(-1));
        assert_eq!(integer(&[0xff, 0]), Ok(255));
        assert_eq!(integer(&[0, 0x80]), Ok(-32768));
        assert!(integer(&[1; 17]).is_err());
    }

    #[test]
    fn halves_of_surrogate_pairs_are_told_from_other_bytes() {
        assert!(
            has_lone_surrogates(b"a\xed\xa0\xbd\xed\xb8\x80b")
                && has_lone_surrogates(b"\xed\xbf\xbf")
        );
        for other in [&b"a"[..], "\u{d7ff}".as_bytes(), b"\xff", b"\xed\xa0", b"\xed\xa0\x80\xff"] {
            assert!(!has_lone_surrogates(other), "{other:?}");
        }
    }

    #[test]
    fn escapes_are_those_of_python() {
        assert_eq!(raw_unicode_escape(b"a\\u005cb\xe9").as_deref(), Some("a\\b\u{e9}"));
        assert_eq!(raw_unicode_escape(b"\\U0001f415").as_deref(), Some("\u{1f415}"));
        assert_eq!(raw_unicode_escape(b"\\x41"), None);
        assert_eq!(raw_unicode_escape(b"\\ud800"), None);
        assert_eq!(raw_unicode_escape(b"\\u+041"), None);
    }
}
