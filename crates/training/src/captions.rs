//! Captions, the inputs of captioning, and the trait of captioners.

use std::collections::HashSet;
use std::ops::Range;

use progress::Progress;
use recipes::Decoding;
use serde::{Deserialize, Serialize};
use tch::Tensor;
use words::Gpt2Tokenizer;

use crate::error::Error;
use crate::keyword_selector::KeywordSelector;

/// Inputs of captioning: one row or entry for each image.
pub struct ImageInputs {
    /// Image embeddings `[images, dim]`, f32, on the captioner's device.
    pub embeddings: Tensor,
    /// Keywords, for systems that write from keywords.
    pub keywords: Option<Vec<Vec<String>>>,
    /// Numbers that distinguish images in sampling.
    ///
    /// Images with the same number and prompt get the same random draws in any batch.
    pub numbers: Vec<u64>,
}

impl ImageInputs {
    /// Returns the inputs of some of the images.
    pub(crate) fn slice(&self, range: Range<usize>) -> Self {
        let keywords = self.keywords.as_ref().map(|all| all[range.clone()].to_vec());
        Self {
            embeddings: self.embeddings.narrow(0, range.start as i64, range.len() as i64),
            keywords,
            numbers: self.numbers[range].to_vec(),
        }
    }
}

/// Caption that a model wrote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Caption {
    /// Text.
    pub text: String,
    /// Score to compare captions of an image.
    ///
    /// CLIP-prefix: mean log-probability of the tokens. SBG: cosine with the image by CLIP, or 0
    /// without CLIP. Merge-RNN: total log-probability.
    #[serde(with = "bits")]
    pub score: f64,
}

/// Exact JSON form of scores: JSON has neither infinities nor NaN.
mod bits {
    use serde::{Deserialize, Deserializer, Serializer};

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(score: &f64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(score.to_bits())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        u64::deserialize(from).map(f64::from_bits)
    }
}

/// Captioning of one system.
pub(crate) trait Writer {
    /// Captions images, and returns the captions of each in the order of decoding.
    ///
    /// Reports finished images as progress.
    fn write(
        &self,
        images: &ImageInputs,
        decoding: &Decoding,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Vec<Caption>>, Error>;

    /// Returns the vocabulary size.
    fn vocabulary(&self) -> usize;

    /// Returns the largest allowed `decoding.max_new_tokens`.
    fn most_tokens(&self) -> Result<usize, Error> {
        Ok(usize::MAX)
    }

    /// Returns the selector of keywords for new images, for systems that write from keywords.
    fn keyword_selector(&self) -> Result<Option<KeywordSelector>, Error> {
        Ok(None)
    }
}

/// Returns the caption of the highest score among the first `among`; of equal ones the first.
#[must_use]
pub fn best(captions: &[Caption], among: usize) -> Option<&Caption> {
    let mut captions = captions.iter().take(among);
    let first = captions.next()?;
    Some(captions.fold(first, |best, next| if next.score > best.score { next } else { best }))
}

/// Returns captions by descending score, without those that say the same as a better one.
///
/// Equal scores keep their order.
#[must_use]
pub fn ranked(mut captions: Vec<Caption>) -> Vec<Caption> {
    captions.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut seen = HashSet::new();
    captions.retain(|caption| seen.insert(for_people(&caption.text)));
    captions
}

/// Returns a caption as a sentence: a capital first, and no space before its full stop.
#[must_use]
pub fn for_people(text: &str) -> String {
    let text = text.trim();
    let text = match text.strip_suffix('.') {
        Some(sentence) => format!("{}.", sentence.trim_end()),
        None => text.to_owned(),
    };
    let mut characters = text.chars();
    characters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(characters.by_ref()).collect())
}

/// Decodes a language model's tokens, with spaces cleaned up if `decoding` says so.
///
/// The caption is cut from the text afterwards.
pub(crate) fn decoded(
    tokenizer: &Gpt2Tokenizer,
    tokens: &[i64],
    decoding: &Decoding,
) -> Result<String, Error> {
    let ids: Vec<u32> = tokens.iter().filter_map(|&token| u32::try_from(token).ok()).collect();
    let mut text = tokenizer.decode(&ids)?;
    if decoding.clean_up_tokenization_spaces == Some(true) {
        text = words::clean_up_tokenization(&text);
    }
    Ok(text)
}

/// Cuts a text as the paper does: up to its first '.', stripped, plus " .".
#[must_use]
pub fn first_sentence(text: &str) -> String {
    let sentence = text.split('.').next().unwrap_or_default();
    format!("{} .", sentence.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caption_ends_at_its_first_full_stop() {
        assert_eq!(first_sentence(" a dog runs . a cat"), "a dog runs .");
        assert_eq!(first_sentence("a dog runs"), "a dog runs .");
        assert_eq!(first_sentence("st. bernard"), "st .");
        assert_eq!(first_sentence(""), " .");
    }

    #[test]
    fn people_read_a_sentence() {
        for (text, expected) in [
            ("a dog runs .", "A dog runs."),
            ("a dog runs.", "A dog runs."),
            ("two dogs", "Two dogs"),
            (" élan . ", "Élan."),
            ("3 dogs , running .", "3 dogs , running."),
            (" .", "."),
            ("", ""),
        ] {
            assert_eq!(for_people(text), expected, "{text:?}");
        }
    }

    #[test]
    fn equal_captions_are_merged_into_the_best_of_them() {
        let caption = |(text, score): (&str, f64)| Caption { text: text.to_owned(), score };
        let all = [
            ("a dog .", -2.0),
            ("a cat .", -1.0),
            ("A dog.", -0.5),
            ("a cow .", -1.0),
            ("a cat .", -1.0),
        ];
        let expected = [("A dog.", -0.5), ("a cat .", -1.0), ("a cow .", -1.0)];
        assert_eq!(ranked(all.map(caption).to_vec()), expected.map(caption).to_vec());
    }

    #[test]
    fn the_best_caption_is_the_first_of_the_highest_score_among_those_allowed() {
        let caption = |text: &str, score| Caption { text: text.to_owned(), score };
        let all = [caption("a", 0.2), caption("b", 0.5), caption("c", 0.5), caption("d", 0.9)];
        let best_of = |among| best(&all, among).map(|caption| caption.text.as_str());
        assert_eq!([best_of(0), best_of(1)], [None, Some("a")]);
        assert_eq!([best_of(3), best_of(usize::MAX)], [Some("b"), Some("d")]);
    }
}
