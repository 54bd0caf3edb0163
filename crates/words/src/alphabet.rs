//! GPT-2's byte alphabet, which writes each of the 256 bytes as one visible character.
//!
//! Byte-pair encoding works on these characters, so that it can encode any text and no token holds
//! a space or a control character. Bytes that print in Latin-1 stand for themselves; the others are
//! numbered upwards from U+0100 (Radford et al. 2019, released code, `encoder.py`).

/// Returns the character of every byte, indexed by byte.
pub(crate) fn characters() -> [char; 256] {
    let mut next = 0x100;
    std::array::from_fn(|byte| {
        let byte = byte as u8;
        if matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF) {
            return char::from(byte);
        }
        next += 1;
        char::from_u32(next - 1).unwrap_or(char::REPLACEMENT_CHARACTER)
    })
}

/// Returns the bytes of a token's text, or `None` if it has a character outside the alphabet.
pub(crate) fn bytes(token: &str, alphabet: &[char; 256]) -> Option<Vec<u8>> {
    let byte = |expected| alphabet.iter().position(|&character| character == expected);
    token.chars().map(|character| byte(character).map(|byte| byte as u8)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_that_of_the_tokenizers_library() {
        let ours: std::collections::HashSet<char> = characters().into();
        let theirs = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        assert_eq!(ours.len(), 256);
        assert!(theirs.iter().all(|character| ours.contains(character)));
    }

    #[test]
    fn space_and_newline_are_written_as_gpt2_writes_them() {
        let alphabet = characters();
        assert_eq!(alphabet[usize::from(b' ')], 'Ġ');
        assert_eq!(alphabet[usize::from(b'\n')], 'Ċ');
        assert_eq!(bytes("Ġaé", &alphabet), Some(vec![b' ', b'a', 0xE9]));
        assert_eq!(bytes("→", &alphabet), None);
    }
}
