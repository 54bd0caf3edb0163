//! `capsmith init`: models with random weights in the real formats.

use std::path::PathBuf;

use anyhow::bail;
use clap::Subcommand;
use flickr::{Corpus, Layout, Split, SplitKind, SplitSpec};
use networks::clip::{ClipConfig, TextConfig, VisionConfig};
use networks::gpt2::Gpt2Config;
use training::scratch;

use crate::terminal;

#[derive(Subcommand)]
pub enum Command {
    /// Write a CLIP with random weights as a Hugging Face folder.
    ///
    /// Random features still tell pictures apart by colour and coarse layout, which is enough to try
    /// everything out; they know nothing of what pictures show.
    Clip(ClipArgs),
    /// Write a GPT-2 with random weights, and a tokenizer trained on a data set's training captions.
    Gpt2(Gpt2Args),
}

#[derive(clap::Args, Clone)]
pub struct ClipArgs {
    /// Folder to write to.
    #[arg(long)]
    pub out: PathBuf,
    /// Width and height that pictures are resized and cropped to.
    #[arg(long, default_value_t = 112)]
    pub image_size: i64,
    /// Width and height of a patch.
    #[arg(long, default_value_t = 16)]
    pub patch_size: i64,
    /// Width of both towers.
    #[arg(long, default_value_t = 256)]
    pub hidden_size: i64,
    /// Layers of either tower.
    #[arg(long, default_value_t = 2)]
    pub layers: i64,
    /// Attention heads of either tower.
    #[arg(long, default_value_t = 4)]
    pub heads: i64,
    /// Width of the embeddings.
    #[arg(long, default_value_t = 256)]
    pub projection_dim: i64,
    /// Scale of the random weights; 1 is what transformers uses, and larger lets random
    /// features vary more from picture to picture.
    #[arg(long, default_value_t = 3.0)]
    pub initializer_factor: f64,
    /// Decides the weights.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

#[derive(clap::Args, Clone)]
pub struct Gpt2Args {
    /// Folder to write to.
    #[arg(long)]
    pub out: PathBuf,
    /// Data set whose training captions the tokenizer is trained on.
    #[arg(long)]
    pub dataset: PathBuf,
    /// Layout of the captions; recognised from the folder unless named.
    #[arg(long, value_name = "kaggle|original|karpathy")]
    pub layout: Option<Layout>,
    /// Split that says which captions are for training.
    #[arg(long, default_value = "paper", value_name = "paper|official|karpathy")]
    pub split: SplitKind,
    /// Paper split: caption rows in the test set.
    #[arg(long, default_value_t = 5000)]
    pub test_captions: usize,
    /// Most tokens the vocabulary may have.
    #[arg(long, default_value_t = 4000)]
    pub vocab_size: i64,
    /// Width of the hidden states.
    #[arg(long, default_value_t = 192)]
    pub hidden_size: i64,
    /// Layers.
    #[arg(long, default_value_t = 3)]
    pub layers: i64,
    /// Attention heads.
    #[arg(long, default_value_t = 4)]
    pub heads: i64,
    /// Longest sequence in tokens, prefix included.
    #[arg(long, default_value_t = 128)]
    pub positions: i64,
    /// Dropout everywhere that GPT-2 has it.
    #[arg(long, default_value_t = 0.1)]
    pub dropout: f64,
    /// Decides the weights.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

pub fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Clip(args) => clip(&args),
        Command::Gpt2(args) => gpt2(&args),
    }
}

pub fn clip(args: &ClipArgs) -> anyhow::Result<()> {
    refuse_existing(&args.out)?;
    let config = ClipConfig {
        projection_dim: args.projection_dim,
        vision_config: VisionConfig {
            image_size: args.image_size,
            patch_size: args.patch_size,
            hidden_size: args.hidden_size,
            intermediate_size: 4 * args.hidden_size,
            num_hidden_layers: args.layers,
            num_attention_heads: args.heads,
            initializer_factor: args.initializer_factor,
            ..VisionConfig::default()
        },
        text_config: TextConfig {
            hidden_size: args.hidden_size,
            intermediate_size: 4 * args.hidden_size,
            num_hidden_layers: args.layers,
            num_attention_heads: args.heads,
            initializer_factor: args.initializer_factor,
            ..TextConfig::default()
        },
        ..ClipConfig::default()
    };
    if let Err(reason) = config.check() {
        bail!("{reason}");
    }
    scratch::init_clip(&args.out, config, args.seed)?;
    terminal::say(&format!("a CLIP with random weights is in {}", args.out.display()));
    Ok(())
}

pub fn gpt2(args: &Gpt2Args) -> anyhow::Result<()> {
    refuse_existing(&args.out)?;
    let corpus = Corpus::load(&args.dataset, args.layout)?;
    let spec =
        SplitSpec { kind: args.split, test_captions: args.test_captions, validation_captions: 0 };
    let split = Split::new(&corpus, &spec)?;
    let texts: Vec<String> = split
        .train
        .iter()
        .flat_map(|&image| &corpus.images[image].captions)
        .map(|caption| caption.to_lowercase())
        .collect();
    let config = Gpt2Config {
        vocab_size: args.vocab_size,
        n_positions: args.positions,
        n_embd: args.hidden_size,
        n_layer: args.layers,
        n_head: args.heads,
        resid_pdrop: args.dropout,
        embd_pdrop: args.dropout,
        attn_pdrop: args.dropout,
        ..Gpt2Config::default()
    };
    if let Err(reason) = config.check() {
        bail!("{reason}");
    }
    let config = scratch::init_gpt2(&args.out, &config, &texts, args.seed)?;
    terminal::say(&format!(
        "a GPT-2 with random weights and {} tokens is in {}",
        config.vocab_size,
        args.out.display()
    ));
    Ok(())
}

/// Random weights must never replace somebody's model.
fn refuse_existing(out: &std::path::Path) -> anyhow::Result<()> {
    if out.join("model.safetensors").exists() {
        bail!("{} already holds a model; choose another --out, or remove it", out.display());
    }
    Ok(())
}
