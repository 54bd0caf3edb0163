//! `capsmith pretrain`: small models trained from scratch.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use demo_data::pretrain::{
    self, ClipOptions, Gpt2Options, LitOptions, Retrievals, TrainingOptions,
};
use foreign_text::printable_path;
use precompute::{Dtype, Embeddings};
use training::inputs::{check_data_set, check_pictures};

use crate::init::{ClipShape, Gpt2Shape, TrainingPictures, refuse_existing};
use crate::terminal::Bar;
use crate::{bounds, terminal};

#[derive(Subcommand)]
pub enum Command {
    /// Train a CLIP on pictures and captions by the contrastive objective.
    ///
    /// Writes a Hugging Face folder with a tokenizer trained on the captions. Runs on the CPU, for
    /// models of a few million weights. With --image-features, the picture encoder stays as it is
    /// (LiT): a projection of its features and a text tower are trained, and retrieval.json has
    /// the recall of validation and test pictures by their captions.
    Clip(ClipArgs),
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
    say_end(finished, "CLIP", args.course.steps, &args.out);
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
    say_end(retrievals.is_some(), "CLIP", args.course.steps, &args.out);
    let Some(Retrievals { validation, test }) = retrievals else { return Ok(()) };
    for (part, found) in [("validation", validation), ("test", test)] {
        let Some(found) = found else { continue };
        terminal::print(&format!(
            "{part}: {} captions find their picture among {}: R@1 {:.3}, R@5 {:.3}, R@10 {:.3}, median rank {}\n",
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
    say_end(finished, "GPT-2", args.course.steps, &args.out);
    Ok(())
}

/// Prints how training ended.
fn say_end(finished: bool, model: &str, steps: u64, out: &Path) {
    terminal::say(&if finished {
        format!("trained a {model} for {steps} steps; wrote {}", printable_path(out))
    } else {
        "interrupted; nothing is written".to_owned()
    });
}
