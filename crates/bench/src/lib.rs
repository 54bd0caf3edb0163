//! Benchmarks of training and captioning at full size, with random weights and real captions.
//!
//! Weights and data are written to a folder first, so that the Python reference
//! (`tests/reference/bench.py`) runs the same work.

mod distributed;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use networks::decode::{self, Options, Sampling, Strategy};
use networks::gpt2::Gpt2Config;
use networks::prefix::{ClipCaptioner, MapperConfig, MapperKind};
use networks::{Pass, device};
use recipes::{Rule, Schedule};
use tch::{Device, Kind, Tensor, nn, no_grad};
use words::Gpt2Tokenizer;

use networks::weights::write_tensors;
use training::Error;
use training::PrefixBatch as Batch;
use training::batches::{Batching, TokenRow, cut_long_rows};
use training::learner::{Learner, LearnerOptions};
use training::named_variables;
use training::optimizer::{AdamW, AdamWOptions};
use training::schedule::RateSchedule;
use training::seeds::{self, Purpose};

pub use distributed::DistributedStep;

/// Length of an image embedding of CLIP ViT-L/14.
pub const CLIP_DIM: i64 = 768;
/// Prefix length of the paper.
pub const PREFIX_LENGTH: i64 = 10;
/// Captions of each image; embeddings are random.
const CAPTIONS_EACH: usize = 5;
/// Tokens generated for each image: slightly more than Flickr8k's captions have.
pub const CAPTION_TOKENS: usize = 15;

/// Number of SBG's samples for each image.
pub const SAMPLES_PER_IMAGE: usize = 5;

/// Captioner of full size with random weights, and captions to train it on.
pub struct Bench {
    device: Device,
    store: nn::VarStore,
    captioner: ClipCaptioner,
    gpt2: Gpt2Config,
    rows: Vec<TokenRow>,
    embeddings: Tensor,
    batches: Vec<Vec<usize>>,
}

impl Bench {
    /// Draws weights and embeddings, and tokenizes `captions` with a tokenizer trained on them.
    ///
    /// Batches are shuffled and have `batch_size` captions.
    ///
    /// # Errors
    /// Fails if the captions do not fill a batch.
    pub fn new(
        gpt2: &Gpt2Config,
        captions: &[String],
        batch_size: usize,
        device: Device,
    ) -> Result<Self, Error> {
        let tokenizer = Gpt2Tokenizer::train(captions, gpt2.vocab_size as usize)?;
        let mut rows: Vec<TokenRow> = tokenizer
            .encode_batch(captions)?
            .into_iter()
            .enumerate()
            .map(|(index, tokens)| TokenRow {
                embedding: (index / CAPTIONS_EACH) as i64,
                tokens: tokens.into_iter().map(i64::from).collect(),
                image: index / CAPTIONS_EACH,
                caption: index % CAPTIONS_EACH,
            })
            .filter(|row| !row.tokens.is_empty())
            .collect();
        cut_long_rows(&mut rows);
        Self::from_rows(gpt2, rows, batch_size, device)
    }

    /// Does the same as [`Self::new`] with captions of random tokens.
    ///
    /// Their lengths are about those of Flickr8k: 12 tokens on average, and 40 in one of a hundred.
    ///
    /// # Errors
    /// Fails if the captions do not fill a batch.
    pub fn with_random_tokens(
        gpt2: &Gpt2Config,
        captions: usize,
        batch_size: usize,
        device: Device,
    ) -> Result<Self, Error> {
        let row = |index: usize| {
            let length = if index % 100 == 50 { 40 } else { 6 + index * 7 % 13 };
            // Token 0 is never predicted.
            let token = |position: usize| {
                1 + (index * 7919 + position * 104_729) % (gpt2.vocab_size as usize - 1)
            };
            TokenRow {
                embedding: (index / CAPTIONS_EACH) as i64,
                tokens: (0..length).map(|position| token(position) as i64).collect(),
                image: index / CAPTIONS_EACH,
                caption: index % CAPTIONS_EACH,
            }
        };
        Self::from_rows(gpt2, (0..captions).map(row).collect(), batch_size, device)
    }

    /// Draws weights, and an embedding for each image of the rows.
    fn from_rows(
        gpt2: &Gpt2Config,
        rows: Vec<TokenRow>,
        batch_size: usize,
        device: Device,
    ) -> Result<Self, Error> {
        let batching =
            Batching { seed: 42, size: batch_size, drop_last: true, sort_by_length: false };
        let batches = batching.epoch(0, &rows);
        if batches.is_empty() {
            let reason = format!("{} captions make no batch of {batch_size}", rows.len());
            return Err(Error::Mismatch(reason));
        }
        tch::manual_seed(seeds::derive(42, Purpose::Initialisation, 0));
        let store = nn::VarStore::new(device);
        let mapper = MapperConfig::plain(MapperKind::Mlp, CLIP_DIM, PREFIX_LENGTH);
        let captioner = ClipCaptioner::new(store.root(), gpt2, &mapper);
        let images = rows.iter().map(|row| row.embedding + 1).max().unwrap_or(0);
        let embeddings = Tensor::randn([images, CLIP_DIM], (Kind::Float, device));
        Ok(Self { device, store, captioner, gpt2: gpt2.clone(), rows, embeddings, batches })
    }

    /// Returns prompts for SBG's sampling: the joined captions of an image, cut to 40 to 51 tokens.
    ///
    /// That is the length of 16 keywords.
    fn prompts(&self, pictures: usize) -> Vec<Vec<i64>> {
        let prompt = |picture: usize| -> Vec<i64> {
            let own = self.rows.iter().filter(|row| row.image == picture);
            own.flat_map(|row| row.tokens.iter().copied()).take(40 + picture % 12).collect()
        };
        (0..pictures).map(prompt).collect()
    }

    /// Writes weights and data for the reference; see `tests/reference/bench.py`.
    ///
    /// # Errors
    /// Names the file.
    pub fn write_reference_inputs(&self, folder: &Path) -> Result<(), Error> {
        durable::create_dir_all(folder)?;
        durable::write_json(&folder.join("config.json"), &self.gpt2)?;
        write_tensors(&folder.join("model.safetensors"), &named_variables(&self.store))?;
        let longest = self.rows.iter().map(|row| row.tokens.len()).max().unwrap_or(0);
        let padded: Vec<i64> = self
            .rows
            .iter()
            .flat_map(|row| row.tokens.iter().copied().chain(std::iter::repeat(-1)).take(longest))
            .collect();
        let images: Vec<i64> = self.rows.iter().map(|row| row.embedding).collect();
        let order: Vec<i64> = self.batches.concat().into_iter().map(|row| row as i64).collect();
        let tensors = [
            ("tokens", Tensor::from_slice(&padded).view([-1, longest as i64])),
            ("images", Tensor::from_slice(&images)),
            ("order", Tensor::from_slice(&order).view([self.batches.len() as i64, -1])),
            ("embeddings", self.embeddings.shallow_clone()),
            ("prompt", Tensor::from_slice(&self.prompts(1).concat())),
        ];
        let tensors = tensors.map(|(name, tensor)| (name.to_owned(), tensor));
        Ok(write_tensors(&folder.join("batches.safetensors"), &tensors)?)
    }

    /// Changes the type of all weights, packs them, and keeps freed memory, for decoding.
    pub fn prepare_decoding(&mut self, kind: Kind) {
        device::keep_freed_memory();
        self.store.freeze();
        self.store.set_kind(kind);
        // As a captioner that is loaded, it has no other weights.
        self.store = nn::VarStore::new(self.device);
        self.captioner.pack();
    }

    /// Returns the mean numbers of rows that GPT-2 computes and of targets in a training step.
    ///
    /// Rows are prefix vectors and tokens; the last token of a caption is predicted but not read.
    #[must_use]
    pub fn work(&self) -> (f64, f64) {
        let (captions, tokens, _) = self.shape();
        (tokens + captions as f64 * (PREFIX_LENGTH - 1) as f64, tokens)
    }

    /// Returns the captions, mean target tokens, and the reference's padded tokens of a batch.
    #[must_use]
    pub fn shape(&self) -> (usize, f64, usize) {
        let tokens: usize = self.rows.iter().map(|row| row.tokens.len()).sum();
        let longest = self.rows.iter().map(|row| row.tokens.len()).max().unwrap_or(0);
        let captions = self.batches[0].len();
        (captions, tokens as f64 / self.rows.len() as f64 * captions as f64, captions * longest)
    }

    fn batch(&self, batch: &[usize]) -> Batch {
        let rows: Vec<&TokenRow> = batch.iter().map(|&row| &self.rows[row]).collect();
        Batch::new(&rows, &self.embeddings, PREFIX_LENGTH, self.device)
    }

    /// Returns the first batch's loss without dropout, to compare with the reference's.
    #[must_use]
    pub fn first_loss(&self) -> f64 {
        let Batch { embeddings, tokens } = self.batch(&self.batches[0]);
        no_grad(|| self.captioner.caption_loss(&embeddings, &tokens, Pass::EVALUATION))
            .double_value(&[])
    }

    /// Returns the durations of `rounds` training steps, after an uncounted one.
    ///
    /// # Errors
    /// Fails if memory is exhausted.
    pub fn train(self, rounds: usize, options: LearnerOptions) -> Result<Vec<Duration>, Error> {
        device::keep_freed_memory();
        let optimizer = AdamW::new(named_variables(&self.store), adamw());
        let batches: Vec<Batch> = (0..=rounds)
            .map(|number| self.batch(&self.batches[number % self.batches.len()]))
            .collect();
        let mut learner = Learner::new(self.captioner, optimizer, schedule(), options);
        let mut times = Vec::with_capacity(rounds + 1);
        for (number, batch) in (0..).zip(batches) {
            let start = Instant::now();
            let step = learner.compute(&[batch], number, number as i64)?;
            learner.apply(&step)?;
            // A run fetches losses only now and then; the benchmark waits for each step to time it.
            let _ = step.norm.double_value(&[]);
            times.push(start.elapsed());
        }
        times.remove(0);
        Ok(times)
    }

    /// Returns the duration of SBG's sampling for `pictures` prompts.
    ///
    /// It draws [`SAMPLES_PER_IMAGE`] captions of [`CAPTION_TOKENS`] tokens each, in batches of
    /// equal length.
    ///
    /// # Errors
    /// Fails if there are fewer images.
    pub fn sample(&self, pictures: usize) -> Result<Duration, Error> {
        let all = self.embeddings.size()[0];
        if pictures as i64 > all {
            return Err(Error::Mismatch(format!(
                "{pictures} pictures are asked for, but the data set has {all}"
            )));
        }
        let prompts = self.prompts(pictures);
        let lengths: BTreeSet<usize> = prompts.iter().map(Vec::len).collect();
        let sampling = Sampling {
            temperature: 1.0,
            top_k: 50,
            top_p: 1.0,
            num_return_sequences: SAMPLES_PER_IMAGE,
            seed: 42,
        };
        let options = Options {
            strategy: Strategy::Sampling(sampling),
            max_tokens: CAPTION_TOKENS,
            ..Options::default()
        };
        let start = Instant::now();
        for length in lengths {
            let same_length: Vec<&Vec<i64>> =
                prompts.iter().filter(|row| row.len() == length).collect();
            let numbers: Vec<u64> = (0..).take(same_length.len()).collect();
            let ids: Vec<i64> = same_length.into_iter().flatten().copied().collect();
            let ids = Tensor::from_slice(&ids).view([-1, length as i64]).to_device(self.device);
            let gpt2 = self.captioner.gpt2();
            let inputs = no_grad(|| gpt2.embed(&ids));
            let _ = decode::generate(gpt2, &inputs, &numbers, &options)?;
        }
        Ok(start.elapsed())
    }

    /// Returns the durations of `rounds` captioning batches, after an uncounted one, and tokens.
    ///
    /// Each caption has [`CAPTION_TOKENS`] tokens.
    ///
    /// # Errors
    /// Fails if the strategy does not pass [`Strategy::check`].
    pub fn decode(
        &self,
        strategy: Strategy,
        rounds: usize,
        batch_size: i64,
    ) -> Result<(Vec<Duration>, Vec<Vec<i64>>), Error> {
        let embeddings = self.embeddings.narrow(0, 0, batch_size.min(self.embeddings.size()[0]));
        let numbers: Vec<u64> = (0..).take(embeddings.size()[0] as usize).collect();
        let options =
            Options { strategy, max_tokens: CAPTION_TOKENS, stops: &[], ..Options::default() };
        let write = || {
            let prompt = no_grad(|| self.captioner.prefix(&embeddings));
            decode::generate(self.captioner.gpt2(), &prompt, &numbers, &options)
        };
        let written = write()?;
        let mut times = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            let start = Instant::now();
            let _ = write()?;
            times.push(start.elapsed());
        }
        let tokens = written.into_iter().filter_map(|mut all| Some(all.pop()?.tokens));
        Ok((times, tokens.collect()))
    }
}

fn adamw() -> AdamWOptions {
    AdamWOptions {
        rule: Rule::Transformers,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-6,
        weight_decay: 0.0,
    }
}

fn schedule() -> RateSchedule {
    RateSchedule { shape: Schedule::Linear, peak: 2e-5, warmup_steps: 0, total_steps: u64::MAX }
}
