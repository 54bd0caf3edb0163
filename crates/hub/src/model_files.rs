//! Which files make a model.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use foreign_text::{python_json, read_text};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::Error;
use crate::reference::is_file;

const CONFIG: &str = "config.json";
/// The image processor's settings: as transformers 5 writes them with a processor, and alone.
const PREPROCESSORS: [&str; 2] = ["preprocessor_config.json", "processor_config.json"];
const TOKENIZER: &str = "tokenizer.json";
const VOCABULARY: [&str; 2] = ["vocab.json", "merges.txt"];
/// Weights in one file and the index of those in shards, in the order of preference.
const WEIGHTS: [(&str, &str); 2] = [
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
];

/// Taken where a repository has them: what transformers reads beside the rest.
const COMPANIONS: [&str; 3] =
    ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"];

/// An index is small; what is larger is none.
const LONGEST_INDEX: u64 = 64 << 20;

/// What a model must have beside config, tokenizer and weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs {
    pub preprocessor: bool,
    pub tokenizer: bool,
}

/// The files to fetch, weights last: a folder with weights has the rest.
#[derive(Debug)]
pub(crate) struct Selection<'a> {
    pub files: Vec<&'a str>,
    /// The index of sharded weights; the shards are what it says.
    pub index: Option<&'static str>,
}

/// Chooses from what a repository has.
///
/// # Errors
/// Says what is missing.
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

/// Returns the names of all that makes a model but its weights.
fn small_files() -> impl Iterator<Item = &'static str> {
    [CONFIG, TOKENIZER].into_iter().chain(PREPROCESSORS).chain(VOCABULARY).chain(COMPANIONS)
}

/// Whether a folder has what a model needs.
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

/// The shards that an index speaks of.
///
/// # Errors
/// The file cannot be read, or is no index.
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

/// The files of a complete model that are in `folder`, without what else lies there.
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
