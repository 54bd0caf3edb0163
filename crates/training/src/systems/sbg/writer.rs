//! Captions of SBG: samples of GPT-2 after a prompt of keywords, reranked by CLIP.

use std::collections::BTreeMap;
use std::rc::Rc;

use foreign_text::printable_path;
use keywords::{SEPARATOR, Selector, TextEncoder, prompt};
use networks::InitialWeights;
use networks::decode::{self, Options};
use networks::language_model::LanguageModel;
use progress::Progress;
use recipes::Decoding;
use runs::RunFolder;
use runs::checkpoints::Checkpoint;
use tch::{Device, Kind, Tensor, nn, no_grad};
use words::Gpt2Tokenizer;

use super::kept;
use super::texts::{end_of_text, token_rows};
use crate::captions::{Caption, ImageInputs, Writer, decoded, first_sentence};
use crate::checkpoint;
use crate::error::Error;
use crate::keyword_selector::KeywordSelector;
use crate::language_model;

/// Trained SBG captioner.
pub(crate) struct SbgWriter {
    model: LanguageModel,
    tokenizer: Gpt2Tokenizer,
    end: i64,
    /// For each token, true if it ends a caption: its text has a full stop, or it ends the text.
    stops: Vec<bool>,
    /// CLIP's text tower, which compares captions with images.
    encoder: Option<Rc<TextEncoder>>,
    device: Device,
    folder: RunFolder,
}

/// Prompt of an image's captions.
struct Prompt {
    /// Index of the image in its batch.
    image: usize,
    tokens: Vec<i64>,
}

impl SbgWriter {
    /// Loads a checkpoint of a run, whose captions the text tower `encoder` compares with images.
    ///
    /// Without `encoder`, captions are not compared with images. The language model's weights get
    /// type `kind`.
    pub(crate) fn load(
        folder: &RunFolder,
        checkpoint: &Checkpoint,
        encoder: Option<Rc<TextEncoder>>,
        kind: Kind,
        device: Device,
    ) -> Result<Self, Error> {
        let (gpt2, tokenizer) = language_model::load(folder)?;
        let mut store = nn::VarStore::new(device);
        let mut model = LanguageModel::with_initial(store.root(), &gpt2, InitialWeights::Zeros);
        checkpoint::load_model(checkpoint, &mut store)?;
        store.freeze();
        store.set_kind(kind);
        drop(store);
        model.pack();
        encoder.iter().try_for_each(|encoder| check_encoder(folder, encoder))?;
        let end = end_of_text(&tokenizer)?;
        let mut stops = tokenizer.stop_tokens('.');
        stops[end as usize] = true;
        Ok(Self { model, tokenizer, end, stops, encoder, device, folder: folder.clone() })
    }

    /// Returns the prompts of images with these keywords.
    ///
    /// If a prompt does not leave room for a caption, its last keywords are dropped. Also returns
    /// the number of such prompts.
    fn prompts(
        &self,
        keywords: &[Vec<String>],
        max_tokens: usize,
    ) -> Result<(Vec<Prompt>, usize), Error> {
        let room = self.positions().saturating_sub(max_tokens).max(1);
        let texts: Vec<String> = keywords.iter().map(|words| prompt(words)).collect();
        let mut prompts = Vec::with_capacity(texts.len());
        let mut cut = 0;
        for (image, mut tokens) in token_rows(&self.tokenizer, &texts)?.into_iter().enumerate() {
            if tokens.len() > room {
                cut += 1;
                tokens = self.shortened(&keywords[image], room)?;
            }
            prompts.push(Prompt { image, tokens });
        }
        Ok((prompts, cut))
    }

    /// Returns the largest number of tokens of prompt and caption.
    fn positions(&self) -> usize {
        usize::try_from(self.model.gpt2().config().n_positions).unwrap_or(0)
    }

    /// Returns the prompt of the first keywords, as many as fit.
    fn shortened(&self, keywords: &[String], room: usize) -> Result<Vec<i64>, Error> {
        let texts: Vec<String> =
            (0..=keywords.len()).map(|kept| prompt(&keywords[..kept])).collect();
        let mut fitting =
            token_rows(&self.tokenizer, &texts)?.into_iter().filter(|row| row.len() <= room);
        fitting.next_back().ok_or_else(|| {
            Error::Mismatch(format!(
                "decoding.max_new_tokens leaves {room} positions for the prompt, which is too few; lower it"
            ))
        })
    }

    /// Samples captions after each prompt. All prompts have one length.
    fn sample(
        &self,
        prompts: &[&Prompt],
        numbers: &[u64],
        options: &Options,
        decoding: &Decoding,
    ) -> Result<Vec<Vec<String>>, Error> {
        let tokens: Vec<i64> = prompts.iter().flat_map(|prompt| &prompt.tokens).copied().collect();
        let ids =
            Tensor::from_slice(&tokens).view([prompts.len() as i64, -1]).to_device(self.device);
        let inputs = no_grad(|| self.model.gpt2().embed(&ids));
        let mut texts = Vec::with_capacity(prompts.len());
        for written in decode::generate(self.model.gpt2(), &inputs, numbers, options)? {
            let samples = written.iter().map(|hypothesis| {
                let tokens = hypothesis.tokens.strip_suffix(&[self.end]);
                let tokens = tokens.unwrap_or(&hypothesis.tokens);
                Ok(caption_of(&decoded(&self.tokenizer, tokens, decoding)?))
            });
            texts.push(samples.collect::<Result<_, Error>>()?);
        }
        Ok(texts)
    }

    /// Scores texts by their cosines with `embeddings` `[images, dim]`; by 0 without a CLIP.
    fn compare(
        &self,
        texts: Vec<Vec<String>>,
        embeddings: &Tensor,
    ) -> Result<Vec<Vec<Caption>>, Error> {
        let samples = texts.first().map_or(0, Vec::len);
        let cosines = match &self.encoder {
            None => vec![vec![0.0; samples]; texts.len()],
            Some(encoder) => {
                let encoded = encoder.encode(&texts.concat())?;
                let cosines = no_grad(|| {
                    let by_image = encoded.view([texts.len() as i64, samples as i64, -1]);
                    by_image.matmul(&embeddings.unsqueeze(2)).squeeze_dim(2)
                });
                Vec::<Vec<f64>>::try_from(cosines.to_kind(Kind::Double))?
            }
        };
        let captions = texts.into_iter().zip(cosines).map(|(texts, cosines)| {
            texts.into_iter().zip(cosines).map(|(text, score)| Caption { text, score }).collect()
        });
        Ok(captions.collect())
    }
}

impl Writer for SbgWriter {
    fn vocabulary(&self) -> usize {
        self.model.gpt2().config().vocab_size as usize
    }

    fn most_tokens(&self) -> Result<usize, Error> {
        let shortest = token_rows(&self.tokenizer, &[prompt::<&str>(&[])])?.concat().len();
        Ok(self.positions().saturating_sub(shortest))
    }

    fn keyword_selector(&self) -> Result<Option<KeywordSelector>, Error> {
        let Some(encoder) = &self.encoder else { return Ok(None) };
        let (labels, encyclopedia) = kept::open(&self.folder)?;
        let selector = Selector::new(&labels, encyclopedia.as_ref());
        let texts = encoder.encode(selector.texts())?;
        Ok(Some(KeywordSelector::new(selector, texts)))
    }

    fn write(
        &self,
        images: &ImageInputs,
        decoding: &Decoding,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Vec<Caption>>, Error> {
        let keywords = images.keywords.as_ref().ok_or_else(|| {
            Error::Mismatch("captions are written from keywords, and none are given".to_owned())
        })?;
        let (prompts, cut) = self.prompts(keywords, decoding.max_new_tokens)?;
        if cut > 0 {
            progress.note(&format!(
                "the keywords of {cut} pictures leave no room for a caption of decoding.max_new_tokens={}; their last keywords are dropped",
                decoding.max_new_tokens
            ));
        }
        let options = Options {
            strategy: decoding.strategy,
            max_tokens: decoding.max_new_tokens,
            stops: &self.stops,
            constraints: decoding.constraints,
            ends: &self.stops,
            vocabulary: Some(self.tokenizer.vocab_size()),
        };
        // Prompts of one length make a batch without padding.
        let mut by_length: BTreeMap<usize, Vec<&Prompt>> = BTreeMap::new();
        for prompt in &prompts {
            by_length.entry(prompt.tokens.len()).or_default().push(prompt);
        }
        let mut captions = vec![Vec::new(); prompts.len()];
        let mut done = 0;
        let batch_size = decoding.caption_batch_size(self.device.is_cuda());
        for batch in by_length.values().flat_map(|alike| alike.chunks(batch_size)) {
            let numbers: Vec<u64> =
                batch.iter().map(|prompt| images.numbers[prompt.image]).collect();
            let rows: Vec<i64> = batch.iter().map(|prompt| prompt.image as i64).collect();
            let rows = Tensor::from_slice(&rows).to_device(images.embeddings.device());
            let embeddings = images.embeddings.index_select(0, &rows);
            let written =
                self.compare(self.sample(batch, &numbers, &options, decoding)?, &embeddings)?;
            for (prompt, written) in batch.iter().zip(written) {
                captions[prompt.image] = written;
            }
            done += batch.len();
            progress.position(done as u64);
        }
        Ok(captions)
    }
}

/// Returns the caption in the text after a prompt.
///
/// It ends at the next separator, which begins another text's caption, or at the first full stop.
fn caption_of(text: &str) -> String {
    first_sentence(text.split(SEPARATOR).next().unwrap_or_default())
}

/// Checks that a text tower is of the CLIP that computed the run's embeddings.
fn check_encoder(folder: &RunFolder, encoder: &TextEncoder) -> Result<(), Error> {
    let embeddings = folder.provenance()?.embeddings;
    if embeddings.is_none_or(|identity| identity.model_sha256 == encoder.identity()) {
        return Ok(());
    }
    Err(Error::Mismatch(format!(
        "{} is not the CLIP that computed the run's embeddings: its weights have another SHA-256\nhint: name the right one with --clip",
        printable_path(encoder.path())
    )))
}

#[cfg(test)]
mod tests {
    use super::caption_of;

    #[test]
    fn a_caption_ends_at_the_next_separator_or_full_stop() {
        for (text, expected) in [
            (" a dog runs . a cat", "a dog runs ."),
            (" a dog runs dog, grass ### a dog sits .", "a dog runs dog, grass ."),
            (" a dog. cat ### a cat", "a dog ."),
            (" a dog####", "a dog ."),
            (" ### a dog", " ."),
            (" a dog ## runs", "a dog ## runs ."),
        ] {
            assert_eq!(caption_of(text), expected, "{text:?}");
        }
    }
}
