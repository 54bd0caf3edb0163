//! Base forms and parts of speech of a caption's words.
//!
//! The paper uses spaCy's `en_core_web_sm`. This module splits words about as spaCy does, tags them
//! with a Brill tagger and finds their base forms with WordNet. It tries WordNet's exceptions, then
//! its rules, then the word unchanged: the order that agreed best with spaCy and the paper's
//! labels. `shorts` and `glasses` therefore count as `short` and `glass`.

use crate::tagger::{Tag, Tagger};
use crate::wordnet::{Part, WordNet};

const DIGITS: [&str; 10] =
    ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

/// A word of a caption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Base form in lower case; a single digit is spelled out.
    pub lemma: String,
    /// Part of speech in the naming of Universal Dependencies, such as `NOUN`.
    pub tag: &'static str,
}

/// Returns the words of a caption, without punctuation.
#[must_use]
pub fn analyse(caption: &str) -> Vec<Word> {
    let net = WordNet::embedded();
    let tokens = tokens(&caption.to_lowercase());
    let tags = Tagger::embedded().tag(&tokens);
    let mut tags: Vec<Tag> = tokens
        .iter()
        .zip(tags)
        .map(|(token, tag)| tag.unwrap_or_else(|| unknown(token, net)))
        .collect();
    participles(&tokens, &mut tags, net);
    let words = tokens.into_iter().zip(tags).filter(|(token, _)| is_word(token));
    words.map(|(token, tag)| Word { lemma: lemma(token, tag, net), tag }).collect()
}

/// Retags verbs in -ing that the tagger takes for nouns.
///
/// In captions they follow the actor ("a man riding a bike") and do not precede another noun ("a
/// racing car").
fn participles(tokens: &[String], tags: &mut [Tag], net: &WordNet) {
    for index in 1..tokens.len() {
        let is_noun = |tag: Tag| matches!(tag, "NOUN" | "PROPN");
        let behind_actor =
            is_noun(tags[index - 1]) || matches!(tags[index - 1], "AUX" | "ADV" | "PRON");
        let before_noun = tags.get(index + 1).is_some_and(|&tag| is_noun(tag));
        let token = &tokens[index];
        if is_noun(tags[index])
            && token.ends_with("ing")
            && behind_actor
            && !before_noun
            && net.base_form(token, Part::Verb).is_some()
        {
            tags[index] = "VERB";
        }
    }
}

/// Splits a text into words and single punctuation marks.
///
/// Hyphens and slashes separate words, and contractions are split (`is n't`, `man 's`).
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut word = String::new();
    for character in text.chars().chain([' ']) {
        if character.is_alphanumeric() || is_apostrophe(character) {
            word.push(if is_apostrophe(character) { '\'' } else { character });
            continue;
        }
        add_word(&mut tokens, &std::mem::take(&mut word));
        if !character.is_whitespace() {
            tokens.push(character.to_string());
        }
    }
    tokens
}

fn is_apostrophe(character: char) -> bool {
    matches!(character, '\'' | '\u{2019}')
}

/// Adds a word that may have apostrophes around it or inside.
///
/// Captions of Flickr8k have contractions both joined and apart (`man's`, `man 's`).
fn add_word(tokens: &mut Vec<String>, word: &str) {
    let contracted = ["n't", "'s", "'re", "'ve", "'ll", "'d", "'m"];
    let inner = word.trim_end_matches('\'');
    let behind = word.len() - inner.len();
    let bare = if contracted.contains(&inner) { inner } else { inner.trim_start_matches('\'') };
    let before = inner.len() - bare.len();
    tokens.extend((0..before).map(|_| "'".to_owned()));
    let ending = contracted.into_iter().find(|ending| bare.ends_with(ending)).unwrap_or_default();
    let (stem, ending) = bare.split_at(bare.len() - ending.len());
    let parts = [stem, ending].into_iter().filter(|part| !part.is_empty());
    tokens.extend(parts.map(str::to_owned));
    tokens.extend((0..behind).map(|_| "'".to_owned()));
}

fn is_word(token: &str) -> bool {
    token.chars().any(char::is_alphanumeric)
}

/// Returns the tag of a word that the tagger does not know.
fn unknown(token: &str, net: &WordNet) -> Tag {
    if token.chars().all(char::is_numeric) {
        return "NUM";
    }
    // The word is a base form itself, or an inflection of one.
    let part = net
        .usual_part(token)
        .or_else(|| WordNet::PARTS.into_iter().find(|&part| net.base_form(token, part).is_some()));
    match part {
        Some(Part::Verb) => "VERB",
        Some(Part::Adjective) => "ADJ",
        Some(Part::Adverb) => "ADV",
        Some(Part::Noun) | None => "NOUN",
    }
}

fn lemma(token: String, tag: Tag, net: &WordNet) -> String {
    if let [digit @ b'0'..=b'9'] = token.as_bytes() {
        return DIGITS[usize::from(digit - b'0')].to_owned();
    }
    let base = match tag {
        "VERB" | "AUX" if matches!(token.as_str(), "'s" | "'re" | "'m") => Some("be"),
        "VERB" | "AUX" => net.base_form(&token, Part::Verb),
        "NOUN" | "PROPN" => net.base_form(&token, Part::Noun),
        "ADJ" => net.base_form(&token, Part::Adjective),
        _ => None,
    };
    base.map_or(token, str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(caption: &str) -> Vec<(String, &'static str)> {
        analyse(caption).into_iter().map(|word| (word.lemma, word.tag)).collect()
    }

    #[test]
    fn captions_are_split_tagged_and_brought_to_base_forms() {
        let found = words("Two brown dogs are running , and 3 children play in the snow .");
        let lemmas: Vec<&str> = found.iter().map(|(lemma, _)| lemma.as_str()).collect();
        assert_eq!(
            lemmas,
            [
                "two", "brown", "dog", "be", "run", "and", "three", "child", "play", "in", "the",
                "snow"
            ]
        );
        let tags: Vec<&str> = found.iter().map(|(_, tag)| *tag).collect();
        assert_eq!(
            tags,
            [
                "NUM", "ADJ", "NOUN", "AUX", "VERB", "CCONJ", "NUM", "NOUN", "VERB", "ADP", "DET",
                "NOUN"
            ]
        );
    }

    #[test]
    fn hyphens_and_contractions_part_words() {
        let lemmas = |caption| -> Vec<String> {
            analyse(caption).into_iter().map(|word| word.lemma).collect()
        };
        assert_eq!(lemmas("a t-shirt/jacket"), ["a", "t", "shirt", "jacket"]);
        assert_eq!(
            lemmas("the man's dogs' ball isn't \"his\""),
            ["the", "man", "'s", "dog", "ball", "be", "n't", "his"]
        );
        assert_eq!(
            lemmas("the man 's hat is n't 'red'"),
            ["the", "man", "'s", "hat", "be", "n't", "red"]
        );
        assert_eq!(lemmas(" . , ' '' "), [""; 0]);
    }

    #[test]
    fn a_misspelt_word_is_a_noun_as_it_is() {
        assert_eq!(words("thorugh"), [("thorugh".to_owned(), "NOUN")]);
    }
}
