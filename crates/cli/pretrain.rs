//! `capsmith pretrain`: small models from scratch, where pretrained ones cannot be had.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Subcommand;
use demo_data::pretrain::{self, ClipOptions, Gpt2Options, StepProgress, TrainingOptions};
use foreign_text::printable_path;
use precompute::Dtype;
use progress::{Progress as _, Unit};

use crate::init::{ClipShape, Gpt2Shape, TrainingPictures, refuse_existing};
use crate::{bounds, terminal};

#[derive(Subcommand)]
pub enum Command {
    /// Train a CLIP on pictures and their captions, by its contrastive objective.
    ///
    /// Writes a Hugging Face folder, with a tokenizer trained on the captions. On a CPU; for models of a few
    /// million weights. `cargo xtask pretrain` makes the models of data/ with it.
    Clip(ClipArgs),
    /// Train a GPT-2 on captions, as a language model.
    ///
    /// Writes a Hugging Face folder, with a tokenizer trained on the captions.
    Gpt2(Gpt2Args),
}

#[derive(clap::Args)]
pub struct ClipArgs {
    /// Folder to write to.
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    pictures: TrainingPictures,
    #[command(flatten)]
    shape: ClipShape,
    /// Most tokens the vocabulary may have.
    #[arg(long, default_value_t = 2000, value_parser = bounds::whole(1..=bounds::MOST_TOKENS))]
    vocab_size: usize,
    /// Pictures, with a caption each, in a step.
    #[arg(long, default_value_t = 128, value_parser = bounds::whole(1..=bounds::MOST_TOGETHER))]
    batch_size: usize,
    #[command(flatten)]
    course: CourseArgs,
}

#[derive(clap::Args)]
pub struct Gpt2Args {
    /// Folder to write to.
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    pictures: TrainingPictures,
    #[command(flatten)]
    shape: Gpt2Shape,
    /// Tokens in a block.
    #[arg(long, default_value_t = 64, value_parser = bounds::whole(2..=bounds::MOST_TOGETHER))]
    block_size: usize,
    /// Blocks in a step.
    #[arg(long, default_value_t = 32, value_parser = bounds::whole(1..=bounds::MOST_TOGETHER))]
    batch_size: usize,
    #[command(flatten)]
    course: CourseArgs,
}

/// How long and how fast.
#[derive(clap::Args)]
struct CourseArgs {
    /// Steps in all.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=bounds::MOST_STEPS))]
    steps: u64,
    /// The peak of the learning rate; it rises to it in 100 steps and falls to 0 at the last.
    #[arg(long, default_value_t = 1e-3, value_parser = bounds::rate)]
    learning_rate: f64,
    /// Decoupled weight decay.
    #[arg(long, default_value_t = 0.01, value_parser = bounds::rate)]
    weight_decay: f64,
    /// Decides weights, batches and dropout.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Type that weights are stored in.
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
    let (corpus, images) = args.pictures.load()?;
    let options = ClipOptions {
        config: args.shape.config(1.0)?,
        vocab_size: args.vocab_size,
        training: args.course.options(args.batch_size),
        kind: precompute::kind_of(args.course.dtype),
    };
    let (stop, mut screen) = (terminal::stop_flag()?, Screen::new(args.course.steps));
    let finished = pretrain::clip(
        &args.out,
        &corpus,
        &images,
        &options,
        &mut |progress| screen.show(progress),
        &stop,
    )?;
    screen.end(finished, "CLIP", &args.out);
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
    let stop: Arc<AtomicBool> = terminal::stop_flag()?;
    let mut screen = Screen::new(args.course.steps);
    let finished =
        pretrain::gpt2(&args.out, &texts, &options, &mut |progress| screen.show(progress), &stop)?;
    screen.end(finished, "GPT-2", &args.out);
    Ok(())
}

/// A bar over all steps, or a line now and then where there is no terminal.
struct Screen {
    bar: terminal::Bar,
    steps: u64,
}

impl Screen {
    fn new(steps: u64) -> Self {
        Self { bar: terminal::Bar::new("training", Unit::Count("steps"), steps), steps }
    }

    fn show(&mut self, StepProgress { step, loss }: StepProgress) {
        // After the last step the folder is written.
        terminal::hold_stops(step == self.steps);
        self.bar.detail(&format!("loss {loss:.3}"));
        self.bar.position(step);
    }

    fn end(&mut self, finished: bool, what: &str, out: &Path) {
        self.bar.finish();
        terminal::say(&if finished {
            format!("a {what} trained in {} steps is in {}", self.steps, printable_path(out))
        } else {
            "interrupted; nothing was written".to_owned()
        });
    }
}
