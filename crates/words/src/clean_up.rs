//! Clean-up of spaces in decoded text.

/// Replacements, each made in the whole text before the next.
const EDITS: [(&str, &str); 10] = [
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
];

/// Removes spaces before punctuation and contractions.
///
/// Equal to transformers' `clean_up_tokenization` (4.57.6), which `decode` and the text-generation
/// pipeline of the 4.x releases apply by default.
#[must_use]
pub fn clean_up_tokenization(text: &str) -> String {
    EDITS.iter().fold(text.to_owned(), |text, (found, kept)| text.replace(found, kept))
}
