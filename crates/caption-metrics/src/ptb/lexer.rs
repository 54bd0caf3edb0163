//! Longest match over the rules, with one lazily built automaton for all of them.

use std::sync::LazyLock;

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};

use super::classes::{self, class};
use super::edits::Edit;
use super::rules::{Head, Rule, rules};

/// The rules and their automaton. Memory that grows while scanning is in a [`Scanner`].
struct Lexer {
    rules: Vec<Rule>,
    automaton: DFA,
}

static LEXER: LazyLock<Lexer> = LazyLock::new(|| {
    let rules = rules();
    let patterns: Vec<&str> = rules.iter().map(|rule| rule.pattern.as_str()).collect();
    let automaton = DFA::builder()
        .syntax(syntax::Config::new().unicode(false).utf8(false))
        .thompson(thompson::Config::new().utf8(false).shrink(false))
        .configure(DFA::config().match_kind(MatchKind::All).cache_capacity(CACHE_BYTES))
        .build_many(&patterns)
        .expect("the patterns are constants, and the tests build them");
    Lexer { rules, automaton }
});

/// Enough for every state that captions have been seen to reach; beyond it states are rebuilt.
const CACHE_BYTES: usize = 16 << 20;

/// Units read per unit of a caption, on average, before its tokens are presumed to be no language.
const PATIENCE: usize = 100;
/// Units that a token may then reach.
const SHORT_REACH: usize = 1000;

/// A caption as the lexer reads it, with what follows.
#[derive(Debug, Default)]
pub(super) struct Text {
    units: Vec<u16>,
    classes: Vec<u8>,
}

impl Text {
    pub(super) fn clear(&mut self) {
        self.units.clear();
        self.classes.clear();
    }

    pub(super) fn push(&mut self, c: char) {
        let mut buffer = [0; 2];
        for &unit in c.encode_utf16(&mut buffer).iter() {
            self.units.push(unit);
            self.classes.push(class(unit));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.units.len()
    }

    /// Returns whether all from `start` on is white space.
    pub(super) fn is_blank_from(&self, start: usize) -> bool {
        self.classes.get(start..).unwrap_or_default().iter().all(|&class| is_white(class))
    }

    fn decode(&self, start: usize, end: usize) -> String {
        String::from_utf16_lossy(self.units.get(start..end).unwrap_or_default())
    }
}

/// A lexer at work.
pub(super) struct Scanner {
    cache: Cache,
}

impl Scanner {
    pub(super) fn new() -> Self {
        Self { cache: LEXER.automaton.create_cache() }
    }

    /// Calls `emit` with every token that starts before `end`, lower-cased.
    pub(super) fn tokens(&mut self, text: &Text, end: usize, mut emit: impl FnMut(&str)) {
        let mut at = 0;
        let mut patience = end.saturating_mul(PATIENCE).saturating_add(SHORT_REACH * PATIENCE);
        while at < end {
            let reach = if patience == 0 { SHORT_REACH } else { text.len() };
            let mut found = self.longest(text, at, at.saturating_add(reach), &mut patience);
            if found.is_some_and(|found| found.token_end > end) {
                // A tag that goes on in the next caption: here captions end where they end.
                found = self.longest(text, at, end + 1, &mut patience);
            }
            let Some(found) = found else { return };
            if let Some(edit) = found.edit {
                emit(&lower_case(&edit.apply(&text.decode(at, found.token_end))));
            }
            at = found.next.max(at + 1);
        }
    }

    /// Finds the rule with the longest match from `at`, the first of several such.
    fn longest(
        &mut self,
        text: &Text,
        at: usize,
        limit: usize,
        patience: &mut usize,
    ) -> Option<Found> {
        let Lexer { rules, automaton } = &*LEXER;
        let haystack = text.classes.get(at..limit.min(text.len()))?;
        let input = Input::new(haystack).anchored(Anchored::Yes);
        let mut best = None;
        let mut state = automaton.start_state_forward(&mut self.cache, &input).ok()?;
        let first_rule = |cache: &Cache, state| {
            (0..automaton.match_len(cache, state))
                .map(|index| automaton.match_pattern(cache, state, index).as_usize())
                .min()
        };
        let mut read = 0;
        for (offset, &class) in haystack.iter().enumerate() {
            read = offset;
            state = automaton.next_state(&mut self.cache, state, class).ok()?;
            if state.is_tagged() {
                if state.is_match() {
                    best = first_rule(&self.cache, state).map(|rule| (rule, offset));
                } else if state.is_dead() {
                    break;
                }
            }
        }
        if !state.is_dead() {
            state = automaton.next_eoi_state(&mut self.cache, state).ok()?;
            if state.is_match() {
                best = first_rule(&self.cache, state).map(|rule| (rule, haystack.len()));
            }
        }
        *patience = patience.saturating_sub(read);
        let (rule, length) = best?;
        let rule = rules.get(rule)?;
        let (token, next) = split(rule.head, haystack.get(..length)?);
        Some(Found { edit: rule.token, token_end: at + token, next: at + next })
    }
}

#[derive(Clone, Copy)]
struct Found {
    edit: Option<Edit>,
    token_end: usize,
    /// The start of the next token, which may be inside this one.
    next: usize,
}

/// Lower-cases as Java does: a capital sigma is final where no other letter of its word follows,
/// and hyphens, periods and digits do not end a word.
fn lower_case(token: &str) -> String {
    const SIGMA: char = '\u{3a3}';
    if !token.contains(SIGMA) {
        return token.to_lowercase();
    }
    let is_cased = |c: char| c.is_lowercase() || c.is_uppercase();
    let ends_word = |c: char| {
        !c.is_alphanumeric()
            && !matches!(
                c,
                '-' | '.' | '_' | '\'' | '\u{2010}' | '\u{2011}' | '\u{2019}' | '\u{300}'
                    ..='\u{36f}'
            )
    };
    let mut out = String::with_capacity(token.len());
    for (at, c) in token.char_indices() {
        if c != SIGMA {
            out.extend(c.to_lowercase());
            continue;
        }
        let before = token[..at].rsplit(ends_word).next().unwrap_or_default();
        let after = token[at + c.len_utf8()..].split(ends_word).next().unwrap_or_default();
        let is_final = before.contains(is_cased) && !after.contains(is_cased);
        out.push(if is_final { '\u{3c2}' } else { '\u{3c3}' });
    }
    out
}

/// Returns the length of the token within a match, and where the next token starts.
fn split(head: Head, matched: &[u8]) -> (usize, usize) {
    let all = matched.len();
    let same = |length: usize| (length, length);
    match head {
        Head::All => same(all),
        Head::Before(units) => same(all.saturating_sub(units)),
        Head::BeforeClitic => same(before_apostrophe(matched, clitic_letters(matched))),
        Head::BeforeNot => same(before_apostrophe(matched, 1).saturating_sub(1)),
        Head::BeforeSpace => same(before_space(matched)),
        Head::AfterPeriod => same(matched.iter().position(|&c| c == b'.').map_or(all, |at| at + 1)),
        Head::PeriodTwice => {
            let token = before_space(matched);
            (token, token.saturating_sub(1))
        }
        Head::LetterOrPeriodTwice => {
            let token = before_space(matched);
            if token == 2 { same(1) } else { (token, token.saturating_sub(1)) }
        }
    }
}

fn is_white(class: u8) -> bool {
    matches!(
        class,
        b' ' | b'\t'
            | b'\n'
            | b'\r'
            | 0x0B
            | 0x0C
            | classes::NO_BREAK_SPACE
            | classes::SPACE
            | classes::NEXT_LINE
            | classes::LINE_BREAK
    )
}

fn before_space(matched: &[u8]) -> usize {
    matched.iter().position(|&class| is_white(class)).unwrap_or(matched.len())
}

/// Returns the number of letters behind the apostrophe of a final clitic.
fn clitic_letters(matched: &[u8]) -> usize {
    match matched {
        [.., b'm' | b's' | b'd' | b'M' | b'S' | b'D'] => 1,
        [.., last] if last.is_ascii_alphabetic() => 2,
        _ => 0,
    }
}

/// Returns the start of the apostrophe before the last `letters` units.
fn before_apostrophe(matched: &[u8], letters: usize) -> usize {
    let end = matched.len().saturating_sub(letters);
    let width = if matched.get(end.wrapping_sub(1)) == Some(&b';') { "&apos;".len() } else { 1 };
    end.saturating_sub(width)
}
