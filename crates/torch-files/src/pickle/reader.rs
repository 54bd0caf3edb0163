//! Reader of a pickle's arguments, which checks the length before every read.

use bytes::Bytes;

use crate::error::Problem;

/// Most bytes of an integer; PyTorch's own magic number has ten.
const MAX_INTEGER: usize = size_of::<i128>();

pub(crate) struct Reader<'a> {
    input: &'a Bytes,
    offset: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(input: &'a Bytes, offset: usize) -> Self {
        Self { input, offset }
    }

    /// Returns the position of the next byte.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// Returns the next `length` bytes.
    pub(crate) fn take(&mut self, length: u64) -> Result<&'a [u8], Problem> {
        let start = self.offset;
        self.check(length)?;
        self.offset += length as usize;
        Ok(&self.input[start..self.offset])
    }

    /// Returns the next `length` bytes, shared instead of copied.
    pub(crate) fn share(&mut self, length: u64) -> Result<Bytes, Problem> {
        Ok(self.input.slice_ref(self.take(length)?))
    }

    /// Checks that `length` more bytes exist.
    pub(crate) fn check(&self, length: u64) -> Result<(), Problem> {
        if length > self.input.len().saturating_sub(self.offset) as u64 {
            return Err(self.cut_short(length));
        }
        Ok(())
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Problem> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Problem> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Problem> {
        self.array().map(u64::from_le_bytes)
    }

    /// Returns the bytes up to the next newline, without it.
    pub(crate) fn line(&mut self) -> Result<&'a [u8], Problem> {
        let rest = self.input.get(self.offset..).unwrap_or_default();
        let Some(length) = rest.iter().position(|&byte| byte == b'\n') else {
            return Err(self.cut_short(rest.len() as u64 + 1));
        };
        self.offset += length + 1;
        Ok(&rest[..length])
    }

    fn cut_short(&self, needed: u64) -> Problem {
        Problem::cut_short(self.offset, needed, self.input.len())
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
    let latin: String = bytes.iter().map(|&byte| char::from(byte)).collect();
    let mut parts = latin.split('\\');
    let mut text = parts.next()?.to_owned();
    for part in parts {
        let (digits, rest) = match part.split_at_checked(1)? {
            ("u", rest) => rest.split_at_checked(4)?,
            ("U", rest) => rest.split_at_checked(8)?,
            _ => return None,
        };
        let code = u32::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))?;
        text.push(char::from_u32(code)?);
        text.push_str(rest);
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
