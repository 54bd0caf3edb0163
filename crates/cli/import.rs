//! `capsmith import`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use foreign_text::printable_path;
use hub::{ModelFiles, Options};
use recipes::{Config, MapperKind};
use training::import::{Import, import};
use training::pickle;

use crate::{models, terminal};

/// Take over a captioner or embeddings made in Python.
///
/// A checkpoint (FILE.pt, or FILE.safetensors as `export` writes it) with ClipCap's names, also behind
/// `module.` and the like and under any key, becomes a run folder that `caption` and `evaluate` take.
/// With --dataset, a pickle of embeddings and captions as ClipCap makes it (FILE.pkl) becomes a
/// file of embeddings for that data set. Neither file is run.
#[derive(clap::Args)]
pub struct Args {
    /// File, or one of the hub: clip-prefix, or hf:OWNER/NAME/FILE.
    file: String,
    /// Run folder, or file of embeddings (.safetensors), to write.
    #[arg(long)]
    out: PathBuf,
    /// What the run is configured as, but for its mapper; the paper's recipe on Flickr8k, on the
    /// CPU, unless given.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Tokenizer: a folder or a model of the hub; weights/gpt2 where it is there, else gpt2, unless
    /// given.
    #[arg(long, value_name = "MODEL")]
    tokenizer: Option<String>,
    /// GPT-2's attention heads; the hidden size / 64 unless given.
    #[arg(long)]
    heads: Option<i64>,
    /// Data set whose pictures a pickle's embeddings are of.
    #[arg(long, conflicts_with_all = ["config", "tokenizer", "heads"])]
    dataset: Option<PathBuf>,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let file = models::find(&args.file, ModelFiles::File)?;
    match &args.dataset {
        Some(dataset) => embeddings(&file, dataset, &args.out),
        None => captioner(
            &file,
            args.config.as_deref(),
            args.tokenizer.as_deref(),
            args.heads,
            &args.out,
        ),
    }
}

/// Returns the path of the model that training starts from, as [`models::find`] does.
///
/// Imports a checkpoint of PyTorch's first, once, beside the hub's cache; the weights file of a
/// model folder stands for the folder.
pub fn find_language_model(text: &str) -> anyhow::Result<PathBuf> {
    let path = models::find(text, ModelFiles::LanguageModel)?;
    if !path.is_file() {
        return Ok(path);
    }
    let is_a_folders = path.ends_with("model.safetensors") || path.ends_with("pytorch_model.bin");
    if is_a_folders
        && let Some(folder) = path.parent()
        && folder.join("config.json").is_file()
    {
        return Ok(folder.to_owned());
    }
    let imported = Options::from_environment()?.cache.with_file_name("capsmith-imported");
    let run = imported.join(durable::digests::of_file(&path)?);
    if !run.exists() {
        durable::create_dir_all(&imported)?;
        captioner(&path, None, None, None, &run)?;
    }
    Ok(run)
}

/// Makes a run folder of a checkpoint, and says what it is.
pub fn captioner(
    file: &Path,
    config: Option<&Path>,
    tokenizer: Option<&str>,
    heads: Option<i64>,
    out: &Path,
) -> anyhow::Result<()> {
    let config = match config {
        Some(path) => Config::load(path, &[])?,
        None => Config::built_in("flickr8k/prefix-gradient-clipping.toml", &cpu())?,
    };
    let near = Path::new("weights/gpt2");
    let default = if near.is_dir() { "weights/gpt2" } else { "gpt2" };
    let tokenizer = tokenizer.unwrap_or(default);
    let tokenizer = models::find(tokenizer, ModelFiles::LanguageModel)
        .context("cannot find the tokenizer (--tokenizer says where it is)")?;
    let imported = import(&Import { file, config, tokenizer: &tokenizer, heads, out })?;
    let gpt2 = &imported.gpt2;
    let system = imported.config.clip_prefix()?;
    let mapper = match system.mapper.kind {
        MapperKind::Mlp => "an MLP",
        MapperKind::Transformer { .. } => "a transformer",
    };
    let run = printable_path(out);
    terminal::say(&format!(
        "{run}: {} tensors; GPT-2 with {} layers, {} heads, hidden size {}, {} tokens; {mapper} from {} values to {} prefix vectors\nnext: capsmith caption --run {run} --clip CLIP IMAGE",
        imported.tensors,
        gpt2.n_layer,
        gpt2.n_head,
        gpt2.n_embd,
        gpt2.vocab_size,
        imported.clip_dim,
        system.mapper.prefix_length,
    ));
    Ok(())
}

fn cpu() -> [String; 1] {
    ["training.device=cpu".to_owned()]
}

fn embeddings(file: &Path, dataset: &Path, out: &Path) -> anyhow::Result<()> {
    let imported = pickle::import(file, dataset, out)?;
    for skipped in &imported.skipped {
        terminal::say(&format!("left out {}: {}", skipped.name, skipped.reason));
    }
    terminal::say(&format!(
        "{}: {} embeddings of {} values{}, {} pictures without one",
        printable_path(out),
        imported.pictures,
        imported.identity.dimension,
        if imported.identity.normalize { ", normalised" } else { "" },
        imported.skipped.len()
    ));
    Ok(())
}
