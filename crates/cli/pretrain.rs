//! `capsmith pretrain`: small models trained from scratch, and an image encoder tuned on captions.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;
use demo_data::pretrain::{
    self, ClipOptions, EncoderOptions, Gpt2Options, LitOptions, Retrievals, TrainingOptions,
};
use foreign_text::printable_path;
use hub::ModelFiles;
use networks::efficientnet::EfficientNetLite;
use precompute::{Dtype, Embeddings};
use tch::{Device, Kind};
use training::inputs::{check_data_set, check_pictures};

use crate::init::{ClipShape, Gpt2Shape, TrainingPictures, refuse_existing};
use crate::terminal::Bar;
use crate::{bounds, models, terminal};

#[derive(Subcommand)]
pub enum Command {
    /// Train a CLIP on pictures and captions by the contrastive objective.
    ///
    /// Writes a Hugging Face folder with a tokenizer trained on the captions. Runs on the CPU, for
    /// models of a few million weights. With --image-features, the picture encoder stays as it is
    /// (LiT): a projection of its features and a text tower are trained, and retrieval.json has
    /// the recall of validation and test pictures by their captions.
    Clip(ClipArgs),
    /// Tune an EfficientNet-Lite on the captions of the training pictures.
    ///
    /// Trains the last stages by a contrastive loss: a picture's features, projected, should be
    /// nearest to the sentence embeddings of its own captions. Everything before the last halving
    /// of the picture's size stays as it is, and so do the batch norms' statistics and the sentence
    /// encoder. Writes model.safetensors, for `capsmith precompute --encoder`, and in
    /// retrieval.json the recall of validation and test pictures by their captions, before and
    /// after. These pictures are never trained on. Runs on the CPU; each step decodes its pictures.
    Encoder(EncoderArgs),
    /// Train a GPT-2 on captions as a language model.
    ///
    /// Writes a Hugging Face folder with a tokenizer trained on the captions.
    Gpt2(Gpt2Args),
}

#[derive(clap::Args)]
pub struct ClipArgs {
    /// Folder to write.
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    pictures: TrainingPictures,
    /// Embeddings file with the features of an encoder that stays as it is.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["image_size", "patch_size"])]
    image_features: Option<PathBuf>,
    /// Probability of setting an image feature to 0 in a step
    #[arg(long, default_value_t = 0.5, requires = "image_features", value_parser = bounds::dropout)]
    feature_dropout: f64,
    /// Probability of leaving a token out of a caption in a step
    #[arg(long, default_value_t = 0.2, requires = "image_features", value_parser = bounds::dropout)]
    token_dropout: f64,
    #[command(flatten)]
    shape: ClipShape,
    /// Maximum size of the vocabulary, in tokens
    #[arg(long, default_value_t = 2000, value_parser = bounds::whole(1..=bounds::MAX_TOKENS))]
    vocab_size: usize,
    /// Pictures per step, each with one caption
    #[arg(long, default_value_t = 128, value_parser = bounds::whole(1..=bounds::MAX_BATCH))]
    batch_size: usize,
    #[command(flatten)]
    course: CourseArgs,
}

#[derive(clap::Args)]
pub struct EncoderArgs {
    /// Encoder to start from: efficientnet-lite0 or efficientnet-lite2, which pip brings, or
    /// weights with their package's or timm's names as a PyTorch or safetensors file.
    #[arg(long, value_name = "NAME|FILE")]
    encoder: String,
    /// Folder to write.
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    pictures: TrainingPictures,
    /// Sentence encoder of the captions: a folder of sentence-transformers with a BERT and mean
    /// pooling, or a hub name.
    #[arg(long, value_name = "MODEL", default_value = models::SENTENCE_MODEL)]
    sentence_model: String,
    /// Probability of setting an image feature to 0 in a step
    #[arg(long, default_value_t = 0.3, value_parser = bounds::dropout)]
    feature_dropout: f64,
    /// Pictures per step, each with one caption
    #[arg(long, default_value_t = 128, value_parser = bounds::whole(2..=bounds::MAX_BATCH))]
    batch_size: usize,
    /// Training steps; by default those of 6 passes over the training pictures
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=bounds::MAX_STEPS))]
    steps: Option<u64>,
    /// Peak learning rate, after a warmup of 30 steps and before a decay to 0
    #[arg(long, default_value_t = 2e-4, value_parser = bounds::rate)]
    learning_rate: f64,
    /// Decoupled weight decay
    #[arg(long, default_value_t = 0.05, value_parser = bounds::rate)]
    weight_decay: f64,
    /// Random seed of batches, mirroring and dropout
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl EncoderArgs {
    fn options(&self, train: usize) -> EncoderOptions {
        let passes = 6 * TrainingOptions::steps_per_pass(train, self.batch_size);
        let training = TrainingOptions {
            steps: self.steps.unwrap_or(passes),
            batch_size: self.batch_size,
            learning_rate: self.learning_rate,
            warmup_steps: 30,
            weight_decay: self.weight_decay,
            seed: self.seed,
        };
        EncoderOptions { feature_dropout: self.feature_dropout, training }
    }
}

#[derive(clap::Args)]
pub struct Gpt2Args {
    /// Folder to write.
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    pictures: TrainingPictures,
    #[command(flatten)]
    shape: Gpt2Shape,
    /// Tokens per block
    #[arg(long, default_value_t = 64, value_parser = bounds::whole(2..=bounds::MAX_BATCH))]
    block_size: usize,
    /// Blocks per step
    #[arg(long, default_value_t = 32, value_parser = bounds::whole(1..=bounds::MAX_BATCH))]
    batch_size: usize,
    #[command(flatten)]
    course: CourseArgs,
}

/// Schedule of the training.
#[derive(clap::Args)]
struct CourseArgs {
    /// Training steps
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=bounds::MAX_STEPS))]
    steps: u64,
    /// Peak learning rate, after a warmup of 100 steps and before a decay to 0
    #[arg(long, default_value_t = 1e-3, value_parser = bounds::rate)]
    learning_rate: f64,
    /// Decoupled weight decay
    #[arg(long, default_value_t = 0.01, value_parser = bounds::rate)]
    weight_decay: f64,
    /// Random seed of weights, batches and dropout
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Type of the stored weights
    #[arg(long, default_value = "f32", value_name = "f32|f16|bf16")]
    dtype: Dtype,
}

impl CourseArgs {
    fn options(&self, batch_size: usize) -> TrainingOptions {
        TrainingOptions {
            steps: self.steps,
            batch_size,
            learning_rate: self.learning_rate,
            warmup_steps: 100,
            weight_decay: self.weight_decay,
            seed: self.seed,
        }
    }
}

pub fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Clip(args) => clip(args),
        Command::Encoder(args) => encoder(args),
        Command::Gpt2(args) => gpt2(args),
    }
}

fn clip(args: &ClipArgs) -> anyhow::Result<()> {
    refuse_existing(&args.out)?;
    if let Some(features) = &args.image_features {
        return lit(args, features);
    }
    let (corpus, split) = args.pictures.load()?;
    let options = ClipOptions {
        config: args.shape.config(1.0)?,
        vocab_size: args.vocab_size,
        training: args.course.options(args.batch_size),
        kind: precompute::kind_of(args.course.dtype),
    };
    let (stop, bar) = (terminal::stop_flag()?, &mut Bar::default());
    let finished = pretrain::clip(&args.out, &corpus, &split.train, &options, bar, &stop)?;
    say_end(finished, "a CLIP", args.course.steps, &args.out);
    Ok(())
}

/// Trains a CLIP on stored features by locked-image tuning.
fn lit(args: &ClipArgs, features: &Path) -> anyhow::Result<()> {
    let (corpus, split) = args.pictures.load()?;
    let file = Embeddings::open(features)?;
    check_data_set(features, file.identity(), &args.pictures.data_set.dataset, &corpus)?;
    check_pictures(&file, &corpus)?;
    let options = LitOptions {
        config: args.shape.config(1.0)?,
        vocab_size: args.vocab_size,
        feature_dropout: args.feature_dropout,
        token_dropout: args.token_dropout,
        training: args.course.options(args.batch_size),
        kind: precompute::kind_of(args.course.dtype),
    };
    let (stop, bar) = (terminal::stop_flag()?, &mut Bar::default());
    let retrievals = pretrain::lit(&args.out, &corpus, &split, &file, &options, bar, &stop)?;
    say_end(retrievals.is_some(), "a CLIP", args.course.steps, &args.out);
    retrievals.map_or(Ok(()), |found| print_retrievals("", &found))
}

/// Prints the recalls of validation and test pictures, each line with `prefix`.
fn print_retrievals(prefix: &str, retrievals: &Retrievals) -> anyhow::Result<()> {
    let Retrievals { validation, test } = retrievals;
    for (part, found) in [("validation", validation), ("test", test)] {
        let Some(found) = found else { continue };
        terminal::print(&format!(
            "{prefix}{part}: {} captions find their picture among {}: R@1 {:.3}, R@5 {:.3}, R@10 {:.3}, median rank {}\n",
            found.captions,
            found.images,
            found.recall_at_1,
            found.recall_at_5,
            found.recall_at_10,
            found.median_rank
        ))?;
    }
    Ok(())
}

fn encoder(args: &EncoderArgs) -> anyhow::Result<()> {
    refuse_existing(&args.out)?;
    let (corpus, split) = args.pictures.load()?;
    let file = models::find(&args.encoder, ModelFiles::File)?;
    let network = EfficientNetLite::from_file(&file, Device::Cpu, Kind::Float)
        .with_context(|| format!("cannot load the encoder from {}", printable_path(&file)))?;
    let sentences = models::sentence_encoder(&args.sentence_model, Device::Cpu)?;
    let options = args.options(split.train.len());
    let (stop, bar) = (terminal::stop_flag()?, &mut Bar::default());
    let found =
        pretrain::encoder(&args.out, &corpus, &split, (network, &sentences), &options, bar, &stop)?;
    say_end(found.is_some(), "an EfficientNet-Lite", options.training.steps, &args.out);
    let Some(found) = found else { return Ok(()) };
    print_retrievals("before, ", &found.before)?;
    print_retrievals("after, ", &found.after)
}

fn gpt2(args: &Gpt2Args) -> anyhow::Result<()> {
    refuse_existing(&args.out)?;
    let options = Gpt2Options {
        config: args.shape.config()?,
        block_size: args.block_size,
        training: args.course.options(args.batch_size),
        kind: precompute::kind_of(args.course.dtype),
    };
    let texts = args.pictures.texts()?;
    let stop = terminal::stop_flag()?;
    let finished = pretrain::gpt2(&args.out, &texts, &options, &mut Bar::default(), &stop)?;
    say_end(finished, "a GPT-2", args.course.steps, &args.out);
    Ok(())
}

/// Prints how training ended.
fn say_end(finished: bool, model: &str, steps: u64, out: &Path) {
    terminal::say(&if finished {
        format!("trained {model} for {steps} steps; wrote {}", printable_path(out))
    } else {
        "interrupted; nothing is written".to_owned()
    });
}
