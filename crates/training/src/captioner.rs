//! A trained run that captions: from image embeddings to sentences.

use networks::decode::{self, Options, Strategy};
use networks::gpt2::Gpt2Config;
use networks::prefix::ClipCaptioner;
use tch::{Device, Tensor, nn};
use words::Gpt2Tokenizer;

use crate::checkpoint;
use crate::config::Config;
use crate::error::Error;
use crate::inputs::load_tokenizer;
use crate::run_folder::{Provenance, RunFolder};

/// A run's newest checkpoint, ready to caption.
pub struct Captioner {
    /// The run's configuration.
    pub config: Config,
    /// What the run was trained from.
    pub provenance: Provenance,
    model: ClipCaptioner,
    tokenizer: Gpt2Tokenizer,
    stops: Vec<bool>,
    _store: nn::VarStore,
}

impl Captioner {
    /// Loads the newest whole checkpoint of a run.
    ///
    /// # Errors
    /// Says so when there is none, or names what is damaged.
    pub fn load(folder: &RunFolder, device: Device) -> Result<Self, Error> {
        let config = folder.config()?;
        let provenance = folder.provenance()?;
        let gpt2_config = Gpt2Config::open(&folder.gpt2())?;
        let tokenizer = load_tokenizer(&folder.gpt2(), gpt2_config.vocab_size)?;
        let (found, damaged) = checkpoint::latest(&folder.checkpoints())?;
        let Some(checkpoint) = found else {
            return Err(damaged.into_iter().next().unwrap_or_else(|| Error::RunFile {
                path: folder.checkpoints(),
                reason: "there is no checkpoint yet; train first: capsmith train --resume".into(),
            }));
        };
        let mut store = nn::VarStore::new(device);
        let mapper = config.mapper.network(provenance.clip_dim);
        let model = ClipCaptioner::new(store.root(), &gpt2_config, &mapper);
        checkpoint.load_model(&mut store)?;
        store.freeze();
        let stops = tokenizer.stop_tokens('.');
        Ok(Self { config, provenance, model, tokenizer, stops, _store: store })
    }

    /// Captions pictures from their embeddings, `[pictures, clip_dim]`, in batches.
    ///
    /// # Errors
    /// When a text cannot be decoded.
    pub fn caption(
        &self,
        embeddings: &Tensor,
        mut progress: impl FnMut(usize),
    ) -> Result<Vec<String>, Error> {
        let options = Options {
            strategy: Strategy::Greedy,
            max_tokens: self.config.decoding.max_tokens,
            stops: &self.stops,
        };
        let mut captions = Vec::new();
        for batch in embeddings.split(self.config.decoding.batch_size as i64, 0) {
            let prompt = tch::no_grad(|| self.model.prefix(&batch));
            let numbers: Vec<u64> =
                (captions.len() as u64..).take(batch.size()[0] as usize).collect();
            let written = decode::generate(self.model.gpt2(), &prompt, &numbers, &options)?;
            for best in written.iter().filter_map(|hypotheses| hypotheses.first()) {
                let ids: Vec<u32> =
                    best.tokens.iter().filter_map(|&token| u32::try_from(token).ok()).collect();
                captions.push(first_sentence(&self.tokenizer.decode(&ids)?));
            }
            progress(captions.len());
        }
        Ok(captions)
    }
}

/// The paper's cut: the text up to its first '.', stripped, plus " .".
#[must_use]
pub fn first_sentence(text: &str) -> String {
    let sentence = text.split('.').next().unwrap_or_default();
    format!("{} .", sentence.trim())
}

#[cfg(test)]
mod tests {
    use super::first_sentence;

    #[test]
    fn a_caption_ends_at_its_first_full_stop() {
        assert_eq!(first_sentence(" a dog runs . a cat"), "a dog runs .");
        assert_eq!(first_sentence("a dog runs"), "a dog runs .");
        assert_eq!(first_sentence("st. bernard"), "st .");
        assert_eq!(first_sentence(""), " .");
    }
}
