//! SBG, "selective blind guessing": GPT-2 writes captions from keywords alone.
//!
//! CLIP selects the keywords and reranks the captions; GPT-2 never sees an image.

mod kept;
mod texts;
mod writer;

use std::path::Path;

use foreign_text::printable_path;
use keywords::{Encyclopedia, ImageKeywords, prompt};
use networks::gpt2::Vocabulary;
use networks::language_model::{Block, Blocks, LanguageModel};
use networks::{InitialWeights, Pass};
use progress::Progress;
use recipes::Config;
use runs::{Provenance, RunFolder};
use tch::{Device, Tensor, nn};
use words::Gpt2Tokenizer;

use super::{Setup, System, check_examples};
use crate::batches::Example;
use crate::error::Error;
use crate::inputs::{Inputs, load_tokenizer};
use crate::language_model;
use crate::learner::Model;
use crate::pretrained::Pretrained;
use crate::seeds::{self, Purpose};
pub use texts::end_of_text;
pub(crate) use writer::SbgWriter;

impl Example for Block {
    fn length(&self) -> usize {
        self.tokens.len()
    }
}

impl Model for LanguageModel {
    type Batch = Blocks;

    fn targets(blocks: &Blocks) -> usize {
        blocks.targets()
    }

    fn loss<'m>(&'m self, blocks: &'m Blocks, pass: Pass<'_, 'm>) -> Tensor {
        self.loss(blocks, pass)
    }
}

/// Examples of the SBG system: blocks of texts of keywords and captions.
pub(crate) struct Sbg {
    pretrained: Pretrained,
    tokenizer: Gpt2Tokenizer,
    device: Device,
    keywords_sha256: String,
    labels: Vec<words::Label>,
    /// `None` if keywords are selected without an encyclopedia.
    encyclopedia: Option<Encyclopedia>,
    blocks: Vec<Block>,
    held_out: Vec<Block>,
}

impl System for Sbg {
    type Example = Block;
    type Model = LanguageModel;

    fn load(setup: &Setup, progress: &mut dyn Progress) -> Result<Self, Error> {
        let Setup { config, inputs, .. } = *setup;
        let system = config.sbg()?;
        let pretrained = Pretrained::open(setup.language_model)?;
        pretrained.note_other_heads(progress);
        let tokenizer = load_tokenizer(&pretrained.folder, pretrained.config.vocab_size)?;
        check_room(config, system, pretrained.config.n_positions)?;
        let selected = ImageKeywords::open(&system.keywords.selected)?;
        let (labels, encyclopedia) = sources(&system.keywords, &selected)?;
        let blocks = |images: &[usize]| -> Result<Vec<Block>, Error> {
            let mut texts = texts(inputs, &selected, &tokenizer, images)?;
            shuffle(&mut texts, config.training.seed);
            Ok(texts::blocks(&texts, &system.text))
        };
        let (learned, held_out) = (blocks(&inputs.split.train)?, blocks(&inputs.split.validation)?);
        check_examples(config, inputs, learned.len(), "blocks of text", progress)?;
        Ok(Self {
            pretrained,
            tokenizer,
            device: setup.device,
            keywords_sha256: selected.sha256().to_owned(),
            labels,
            encyclopedia,
            blocks: learned,
            held_out,
        })
    }

    fn record_provenance(&self, provenance: &mut Provenance) {
        provenance.gpt2_sha256 = Some(self.pretrained.identity());
        provenance.keywords_sha256 = Some(self.keywords_sha256.clone());
    }

    fn build_model(
        &self,
        store: &nn::VarStore,
        _initial: InitialWeights,
    ) -> Result<LanguageModel, Error> {
        Ok(LanguageModel::with_initial(
            store.root(),
            &self.pretrained.config,
            InitialWeights::Zeros,
        ))
    }

    fn load_pretrained(&self, store: &mut nn::VarStore) -> Result<(), Error> {
        self.pretrained.fill(store, Vocabulary::Same)
    }

    fn save(&self, folder: &RunFolder) -> Result<(), Error> {
        language_model::save(folder, &self.pretrained.config, &self.tokenizer)?;
        kept::save(folder, &self.keywords_sha256, &self.labels, self.encyclopedia.as_ref())
    }

    fn examples(&self) -> &[Block] {
        &self.blocks
    }

    fn held_out(&self) -> &[Block] {
        &self.held_out
    }

    fn vocabulary(&self) -> usize {
        self.pretrained.config.vocab_size as usize
    }

    fn targets(&self, block: &Block) -> usize {
        block.targets()
    }

    fn batch(&self, blocks: &[&Block], _inputs: &Inputs) -> Blocks {
        Blocks::new(blocks, self.device)
    }

    fn describe(&self, block: &Block, _inputs: &Inputs) -> String {
        let ids: Vec<u32> =
            block.tokens.iter().filter_map(|&token| u32::try_from(token).ok()).collect();
        self.tokenizer.decode(&ids).unwrap_or_else(|error| error.to_string())
    }
}

/// Reads the labels and the encyclopedia of the selected keywords, for use on new images.
fn sources(
    settings: &recipes::Keywords,
    selected: &ImageKeywords,
) -> Result<(Vec<words::Label>, Option<Encyclopedia>), Error> {
    let identity = selected.identity();
    let other = |key: &str, path: &Path| {
        Error::Mismatch(format!(
            "{} is not the file that the keywords in {} were selected from\nhint: set keywords.{key} to that file, or select the keywords again",
            printable_path(path),
            printable_path(selected.path())
        ))
    };
    let labels = keywords::read_labels(&settings.labels)?;
    if keywords::labels_sha256(&labels) != identity.labels_sha256 {
        return Err(other("labels", &settings.labels));
    }
    let Some(expected) = &identity.encyclopedia_sha256 else { return Ok((labels, None)) };
    let encyclopedia = Encyclopedia::open(&settings.encyclopedia)?;
    if encyclopedia.sha256() != *expected {
        return Err(other("encyclopedia", &settings.encyclopedia));
    }
    Ok((labels, Some(encyclopedia)))
}

/// Returns the tokens of all captions of `images`, each after its image's keywords.
///
/// Images without an embedding have no keywords and are skipped.
fn texts(
    inputs: &Inputs,
    selected: &ImageKeywords,
    tokenizer: &Gpt2Tokenizer,
    images: &[usize],
) -> Result<Vec<texts::TextTokens>, Error> {
    let images: Vec<usize> =
        images.iter().copied().filter(|&image| inputs.row(image).is_some()).collect();
    let prompts: Vec<String> =
        inputs.keywords(selected, &images)?.iter().map(|words| prompt(words)).collect();
    let captions: Vec<(usize, String)> = images
        .iter()
        .enumerate()
        .flat_map(|(number, &image)| {
            let captions = &inputs.corpus.images[image].captions;
            captions.iter().map(move |caption| (number, caption.to_lowercase()))
        })
        .collect();
    texts::tokenize(tokenizer, &prompts, &captions)
}

fn shuffle(texts: &mut Vec<texts::TextTokens>, seed: u64) {
    let order = seeds::permutation(seed, Purpose::Texts, 0, texts.len());
    *texts = order.into_iter().map(|index| texts[index].clone()).collect();
}

/// Checks that blocks, prompts and captions fit into GPT-2's positions.
fn check_room(config: &Config, system: &recipes::Sbg, positions: i64) -> Result<(), Error> {
    let positions = usize::try_from(positions).unwrap_or(0);
    if system.text.block_size > positions {
        return Err(Error::Mismatch(format!(
            "text.block_size is {}, but GPT-2's n_positions is {positions}; lower text.block_size",
            system.text.block_size
        )));
    }
    if config.decoding.max_new_tokens >= positions {
        return Err(Error::Mismatch(format!(
            "decoding.max_new_tokens is {}, which leaves no room for keywords in GPT-2's {positions} positions; lower decoding.max_new_tokens",
            config.decoding.max_new_tokens
        )));
    }
    Ok(())
}
