//! GPT-2's byte-level BPE, as published or trained on other texts.

use std::path::Path;

use serde_json::{Value, json};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::BpeTrainer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};

use crate::folder::{self, Vocab};
use crate::{TokenizerError, alphabet};

const END_OF_TEXT: &str = "<|endoftext|>";

/// GPT-2's tokenizer, equal to transformers' `GPT2TokenizerFast` (4.57.6).
///
/// It does not normalize and adds no prefix space; `<|endoftext|>` in a text becomes that token.
#[derive(Debug, Clone)]
pub struct Gpt2Tokenizer {
    tokenizer: Tokenizer,
    /// Stored, because the library builds a map of all tokens to count them.
    vocab_size: usize,
}

impl Gpt2Tokenizer {
    /// Smallest vocabulary: the end of text and every byte.
    pub const SMALLEST_VOCABULARY: usize = 257;

    /// Reads `tokenizer.json`, or `vocab.json` and `merges.txt` if there is none.
    ///
    /// # Errors
    /// Names the file and the problem: a truncated file, a merge of tokens that the vocabulary
    /// lacks, an id without a token, or a byte without a token.
    pub fn from_folder(folder: &Path) -> Result<Self, TokenizerError> {
        let (tokenizer, file) =
            folder::read(folder, |vocab, merges| Ok(definition(vocab, merges)))?;
        folder::check_bytes(&file, &tokenizer, "GPT-2's")?;
        Ok(Self::new(tokenizer))
    }

    /// Trains a byte-level BPE of at most `vocab_size` tokens with GPT-2's pipeline.
    ///
    /// Equal to transformers' `train_new_from_iterator` on GPT-2's tokenizer: `<|endoftext|>` is
    /// token 0, the bytes follow, then the merges with the most frequent first.
    ///
    /// # Errors
    /// Fails if `vocab_size` is below 257.
    pub fn train<I>(texts: I, vocab_size: usize) -> Result<Self, TokenizerError>
    where
        I: IntoIterator,
        I::IntoIter: Send,
        I::Item: AsRef<str> + Send,
    {
        if vocab_size < Self::SMALLEST_VOCABULARY {
            let least = Self::SMALLEST_VOCABULARY;
            return Err(TokenizerError::VocabularyTooSmall { vocab_size, least });
        }
        let mut trainer = TrainerWrapper::BpeTrainer(
            BpeTrainer::builder()
                .vocab_size(vocab_size)
                .min_frequency(0)
                .show_progress(false)
                .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
                .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
                .build(),
        );
        let mut untrained = definition(&Vocab::new(), &[]);
        // In training, "<|endoftext|>" in a text is ordinary text.
        untrained["added_tokens"] = json!([]);
        let mut tokenizer =
            Tokenizer::from_bytes(untrained.to_string()).map_err(TokenizerError::library)?;
        tokenizer.train(&mut trainer, texts.into_iter()).map_err(TokenizerError::library)?;
        let (vocab, merges) = folder::vocab_and_merges(&tokenizer)?;
        let trained = definition(&vocab, &merges).to_string();
        let tokenizer = Tokenizer::from_bytes(trained).map_err(TokenizerError::library)?;
        Ok(Self::new(tokenizer))
    }

    fn new(tokenizer: Tokenizer) -> Self {
        let vocab_size = tokenizer.get_vocab_size(true);
        Self { tokenizer, vocab_size }
    }

    /// Returns the token ids of a text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self.tokenizer.encode_fast(text, false).map_err(TokenizerError::library)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Returns the token ids of each text, computed on all cores.
    pub fn encode_batch<S: AsRef<str>>(
        &self,
        texts: &[S],
    ) -> Result<Vec<Vec<u32>>, TokenizerError> {
        Ok(crate::encode_batch(&self.tokenizer, texts, false)?.0)
    }

    /// Returns the text of token ids, including special tokens and with all spaces.
    ///
    /// Equal to transformers' `decode(ids, clean_up_tokenization_spaces=False)`. A character that
    /// the end of the row truncates becomes U+FFFD. An id without a token is skipped, as in
    /// transformers; a model can have more embeddings than there are tokens.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        self.tokenizer.decode(ids, false).map_err(TokenizerError::library)
    }

    /// Returns the number of tokens; ids are below it.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Returns for each token id whether its text contains `character`.
    ///
    /// A decoder can stop at the first such token. No token contains a character that BPE splits
    /// over several tokens, which are never ASCII.
    #[must_use]
    pub fn stop_tokens(&self, character: char) -> Vec<bool> {
        let alphabet = alphabet::characters();
        let mut buffer = [0; 4];
        let pattern = character.encode_utf8(&mut buffer).as_bytes();
        let mut stops = vec![false; self.vocab_size];
        for (token, id) in self.tokenizer.get_vocab(true) {
            // An added token is plain text. Where the alphabet can write it, both readings are the
            // same.
            let bytes = alphabet::bytes(&token, &alphabet).unwrap_or_else(|| token.into_bytes());
            if let Some(stop) = stops.get_mut(id as usize) {
                *stop = bytes.windows(pattern.len()).any(|window| window == pattern);
            }
        }
        stops
    }

    /// Writes `tokenizer.json`, `vocab.json` and `merges.txt`, and creates `folder` if needed.
    ///
    /// [`Self::from_folder`] and transformers read these files.
    pub fn save(&self, folder: &Path) -> Result<(), TokenizerError> {
        folder::write(folder, &self.tokenizer)
    }
}

/// Returns transformers' `tokenizer.json` for GPT-2's `vocab.json` and `merges.txt`.
fn definition(vocab: &Vocab, merges: &[(String, String)]) -> Value {
    let end = vocab.get(END_OF_TEXT).cloned().unwrap_or_else(|| json!(vocab.len()));
    let byte_level = |add_prefix_space: bool, trim_offsets: bool| {
        json!({
            "type": "ByteLevel", "add_prefix_space": add_prefix_space,
            "trim_offsets": trim_offsets, "use_regex": true,
        })
    };
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [{
            "id": end, "content": END_OF_TEXT, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": true, "special": true,
        }],
        "normalizer": null,
        "pre_tokenizer": byte_level(false, true),
        "post_processor": byte_level(true, false),
        "decoder": byte_level(true, true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": vocab, "merges": merges,
        },
    })
}
