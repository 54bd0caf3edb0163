//! Escaping of names and paths for a line of terminal output.

use std::fmt::{self, Display, Write};
use std::path::Path;

/// Untrusted text for one line of a message; see [`printable`].
#[derive(Debug, Clone, Copy)]
pub struct PrintableText<'t>(&'t str);

/// A path for one line of a message; see [`printable_path`].
#[derive(Debug, Clone, Copy)]
pub struct PrintablePath<'p>(&'p Path);

/// Displays `text` with control and direction characters escaped.
///
/// Line feeds, escape characters and other characters that move the cursor or change the writing
/// direction become escapes such as `\n` or `\u{1b}`.
#[must_use]
pub fn printable(text: &str) -> PrintableText<'_> {
    PrintableText(text)
}

/// Displays `path` as [`printable`] displays text. Bytes that are not UTF-8 become U+FFFD.
#[must_use]
pub fn printable_path(path: &Path) -> PrintablePath<'_> {
    PrintablePath(path)
}

/// Returns the first five names, escaped as [`printable`] does, and the number of the others.
pub fn first_of<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    const SHOWN: usize = 5;
    let mut names = names.into_iter();
    let shown: Vec<String> =
        names.by_ref().take(SHOWN).map(|name| printable(name.as_ref()).to_string()).collect();
    match names.count() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Returns a command as a person would type it, with the quotes that a shell needs.
pub fn shell_command<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> String {
    let words = words.into_iter().map(|word| shell_word(word.as_ref()));
    words.collect::<Vec<_>>().join(" ")
}

/// Quotes a word for a shell, if needed.
#[must_use]
pub fn shell_word(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

impl Display for PrintableText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(moves_the_cursor) {
            f.write_str(&rest[..at])?;
            let character = rest[at..].chars().next().unwrap_or_default();
            for escaped in character.escape_default() {
                f.write_char(escaped)?;
            }
            rest = &rest[at + character.len_utf8()..];
        }
        f.write_str(rest)
    }
}

impl Display for PrintablePath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        printable(&self.0.to_string_lossy()).fmt(f)
    }
}

/// Returns true for control characters, line and paragraph separators, and direction marks.
fn moves_the_cursor(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_read_them_otherwise() {
        let words = ["capsmith", "--out", "my runs", "it's", "a;b", "$HOME", "x=1", ""];
        let command = r"capsmith --out 'my runs' 'it'\''s' 'a;b' '$HOME' x=1 ''";
        assert_eq!(shell_command(words), command);
    }

    #[test]
    fn what_moves_the_cursor_is_escaped_and_letters_stay() {
        for (text, printed) in [
            ("plain name.jpg", "plain name.jpg"),
            ("a\nb\r.jpg", r"a\nb\r.jpg"),
            ("\u{1b}[2Jx\u{7f}\u{9b}\t\0", r"\u{1b}[2Jx\u{7f}\u{9b}\t\u{0}"),
            ("caf\u{e9} \u{1f415} \u{4e2d}", "caf\u{e9} \u{1f415} \u{4e2d}"),
            ("gpj\u{202e}.exe\u{2028}", r"gpj\u{202e}.exe\u{2028}"),
            (r"a\b", r"a\b"),
        ] {
            assert_eq!(printable(text).to_string(), printed);
            assert_eq!(printable_path(Path::new(text)).to_string(), printed);
        }
    }
}
