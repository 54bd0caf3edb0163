//! The files that make up a model, and their copies for machines without a network.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use foreign_text::{python_json, read_text};
use serde::Deserialize;

use crate::Error;
use crate::cache::{copy, create_parent};
use crate::digest::Algorithm::Sha256;
use crate::reference::is_file;

const CONFIG: &str = "config.json";
/// Files with the image processor's settings. transformers 5 writes the second with a processor.
const PREPROCESSORS: [&str; 2] = ["preprocessor_config.json", "processor_config.json"];
const TOKENIZER: &str = "tokenizer.json";
const VOCABULARY: [&str; 2] = ["vocab.json", "merges.txt"];
/// Vocabulary of a BERT, from which its tokenizer follows.
const BERT_VOCABULARY: &str = "vocab.txt";
/// Optional files, which transformers and sentence-transformers read if a repository has them.
const OPTIONAL: [&str; 6] = [
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
];
/// Weights files and indexes of sharded weights, in order of preference.
const WEIGHTS: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// Maximum size of an index, in bytes. A larger file is no index.
const MAX_INDEX_LENGTH: u64 = 64 << 20;

/// Files of a model that are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelFiles {
    /// CLIP model: `config.json`, the image processor's settings, the tokenizer and weights.
    Clip,
    /// CLIP model without the tokenizer, for its vision tower only.
    ClipVision,
    /// CLIP model without the image processor's settings, for its text tower only.
    ClipText,
    /// Language model: `config.json`, the tokenizer and weights.
    LanguageModel,
    /// Single file, which the reference names.
    File,
}

impl ModelFiles {
    /// Selects the files to fetch, of those that are available; weights or their index last.
    ///
    /// # Errors
    /// Returns the name of a missing file.
    pub(crate) fn select(self, has: impl Fn(&str) -> bool) -> Result<Vec<&'static str>, String> {
        let needs_preprocessor = matches!(self, Self::Clip | Self::ClipVision);
        if !has(CONFIG) {
            return Err(CONFIG.to_owned());
        }
        if needs_preprocessor && !PREPROCESSORS.iter().any(|name| has(name)) {
            return Err(PREPROCESSORS[0].to_owned());
        }
        let has_tokenizer =
            has(TOKENIZER) || has(BERT_VOCABULARY) || VOCABULARY.iter().all(|name| has(name));
        if self != Self::ClipVision && !has_tokenizer {
            return Err(format!(
                "{TOKENIZER}, no {} and no {BERT_VOCABULARY}",
                VOCABULARY.join(" with ")
            ));
        }
        let files = available(&has);
        if files.last().is_some_and(|last| WEIGHTS.contains(last)) {
            return Ok(files);
        }
        Err(WEIGHTS.join(" and no "))
    }

    /// Returns whether a folder has all needed files.
    pub(crate) fn are_in(self, folder: &Path) -> bool {
        let has = |name: &str| folder.join(name).is_file();
        self.select(has).is_ok_and(|files| {
            shards(folder, &files).is_ok_and(|shards| shards.iter().all(|file| has(file)))
        })
    }
}

/// Returns the files of a model that are available; weights or their index last.
fn available(has: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let small = [CONFIG, TOKENIZER, BERT_VOCABULARY].into_iter();
    let small = small.chain(PREPROCESSORS).chain(VOCABULARY).chain(OPTIONAL);
    let weights = WEIGHTS.into_iter().find(|name| has(name));
    small.filter(|name| has(name)).chain(weights).collect()
}

/// Returns the paths of a resolved model's files, with their names within the model.
pub(crate) fn paths(resolved: &Path) -> Result<Vec<(PathBuf, String)>, Error> {
    if !resolved.is_dir() {
        let name = resolved.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Ok(vec![(resolved.to_owned(), name)]);
    }
    let files = available(|name| resolved.join(name).is_file());
    let shards = shards(resolved, &files)?;
    let names = files.into_iter().map(str::to_owned).chain(shards);
    Ok(names.map(|name| (resolved.join(&name), name)).collect())
}

/// Links or copies a model that [`resolve`](crate::resolve()) returned into `folder`.
///
/// The model is a folder of files or a single file. Files are hard links if possible, else copies.
/// Existing files of the same contents stay. Returns the new paths.
///
/// # Errors
/// A file of other contents is in the way, or `folder` cannot be written.
pub fn copy_model(resolved: &Path, folder: &Path) -> Result<Vec<PathBuf>, Error> {
    copy_files(paths(resolved)?, folder)
}

/// Links or copies files into `folder` under their names, as [`copy_model`] does.
pub(crate) fn copy_files(
    files: impl IntoIterator<Item = (PathBuf, String)>,
    folder: &Path,
) -> Result<Vec<PathBuf>, Error> {
    let mut targets = Vec::new();
    for (source, name) in files {
        // The blob itself, not the link to it in the cache's snapshot.
        let source = fs::canonicalize(&source).map_err(Error::io("find", &source))?;
        let target = folder.join(name);
        create_parent(&target)?;
        if target.exists() {
            if Sha256.digest(&source)? != Sha256.digest(&target)? {
                return Err(Error::InTheWay(target, "it has other contents"));
            }
        } else if fs::hard_link(&source, &target).is_err() {
            copy(&source, &target)?;
        }
        targets.push(target);
    }
    Ok(targets)
}

/// Returns the shards of the weights if the last of `files` is their index.
///
/// # Errors
/// The index cannot be read or is none.
pub(crate) fn shards(folder: &Path, files: &[&str]) -> Result<BTreeSet<String>, Error> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index = match files.last() {
        Some(last) if last.ends_with(".index.json") => folder.join(last),
        _ => return Ok(BTreeSet::new()),
    };
    let no_index = |problem: String| Error::Unusable {
        path: index.clone(),
        problem,
        hint: "this file should list a model's shards; remove it and fetch the model again",
    };
    let length = fs::metadata(&index).map_err(Error::io("read", &index))?.len();
    if length > MAX_INDEX_LENGTH {
        return Err(no_index(format!("it has {length} bytes")));
    }
    let text = read_text(&index).map_err(Error::io("read", &index))?;
    let parsed: Index =
        serde_json::from_str(&python_json(&text)).map_err(|error| no_index(error.to_string()))?;
    let shards: BTreeSet<String> = parsed.weight_map.into_values().collect();
    match shards.iter().find(|shard| !is_file(shard)) {
        Some(shard) => Err(no_index(format!("it names {shard:?}"))),
        None if shards.is_empty() => Err(no_index("it names no shard".to_owned())),
        None => Ok(shards),
    }
}
