//! A ClipCap checkpoint becomes a run folder.
//!
//! Read are the names that ClipCap's training script saves: `gpt.*`, a Hugging Face GPT-2, and
//! `clip_project.*`, either mapper. Sizes are inferred from shapes. Nothing is at the run's place
//! until all of it has been read back into a model.

mod shapes;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use networks::gpt2::Gpt2Config;
use networks::prefix::{self, ClipCaptioner};
use networks::weights::WeightsError;
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor, nn};
use torch_files::{Dtype, StateDict};

use crate::checkpoint::{self, Position};
use crate::config::{ClipPrefix, Config, System};
use crate::error::Error;
use crate::inputs::load_tokenizer;
use crate::run_folder::{Provenance, RunFolder};

use shapes::Sizes;

pub(crate) const HEAD: &str = "gpt.lm_head.weight";
pub(crate) const EMBEDDING: &str = "gpt.transformer.wte.weight";

/// A checkpoint to import, and what it does not say itself.
#[derive(Debug)]
pub struct Import<'a> {
    /// The file that `torch.save` wrote.
    pub file: &'a Path,
    /// What the run is configured as; its mapper is replaced by the one in the file.
    pub config: Config,
    /// Folder with the tokenizer that the captions were written in.
    pub tokenizer: &'a Path,
    /// GPT-2's attention heads, which no shape tells; else one for each 64 of the hidden size.
    pub heads: Option<i64>,
    /// The run folder to make.
    pub out: &'a Path,
}

/// What was imported.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The language model, as the shapes have it.
    pub gpt2: Gpt2Config,
    /// The run's configuration.
    pub config: Config,
    /// Values in an image embedding.
    pub clip_dim: usize,
    /// Weights taken over.
    pub tensors: usize,
}

/// Makes a run folder of a checkpoint: f32 weights, finished, without the optimizer's moments.
///
/// # Errors
/// Names the file and every tensor that is missing, unknown or of a wrong shape; refuses an output
/// head of its own, and a tokenizer with more tokens than there are embeddings. Nothing is left at
/// `out` then.
pub fn import(import: &Import) -> Result<Imported, Error> {
    refuse_existing(import.out)?;
    let weights = Weights::load(import.file)?;
    let Sizes { gpt2, mapper, clip_dim } = weights.sizes(import.heads)?;
    let system = ClipPrefix { mapper, ..import.config.clip_prefix()?.clone() };
    let config = Config { system: System::ClipPrefix(system), ..import.config.clone() };
    let tokenizer = load_tokenizer(import.tokenizer, gpt2.vocab_size)?;
    let provenance = Provenance {
        capsmith: env!("CARGO_PKG_VERSION").to_owned(),
        embeddings: None,
        clip_dim,
        gpt2_sha256: Some(sha256(import.file)?),
        keywords_sha256: None,
        threads: config.training.cpu_threads(),
        device: config.training.device.clone(),
    };
    let imported = Imported { gpt2, config, clip_dim, tensors: weights.tensors.len() };

    let staging = Staging::beside(import.out)?;
    let run = RunFolder::new(&staging.path);
    run.save_language_model(&imported.gpt2, &tokenizer)?;
    let finished = Position { finished: true, ..Position::default() };
    checkpoint::save_model(&run.checkpoints(), &finished, &weights.tensors)?;
    drop(weights);
    read_back(&run, import.file, &imported)?;
    run.begin(&imported.config, &provenance)?;
    staging.keep(import.out)?;
    Ok(imported)
}

/// Builds the model and fills it, strictly. Errors name `source`, which the weights are from.
fn read_back(run: &RunFolder, source: &Path, imported: &Imported) -> Result<(), Error> {
    let (found, damaged) = checkpoint::latest(&run.checkpoints())?;
    let Some(checkpoint) = found else {
        return damaged.into_iter().next().map_or(Ok(()), Err);
    };
    let mut store = nn::VarStore::new(Device::Cpu);
    let mapper = imported.config.clip_prefix()?.mapper.network(imported.clip_dim);
    let _captioner = ClipCaptioner::new(store.root(), &imported.gpt2, &mapper);
    prefix::load(&mut store, &checkpoint.weights()?).map_err(|error| match error {
        WeightsError::Mismatch { report, .. } => Error::Mismatch(format!(
            "{} is no ClipCap checkpoint that is understood here; of the model that its sizes make, the tensors do not fit\n{report}hint: save model.state_dict() of ClipCap's ClipCaptionModel",
            source.display()
        )),
        WeightsError::NotFinite { name, value, .. } => {
            WeightsError::NotFinite { path: source.to_owned(), name, value }.into()
        }
        other => other.into(),
    })
}

/// The weights of a checkpoint, f32, without what [`prefix::is_ignored`].
struct Weights<'a> {
    file: &'a Path,
    tensors: Vec<(String, Tensor)>,
}

impl<'a> Weights<'a> {
    fn load(file: &'a Path) -> Result<Self, Error> {
        let dict = StateDict::load(file)?;
        check_head(file, &dict)?;
        let size = fs::metadata(file).map_or(0, |attributes| attributes.len());
        let kept: Vec<_> = dict.iter().filter(|(name, _)| !prefix::is_ignored(name)).collect();
        // Many tensors may be views of one storage, and would each get memory of their own.
        let bytes: u64 =
            kept.iter().map(|(_, tensor)| (tensor.len() * tensor.dtype().size()) as u64).sum();
        if bytes > size {
            return Err(Error::Mismatch(format!(
                "{}: its tensors share their values ({bytes} bytes of weights in a file of {size}); in Python, call .clone() on each before saving",
                file.display()
            )));
        }
        let tensors = kept
            .into_iter()
            .map(|(name, tensor)| Ok((name.to_owned(), to_f32(file, name, tensor)?)))
            .collect::<Result<_, Error>>()?;
        Ok(Self { file, tensors })
    }

    fn shape(&self, name: &str) -> Option<Vec<i64>> {
        self.tensors.iter().find(|(known, _)| known == name).map(|(_, tensor)| tensor.size())
    }

    fn sizes(&self, heads: Option<i64>) -> Result<Sizes, Error> {
        let fail = |reason: String| Error::Mismatch(format!("{}: {reason}", self.file.display()));
        let names: Vec<&str> = self.tensors.iter().map(|(name, _)| name.as_str()).collect();
        let sizes = shapes::infer(&names, |name| self.shape(name), heads).map_err(fail)?;
        let values: u128 = self.tensors.iter().map(|(_, tensor)| tensor.numel() as u128).sum();
        // Some slack, since a file that lacks a tensor is better told which one.
        let (needed, allowed) = (sizes.parameters(), 2 * values + 1_000_000);
        if needed > allowed {
            return Err(fail(format!(
                "its shapes are those of a model with {needed} weights, but it has {values}; weights are missing or of wrong shapes"
            )));
        }
        Ok(sizes)
    }
}

fn to_f32(file: &Path, name: &str, tensor: &torch_files::Tensor) -> Result<Tensor, Error> {
    let shape: Vec<i64> = tensor.shape().iter().map(|&size| size as i64).collect();
    if tensor.dtype() == Dtype::F32 {
        return Ok(Tensor::f_from_data_size(&tensor.bytes(), &shape, Kind::Float)?);
    }
    let values = tensor.to_f32().ok_or_else(|| {
        Error::Mismatch(format!(
            "{}: {name} is of type {}; weights are floating-point numbers",
            file.display(),
            tensor.dtype()
        ))
    })?;
    Ok(Tensor::f_from_slice(&values)?.f_view(shape.as_slice())?)
}

/// Refuses an output head that is not the token embedding again.
fn check_head(file: &Path, dict: &StateDict) -> Result<(), Error> {
    let (Some(head), Some(embedding)) = (dict.get(HEAD), dict.get(EMBEDDING)) else {
        return Ok(());
    };
    let is_tied = head.dtype() == embedding.dtype()
        && head.shape() == embedding.shape()
        && head.bytes() == embedding.bytes();
    if is_tied {
        return Ok(());
    }
    Err(WeightsError::UntiedHead { path: file.to_owned(), head: HEAD.to_owned() }.into())
}

pub(crate) fn refuse_existing(out: &Path) -> Result<(), Error> {
    if fs::symlink_metadata(out).is_err() {
        return Ok(());
    }
    Err(Error::RunFile {
        path: out.to_owned(),
        reason: "exists, and nothing is overwritten; choose another --out, or move it away".into(),
    })
}

/// SHA-256 of a file's bytes, in hexadecimal.
pub(crate) fn sha256(path: &Path) -> Result<String, Error> {
    let fail =
        |error: io::Error| Error::RunFile { path: path.to_owned(), reason: error.to_string() };
    let mut file = File::open(path).map_err(fail)?;
    let (mut digest, mut buffer) = (Sha256::new(), vec![0; 1 << 18]);
    loop {
        let count = file.read(&mut buffer).map_err(fail)?;
        if count == 0 {
            break;
        }
        digest.update(&buffer[..count]);
    }
    Ok(hex::encode(digest.finalize()))
}

/// A folder that is filled beside its place, and goes when it is dropped before it is kept.
pub(crate) struct Staging {
    pub path: PathBuf,
    /// Folders around it that were not there before, the innermost first.
    made: Vec<PathBuf>,
}

impl Staging {
    pub(crate) fn beside(place: &Path) -> Result<Self, Error> {
        let mut name = OsString::from(place.file_name().ok_or_else(|| Error::RunFile {
            path: place.to_owned(),
            reason: "this names no folder; give --out a name".into(),
        })?);
        name.push(format!(".{}.partial", std::process::id()));
        let path = place.with_file_name(name);
        let around = path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
        let made = around.take_while(|folder| !folder.exists()).map(Path::to_owned).collect();
        let staging = Self { path, made };
        durable::create_dir_all(&staging.path)?;
        Ok(staging)
    }

    /// Moves the folder to its place.
    pub(crate) fn keep(self, place: &Path) -> Result<(), Error> {
        Ok(durable::replace(&self.path, place)?)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // After `keep` there is nothing; after an error, that error is the one to tell.
        let _ = fs::remove_dir_all(&self.path);
        for folder in &self.made {
            // Stays where it holds what was kept.
            let _ = fs::remove_dir(folder);
        }
    }
}
