//! Captions, what they are generated from, and the trait of those that generate them.

use std::ops::Range;

use progress::Progress;
use recipes::Decoding;
use serde::{Deserialize, Serialize};
use tch::Tensor;
use words::Gpt2Tokenizer;

use crate::error::Error;
use crate::keyword_selector::KeywordSelector;

/// Inputs of images that are to be captioned: one row or entry for each.
pub struct ImageInputs {
    /// Image embeddings `[images, dim]`, f32, on the captioner's device.
    pub embeddings: Tensor,
    /// Keywords, for systems that write from keywords.
    pub keywords: Option<Vec<Vec<String>>>,
    /// Numbers by which images are told apart in sampling: images of one number and one prompt get
    /// the same random draws, whatever they are captioned with.
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

/// A caption that a model wrote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Caption {
    /// Text.
    pub text: String,
    /// Score by which captions of an image are compared: the mean log-probability of the tokens for
    /// CLIP-prefix; the cosine with the image by CLIP for SBG, or 0 if no CLIP is loaded; the whole
    /// log-probability for Merge-RNN.
    #[serde(with = "bits")]
    pub score: f64,
}

/// Scores to the bit: JSON has no infinities, and nothing that is not a number.
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

/// The part of a captioner that is its system's own.
pub(crate) trait Writer {
    /// Writes captions of each image, in the order in which decoding finds them. Reports the number
    /// of finished images as positions.
    fn write(
        &self,
        images: &ImageInputs,
        decoding: &Decoding,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Vec<Caption>>, Error>;

    /// Returns the number of words or tokens that may follow each other.
    fn vocabulary(&self) -> usize;

    /// Returns the limit of `decoding.max_tokens`.
    fn most_tokens(&self) -> Result<usize, Error> {
        Ok(usize::MAX)
    }

    /// Returns what selects the keywords of other images, for systems that write from keywords.
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

/// Decodes the tokens that a language model wrote, with spaces cleaned up if `decoding` says so. A
/// caption is cut from the text afterwards.
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
    fn the_best_caption_is_the_first_of_the_highest_score_among_those_allowed() {
        let caption = |text: &str, score| Caption { text: text.to_owned(), score };
        let all = [caption("a", 0.2), caption("b", 0.5), caption("c", 0.5), caption("d", 0.9)];
        let best_of = |among| best(&all, among).map(|caption| caption.text.as_str());
        assert_eq!([best_of(0), best_of(1)], [None, Some("a")]);
        assert_eq!([best_of(3), best_of(usize::MAX)], [Some("b"), Some("d")]);
    }
}
