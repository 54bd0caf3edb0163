//! Labels, from which keywords are made: words with their part of speech and frequency.

use serde::{Deserialize, Serialize};

/// Coarse parts of speech of keywords, in the naming of Universal Dependencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum PartOfSpeech {
    /// Nouns.
    Noun,
    /// Verbs.
    Verb,
    /// Adjectives.
    Adj,
    /// Adverbs.
    Adv,
    /// Numbers, spelled out.
    Num,
}

/// Word in its base form, with its part of speech and frequency.
///
/// In files it is an array, as in the paper's published list: `["dog", "NOUN", 10263]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(String, PartOfSpeech, u64)", into = "(String, PartOfSpeech, u64)")]
pub struct Label {
    /// Lemma in lower case.
    pub word: String,
    /// Most frequent part of speech of the word.
    pub part_of_speech: PartOfSpeech,
    /// Number of occurrences in the captions.
    pub frequency: u64,
}

impl From<(String, PartOfSpeech, u64)> for Label {
    fn from((word, part_of_speech, frequency): (String, PartOfSpeech, u64)) -> Self {
        Self { word, part_of_speech, frequency }
    }
}

impl From<Label> for (String, PartOfSpeech, u64) {
    fn from(label: Label) -> Self {
        (label.word, label.part_of_speech, label.frequency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_written_as_the_paper_writes_them() {
        let text = r#"["dog","NOUN",10263]"#;
        let label: Label = serde_json::from_str(text).unwrap();
        assert_eq!(label.part_of_speech, PartOfSpeech::Noun);
        assert_eq!(serde_json::to_string(&label).unwrap(), text);
        assert!(serde_json::from_str::<Label>(r#"["the","DET",1]"#).is_err());
    }
}
