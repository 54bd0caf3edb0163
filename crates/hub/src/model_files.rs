//! The files that make up a model.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use foreign_text::{python_json, read_text};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::Error;
use crate::reference::is_file;

const CONFIG: &str = "config.json";
/// Files with the image processor's settings. transformers 5 writes the second with a processor.
const PREPROCESSORS: [&str; 2] = ["preprocessor_config.json", "processor_config.json"];
const TOKENIZER: &str = "tokenizer.json";
const VOCABULARY: [&str; 2] = ["vocab.json", "merges.txt"];
/// Single weights file and index of sharded weights, in order of preference.
const WEIGHTS: [(&str, &str); 2] = [
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
];

/// Optional files, which transformers reads if a repository has them.
const COMPANIONS: [&str; 3] =
    ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"];

/// Maximum size of an index, in bytes. A larger file is no index.
const LONGEST_INDEX: u64 = 64 << 20;

/// Required files besides config and weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs {
    pub preprocessor: bool,
    pub tokenizer: bool,
}

/// Files to fetch, weights last: a folder with weights is complete.
#[derive(Debug)]
pub(crate) struct Selection<'a> {
    pub files: Vec<&'a str>,
    /// Index of sharded weights, which lists the shards to fetch.
    pub index: Option<&'static str>,
}

/// Selects the files to fetch from a repository's file list.
///
/// # Errors
/// Returns the name of a missing file.
pub(crate) fn select(files: &[String], needs: Needs) -> Result<Selection<'_>, String> {
    let has = |name: &str| files.iter().any(|file| file == name);
    if !has(CONFIG) {
        return Err(CONFIG.to_owned());
    }
    if needs.preprocessor && !PREPROCESSORS.iter().any(|name| has(name)) {
        return Err(PREPROCESSORS[0].to_owned());
    }
    if needs.tokenizer && !has(TOKENIZER) && !VOCABULARY.iter().all(|name| has(name)) {
        return Err(format!("{TOKENIZER} and no {}", VOCABULARY.join(" with ")));
    }
    let mut files: Vec<&str> = small_files().filter(|name| has(name)).collect();
    for (whole, index) in WEIGHTS {
        if has(whole) {
            files.push(whole);
            return Ok(Selection { files, index: None });
        }
        if has(index) {
            return Ok(Selection { files, index: Some(index) });
        }
    }
    let names: Vec<&str> = WEIGHTS.iter().flat_map(|&(whole, index)| [whole, index]).collect();
    Err(names.join(" and no "))
}

/// Returns the names of all files of a model except its weights.
fn small_files() -> impl Iterator<Item = &'static str> {
    [CONFIG, TOKENIZER].into_iter().chain(PREPROCESSORS).chain(VOCABULARY).chain(COMPANIONS)
}

/// Returns whether a folder has all files that a model needs.
pub(crate) fn is_complete(folder: &Path, needs: Needs) -> bool {
    let has = |name: &str| folder.join(name).is_file();
    let has_shards = |index: &str| {
        has(index)
            && shards(&folder.join(index)).is_ok_and(|shards| shards.iter().all(|file| has(file)))
    };
    has(CONFIG)
        && (!needs.preprocessor || PREPROCESSORS.iter().any(|name| has(name)))
        && (!needs.tokenizer || has(TOKENIZER) || VOCABULARY.iter().all(|name| has(name)))
        && WEIGHTS.iter().any(|(whole, index)| has(whole) || has_shards(index))
}

/// Returns the shards that an index lists.
///
/// # Errors
/// The file cannot be read or is no index.
pub(crate) fn shards(index: &Path) -> Result<BTreeSet<String>, Error> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
        #[serde(rename = "metadata")]
        _metadata: Option<IgnoredAny>,
    }
    let no_index = |problem: String| Error::Unusable {
        path: index.to_owned(),
        problem,
        hint: "it is to be an index of a model's shards; remove it and fetch the model again",
    };
    let length = fs::metadata(index).map_err(Error::io("read", index))?.len();
    if length > LONGEST_INDEX {
        return Err(no_index(format!("it has {length} bytes")));
    }
    let text = read_text(index).map_err(Error::io("read", index))?;
    let parsed: Index =
        serde_json::from_str(&python_json(&text)).map_err(|error| no_index(error.to_string()))?;
    let shards: BTreeSet<String> = parsed.weight_map.into_values().collect();
    match shards.iter().find(|shard| !is_file(shard)) {
        Some(shard) => Err(no_index(format!("it speaks of {shard:?}"))),
        None if shards.is_empty() => Err(no_index("it names no shard".to_owned())),
        None => Ok(shards),
    }
}

/// Returns the model's files that `folder` has, without unrelated files.
pub(crate) fn present(folder: &Path) -> Result<Vec<String>, Error> {
    let mut files: Vec<String> = small_files().map(str::to_owned).collect();
    for (whole, index) in WEIGHTS {
        if folder.join(whole).is_file() {
            files.push(whole.to_owned());
            break;
        }
        if folder.join(index).is_file() {
            files.push(index.to_owned());
            files.extend(shards(&folder.join(index))?);
            break;
        }
    }
    files.retain(|file| folder.join(file).is_file());
    Ok(files)
}
