//! The lexer's 76 rules, in order of priority.
//!
//! A rule is a pattern over [classes](super::classes) for the token *and* what must follow it, a
//! statement of where the token ends within the match, and an edit of the token's text.

use super::abbreviations::{
    acronym, dotted_acronym, ending, inner, limited, numbered, sentence_start,
};
use super::edits::Edit;

/// The end of the token in a match; the lexer reads the rest again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Head {
    /// At the match's end.
    All,
    /// This many units before the match's end.
    Before(usize),
    /// Before a final clitic: an apostrophe and `s`, `m`, `d`, `re`, `ve` or `ll`.
    BeforeClitic,
    /// Before a final `n't`.
    BeforeNot,
    /// Before the first white space.
    BeforeSpace,
    /// After the first period.
    AfterPeriod,
    /// At the match's end (before the first white space), but the final period is read again.
    PeriodTwice,
    /// Behind the letter of a single letter and a period; otherwise as [`Head::PeriodTwice`].
    LetterOrPeriodTwice,
}

#[derive(Debug)]
pub(super) struct Rule {
    pub(super) pattern: String,
    pub(super) head: Head,
    /// The edit of the token; `None` drops the match.
    pub(super) token: Option<Edit>,
}

/// Classes of characters, for use inside and outside of brackets.
mod c {
    pub(super) const LETTERS: &str = r"A-Za-z\x80\x81\x83\x84";
    pub(super) const UNI_LETTERS: &str = r"A-Za-z\x80\x81";
    pub(super) const DIGITS: &str = r"0-9\x82";
    pub(super) const SPACES: &str = r" \t\x89\x8A";
    pub(super) const BREAKS: &str = r"\n\r\x0B\x0C\x8B\x8C";
    /// Excluded from the path of an address.
    pub(super) const X: &str = r#" \t\n\x0C\r"<>|()"#;
    /// Excluded from an address.
    pub(super) const Y: &str = r#" \t\n\x0C\r"<>|(){}"#;
    /// Excluded from the end of an address.
    pub(super) const Z: &str = r#" \t\n\x0C\r"<>|(){}.!?,"#;
}

/// Patterns that several rules share.
struct Shapes {
    apostrophe: String,
    any_apostrophe: String,
    clitic: String,
    not: String,
    letter: String,
    word: String,
    compound: String,
    hyphen_compound: String,
    joined_capitals: String,
    space: String,
    white: String,
    digit: String,
    tag: String,
}

impl Shapes {
    fn new() -> Self {
        let apostrophe = r"(?:['\x85]|(?i:&apos;))".to_owned();
        let any_apostrophe = r"(?:['`\x85\x86]|(?i:&apos;))".to_owned();
        let letter = format!("(?:[{}]|&[AEIOUaeiou](?i:acute|grave|uml);)", c::LETTERS);
        let letter_or_digit =
            format!("(?:[{}{}]|&[AEIOUaeiou](?i:acute|grave|uml);)", c::LETTERS, c::DIGITS);
        let piece =
            format!("(?:[dDoOlL]{any_apostrophe}[{0}{1}])?[{0}{1}]+", c::UNI_LETTERS, c::DIGITS);
        let name = "[A-Za-z][A-Za-z0-9_:.-]*";
        Self {
            clitic: format!("{apostrophe}(?:[msdMSD]|(?i:re|ve|ll))"),
            not: format!("[nN]{any_apostrophe}[tT]"),
            word: format!("{letter}{letter_or_digit}*(?:[.!?]{letter}{letter_or_digit}*)*"),
            compound: format!(r"{piece}(?:[-_\x88]{piece})*"),
            hyphen_compound: format!(
                r"[A-Za-z0-9][A-Za-z0-9.,\x84]*(?:-(?:[A-Za-z0-9\x84]+|{}\.))+",
                dotted_acronym()
            ),
            joined_capitals: r"[A-Z]+(?:(?:[+&]|(?i:&amp;))[A-Z]+)+".to_owned(),
            space: format!("[{}]", c::SPACES),
            white: format!("[{}{}]", c::SPACES, c::BREAKS),
            digit: format!("[{}]", c::DIGITS),
            tag: format!(
                "<(?:[!?][A-Za-z-][^>\r\n]*|\
                 {name}(?: +{name}(?: *= *(?:'[^']*'|\"[^\"]*\"))?)* */?|/{name}) *>"
            ),
            apostrophe,
            any_apostrophe,
            letter,
        }
    }
}

/// Returns the rules; the index is the priority, lowest first.
pub(super) fn rules() -> Vec<Rule> {
    let shapes = Shapes::new();
    let mut rules = contractions_and_words(&shapes);
    rules.extend(addresses_and_numbers(&shapes));
    rules.extend(names_and_compounds());
    rules.extend(abbreviations(&shapes));
    rules.extend(marks(&shapes));
    rules.extend(compounds_and_quotes(&shapes));
    rules
}

fn rule(pattern: impl Into<String>, head: Head, edit: Edit) -> Rule {
    Rule { pattern: pattern.into(), head, token: Some(edit) }
}

fn whole(pattern: impl Into<String>, edit: Edit) -> Rule {
    rule(pattern, Head::All, edit)
}

fn skip(pattern: impl Into<String>) -> Rule {
    Rule { pattern: pattern.into(), head: Head::All, token: None }
}

fn contractions_and_words(s: &Shapes) -> Vec<Rule> {
    let Shapes { clitic, not, word, .. } = s;
    vec![
        whole(r"[cC]\+\+", Edit::None),
        whole("[cCfF]#", Edit::None),
        rule("(?i:cannot)", Head::Before(3), Edit::None),
        rule("'(?i:twas)", Head::Before(3), Edit::None),
        rule("'(?i:tis)", Head::Before(2), Edit::None),
        rule("(?i:gonna|gotta|lemme|gimme|wanna)", Head::Before(2), Edit::None),
        whole(&s.tag, Edit::Join),
        whole(r"(?i:&MD;|&mdash;|&ndash;)|\x8D", Edit::Become("--")),
        whole("(?i:&amp;)", Edit::Become("&")),
        whole("(?i:&(?:HT|TL|UR|LR|QC|QL|QR|odq|cdq);)|&#[0-9]+;", Edit::None),
        rule(format!("{word}{clitic}"), Head::BeforeClitic, Edit::DropSoftHyphens),
        rule(
            format!(r"[A-Za-z\x84]*[A-MO-Za-mo-z]\x84*{not}"),
            Head::BeforeNot,
            Edit::DropSoftHyphens,
        ),
        whole(word, Edit::DropSoftHyphens),
        whole(apostrophe_words(s), Edit::None),
        rule(format!("[yY]{}[{}]", s.apostrophe, c::UNI_LETTERS), Head::Before(1), Edit::None),
    ]
}

fn apostrophe_words(s: &Shapes) -> String {
    let Shapes { apostrophe: ap, any_apostrophe: apx, .. } = s;
    let letters = c::UNI_LETTERS;
    [
        format!("{ap}[nN](?:{ap})?"),
        format!("[lLdDjJ]{ap}"),
        format!("(?i:dunkin|somethin|ol){ap}"),
        format!("{ap}(?i:em|till?|cause)"),
        format!("{ap}[2-9]0[sS]"),
        format!("[A-HJ-XZn]{apx}[{letters}][{letters}]+"),
        format!("[{letters}]+[aeiouyAEIOUY]{apx}[aeiouA-Z][{letters}]*"),
        format!("[oO]{apx}[oO]"),
        r"(?i:cont'd\.?|'twas|nor'easter|c'mon|e'er|s'mores|ev'ry|li'l|nat'l)".to_owned(),
    ]
    .join("|")
}

fn addresses_and_numbers(s: &Shapes) -> Vec<Rule> {
    let (x, y, z) = (c::X, c::Y, c::Z);
    let Shapes { clitic, not, digit: d, .. } = s;
    // Not a digit, capital, or any other ASCII character from the comma to the underscore.
    let label = format!("[^{z}`'$,-_]+");
    let path = format!("(?:/[^{x}]+[^{z}-])?");
    let mail = format!(r"[^{y}\x89.]+");
    vec![
        whole(format!("(?i:https?://)[^{y}]+[^{z}-]"), Edit::None),
        whole(
            format!(
                r"(?:(?i:www\.)(?:[^{z}]+\.)+[a-zA-Z]{{2,4}}|(?:{label}\.)+(?i:com|net|org|edu)){path}"
            ),
            Edit::None,
        ),
        whole(
            format!(r"(?:<|(?i:&lt;))?[A-Za-z0-9][^{y}\x89]*@(?:{mail}\.)*{mail}(?:>|(?i:&gt;))?"),
            Edit::None,
        ),
        whole(format!("@[A-Za-z_][A-Za-z_0-9]*|#{}+", s.letter), Edit::None),
        rule(format!("{clitic}[^A-Za-z]"), Head::Before(1), Edit::Quotes),
        rule(format!("{not}[^A-Za-z]"), Head::Before(1), Edit::Quotes),
        whole(format!("{d}{{1,2}}[-/]{d}{{1,2}}[-/]{d}{{2,4}}"), Edit::None),
        whole(format!(r"[+-]?(?:{d}+|{d}*(?:[.:,\x84\x95]{d}+)+)"), Edit::DropSoftHyphens),
        whole(r"[\x90\x92]?(?:\x8F+|\x91+)", Edit::None),
        whole(format!(r"(?:{d}{{1,4}}[- \x89])?{d}{{1,4}}(?:\\?/|\x96){d}{{1,4}}"), Edit::Join),
        whole(r"\x8E", Edit::Treebank),
    ]
}

fn names_and_compounds() -> Vec<Rule> {
    let part = "[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}";
    let ap = r"(?:['\x85]|(?i:&apos;))";
    vec![
        whole(
            format!(
                r"(?i:-[lr][rcs]b-|c\.d\.s|pro-|anti-|s(?:&|&amp;)p-500|s(?:&|&amp;)ls|cap{ap}n|c{ap}est)"
            ),
            Edit::Ampersand,
        ),
        whole(format!(r"{part}(?:\\?/{part}){{1,2}}"), Edit::None),
        whole(r"[A-Z]*\$|#", Edit::None),
        whole(r"\x93", Edit::Treebank),
    ]
}

fn abbreviations(s: &Shapes) -> Vec<Rule> {
    let Shapes { space, white, tag, word, .. } = s;
    let (ending, inner, acronym) = (ending(), inner(), acronym());
    vec![
        rule(
            format!(r"{acronym}\.{white}+(?:{}|{tag}){white}", sentence_start()),
            Head::LetterOrPeriodTwice,
            Edit::None,
        ),
        rule(format!(r"{}\.{white}?[{}]", numbered(), c::DIGITS), Head::AfterPeriod, Edit::None),
        rule(format!(r"{}\.{space}(?i:ltd|lim)", limited()), Head::BeforeSpace, Edit::None),
        rule(
            format!(r"{ending}\.{white}(?:{white}|[A-Z\x81\x9A]|{tag})"),
            Head::PeriodTwice,
            Edit::None,
        ),
        rule(format!(r"{ending}\.[\x00-\xFF][\x00-\xFF]"), Head::Before(2), Edit::None),
        rule(format!(r"{ending}\."), Head::PeriodTwice, Edit::None),
        whole(format!(r"{inner}\."), Edit::None),
        rule(format!("{inner}{space}"), Head::Before(1), Edit::None),
        rule(format!("{acronym}{white}"), Head::Before(1), Edit::None),
        rule(format!("{}[0-9][0-9]{white}", s.apostrophe), Head::Before(1), Edit::None),
        rule(file_name(), Head::Before(1), Edit::None),
        rule(format!(r"{word}\.[,;:\x94]"), Head::Before(1), Edit::DropSoftHyphens),
        whole(phone_number(), Edit::Phone),
    ]
}

fn file_name() -> String {
    let part = format!("[{}{}]+", c::LETTERS, c::DIGITS);
    let extensions = "bat|bmp|c|class|cgi|cpp|dll|docx?|exe|gif|gz|h|html?|jar|java|jpe?g|mov|mp3|\
         pdf|php|pl|png|ppt|ps|py|sql|tar|txt|wav|x|xml|zip";
    let (spaces, breaks) = (c::SPACES, c::BREAKS);
    format!(r"{part}(?:\.{part})*\.(?i:{extensions})[{spaces}{breaks}.?!,]")
}

fn phone_number() -> &'static str {
    r"(?:\([0-9]{2,3}\)[ \x89]?|(?:\+\+?)?(?:[0-9]{2,4}[- \x89])?[0-9]{2,4}[- \x89])[0-9]{3,4}[- \x89]?[0-9]{3,5}|(?:(?:\+\+?)?[0-9]{2,4}\.)?[0-9]{2,4}\.[0-9]{3,4}\.[0-9]{3,5}"
}

fn marks(s: &Shapes) -> Vec<Rule> {
    let quote = r#"(?:"|(?i:&quot;))"#;
    let eye = "[-^x=~<>']";
    vec![
        rule(format!("{quote}[A-Za-z0-9$]"), Head::Before(1), Edit::Become("``")),
        whole(quote, Edit::Become("''")),
        skip(r"\x7F"),
        whole("<|(?i:&lt;)", Edit::Become("<")),
        whole(">|(?i:&gt;)", Edit::Become(">")),
        rule(
            r"[<>]?[:;=][-o*']?[()DPdpO\\{@|\[\]][^A-Za-z0-9]",
            Head::Before(1),
            Edit::RoundBrackets,
        ),
        whole(format!(r"{eye}_{eye}|\({eye}[_.-]?{eye}\)"), Edit::RoundBrackets),
        whole(r"[{}\[\]()]", Edit::Treebank),
        whole("-+", Edit::Dash),
        whole(r"\.{3,5}|(?:\.[ \x89]){2,4}\.|[\x97\x8B]", Edit::Become("...")),
        whole("@+|#+|_+", Edit::None),
        whole(r"\*+|(?:\\\*){1,3}", Edit::None),
        whole(r"[,;:\x94]", Edit::None),
        whole("[?!]+", Edit::None),
        whole(r"\.", Edit::None),
        whole("=", Edit::None),
        whole("/", Edit::None),
        rule(format!(r"{}\.[,;:\x94]", s.hyphen_compound), Head::Before(1), Edit::DropSoftHyphens),
        whole(&s.hyphen_compound, Edit::DropSoftHyphens),
    ]
}

fn compounds_and_quotes(s: &Shapes) -> Vec<Rule> {
    vec![
        rule(format!(r"{}\.[,;:\x94]", s.compound), Head::Before(1), Edit::None),
        whole(&s.compound, Edit::None),
        rule(format!(r"{}\.[,;:\x94]", s.joined_capitals), Head::Before(1), Edit::Ampersand),
        whole(&s.joined_capitals, Edit::Ampersand),
        rule(r"'[A-Za-z][^ \t\n\r\x89]", Head::Before(2), Edit::Become("`")),
        whole(&s.clitic, Edit::Quotes),
        whole(&s.not, Edit::Quotes),
        whole(format!(r"{}|''|[`\x85-\x87]{{1,2}}", s.apostrophe), Edit::Quotes),
        whole("<<|>>", Edit::None),
        whole(r"[#$%&*+/:;=<>@\\^_|~\x90\x92\x96\x98]", Edit::None),
        skip(format!(r"\x00|{}+|\x99", s.space)),
        skip(format!("[{}]", c::BREAKS)),
        skip("(?i:&nbsp;)"),
        skip(r"[\x00-\xFF]"),
    ]
}
