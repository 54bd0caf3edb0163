//! `capsmith import`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use foreign_text::printable_path;
use hub::{ModelFiles, Options};
use recipes::{Config, MapperKind};
use training::exported_settings::ExportedSettings;
use training::import::{Import, import};

use crate::data_set::CaptionFiles;
use crate::{import_features, models, terminal};

/// Import a ClipCap checkpoint or embeddings from Python.
///
/// A checkpoint (FILE.pt, or FILE.safetensors from `export`) with ClipCap's tensor names, also with
/// prefixes such as `module.` or nested under a key, becomes a run folder for `caption` and
/// `evaluate`. With --dataset, a ClipCap pickle of embeddings and captions (FILE.pkl) becomes an
/// embeddings file of that data set, as `import-features` writes it. No code in the files is
/// executed.
#[derive(clap::Args)]
pub struct Args {
    /// File to import: a path, or a hub file: clip-prefix or hf:OWNER/NAME/FILE.
    file: String,
    /// Run folder, or embeddings file (.safetensors), to write.
    #[arg(long)]
    out: PathBuf,
    /// Config of the run; the mapper is taken from the checkpoint. [default: the paper's recipe on
    /// Flickr8k, on the CPU]
    #[arg(long)]
    config: Option<PathBuf>,
    /// Folder or hub name of the tokenizer. [default: weights/gpt2 if it exists, else gpt2]
    #[arg(long, value_name = "MODEL")]
    tokenizer: Option<String>,
    /// Attention heads of GPT-2. [default: those of an exported run, else hidden size / 64]
    #[arg(long)]
    heads: Option<i64>,
    /// Data set of a pickle's embeddings.
    #[arg(long, conflicts_with_all = ["config", "tokenizer", "heads"])]
    dataset: Option<PathBuf>,
    #[command(flatten)]
    captions: CaptionFiles,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let file = models::find(&args.file, ModelFiles::File)?;
    match &args.dataset {
        Some(dataset) => {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let encoder = format!("imported from {name}");
            let data_set = args.captions.source(dataset);
            import_features::import_and_report(&[file], None, &data_set, &encoder, &args.out)
        }
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
/// Imports a PyTorch checkpoint first, once, into a folder beside the hub's cache. For the weights
/// file of a model folder, returns that folder.
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
    if run.exists() {
        return Ok(run);
    }
    durable::create_dir_all(&imported)?;
    // Of several processes that need the import, one makes it.
    let _lock = durable::wait_for_lock(&imported.join("lock"))?;
    if !run.exists() {
        captioner(&path, None, None, None, &run)?;
    }
    Ok(run)
}

/// Imports a checkpoint as a run folder, and prints its architecture.
pub fn captioner(
    file: &Path,
    config: Option<&Path>,
    tokenizer: Option<&str>,
    heads: Option<i64>,
    out: &Path,
) -> anyhow::Result<()> {
    // A wrong file is told before a tokenizer is looked for, maybe at the hub.
    training::import::check(file)?;
    let config =
        config.map_or_else(|| default_config(file), |path| Ok(Config::load(path, &[])?))?;
    let near = Path::new("weights/gpt2");
    let default = if near.is_dir() { "weights/gpt2" } else { "gpt2" };
    let tokenizer = tokenizer.unwrap_or(default);
    let tokenizer = models::find(tokenizer, ModelFiles::LanguageModel)
        .context("cannot find the tokenizer; name its folder with --tokenizer")?;
    let imported = import(&Import { file, config, tokenizer: &tokenizer, heads, out })?;
    let gpt2 = &imported.gpt2;
    let system = imported.config.clip_prefix()?;
    let mapper = match system.mapper.kind {
        MapperKind::Mlp => "an MLP",
        MapperKind::Transformer { .. } => "a transformer",
    };
    let run = printable_path(out);
    terminal::say(&format!(
        "{run}: {} tensors; GPT-2 with {} layers, {} heads, hidden size {}, {} tokens; {mapper} from {} values to {} prefix vectors\nnext: capsmith caption {run} IMAGE --clip CLIP",
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

/// Returns the paper's recipe on the CPU, with the normalisation that an exported file records.
fn default_config(file: &Path) -> anyhow::Result<Config> {
    let cpu = "training.device=cpu".to_owned();
    let mut config = Config::built_in("flickr8k/prefix-gradient-clipping.toml", &[cpu])?;
    if let Some(settings) = ExportedSettings::read(file)? {
        config.data.normalize_embeddings = settings.normalize_embeddings;
    }
    Ok(config)
}
