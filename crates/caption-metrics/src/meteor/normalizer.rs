//! METEOR's `-norm`: the steps that cut raw text into words.
//!
//! The steps are rewritings of the whole text, one after the other. Each is a single pass from left
//! to right over matches that do not overlap, so that a character that one match has consumed
//! cannot be the neighbour of the next: `b-b-q` becomes `b b-q`. A "letter" here is Latin or
//! Cyrillic; other scripts fall apart into single characters.

use super::resources::Prefixes;

/// Returns the words of a text, normalised and lower-cased.
pub(super) fn words(text: &str, prefixes: &Prefixes) -> Vec<String> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b' ');
    if is_plain && !text.contains(MULTI) {
        return text
            .split(' ')
            .filter(|word| !word.is_empty())
            .map(str::to_ascii_lowercase)
            .collect();
    }
    let rewritten = rewrite(text);
    let joined = restore_dots(&split_periods(&rewritten, prefixes).join(" ")).to_lowercase();
    joined.split(is_final_space).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Returns whether METEOR takes a character for a letter: Latin and Cyrillic blocks only.
fn is_letter(c: char) -> bool {
    matches!(c,
        'A'..='Z' | 'a'..='z'
        | '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}' | '\u{F8}'..='\u{17E}'
        | '\u{400}'..='\u{527}' | '\u{A640}'..='\u{A66E}' | '\u{A67E}'..='\u{A697}'
        | '\u{1D00}'..='\u{1D7F}')
}

fn is_alphanumeric(c: char) -> bool {
    is_letter(c) || c.is_ascii_digit()
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\u{0B}' | '\u{0C}' | '\r')
}

/// Returns whether METEOR splits the text into words here.
fn is_word_break(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{0C}')
}

fn is_final_space(c: char) -> bool {
    is_word_break(c)
        || matches!(c, '\u{A0}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}')
}

/// Takes all steps that look no further than at neighbours.
fn rewrite(text: &str) -> Vec<char> {
    let digit = |c: char| c.is_ascii_digit();
    let mut text = set_off_symbols(text);
    text = set_off_dots(text);
    let comma = [' ', ',', ' '];
    text = between(&text, ',', |a, b| !digit(a) && !digit(b), &comma);
    text = between(&text, ',', |a, b| digit(a) && !digit(b), &comma);
    text = between(&text, ',', |a, b| !digit(a) && digit(b), &comma);
    for c in &mut text {
        match c {
            '`' | '\u{2018}' | '\u{2019}' => *c = '\'',
            '\u{2013}' => *c = '-',
            _ => {}
        }
    }
    // Double quotes, curly or written as two single ones, become one between spaces.
    let quote = [' ', '"', ' '];
    let curly = |c: &char| matches!(c, '\u{201C}' | '\u{201D}');
    text = text.split(curly).collect::<Vec<_>>().join(&quote[..]);
    text = pairs(&text, '\'', &quote);
    text = pairs(&text, '-', &['-']);
    text =
        between(&text, '-', |a, b| (is_alphanumeric(a) || a == '.') && is_alphanumeric(b), &[' ']);
    let apart = [' ', '\'', ' '];
    text = between(&text, '\'', |a, b| !is_letter(a) && !is_letter(b), &apart);
    text = between(&text, '\'', |a, b| !is_letter(a) && !digit(a) && is_letter(b), &apart);
    text = between(&text, '\'', |a, b| is_letter(a) && !is_letter(b), &apart);
    text = between(&text, '\'', |a, b| is_letter(a) && is_letter(b), &[' ', '\'']);
    between(&text, '\'', |a, b| digit(a) && b == 's', &[' ', '\''])
}

/// Puts spaces around the text and around every character that no later step looks at.
fn set_off_symbols(text: &str) -> Vec<char> {
    let mut out = Vec::with_capacity(text.len() + 16);
    out.push(' ');
    for c in text.chars() {
        let known = is_alphanumeric(c)
            || is_space(c)
            || matches!(c, '.' | '\'' | '`' | ',' | '-' | '\u{2018}' | '\u{2019}');
        if known {
            out.push(c);
        } else {
            out.extend([' ', c, ' ']);
        }
    }
    out.push(' ');
    out
}

/// A run of n dots is written as n times [`DOT`] and [`MULTI`] until all other steps are done. A
/// caption may hold such letters too; METEOR makes dots of them then.
const DOT: &str = "DOT";
const MULTI: &str = "MULTI";

/// Replaces every run of two or more dots by a word that no other step changes.
fn set_off_dots(text: Vec<char>) -> Vec<char> {
    let has_run = text.windows(2).any(|pair| pair == ['.', '.']);
    if !has_run && !text.contains(&'D') {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for run in text.chunk_by(|a, b| *a == '.' && *b == '.') {
        if run.len() > 1 {
            out.push(' ');
            out.extend(run.iter().map(|_| DOT));
            out.extend([MULTI, " "]);
        } else if run == ['.'] && out.ends_with("DOTMULTI") {
            out.truncate(out.len() - MULTI.len());
            out.extend([DOT, MULTI, " "]);
        } else {
            out.extend(run);
        }
    }
    out.chars().collect()
}

/// Turns the words that [`set_off_dots`] made into dots again.
fn restore_dots(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut pieces = text.split(MULTI).peekable();
    while let Some(piece) = pieces.next() {
        let before = piece.trim_end_matches(DOT);
        out.push_str(before);
        let dots = (piece.len() - before.len()) / DOT.len();
        if pieces.peek().is_none() || dots == 0 {
            out.push_str(&piece[before.len()..]);
            out.push_str(if pieces.peek().is_some() { MULTI } else { "" });
        } else {
            out.extend(std::iter::repeat_n('.', dots));
        }
    }
    out
}

/// Replaces two marks in a row.
fn pairs(text: &[char], mark: char, by: &[char]) -> Vec<char> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        if *first == mark && tail.first() == Some(&mark) {
            out.extend(by);
            rest = &tail[1..];
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    out
}

/// Replaces `mark` between two characters that fit by `by`. The neighbours are part of the match.
fn between(text: &[char], mark: char, fits: impl Fn(char, char) -> bool, by: &[char]) -> Vec<char> {
    if !text.contains(&mark) {
        return text.to_vec();
    }
    let mut out = Vec::with_capacity(text.len() + 8);
    let mut rest = text;
    loop {
        match rest {
            [a, m, b, tail @ ..] if *m == mark && fits(*a, *b) => {
                out.push(*a);
                out.extend(by);
                out.push(*b);
                rest = tail;
            }
            [a, tail @ ..] => {
                out.push(*a);
                rest = tail;
            }
            [] => return out,
        }
    }
}

/// Splits at white space and decides which words keep a final period.
fn split_periods(text: &[char], prefixes: &Prefixes) -> Vec<String> {
    let words: Vec<&[char]> =
        text.split(|&c| is_word_break(c)).filter(|word| !word.is_empty()).collect();
    let mut out = Vec::with_capacity(words.len() + 1);
    for (index, word) in words.iter().enumerate() {
        let [before @ .., '.'] = word else {
            out.push(word.iter().collect());
            continue;
        };
        if before.is_empty() {
            out.push(".".to_owned());
            continue;
        }
        let next = words.get(index + 1).and_then(|next| next.first()).copied();
        let stem: String = before.iter().collect();
        if before.contains(&'.') && before.iter().any(|&c| is_letter(c)) {
            out.push(stem.replace('.', ""));
        } else if prefixes.is_always(&stem)
            || next.is_some_and(|c| c.is_ascii_lowercase())
            || (prefixes.is_before_number(&stem) && next.is_some_and(|c| c.is_ascii_digit()))
        {
            out.push(word.iter().collect());
        } else {
            out.push(stem);
            out.push(".".to_owned());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_does_to_these_what_meteor_does() {
        let prefixes = Prefixes::parse("#comment\nv\nvs\nmr\npp #NUMERIC_ONLY#\n");
        let probes = [
            ("dog 's", "dog ' s"),
            ("the dog's", "the dog 's"),
            ("does n't", "does n 't"),
            ("don't", "don 't"),
            ("o'clock", "o 'clock"),
            ("rock'n'roll", "rock 'n'roll"),
            ("90's", "90 's"),
            ("'tis", "' tis"),
            ("dogs' x", "dogs ' x"),
            ("black-and-white", "black and white"),
            ("b-b-q", "b b-q"),
            ("-lrb- x -rrb-", "-lrb- x -rrb-"),
            ("red--blue", "red blue"),
            ("a \u{2014} b", "a \u{2014} b"),
            ("u.s. flag", "us flag"),
            ("u.s.-based", "us based"),
            ("mr. smith", "mr. smith"),
            ("mr. 5", "mr. 5"),
            ("st. 5", "st . 5"),
            ("on st.", "on st ."),
            ("pp. 12", "pp. 12"),
            ("pp. Dog", "pp . dog"),
            ("vs. 5", "vs. 5"),
            ("wait...what", "wait ... what"),
            ("a.. b ....", "a .. b ...."),
            ("DOTMULTI aDOTMULTI. DOTMULTI...", ". a.. . ..."),
            ("end.Next", "end.next"),
            ("3.5 1,000 a,b", "3.5 1,000 a , b"),
            ("5, 6", "5 , 6"),
            ("50% r&b", "50 % r & b"),
            ("`` a ''", "\" a \""),
            ("foo_bar", "foo _ bar"),
            ("x.", "x ."),
            ("e.g. x", "eg x"),
            (".", "."),
            ("\u{72ac}\u{1f436}a\u{e9}", "\u{72ac} \u{1f436} a\u{e9}"),
            ("a\u{a0}b\u{3000}", "a b"),
        ];
        for (text, expected) in probes {
            assert_eq!(words(text, &prefixes).join(" "), expected, "{text:?}");
        }
    }
}
