//! The Penn Treebank tokenizer as pycocoevalcap 1.2 runs it: `PTBTokenizer` of `CoreNLP`
//! 3.4.1 with `-preserveLines -lowerCase`, then pycocoevalcap's list of punctuation taken out.
//!
//! The tokens are pycocoevalcap's, its oddities included:
//!
//! * punctuation is looked up as the treebank writes brackets, in capitals, *after* lower-casing, so
//!   `(` becomes the token `-lrb-` and stays; so do `!!`, `?!`, `#`, `&`, `_` and `'s`;
//! * a few abbreviations keep their period at the end of a caption (`ft.`, `etc.`, `letter a.`);
//! * some tokens hold U+00A0 (`1 1/2`, telephone numbers, HTML tags): one token for ROUGE-L, two words
//!   for BLEU and CIDEr;
//! * emoji and other characters beyond the basic plane are deleted; so are combining signs of most
//!   kinds, private-use characters and letters newer than Unicode 6.
//!
//! # Captions are not alone
//!
//! The tokenizer reads all captions of a call as one text. What a caption's last token is may
//! depend on the next caption: `plan b.` becomes `plan b` before a caption that starts with `The`,
//! and keeps its period otherwise; the very last caption lacks the line end that some tokens need
//! (`'12`). [`tokenize`] takes all captions together and does the same. In one place it does not: a
//! tag whose quoted attribute goes on in the next caption (`<a href="x`) would swallow the line
//! end, and is read here as if the caption ended there.
//!
//! # Line separators inside captions
//!
//! pycocoevalcap replaces LF by a space but lets CR, VT, FF, U+2028 and U+2029 through. The
//! tokenizer takes each for a line end, and every later caption is then paired with the wrong
//! image. Here they are white space, and [`Tokenized::with_line_separators`] counts the captions
//! that hold one.

mod abbreviations;
mod classes;
mod edits;
mod lexer;
mod rules;

use lexer::{Scanner, Text};
use rayon::prelude::*;

use crate::words::is_python_space;

/// pycocoevalcap's punctuation. Its list has the names of brackets too, but in capitals, which no
/// token has by then.
const PUNCTUATION: [&str; 13] =
    ["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"];

/// The tokens of captions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokenized {
    /// The tokens of every caption, joined by single spaces.
    pub captions: Vec<String>,
    /// The number of captions with a line separator other than LF.
    pub with_line_separators: usize,
}

/// Tokenizes all captions of one side (all references, or all predictions) together.
#[must_use]
pub fn tokenize<S: AsRef<str> + Sync>(captions: &[S]) -> Tokenized {
    tokenize_first(captions, captions.len())
}

/// Tokenizes the first `count` captions; the others are what the last of them may [depend
/// on](Ahead).
pub(crate) fn tokenize_first<S: AsRef<str> + Sync>(captions: &[S], count: usize) -> Tokenized {
    let captions_per_task = count.div_ceil(rayon::current_num_threads() * 4).max(64);
    let tokenized = (0..count)
        .into_par_iter()
        .with_min_len(captions_per_task)
        .map_init(Worker::default, |worker, index| {
            let caption = captions[index].as_ref();
            match plain_tokens(caption) {
                Some(tokens) => tokens,
                None => worker.tokens(captions, index),
            }
        })
        .collect();
    let with_line_separators = captions
        .iter()
        .take(count)
        .filter(|caption| caption.as_ref().contains(is_separator))
        .count();
    Tokenized { captions: tokenized, with_line_separators }
}

/// The captions behind others that the tokens of those may depend on, counted as they come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ahead {
    /// Captions seen, from the first on that surely is not blank.
    from_words_on: usize,
}

impl Ahead {
    pub(crate) fn see(&mut self, caption: &str) {
        if self.from_words_on > 0 || caption.contains(|c: char| c.is_ascii_alphanumeric()) {
            self.from_words_on += 1;
        }
    }

    /// Returns whether there are words, and a line end behind them.
    pub(crate) fn is_enough(self) -> bool {
        self.from_words_on > 1
    }
}

fn is_separator(c: char) -> bool {
    matches!(c, '\r' | '\u{0B}' | '\u{0C}' | '\u{2028}' | '\u{2029}')
}

/// Returns the tokens of a caption to which no special rule can apply, else `None`.
///
/// It has ASCII words, and commas and periods after words that are no abbreviations.
fn plain_tokens(caption: &str) -> Option<String> {
    let mut tokens = String::with_capacity(caption.len());
    let mut after_period = false;
    for word in caption.split(' ').filter(|word| !word.is_empty()) {
        let (letters, mark) = match word.as_bytes() {
            [.., mark @ (b'.' | b',')] => (&word[..word.len() - 1], Some(*mark)),
            _ => (word, None),
        };
        if !letters.bytes().all(|byte| byte.is_ascii_alphabetic()) || is_contraction(letters) {
            return None;
        }
        if letters.is_empty() {
            // A second period could be the start of an ellipsis.
            if mark == Some(b'.') && after_period {
                return None;
            }
        } else {
            if mark == Some(b'.') && abbreviations::may_keep_period(letters) {
                return None;
            }
            if !tokens.is_empty() {
                tokens.push(' ');
            }
            tokens.extend(letters.bytes().map(|byte| byte.to_ascii_lowercase() as char));
        }
        after_period = mark == Some(b'.');
    }
    Some(tokens)
}

/// Returns whether the lexer cuts the word in two.
fn is_contraction(word: &str) -> bool {
    matches!(word.len(), 5 | 6)
        && ["cannot", "gonna", "gotta", "lemme", "gimme", "wanna"]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(word))
}

/// The scanner and buffers of a thread.
#[derive(Default)]
struct Worker {
    scanner: Option<Scanner>,
    text: Text,
}

impl Worker {
    /// Returns the tokens of one of the captions.
    fn tokens<S: AsRef<str>>(&mut self, captions: &[S], index: usize) -> String {
        let end = self.load(captions, index);
        let mut line = String::new();
        let scanner = self.scanner.get_or_insert_with(Scanner::new);
        scanner.tokens(&self.text, end, |token| {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(token);
        });
        let kept: Vec<&str> = line
            .trim_end_matches(is_python_space)
            .split(' ')
            .filter(|token| !PUNCTUATION.contains(token))
            .collect();
        kept.join(" ")
    }

    /// Fills the buffer with a caption and as much of the following ones as its last token may
    /// depend on: all up to the first word of the next caption that is not blank. Returns the
    /// length of the caption, or 0 if it is blank.
    fn load<S: AsRef<str>>(&mut self, captions: &[S], index: usize) -> usize {
        let text = &mut self.text;
        text.clear();
        let push = |text: &mut Text, caption: &str| {
            caption
                .chars()
                .for_each(|c| text.push(if c == '\n' || is_separator(c) { ' ' } else { c }));
        };
        push(text, captions[index].as_ref());
        if text.is_blank_from(0) {
            // It has no tokens, and a long run of such captions must not be read for each of them.
            return 0;
        }
        let end = text.len();
        let mut last = end;
        for caption in captions.iter().skip(index + 1) {
            let found_words = !text.is_blank_from(last);
            text.push('\n');
            if found_words {
                break;
            }
            last = text.len();
            push(text, caption.as_ref());
        }
        end
    }
}
