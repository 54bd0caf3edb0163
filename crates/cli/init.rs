//! `capsmith init`: models with random weights, in Hugging Face format.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Subcommand;
use datasets::{Corpus, Split, SplitKind};
use demo_data::models;
use foreign_text::printable_path;
use networks::clip::{ClipConfig, TextConfig, VisionConfig};
use networks::gpt2::Gpt2Config;
use recipes::{Config, Data};

use crate::data_set::{DataSet, SplitOptions};
use crate::{bounds, terminal};

#[derive(Subcommand)]
pub enum Command {
    /// Create a CLIP with random weights as a Hugging Face folder.
    ///
    /// Random features distinguish pictures by colour and coarse layout, which is enough to try
    /// every command, but carry no meaning.
    Clip(ClipArgs),
    /// Create a GPT-2 with random weights and a tokenizer trained on a data set's training
    /// captions.
    Gpt2(Gpt2Args),
}

#[derive(clap::Args, Clone)]
pub struct ClipArgs {
    /// Folder to write.
    #[arg(long)]
    pub out: PathBuf,
    #[command(flatten)]
    shape: ClipShape,
    /// Scale of the random weights; transformers uses 1, and larger values make random features
    /// vary more between pictures
    #[arg(long, default_value_t = 3.0)]
    pub initializer_factor: f64,
    /// Random seed of the weights
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Dimensions of a CLIP.
#[derive(clap::Args, Clone)]
pub struct ClipShape {
    /// Width and height of the input picture, in pixels
    #[arg(long, default_value_t = 112, value_parser = bounds::size(bounds::MAX_WIDTH))]
    image_size: i64,
    /// Width and height of a patch, in pixels
    #[arg(long, default_value_t = 16, value_parser = bounds::size(bounds::MAX_WIDTH))]
    patch_size: i64,
    /// Hidden size of both towers
    #[arg(long, default_value_t = 256, value_parser = bounds::size(bounds::MAX_WIDTH))]
    hidden_size: i64,
    /// Layers of each tower
    #[arg(long, default_value_t = 2, value_parser = bounds::size(bounds::MAX_LAYERS))]
    layers: i64,
    /// Attention heads of each tower
    #[arg(long, default_value_t = 4, value_parser = bounds::size(bounds::MAX_WIDTH))]
    heads: i64,
    /// Size of the embeddings
    #[arg(long, default_value_t = 256, value_parser = bounds::size(bounds::MAX_WIDTH))]
    projection_dim: i64,
}

impl ClipShape {
    /// Returns the config of this size with `initializer_factor` times the usual scale of weights.
    pub fn config(&self, initializer_factor: f64) -> anyhow::Result<ClipConfig> {
        let config = ClipConfig {
            projection_dim: self.projection_dim,
            vision_config: VisionConfig {
                image_size: self.image_size,
                patch_size: self.patch_size,
                hidden_size: self.hidden_size,
                intermediate_size: 4 * self.hidden_size,
                num_hidden_layers: self.layers,
                num_attention_heads: self.heads,
                initializer_factor,
                ..VisionConfig::default()
            },
            text_config: TextConfig {
                hidden_size: self.hidden_size,
                intermediate_size: 4 * self.hidden_size,
                num_hidden_layers: self.layers,
                num_attention_heads: self.heads,
                initializer_factor,
                ..TextConfig::default()
            },
            ..ClipConfig::default()
        };
        config.check().map_err(anyhow::Error::msg)?;
        Ok(config)
    }
}

#[derive(clap::Args, Clone)]
pub struct Gpt2Args {
    /// Folder to write.
    #[arg(long)]
    pub out: PathBuf,
    #[command(flatten)]
    pictures: TrainingPictures,
    #[command(flatten)]
    shape: Gpt2Shape,
    /// Random seed of the weights
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Training split of a data set.
#[derive(clap::Args, Clone)]
pub struct TrainingPictures {
    #[command(flatten)]
    pub data_set: DataSet,
    /// Split of the data set, of which the training part is used: paper, official, karpathy, lists,
    /// given, or shares such as 80/10/10
    #[arg(long, default_value = "paper")]
    split: SplitKind,
    #[command(flatten)]
    options: SplitOptions,
}

impl TrainingPictures {
    /// Loads the data set and its split.
    pub fn load(&self) -> anyhow::Result<(Corpus, Split)> {
        let corpus = self.data_set.source().load()?;
        let split = Split::new(&corpus, &self.options.spec(self.split))?;
        Ok((corpus, split))
    }

    /// Returns data, split and the embeddings in a file, as a config holds them.
    pub fn data(&self, embeddings: &Path) -> anyhow::Result<Data> {
        let mut config = Config::built_in("flickr8k/prefix-original.toml", &[])?;
        let data = &mut config.data;
        data.set_source(&self.data_set.source());
        let spec = self.options.spec(self.split);
        (data.split, data.split_seed) = (spec.kind, spec.seed);
        data.test_captions = spec.test_captions;
        data.validation_captions = spec.validation_captions;
        embeddings.clone_into(&mut data.embeddings);
        Ok(config.data)
    }

    /// Returns the training captions, lower-cased.
    pub fn texts(&self) -> anyhow::Result<Vec<String>> {
        let (corpus, split) = self.load()?;
        let captions = split.train.iter().flat_map(|&image| &corpus.images[image].captions);
        Ok(captions.map(|caption| caption.to_lowercase()).collect())
    }
}

/// Dimensions of a GPT-2.
#[derive(clap::Args, Clone)]
pub struct Gpt2Shape {
    /// Maximum size of the vocabulary, in tokens
    #[arg(long, default_value_t = 4000, value_parser = bounds::size(bounds::MAX_TOKENS as i64))]
    vocab_size: i64,
    /// Hidden size
    #[arg(long, default_value_t = 192, value_parser = bounds::size(bounds::MAX_WIDTH))]
    hidden_size: i64,
    /// Layers
    #[arg(long, default_value_t = 3, value_parser = bounds::size(bounds::MAX_LAYERS))]
    layers: i64,
    /// Attention heads
    #[arg(long, default_value_t = 4, value_parser = bounds::size(bounds::MAX_WIDTH))]
    heads: i64,
    /// Maximum sequence length, in tokens, prefix included
    #[arg(long, default_value_t = 128, value_parser = bounds::size(bounds::MAX_WIDTH))]
    positions: i64,
    /// Dropout probability of the embeddings, attention and residuals
    #[arg(long, default_value_t = 0.1)]
    dropout: f64,
}

impl Gpt2Shape {
    /// Returns the config of this size.
    pub fn config(&self) -> anyhow::Result<Gpt2Config> {
        let config = Gpt2Config {
            vocab_size: self.vocab_size,
            n_positions: self.positions,
            n_embd: self.hidden_size,
            n_layer: self.layers,
            n_head: self.heads,
            resid_pdrop: self.dropout,
            embd_pdrop: self.dropout,
            attn_pdrop: self.dropout,
            ..Gpt2Config::default()
        };
        config.check().map_err(anyhow::Error::msg)?;
        Ok(config)
    }
}

pub fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Clip(args) => clip(&args),
        Command::Gpt2(args) => gpt2(&args),
    }
}

pub fn clip(args: &ClipArgs) -> anyhow::Result<()> {
    refuse_existing(&args.out)?;
    models::init_clip(&args.out, args.shape.config(args.initializer_factor)?, args.seed)?;
    terminal::say(&format!("created a CLIP with random weights in {}", printable_path(&args.out)));
    Ok(())
}

pub fn gpt2(args: &Gpt2Args) -> anyhow::Result<()> {
    refuse_existing(&args.out)?;
    let (texts, config) = (args.pictures.texts()?, args.shape.config()?);
    let config = models::init_gpt2(&args.out, &config, &texts, args.seed)?;
    terminal::say(&format!(
        "created a GPT-2 with random weights and {} tokens in {}",
        config.vocab_size,
        printable_path(&args.out)
    ));
    Ok(())
}

/// Fails if the folder already holds a model.
pub fn refuse_existing(out: &Path) -> anyhow::Result<()> {
    if out.join("model.safetensors").exists() {
        bail!("{} already holds a model; choose another --out, or remove it", printable_path(out));
    }
    Ok(())
}
