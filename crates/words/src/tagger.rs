//! Part-of-speech tagger of Brill ("A Simple Rule-Based Part of Speech Tagger", 1992).
//!
//! Each word gets its most frequent tag. Then patches change tags by their context, one patch after
//! the other, each from left to right.
//!
//! The dictionary and the patches come from the Harper project's `harper-brill` 3.0.0, trained on
//! the treebanks of Universal Dependencies. Its crate would pull in a deep learning framework.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::wordnet::unpacked;

static FILE: &[u8] = include_bytes!("../data/harper-brill-3.0.0.txt.gz");

static EMBEDDED: LazyLock<Tagger> = LazyLock::new(|| Tagger::parse(&unpacked(FILE)));

/// Part of speech in the naming of Universal Dependencies, such as `NOUN`.
pub(crate) type Tag = &'static str;

const TAGS: [Tag; 16] = [
    "ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN",
    "PUNCT", "SCONJ", "SYM", "VERB",
];

/// Condition on the context of a word.
#[derive(Debug)]
enum Criterion {
    /// The word at this distance equals this text, or one of the two begins with the other.
    Word(isize, String),
    /// The word at this distance has this tag.
    Tag(isize, Tag),
    /// One of the words between this one and the one at this distance has this tag. The range
    /// starts at the earlier of the two and excludes the later one.
    Any(isize, Tag),
    /// The words before and after have these tags.
    Between(Tag, Tag),
}

#[derive(Debug)]
struct Patch {
    from: Tag,
    to: Tag,
    all: Vec<Criterion>,
}

/// Dictionary of most frequent tags, and patches.
#[derive(Debug)]
pub(crate) struct Tagger {
    words: HashMap<String, Tag>,
    patches: Vec<Patch>,
}

impl Tagger {
    /// Returns the tagger embedded in the crate, which is parsed once.
    pub(crate) fn embedded() -> &'static Self {
        &EMBEDDED
    }

    fn parse(text: &str) -> Self {
        let mut lines = text.lines();
        let count = |header: Option<&str>| {
            header.and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0)
        };
        let words = count(lines.next());
        let words = lines.by_ref().take(words).filter_map(|line| {
            let (name, word) = line.split_once(' ')?;
            Some((word.to_owned(), tag(name)?))
        });
        let words = words.collect();
        let patches = count(lines.next());
        Self { words, patches: lines.take(patches).filter_map(patch).collect() }
    }

    /// Returns the tags of a sentence's lower-case words and punctuation marks.
    ///
    /// The tag of a word that is not in the dictionary is `None`.
    pub(crate) fn tag(&self, words: &[String]) -> Vec<Option<Tag>> {
        let mut tags: Vec<Option<Tag>> =
            words.iter().map(|word| self.words.get(word).copied()).collect();
        for patch in &self.patches {
            for index in 0..words.len() {
                if tags[index] == Some(patch.from)
                    && patch.all.iter().all(|criterion| criterion.holds(words, &tags, index))
                {
                    tags[index] = Some(patch.to);
                }
            }
        }
        tags
    }
}

impl Criterion {
    fn holds(&self, words: &[String], tags: &[Option<Tag>], index: usize) -> bool {
        let at = |distance: isize| index.checked_add_signed(distance);
        let has = |index: usize, tag: Tag| tags.get(index).copied().flatten() == Some(tag);
        match self {
            Self::Word(distance, expected) => {
                at(*distance).and_then(|index| words.get(index)).is_some_and(|word| {
                    word.chars().zip(expected.chars()).all(|(a, b)| a.eq_ignore_ascii_case(&b))
                })
            }
            Self::Tag(distance, tag) => at(*distance).is_some_and(|index| has(index, tag)),
            Self::Any(distance, tag) => at(*distance).is_some_and(|farthest| {
                (farthest.min(index)..farthest.max(index)).any(|index| has(index, tag))
            }),
            Self::Between(before, behind) => {
                index > 0 && has(index - 1, before) && has(index + 1, behind)
            }
        }
    }
}

fn tag(name: &str) -> Option<Tag> {
    TAGS.into_iter().find(|tag| *tag == name)
}

/// Parses a patch such as `NOUN VERB word -1 you & tag 1 DET`.
fn patch(line: &str) -> Option<Patch> {
    let (from, rest) = line.split_once(' ')?;
    let (to, criteria) = rest.split_once(' ')?;
    let all = criteria.split(" & ").map(criterion).collect::<Option<_>>()?;
    Some(Patch { from: tag(from)?, to: tag(to)?, all })
}

fn criterion(text: &str) -> Option<Criterion> {
    let fields: Vec<&str> = text.split(' ').collect();
    let [kind, first, second] = fields[..] else { return None };
    Some(match kind {
        "word" => Criterion::Word(first.parse().ok()?, second.to_owned()),
        "tag" => Criterion::Tag(first.parse().ok()?, tag(second)?),
        "any" => Criterion::Any(first.parse().ok()?, tag(second)?),
        "between" => Criterion::Between(tag(first)?, tag(second)?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_model_is_whole() {
        let tagger = Tagger::embedded();
        assert_eq!((tagger.words.len(), tagger.patches.len()), (26_900, 201));
    }

    /// Compares with the tags of `harper-brill` 3.0.0 itself; see `data/README.md`.
    #[test]
    fn sentences_are_tagged_as_by_harper_brill() {
        let sentences: Vec<(String, String)> =
            serde_json::from_str(include_str!("../tests/harper-brill.json")).unwrap();
        assert!(sentences.len() > 50);
        for (sentence, expected) in sentences {
            let words: Vec<String> = sentence.split(' ').map(str::to_owned).collect();
            let tags: Vec<&str> =
                Tagger::embedded().tag(&words).into_iter().map(|tag| tag.unwrap_or("-")).collect();
            assert_eq!(tags.join(" "), expected, "{sentence}");
        }
    }
}
