//! SHA-256 over texts and rows.

use sha2::{Digest as _, Sha256};

/// Adds a text with its length, which keeps "ab", "c" apart from "a", "bc".
pub(crate) fn add_text(digest: &mut Sha256, text: &str) {
    digest.update((text.len() as u64).to_le_bytes());
    digest.update(text);
}
