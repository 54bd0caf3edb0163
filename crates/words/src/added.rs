//! Added tokens that a tokenizer keeps in separate files, as transformers writes them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::TokenizerError;
use crate::json::{id, invalid, read_object_if_there};

const CONFIG: &str = "tokenizer_config.json";
const SPECIAL_MAP: &str = "special_tokens_map.json";
const ADDED: &str = "added_tokens.json";

/// The keys of special tokens in [`CONFIG`] and [`SPECIAL_MAP`].
const SPECIAL: [&str; 8] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
    "additional_special_tokens",
];

/// Added tokens and the file that they come from.
pub(crate) struct Added {
    pub path: PathBuf,
    /// Entries in the format of `tokenizer.json`, in the order of their ids.
    tokens: Vec<Value>,
}

/// Matching options of an added token; the defaults are those of transformers.
#[derive(Deserialize)]
#[serde(default)]
#[allow(clippy::struct_excessive_bools, reason = "the format is Hugging Face's")]
struct Settings {
    content: Option<String>,
    lstrip: bool,
    rstrip: bool,
    single_word: bool,
    normalized: bool,
    special: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            content: None,
            lstrip: false,
            rstrip: false,
            single_word: false,
            normalized: true,
            special: false,
        }
    }
}

impl Added {
    /// Reads `added_tokens_decoder` in `tokenizer_config.json`, or the older `added_tokens.json`.
    ///
    /// For the older file, `special_tokens_map.json` and the config list the special tokens.
    pub fn read(folder: &Path) -> Result<Self, TokenizerError> {
        let config = read_object_if_there(&folder.join(CONFIG))?;
        if let Some(decoder) = config.get("added_tokens_decoder").and_then(Value::as_object) {
            return Self::new(folder.join(CONFIG), decoder.iter().map(from_decoder));
        }
        let path = folder.join(ADDED);
        let added = read_object_if_there(&path)?;
        if added.is_empty() {
            return Ok(Self { path, tokens: Vec::new() });
        }
        let map = read_object_if_there(&folder.join(SPECIAL_MAP))?;
        let special: HashSet<&str> = [&config, &map].into_iter().flat_map(special_tokens).collect();
        let token = |(content, number): (&String, &Value)| {
            let is_special = special.contains(content.as_str());
            let id =
                id(number).ok_or_else(|| format!("token {content:?} has {number} for an id"))?;
            Ok(json!({
                "id": id, "content": content, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": !is_special, "special": is_special,
            }))
        };
        Self::new(path, added.iter().map(token))
    }

    fn new(
        path: PathBuf,
        tokens: impl Iterator<Item = Result<Value, String>>,
    ) -> Result<Self, TokenizerError> {
        let mut tokens: Vec<Value> =
            tokens.collect::<Result<_, _>>().map_err(|problem| invalid(&path, problem))?;
        tokens.sort_by_key(|token| token["id"].as_u64());
        Ok(Self { path, tokens })
    }

    /// Adds the tokens that a `tokenizer.json` lacks and returns how many it added.
    pub fn extend(self, definition: &mut Value) -> usize {
        let vocab = &definition["model"]["vocab"];
        let mut added = definition["added_tokens"].as_array().cloned().unwrap_or_default();
        let before = added.len();
        for token in self.tokens {
            let content = &token["content"];
            let is_in_vocab = content.as_str().is_some_and(|text| vocab.get(text).is_some());
            if is_in_vocab || added.iter().any(|known| known["content"] == *content) {
                continue;
            }
            added.push(token);
        }
        let count = added.len() - before;
        definition["added_tokens"] = Value::Array(added);
        count
    }
}

fn from_decoder((number, token): (&String, &Value)) -> Result<Value, String> {
    let wrong = || format!("{number:?} in added_tokens_decoder is {token}, not an id and a token");
    let id: u32 = number.parse().map_err(|_| wrong())?;
    let settings = Settings::deserialize(token).map_err(|_| wrong())?;
    let Settings { content, lstrip, rstrip, single_word, normalized, special } = settings;
    let content = content.ok_or_else(wrong)?;
    Ok(json!({
        "id": id, "content": content, "single_word": single_word, "lstrip": lstrip,
        "rstrip": rstrip, "normalized": normalized, "special": special,
    }))
}

/// Returns the texts of the special tokens.
///
/// Each value is a text, a table with one, or a list of either.
fn special_tokens(file: &Map<String, Value>) -> Vec<&str> {
    let values = SPECIAL.iter().filter_map(|key| file.get(*key));
    let flat = values.flat_map(|value| match value {
        Value::Array(several) => several.iter().collect(),
        one => vec![one],
    });
    flat.filter_map(|token| token.as_str().or_else(|| token["content"].as_str())).collect()
}
