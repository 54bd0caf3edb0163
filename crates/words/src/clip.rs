//! CLIP's tokenizer: a byte-level BPE that lower-cases and marks word ends with `</w>`.

use std::path::Path;

use serde_json::{Value, json};
use tokenizers::Tokenizer;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::BpeTrainer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use crate::folder::{self, Vocab};
use crate::json::{invalid, read_json};
use crate::{TokenizerError, alphabet};

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";
/// Number of text positions of every CLIP that `OpenAI` published.
const CONTEXT_LENGTH: usize = 77;
/// Most merges that transformers reads from a `merges.txt`.
///
/// These are as many as `OpenAI`'s vocabulary has: 49,152 tokens less the bytes in both forms,
/// counted as there.
const MAX_MERGES: usize = 49_152 - 256 - 2;

/// CLIP's tokenizer, equal to transformers' `CLIPTokenizerFast` (4.57.6).
///
/// A text is composed (NFC), each run of white space becomes one space, and the text is lower-cased
/// and split by CLIP's pattern. Other CLIP tokenizers clean the text first and give other ids to
/// unusual texts. Transformers' slow `CLIPTokenizer` cleans as BERT does: 18 of the 2,000 test
/// sentences differ (Chinese characters, joiners and other invisible characters, a final sigma).
/// `OpenAI`'s own runs ftfy and undoes HTML entities (curly quotes, full-width letters). On plain
/// captions all agree.
#[derive(Debug, Clone)]
pub struct ClipTokenizer {
    tokenizer: Tokenizer,
    vocab_size: usize,
    end: u32,
    context_length: usize,
}

/// Rows of token ids padded to equal length by [`ClipTokenizer::pad`].
///
/// Both arrays are row-major `[rows, tokens]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaddedRows {
    /// Token ids, padded with `<|endoftext|>`.
    pub ids: Vec<i64>,
    /// 1 at a row's own tokens, 0 at padding.
    pub attention_mask: Vec<i64>,
    /// Number of rows.
    pub rows: usize,
    /// Length of every row, which is that of the longest.
    pub tokens: usize,
}

impl ClipTokenizer {
    /// Smallest vocabulary: each byte inside a word and at its end, and the two special tokens.
    pub const SMALLEST_VOCABULARY: usize = 514;

    /// Reads `tokenizer.json`, or `vocab.json` and `merges.txt` if there is none.
    ///
    /// The context length is `model_max_length` in `tokenizer_config.json`, or 77 without it.
    ///
    /// # Errors
    /// Names the file and the problem.
    pub fn from_folder(folder: &Path) -> Result<Self, TokenizerError> {
        let (tokenizer, file) = folder::read(folder, definition)?;
        let context_length = read_context_length(&folder.join("tokenizer_config.json"))?;
        Self::new(tokenizer, context_length).map_err(|problem| invalid(&file, problem))
    }

    /// Returns a tokenizer without merges, for models trained from scratch.
    ///
    /// It has 514 tokens: the 256 bytes, the 256 bytes that end a word, and the two special tokens.
    /// A text keeps at most 75 bytes.
    pub fn byte_level() -> Result<Self, TokenizerError> {
        Self::of_merges(&[])
    }

    /// Trains a BPE of at most `vocab_size` tokens with CLIP's pipeline.
    ///
    /// The order of the vocabulary is that of `OpenAI`: the bytes, the bytes that end a word, the
    /// merged tokens with the most frequent first, and the two special tokens.
    ///
    /// # Errors
    /// Fails if `vocab_size` is below [`Self::SMALLEST_VOCABULARY`].
    pub fn train<I>(texts: I, vocab_size: usize) -> Result<Self, TokenizerError>
    where
        I: IntoIterator,
        I::IntoIter: Send,
        I::Item: AsRef<str> + Send,
    {
        let least = Self::SMALLEST_VOCABULARY;
        let too_small = TokenizerError::VocabularyTooSmall { vocab_size, least };
        let merges = vocab_size.checked_sub(least).ok_or(too_small)?;
        let mut untrained = Self::byte_level()?.tokenizer;
        untrained.with_truncation(None).map_err(TokenizerError::library)?;
        // The trainer's first tokens are the bytes that it meets, inside words and at their ends.
        let mut trainer = TrainerWrapper::BpeTrainer(
            BpeTrainer::builder()
                .vocab_size(merges + 2 * alphabet::characters().len())
                .min_frequency(2)
                .show_progress(false)
                .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
                .end_of_word_suffix("</w>".to_owned())
                .build(),
        );
        untrained.train(&mut trainer, texts.into_iter()).map_err(TokenizerError::library)?;
        let (_, mut learned) = folder::vocab_and_merges(&untrained)?;
        learned.truncate(merges);
        Self::of_merges(&learned)
    }

    fn of_merges(merges: &[(String, String)]) -> Result<Self, TokenizerError> {
        let bytes = alphabet::characters().map(String::from);
        let ends = bytes.iter().map(|byte| format!("{byte}</w>"));
        let merged = merges.iter().map(|(left, right)| format!("{left}{right}"));
        let special = [START, END].map(String::from);
        let tokens = bytes.iter().cloned().chain(ends).chain(merged).chain(special);
        let vocab = tokens.enumerate().map(|(id, token)| (token, json!(id))).collect();
        let definition = definition(&vocab, merges).map_err(TokenizerError::Library)?;
        let tokenizer =
            Tokenizer::from_bytes(definition.to_string()).map_err(TokenizerError::library)?;
        Self::new(tokenizer, CONTEXT_LENGTH).map_err(TokenizerError::Library)
    }

    fn new(mut tokenizer: Tokenizer, context_length: usize) -> Result<Self, String> {
        let [_, end] = folder::bounded(&mut tokenizer, context_length, [START, END], "CLIP's")?;
        let vocab_size = tokenizer.get_vocab_size(true);
        Ok(Self { tokenizer, vocab_size, end, context_length })
    }

    /// Returns token ids of texts, from `<|startoftext|>` to `<|endoftext|>`, using all cores.
    ///
    /// A text longer than the context is truncated and still ends in `<|endoftext|>`.
    pub fn encode_batch<S: AsRef<str>>(
        &self,
        texts: &[S],
    ) -> Result<Vec<Vec<u32>>, TokenizerError> {
        Ok(crate::encode_batch(&self.tokenizer, texts, true)?.0)
    }

    /// Returns the same as [`Self::encode_batch`], and the number of texts that were truncated.
    pub fn encode_batch_counting_cut<S: AsRef<str>>(
        &self,
        texts: &[S],
    ) -> Result<(Vec<Vec<u32>>, usize), TokenizerError> {
        crate::encode_batch(&self.tokenizer, texts, true)
    }

    /// Pads rows with `<|endoftext|>` to the longest, as transformers' `padding=True` does.
    #[must_use]
    pub fn pad<R: AsRef<[u32]>>(&self, rows: &[R]) -> PaddedRows {
        let tokens = rows.iter().map(|row| row.as_ref().len()).max().unwrap_or(0);
        let mut ids = Vec::with_capacity(rows.len() * tokens);
        let mut attention_mask = Vec::with_capacity(rows.len() * tokens);
        for row in rows {
            let row = row.as_ref();
            let padding = tokens - row.len();
            ids.extend(row.iter().map(|&id| i64::from(id)));
            ids.extend(std::iter::repeat_n(i64::from(self.end), padding));
            attention_mask.extend(std::iter::repeat_n(1, row.len()));
            attention_mask.extend(std::iter::repeat_n(0, padding));
        }
        PaddedRows { ids, attention_mask, rows: rows.len(), tokens }
    }

    /// Returns the number of tokens; ids are below it.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Returns the id of `<|endoftext|>`, at which CLIP's text tower pools.
    #[must_use]
    pub fn end_of_text(&self) -> u32 {
        self.end
    }

    /// Returns the most tokens that a row can have, including the two special ones.
    #[must_use]
    pub fn context_length(&self) -> usize {
        self.context_length
    }

    /// Writes the tokenizer files of a Hugging Face CLIP folder.
    ///
    /// These are `tokenizer.json`, `vocab.json`, `merges.txt`, `tokenizer_config.json` and
    /// `special_tokens_map.json`.
    pub fn save(&self, folder: &Path) -> Result<(), TokenizerError> {
        let mut tokenizer = self.tokenizer.clone();
        tokenizer.with_truncation(None).map_err(TokenizerError::library)?;
        durable::create_dir_all(folder)?;
        let specials =
            json!({"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END});
        let mut config = specials.clone();
        config["clean_up_tokenization_spaces"] = json!(false);
        config["errors"] = json!("replace");
        config["model_max_length"] = json!(self.context_length);
        config["tokenizer_class"] = json!("CLIPTokenizer");
        let pretty = |value: &Value| format!("{value:#}\n").into_bytes();
        durable::write(&folder.join("special_tokens_map.json"), &pretty(&specials))?;
        durable::write(&folder.join("tokenizer_config.json"), &pretty(&config))?;
        folder::write(folder, &tokenizer)
    }
}

fn read_context_length(config: &Path) -> Result<usize, TokenizerError> {
    if !config.exists() {
        return Ok(CONTEXT_LENGTH);
    }
    match read_json(config)?.get("model_max_length") {
        None => Ok(CONTEXT_LENGTH),
        // transformers writes 10^30 for "unknown".
        Some(length) if length.as_f64().is_some_and(|length| length > 1e9) => Ok(CONTEXT_LENGTH),
        Some(length) => match length.as_u64() {
            Some(length) if length > 2 => Ok(length as usize),
            _ => Err(invalid(config, format!("model_max_length is {length}"))),
        },
    }
}

/// Returns transformers' `tokenizer.json` for CLIP's `vocab.json` and `merges.txt`.
fn definition(vocab: &Vocab, merges: &[(String, String)]) -> Result<Value, String> {
    let id = |token: &str| vocab.get(token).ok_or_else(|| folder::lacks(token, "CLIP's"));
    let (start, end) = (id(START)?, id(END)?);
    let special = |id: &Value, token: &str| {
        json!({
            "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": true, "special": true,
        })
    };
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [special(start, START), special(end, END)],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFC"},
            {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
            {"type": "Lowercase"},
        ]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {
                "type": "Split", "behavior": "Removed", "invert": true,
                "pattern": {
                    "Regex": r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
                },
            },
            {
                "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                "use_regex": true,
            },
        ]},
        "post_processor": {
            "type": "RobertaProcessing", "sep": [END, end],
            "cls": [START, start], "trim_offsets": false, "add_prefix_space": false,
        },
        "decoder": {
            "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true,
        },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": END, "continuing_subword_prefix": "",
            "end_of_word_suffix": "</w>", "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": vocab, "merges": &merges[..merges.len().min(MAX_MERGES)],
        },
    }))
}
