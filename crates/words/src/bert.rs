//! BERT's `WordPiece`, as sentence encoders use it: words are cut into the longest known pieces.

use std::path::{Path, PathBuf};

use foreign_text::read_text;
use serde_json::{Map, Value, json};
use tokenizers::Tokenizer;

use crate::TokenizerError;
use crate::folder::{self, TOKENIZER, Vocab};
use crate::json::{invalid, read_json, read_object_if_there};

const VOCAB: &str = "vocab.txt";
const CONFIG: &str = "tokenizer_config.json";
/// File in which sentence-transformers limits the length of texts.
const SENTENCE_CONFIG: &str = "sentence_bert_config.json";
/// Limit without that file: the positions of every BERT that Google published.
const MAX_TOKENS: usize = 512;
const UNKNOWN: &str = "[UNK]";
const START: &str = "[CLS]";
const END: &str = "[SEP]";

/// BERT's tokenizer, equal to transformers' `BertTokenizerFast` (4.57.6).
///
/// It splits at white space, punctuation and Chinese characters, and by default lower-cases and
/// strips accents. A text is encoded as `[CLS] text [SEP]`.
#[derive(Debug, Clone)]
pub struct BertTokenizer {
    tokenizer: Tokenizer,
    vocab_size: usize,
}

impl BertTokenizer {
    /// Reads `tokenizer.json`, or `vocab.txt` if there is none.
    ///
    /// `tokenizer_config.json` decides about case, accents and Chinese characters, as in
    /// transformers. A text keeps at most `max_seq_length` tokens of `sentence_bert_config.json`,
    /// or 512.
    ///
    /// # Errors
    /// Names the file and the problem.
    pub fn from_folder(folder: &Path) -> Result<Self, TokenizerError> {
        let (mut definition, file) = read_definition(folder)?;
        configure(&mut definition, &read_object_if_there(&folder.join(CONFIG))?)
            .map_err(|problem| invalid(&file, problem))?;
        let mut tokenizer = folder::checked(folder, &file, &mut definition, "WordPiece")?;
        if tokenizer.token_to_id(UNKNOWN).is_none() {
            return Err(invalid(&file, folder::lacks(UNKNOWN, "BERT's")));
        }
        let max_length = read_max_length(&folder.join(SENTENCE_CONFIG))?;
        folder::bounded(&mut tokenizer, max_length, [START, END], "BERT's")
            .map_err(|problem| invalid(&file, problem))?;
        let vocab_size = tokenizer.get_vocab_size(true);
        Ok(Self { tokenizer, vocab_size })
    }

    /// Returns token ids of texts, from `[CLS]` to `[SEP]`, computed on all cores.
    ///
    /// A text that is too long is truncated and still ends in `[SEP]`.
    pub fn encode_batch<S: AsRef<str>>(
        &self,
        texts: &[S],
    ) -> Result<Vec<Vec<u32>>, TokenizerError> {
        Ok(crate::encode_batch(&self.tokenizer, texts, true)?.0)
    }

    /// Returns the number of tokens; ids are below it.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }
}

/// Returns the contents of a `tokenizer.json`, and the file to name in errors.
fn read_definition(folder: &Path) -> Result<(Value, PathBuf), TokenizerError> {
    let (whole, vocab) = (folder.join(TOKENIZER), folder.join(VOCAB));
    if whole.exists() {
        return Ok((read_json(&whole)?, whole));
    }
    if !vocab.exists() {
        let problem = format!("there is no tokenizer: it needs {TOKENIZER} or {VOCAB}");
        return Err(invalid(folder, problem));
    }
    let text =
        read_text(&vocab).map_err(|source| TokenizerError::Read { path: vocab.clone(), source })?;
    let tokens = text.lines().enumerate().map(|(id, token)| (token.to_owned(), json!(id)));
    let definition = definition(&tokens.collect()).map_err(|problem| invalid(&vocab, problem))?;
    Ok((definition, vocab))
}

/// Returns transformers' `tokenizer.json` for BERT's `vocab.txt`.
fn definition(vocab: &Vocab) -> Result<Value, String> {
    let id = |token: &str| vocab.get(token).ok_or_else(|| folder::lacks(token, "BERT's"));
    let mut added = Vec::new();
    for token in ["[PAD]", UNKNOWN, START, END, "[MASK]"] {
        added.push(json!({
            "id": id(token)?, "content": token, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true,
        }));
    }
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true,
        },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": {
            "type": "BertProcessing", "sep": [END, id(END)?], "cls": [START, id(START)?],
        },
        "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
        "model": {
            "type": "WordPiece", "unk_token": UNKNOWN, "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab,
        },
    }))
}

/// Applies the settings of `tokenizer_config.json`, whose defaults are those of an uncased BERT.
fn configure(definition: &mut Value, config: &Map<String, Value>) -> Result<(), String> {
    let found = definition.get_mut("normalizer");
    let Some(normalizer) = found.filter(|found| found["type"] == "BertNormalizer") else {
        return Err("the normalizer is not BertNormalizer: not BERT's".to_owned());
    };
    for (name, key, default) in [
        ("lowercase", "do_lower_case", json!(true)),
        ("strip_accents", "strip_accents", Value::Null),
        ("handle_chinese_chars", "tokenize_chinese_chars", json!(true)),
    ] {
        normalizer[name] = config.get(key).cloned().unwrap_or(default);
    }
    Ok(())
}

fn read_max_length(path: &Path) -> Result<usize, TokenizerError> {
    let config = read_object_if_there(path)?;
    let Some(value) = config.get("max_seq_length").filter(|value| !value.is_null()) else {
        return Ok(MAX_TOKENS);
    };
    // Room for the two special tokens and one more.
    match value.as_u64().and_then(|value| usize::try_from(value).ok()) {
        Some(length) if length > 2 => Ok(length),
        _ => Err(invalid(path, format!("max_seq_length is {value}, not a number above 2"))),
    }
}
