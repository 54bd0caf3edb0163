//! Karpathy's layout: one JSON file with captions and split.

use std::borrow::Cow;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use foreign_text::python_json;
use memchr::memmem;
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

use crate::corpus::Part;
use crate::error::{LoadError, Location};
use crate::reading::Reading;

/// Karpathy's own file names; files of other names are recognised by their contents.
pub(crate) const FILES: [&str; 3] =
    ["dataset_flickr8k.json", "dataset_flickr30k.json", "dataset_coco.json"];

/// Bytes of a file that are examined; they include the first image.
const HEAD: u64 = 1 << 16;

/// Returns the files in Karpathy's format: the one of a known name, or else all others.
pub(crate) fn find(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let known = FILES.iter().map(|name| folder.join(name)).find(|path| path.is_file());
    if let Some(known) = known {
        return Ok(vec![known]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_json = path.extension().is_some_and(|extension| extension == "json");
        if is_json && path.is_file() && looks_right(&path)? {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

pub(crate) fn looks_right(path: &Path) -> io::Result<bool> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD).read_to_end(&mut head)?;
    let has = |key: &str| memmem::find(&head, key.as_bytes()).is_some();
    Ok(["\"images\"", "\"filename\"", "\"split\"", "\"sentences\""].into_iter().all(has))
}

/// Fields of the file that are used.
#[derive(Deserialize)]
pub(crate) struct DataSet<'t> {
    #[serde(borrow)]
    pub(crate) images: Vec<Record<'t>>,
}

/// Record of one image.
#[derive(Deserialize)]
pub(crate) struct Record<'t> {
    #[serde(borrow)]
    pub(crate) filename: Cow<'t, str>,
    /// Folder of the image; COCO's images are in two folders.
    #[serde(borrow, default)]
    filepath: Option<Cow<'t, str>>,
    pub(crate) split: Part,
    #[serde(borrow)]
    pub(crate) sentences: Vec<Sentence<'t>>,
}

/// Record of one caption.
#[derive(Deserialize)]
pub(crate) struct Sentence<'t> {
    #[serde(borrow)]
    pub(crate) raw: Cow<'t, str>,
    #[serde(default, deserialize_with = "joined")]
    tokens: Option<String>,
}

/// Reads a list of words as one string; a list of strings would take ten times the memory.
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

/// Parses the text of a file, which [`python_json`] must have converted first.
///
/// # Errors
/// Fails with [`LoadError::Json`] if the text is not in Karpathy's format.
pub(crate) fn parse<'t>(contents: &'t str, file: &Path) -> Result<DataSet<'t>, LoadError> {
    serde_json::from_str(contents).map_err(|source| LoadError::Json {
        file: file.to_owned(),
        format: "Karpathy's",
        source,
    })
}

/// Reads `contents` image by image.
pub(crate) fn read(contents: &str, reading: &mut Reading<'_>) -> Result<(), LoadError> {
    let contents = python_json(contents);
    for (index, record) in parse(&contents, reading.file)?.images.iter().enumerate() {
        let location = Location::Record(index + 1);
        let image = reading.add_image(&record.filename, Some(record.split), location)?;
        if let Some(folder) = &record.filepath {
            reading.set_subfolder(folder, location)?;
        }
        for sentence in &record.sentences {
            let words = sentence.tokens.clone();
            reading.add_caption_with_words(image, &sentence.raw, words, location);
        }
    }
    Ok(())
}
