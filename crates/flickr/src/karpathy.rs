//! Karpathy's layout: one JSON file with captions and split.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

use crate::corpus::KarpathySplit;
use crate::error::{LoadError, Place};
use crate::reading::Reading;

/// The files' names.
pub(crate) const FILES: [&str; 2] = ["dataset_flickr8k.json", "dataset_flickr30k.json"];

/// The parts of the file that are used; it has more.
#[derive(Deserialize)]
pub(crate) struct File<'t> {
    #[serde(borrow)]
    pub(crate) images: Vec<Record<'t>>,
}

/// One image.
#[derive(Deserialize)]
pub(crate) struct Record<'t> {
    #[serde(borrow)]
    pub(crate) filename: Cow<'t, str>,
    pub(crate) split: KarpathySplit,
    #[serde(borrow)]
    pub(crate) sentences: Vec<Sentence<'t>>,
}

/// One caption.
#[derive(Deserialize)]
pub(crate) struct Sentence<'t> {
    #[serde(borrow)]
    pub(crate) raw: Cow<'t, str>,
    #[serde(default, deserialize_with = "joined")]
    tokens: Option<String>,
}

/// Reads a list of words, joined by spaces: a list of strings takes ten times the memory.
fn joined<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    struct Joined;
    impl<'de> Visitor<'de> for Joined {
        type Value = Option<String>;
        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a list of words")
        }
        fn visit_unit<E>(self) -> Result<Option<String>, E> {
            Ok(None)
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Option<String>, A::Error> {
            let mut words = String::new();
            while let Some(word) = list.next_element::<Cow<'de, str>>()? {
                if !words.is_empty() {
                    words.push(' ');
                }
                words.push_str(&word);
            }
            Ok(Some(words))
        }
    }
    deserializer.deserialize_any(Joined)
}

/// Reads the file's text.
pub(crate) fn parse<'t>(contents: &'t str, file: &std::path::Path) -> Result<File<'t>, LoadError> {
    serde_json::from_str(contents)
        .map_err(|source| LoadError::Json { file: file.to_owned(), source })
}

/// Reads `contents` image by image.
pub(crate) fn read(contents: &str, reading: &mut Reading<'_>) -> Result<(), LoadError> {
    for (index, record) in parse(contents, reading.file)?.images.iter().enumerate() {
        let place = Place::Record(index + 1);
        let image = reading.add_image(&record.filename, Some(record.split), place)?;
        for sentence in &record.sentences {
            let words = sentence.tokens.clone();
            reading.add_caption_with_words(image, &sentence.raw, words, place);
        }
    }
    Ok(())
}
