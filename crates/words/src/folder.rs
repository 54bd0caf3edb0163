//! Reading and writing of tokenizer folders.
//!
//! A folder holds Hugging Face's `tokenizer.json`, or the older pair `vocab.json` and `merges.txt`;
//! with either there may be separate files of added tokens. BERT's older file is `vocab.txt`.
//!
//! This module checks everything before the `tokenizers` library sees it: the library drops what it
//! does not know, and its BPE builder panics on a merge longer than the longest token.

use std::path::{Path, PathBuf};

use foreign_text::read_text;
use serde_json::{Map, Value};
use tokenizers::{Tokenizer, TruncationParams};

use crate::added::Added;
use crate::json::{id, invalid, read_json};
use crate::{TokenizerError, alphabet};

pub(crate) const TOKENIZER: &str = "tokenizer.json";
const VOCAB: &str = "vocab.json";
const MERGES: &str = "merges.txt";

/// Token ids by text, in the order of the file.
pub(crate) type Vocab = Map<String, Value>;
/// Pairs of tokens to merge, highest priority first.
pub(crate) type Merges = Vec<(String, String)>;

/// Reads the tokenizer of `folder`, and returns the file to name in later errors.
///
/// If there are only a vocabulary and merges, `assemble` builds the contents of a `tokenizer.json`.
pub(crate) fn read(
    folder: &Path,
    assemble: impl FnOnce(&Vocab, &[(String, String)]) -> Result<Value, String>,
) -> Result<(Tokenizer, PathBuf), TokenizerError> {
    let (whole, vocab, merges) = (folder.join(TOKENIZER), folder.join(VOCAB), folder.join(MERGES));
    if whole.exists() {
        let mut definition = read_json(&whole)?;
        return Ok((checked(folder, &whole, &mut definition, "BPE")?, whole));
    }
    if !vocab.exists() || !merges.exists() {
        return Err(TokenizerError::Missing(folder.to_owned()));
    }
    let Value::Object(tokens) = read_json(&vocab)? else {
        return Err(invalid(&vocab, "not an object of tokens and their ids".to_owned()));
    };
    let ids = check_vocab(&vocab, &tokens)?;
    check_ids(&vocab, ids)?;
    let pairs = read_merges(&merges, &tokens)?;
    let mut definition = assemble(&tokens, &pairs).map_err(|problem| invalid(&vocab, problem))?;
    Ok((checked(folder, &vocab, &mut definition, "BPE")?, vocab))
}

/// Returns the problem of a tokenizer without a token that all of that model have.
pub(crate) fn lacks(token: &str, whose: &str) -> String {
    format!("no token {token}: not {whose}")
}

/// Truncates texts to `max_length` tokens, and checks that a text is encoded between two tokens.
///
/// Returns their ids; `whose` names the model in the problem.
pub(crate) fn bounded(
    tokenizer: &mut Tokenizer,
    max_length: usize,
    [start, end]: [&str; 2],
    whose: &str,
) -> Result<[u32; 2], String> {
    let id = |token: &str| tokenizer.token_to_id(token).ok_or_else(|| lacks(token, whose));
    let ids = [id(start)?, id(end)?];
    let truncation = TruncationParams { max_length, ..Default::default() };
    tokenizer.with_truncation(Some(truncation)).map_err(|error| error.to_string())?;
    let empty = tokenizer.encode_fast("", true).map_err(|error| error.to_string())?;
    if empty.get_ids() != ids {
        return Err(format!(
            "an empty text becomes {:?}, not {start} {end}: not {whose}",
            empty.get_tokens()
        ));
    }
    Ok(ids)
}

/// Builds a tokenizer of the type `model` from the contents of a `tokenizer.json`.
///
/// Adds the tokens of the separate files in `folder`. Errors name `path`, the source of the
/// definition.
pub(crate) fn checked(
    folder: &Path,
    path: &Path,
    definition: &mut Value,
    model: &str,
) -> Result<Tokenizer, TokenizerError> {
    check_definition(path, definition, model)?;
    let added = Added::read(folder)?;
    let added_path = added.path.clone();
    if added.extend(definition) > 0 {
        check_definition(&added_path, definition, model)?;
    }
    build(path, definition)
}

/// Writes `tokenizer.json`, `vocab.json` and `merges.txt`, and creates `folder` if needed.
pub(crate) fn write(folder: &Path, tokenizer: &Tokenizer) -> Result<(), TokenizerError> {
    durable::create_dir_all(folder)?;
    let (vocab, merges) = vocab_and_merges(tokenizer)?;
    let mut lines = String::from("#version: 0.2\n");
    for (left, right) in &merges {
        lines.extend([left.as_str(), " ", right.as_str(), "\n"]);
    }
    let definition = tokenizer.to_string(true).map_err(TokenizerError::library)?;
    durable::write(&folder.join(VOCAB), Value::Object(vocab).to_string().as_bytes())?;
    durable::write(&folder.join(MERGES), lines.as_bytes())?;
    // Written last, because this file alone makes the folder readable.
    durable::write(&folder.join(TOKENIZER), definition.as_bytes())?;
    Ok(())
}

/// Returns a tokenizer's vocabulary, in the order of ids, and its merges.
pub(crate) fn vocab_and_merges(tokenizer: &Tokenizer) -> Result<(Vocab, Merges), TokenizerError> {
    let library = |error: serde_json::Error| TokenizerError::Library(error.to_string());
    let mut model = serde_json::to_value(tokenizer.get_model()).map_err(library)?;
    let vocab = serde_json::from_value(model["vocab"].take()).map_err(library)?;
    let merges = serde_json::from_value(model["merges"].take()).map_err(library)?;
    Ok((vocab, merges))
}

/// Fails if the tokenizer lacks a byte's token, which the library would silently drop from texts.
///
/// `whose` names the model in the error.
pub(crate) fn check_bytes(
    path: &Path,
    tokenizer: &Tokenizer,
    whose: &str,
) -> Result<(), TokenizerError> {
    for (byte, character) in alphabet::characters().into_iter().enumerate() {
        if tokenizer.token_to_id(&character.to_string()).is_none() {
            let problem = format!("no token for byte {byte:#04x} ({character:?}): not {whose}");
            return Err(invalid(path, problem));
        }
    }
    Ok(())
}

fn build(path: &Path, definition: &Value) -> Result<Tokenizer, TokenizerError> {
    let mut tokenizer = Tokenizer::from_bytes(definition.to_string())
        .map_err(|error| invalid(path, format!("not a tokenizer: {error}")))?;
    // The file's padding and truncation are leftovers of its last use; transformers resets both
    // too.
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(TokenizerError::library)?;
    Ok(tokenizer)
}

fn check_definition(path: &Path, definition: &Value, kind: &str) -> Result<(), TokenizerError> {
    let model = &definition["model"];
    // Files written before tokenizers 0.9 do not name the type.
    if model["type"].as_str().is_some_and(|found| found != kind) {
        return Err(invalid(path, format!("the model is {}, not {kind}", model["type"])));
    }
    let Some(vocab) = model["vocab"].as_object() else {
        return Err(invalid(path, "model.vocab is missing".to_owned()));
    };
    let mut ids = check_vocab(path, vocab)?;
    for token in definition["added_tokens"].as_array().into_iter().flatten() {
        let (Some(id), Some(text)) = (id(&token["id"]), token["content"].as_str()) else {
            return Err(invalid(path, format!("{token} in added_tokens has no id or no content")));
        };
        if vocab.get(text).is_none() {
            ids.push((id, text));
        }
    }
    check_ids(path, ids)?;
    for (index, merge) in model["merges"].as_array().into_iter().flatten().enumerate() {
        let location = || format!("model.merges[{index}]");
        let pair = match merge {
            Value::String(line) => line.split_once(' '),
            Value::Array(pair) => match pair.as_slice() {
                [Value::String(left), Value::String(right)] => {
                    Some((left.as_str(), right.as_str()))
                }
                _ => None,
            },
            _ => None,
        };
        let (left, right) = pair.ok_or_else(|| {
            invalid(path, format!("{} is {merge}, not a pair of tokens", location()))
        })?;
        check_merge(path, &location, left, right, vocab)?;
    }
    Ok(())
}

fn check_vocab<'a>(path: &Path, vocab: &'a Vocab) -> Result<Vec<(u32, &'a str)>, TokenizerError> {
    let entry = |(text, value): (&'a String, &Value)| match id(value) {
        Some(id) => Ok((id, text.as_str())),
        None => Err(invalid(path, format!("token {text:?} has {value} for an id"))),
    };
    vocab.iter().map(entry).collect()
}

/// Checks that ids are unique and consecutive from 0, as embedding rows are.
fn check_ids(path: &Path, mut ids: Vec<(u32, &str)>) -> Result<(), TokenizerError> {
    if ids.is_empty() {
        return Err(invalid(path, "the vocabulary is empty".to_owned()));
    }
    ids.sort_unstable();
    for (position, &(id, text)) in ids.iter().enumerate() {
        if position > 0 && ids[position - 1].0 == id {
            let other = ids[position - 1].1;
            return Err(invalid(path, format!("tokens {other:?} and {text:?} both have id {id}")));
        }
        if id as usize != position {
            return Err(invalid(
                path,
                format!("no token has id {position}, yet {text:?} has {id}"),
            ));
        }
    }
    Ok(())
}

fn read_merges(path: &Path, vocab: &Vocab) -> Result<Merges, TokenizerError> {
    let text =
        read_text(path).map_err(|source| TokenizerError::Read { path: path.to_owned(), source })?;
    let mut merges = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if index == 0 && line.starts_with("#version") {
            continue;
        }
        let location = || format!("line {}", index + 1);
        let parts: Vec<&str> = line.split(' ').collect();
        let [left, right] = parts[..] else {
            return Err(invalid(path, format!("{} is {line:?}, not two tokens", location())));
        };
        check_merge(path, &location, left, right, vocab)?;
        merges.push((left.to_owned(), right.to_owned()));
    }
    Ok(merges)
}

fn check_merge(
    path: &Path,
    location: &dyn Fn() -> String,
    left: &str,
    right: &str,
    vocab: &Vocab,
) -> Result<(), TokenizerError> {
    for token in [left, right, &format!("{left}{right}")] {
        if !vocab.contains_key(token) {
            let merge = format!("{} merges {left:?} and {right:?}", location());
            return Err(invalid(path, format!("{merge}, but {token:?} is not in the vocabulary")));
        }
    }
    Ok(())
}
