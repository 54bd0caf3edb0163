//! Prompts of keywords for a language model.

/// Separator between the keywords and the caption.
pub const SEPARATOR: &str = "###";

/// Returns `kw1, kw2, … ###` in lower case: the language model's only input about an image.
///
/// The caption follows after a space.
#[must_use]
pub fn prompt<S: AsRef<str>>(keywords: &[S]) -> String {
    let keywords: Vec<&str> = keywords.iter().map(AsRef::as_ref).collect();
    format!("{} {SEPARATOR}", keywords.join(", ")).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_joined_by_commas_and_closed_by_hashes() {
        assert_eq!(prompt(&["Dog", "old man", "grass"]), "dog, old man, grass ###");
        assert_eq!(prompt::<&str>(&[]), " ###");
    }
}
