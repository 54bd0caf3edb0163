//! Characters as the lexer sees them: one byte each.
//!
//! ASCII stands for itself. Every other UTF-16 unit becomes one of a few classes, because no rule
//! tells their members apart. The classes were measured: `classes.txt` lists
//! what the tokenizer of `CoreNLP` 3.4.1 does with each of the 63,488 characters of the basic plane
//! (`tests/reference/metrics_ptb_classes.py`). The letters are those of Unicode 6.

use std::sync::LazyLock;

pub(super) const LETTER: u8 = 0x80;
/// A letter that is a capital.
pub(super) const CAPITAL: u8 = 0x81;
pub(super) const DIGIT: u8 = 0x82;
/// A combining mark or modifier: part of a word, not of a compound.
pub(super) const MARK: u8 = 0x83;
pub(super) const SOFT_HYPHEN: u8 = 0x84;
/// A closing single quote, which is also an apostrophe.
pub(super) const APOSTROPHE: u8 = 0x85;
/// An opening single quote, which may stand for an apostrophe.
pub(super) const OPEN_SINGLE: u8 = 0x86;
pub(super) const QUOTE: u8 = 0x87;
pub(super) const HYPHEN: u8 = 0x88;
pub(super) const NO_BREAK_SPACE: u8 = 0x89;
pub(super) const SPACE: u8 = 0x8A;
/// U+0085, a line break that the lexer takes for an ellipsis.
pub(super) const NEXT_LINE: u8 = 0x8B;
pub(super) const LINE_BREAK: u8 = 0x8C;
pub(super) const DASH: u8 = 0x8D;
pub(super) const FRACTION: u8 = 0x8E;
pub(super) const SUPERSCRIPT: u8 = 0x8F;
pub(super) const SUPERSCRIPT_SIGN: u8 = 0x90;
pub(super) const SUBSCRIPT: u8 = 0x91;
pub(super) const SUBSCRIPT_SIGN: u8 = 0x92;
pub(super) const CURRENCY: u8 = 0x93;
pub(super) const COMMA: u8 = 0x94;
pub(super) const NUMBER_SEPARATOR: u8 = 0x95;
pub(super) const FRACTION_SLASH: u8 = 0x96;
pub(super) const ELLIPSIS: u8 = 0x97;
pub(super) const SYMBOL: u8 = 0x98;
pub(super) const IGNORED: u8 = 0x99;
/// Capital Roman numerals: deleted, but a capital to the rules about sentence ends.
pub(super) const NUMERAL: u8 = 0x9A;
/// Deleted. Halves of characters beyond the basic plane are here too.
pub(super) const OTHER: u8 = 0x9B;

/// Classes with few members; the others are listed in `classes.txt`.
const SMALL: [(u8, &[(u16, u16)]); 23] = [
    (SOFT_HYPHEN, &[(0xAD, 0xAD)]),
    (APOSTROPHE, &[(0x92, 0x92), (0x2019, 0x2019)]),
    (OPEN_SINGLE, &[(0x91, 0x91), (0x2018, 0x2018), (0x201B, 0x201B)]),
    (QUOTE, &[(0x93, 0x94), (0xAB, 0xAB), (0xBB, 0xBB), (0x201A, 0x201A)]),
    (QUOTE, &[(0x201C, 0x201F), (0x2039, 0x203A)]),
    (HYPHEN, &[(0x58A, 0x58A), (0x2010, 0x2011)]),
    (NO_BREAK_SPACE, &[(0xA0, 0xA0)]),
    (SPACE, &[(0x2000, 0x200A), (0x3000, 0x3000)]),
    (NEXT_LINE, &[(0x85, 0x85)]),
    (LINE_BREAK, &[(0x2028, 0x2029)]),
    (DASH, &[(0x96, 0x97), (0x2013, 0x2015)]),
    (FRACTION, &[(0xBC, 0xBE), (0x2153, 0x215E)]),
    (SUPERSCRIPT, &[(0xB2, 0xB3), (0xB9, 0xB9), (0x2070, 0x2070), (0x2074, 0x2079)]),
    (SUPERSCRIPT_SIGN, &[(0x207A, 0x207B)]),
    (SUBSCRIPT, &[(0x2080, 0x2089)]),
    (SUBSCRIPT_SIGN, &[(0x208A, 0x208B)]),
    (CURRENCY, &[(0x80, 0x80), (0xA2, 0xA4), (0x20A0, 0x20A0), (0x20AC, 0x20AC)]),
    (COMMA, &[(0x3001, 0x3001)]),
    (NUMBER_SEPARATOR, &[(0x66B, 0x66C)]),
    (FRACTION_SLASH, &[(0x2044, 0x2044)]),
    (ELLIPSIS, &[(0x2026, 0x2026)]),
    (IGNORED, &[(0x200B, 0x200B), (0x200E, 0x200F), (0xFEFF, 0xFEFF)]),
    (NUMERAL, &[(0x2160, 0x216F)]),
];

/// The class of every UTF-16 unit.
static CLASSES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut classes = vec![OTHER; 1 << 16];
    let mut fill = |class, first: u16, last: u16| {
        for unit in first..=last {
            let capital = class == LETTER && is_capital(unit);
            classes[usize::from(unit)] = if capital { CAPITAL } else { class };
        }
    };
    let mut class = OTHER;
    for word in include_str!("classes.txt").split_whitespace() {
        match word {
            "letter" => class = LETTER,
            "digit" => class = DIGIT,
            "mark" => class = MARK,
            "symbol" => class = SYMBOL,
            range => {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let unit = |text| u16::from_str_radix(text, 16).unwrap_or_default();
                fill(class, unit(first), unit(last));
            }
        }
    }
    for (class, ranges) in SMALL {
        for &(first, last) in ranges {
            fill(class, first, last);
        }
    }
    for (unit, class) in classes.iter_mut().enumerate().take(0x80) {
        *class = unit as u8;
    }
    classes
});

/// Capitals of Unicode 6; Cherokee had no small letters then.
fn is_capital(unit: u16) -> bool {
    let cherokee = (0x13A0..=0x13F5).contains(&unit);
    !cherokee && char::from_u32(u32::from(unit)).is_some_and(char::is_uppercase)
}

/// Returns the class of one UTF-16 unit.
pub(super) fn class(unit: u16) -> u8 {
    if unit < 0x80 { unit as u8 } else { CLASSES[usize::from(unit)] }
}
