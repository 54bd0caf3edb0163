//! A trained run that captions: from image embeddings to sentences.

use networks::decode::{self, Hypothesis, Options};
use networks::gpt2::Gpt2Config;
use networks::prefix::ClipCaptioner;
use tch::{Device, Tensor, nn};
use words::Gpt2Tokenizer;

use crate::checkpoint::{self, Which};
use crate::config::{Config, Strategy};
use crate::error::Error;
use crate::inputs::load_tokenizer;
use crate::run_folder::{Provenance, RunFolder};

/// A run's checkpoint, ready to caption.
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
    /// Loads a checkpoint of a run, to be decoded as `sets` of `decoding.KEY=VALUE` change its
    /// configuration.
    ///
    /// # Errors
    /// Says so when there is none, or names what is damaged.
    pub fn load(
        folder: &RunFolder,
        device: Device,
        which: Which,
        sets: &[String],
    ) -> Result<Self, Error> {
        let config = folder.config()?.with_decoding(sets)?;
        let provenance = folder.provenance()?;
        let gpt2_config = Gpt2Config::open(&folder.gpt2())?;
        let tokenizer = load_tokenizer(&folder.gpt2(), gpt2_config.vocab_size)?;
        let checkpoint = checkpoint::find(&folder.checkpoints(), which)?;
        let mut store = nn::VarStore::new(device);
        let mapper = config.mapper.network(provenance.clip_dim);
        let model = ClipCaptioner::new(store.root(), &gpt2_config, &mapper);
        checkpoint.load_model(&mut store)?;
        store.freeze();
        let stops = stops(&tokenizer, &config.decoding.strategy)?;
        Ok(Self { config, provenance, model, tokenizer, stops, _store: store })
    }

    /// Captions of pictures from their embeddings, `[pictures, clip_dim]`, in batches; those of each
    /// picture best first.
    ///
    /// # Errors
    /// When a text cannot be decoded.
    pub fn caption(
        &self,
        embeddings: &Tensor,
        mut progress: impl FnMut(usize),
    ) -> Result<Vec<Vec<Caption>>, Error> {
        let options = Options {
            strategy: self.config.decoding.strategy.steps(),
            max_tokens: self.config.decoding.max_tokens,
            stops: &self.stops,
        };
        let mut captions = Vec::new();
        for batch in embeddings.split(self.config.decoding.batch_size as i64, 0) {
            let prompt = tch::no_grad(|| self.model.prefix(&batch));
            let numbers: Vec<u64> =
                (captions.len() as u64..).take(batch.size()[0] as usize).collect();
            for written in decode::generate(self.model.gpt2(), &prompt, &numbers, &options)? {
                captions.push(self.read(&written)?);
            }
            progress(captions.len());
        }
        Ok(captions)
    }

    /// The texts of one picture's hypotheses, best first.
    fn read(&self, written: &[Hypothesis]) -> Result<Vec<Caption>, Error> {
        let mut captions = Vec::with_capacity(written.len());
        for one in written {
            let ids: Vec<u32> =
                one.tokens.iter().filter_map(|&token| u32::try_from(token).ok()).collect();
            let text = first_sentence(&self.tokenizer.decode(&ids)?);
            captions.push(Caption { text, score: one.score() });
        }
        captions.sort_by(|a, b| b.score.total_cmp(&a.score));
        Ok(captions)
    }
}

/// The tokens that end a caption: those whose text has a full stop. ClipCap's beams are ended by the
/// token `.` alone and cut afterwards; other ends would let other beams win.
fn stops(tokenizer: &Gpt2Tokenizer, strategy: &Strategy) -> Result<Vec<bool>, Error> {
    let mut stops = tokenizer.stop_tokens('.');
    if let Strategy::Beam { .. } = strategy {
        let full_stop = tokenizer.encode(".")?;
        stops.iter_mut().zip(0..).for_each(|(stop, id)| *stop = full_stop.first() == Some(&id));
    }
    Ok(stops)
}

/// A caption that a model wrote.
#[derive(Debug, Clone, PartialEq)]
pub struct Caption {
    /// Its text.
    pub text: String,
    /// The mean log-probability of its tokens, by the model.
    pub score: f64,
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
