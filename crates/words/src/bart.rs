//! BART's byte-level BPE: that of `RoBERTa`, which is GPT-2's with other special tokens.

use std::path::Path;

use serde_json::{Value, json};
use tokenizers::Tokenizer;

use crate::TokenizerError;
use crate::folder::{self, Vocab};
use crate::json::invalid;

/// Start, end, padding, unknown and mask tokens.
const SPECIAL: [&str; 5] = ["<s>", "</s>", "<pad>", "<unk>", "<mask>"];

/// BART's tokenizer, equal to transformers' `BartTokenizerFast` (4.57.6).
///
/// It encodes pairs as `<s> first </s></s> second </s>`, without normalization and without a prefix
/// space.
#[derive(Debug, Clone)]
pub struct BartTokenizer {
    tokenizer: Tokenizer,
    vocab_size: usize,
}

impl BartTokenizer {
    /// Reads `tokenizer.json`, or `vocab.json` and `merges.txt` if there is none.
    ///
    /// # Errors
    /// Names the file and the problem: a truncated file, a merge of tokens that the vocabulary
    /// lacks, an id without a token, a byte without a token, or a missing special token.
    pub fn from_folder(folder: &Path) -> Result<Self, TokenizerError> {
        let (tokenizer, file) = folder::read(folder, definition)?;
        for token in SPECIAL {
            if tokenizer.token_to_id(token).is_none() {
                return Err(invalid(&file, format!("no token {token}: not BART's")));
            }
        }
        folder::check_bytes(&file, &tokenizer, "BART's")?;
        let vocab_size = tokenizer.get_vocab_size(true);
        Ok(Self { tokenizer, vocab_size })
    }

    /// Returns the token ids of each pair of texts, computed on all cores.
    ///
    /// A row is `<s> first </s></s> second </s>`.
    pub fn encode_pairs<S: AsRef<str> + Sync>(
        &self,
        pairs: &[(S, S)],
    ) -> Result<Vec<Vec<i64>>, TokenizerError> {
        let pairs: Vec<(&str, &str)> =
            pairs.iter().map(|(first, second)| (first.as_ref(), second.as_ref())).collect();
        let encodings =
            self.tokenizer.encode_batch_fast(pairs, true).map_err(TokenizerError::library)?;
        let ids = |encoding: &tokenizers::Encoding| {
            encoding.get_ids().iter().map(|&id| i64::from(id)).collect()
        };
        Ok(encodings.iter().map(ids).collect())
    }

    /// Encodes each text with each candidate, as transformers' zero-shot pipeline does.
    ///
    /// The second text of a pair is `This example is CANDIDATE.`. The rows of a text are adjacent.
    pub fn encode_zero_shot<S: AsRef<str>>(
        &self,
        texts: &[S],
        candidates: &[S],
    ) -> Result<Vec<Vec<i64>>, TokenizerError> {
        let hypotheses: Vec<String> = candidates
            .iter()
            .map(|candidate| format!("This example is {}.", candidate.as_ref()))
            .collect();
        let pairs: Vec<(&str, &str)> = texts
            .iter()
            .flat_map(|text| {
                hypotheses.iter().map(|hypothesis| (text.as_ref(), hypothesis.as_str()))
            })
            .collect();
        self.encode_pairs(&pairs)
    }

    /// Returns the number of tokens; ids are below it.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }
}

/// Returns transformers' `tokenizer.json` for BART's `vocab.json` and `merges.txt`.
fn definition(vocab: &Vocab, merges: &[(String, String)]) -> Result<Value, String> {
    let id = |token: &str| vocab.get(token).ok_or_else(|| format!("no token {token}: not BART's"));
    let mut added = Vec::with_capacity(SPECIAL.len());
    for token in SPECIAL {
        let is_mask = token == "<mask>";
        added.push(json!({
            "id": id(token)?, "content": token, "single_word": false, "lstrip": is_mask,
            "rstrip": false, "normalized": !is_mask, "special": true,
        }));
    }
    let byte_level = |add_prefix_space: bool| {
        json!({
            "type": "ByteLevel", "add_prefix_space": add_prefix_space,
            "trim_offsets": true, "use_regex": true,
        })
    };
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": byte_level(false),
        "post_processor": {
            "type": "RobertaProcessing", "sep": ["</s>", id("</s>")?], "cls": ["<s>", id("<s>")?],
            "trim_offsets": true, "add_prefix_space": false,
        },
        "decoder": byte_level(true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": vocab, "merges": merges,
        },
    }))
}
