//! The commands `fetch weights`, `fetch flickr8k` and `fetch flickr30k`, for use in other programs.
//!
//! Each command is a clap `Args` and a function that runs it. The function writes its results to
//! `out` and reports to a [`Progress`].

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use foreign_text::printable_path;

use crate::known::{self, KNOWN};
use crate::place::model_paths;
use crate::reference::ModelReference;
use crate::resolve::Wanted;
use crate::{
    DataSet, Error, FLICKR8K, FLICKR30K, HubReference, Options, Progress, fetch_data_set, place,
    resolve, sha256,
};

/// Fetch pretrained models from the Hugging Face hub into its cache.
///
/// Known by short names, at pinned commits: clip-vit-large-patch14, clip-vit-base-patch32, gpt2,
/// gpt2-medium, gpt2-large, gpt2-xl, and clip-prefix, the paper's own captioner. Others as OWNER/NAME or
/// hf:OWNER/NAME/FILE, with @REVISION if wanted.
///
/// `HF_HOME`, `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, `TRANSFORMERS_CACHE`, `HF_ENDPOINT`, `HF_TOKEN`
/// and `HF_HUB_OFFLINE` are respected. Stopped or cut off, the same command goes on where it was.
#[derive(Args, Clone, Debug)]
pub struct FetchWeightsArgs {
    /// Models.
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// Put the files into DIR/NAME too, for machines without a network.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Fetch a data set, check it and unpack it.
///
/// Stopped or cut off, the same command goes on where it was.
#[derive(Args, Clone, Debug)]
pub struct FetchDataSetArgs {
    /// Folder of the data set [default: data/flickr8k or data/flickr30k].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Where the archives lie under their own names, in place of their public homes.
    #[arg(long, value_name = "URL")]
    pub mirror: Option<String>,
}

/// Fetches models and writes a line for each of their files.
///
/// The line has the path, the bytes, the SHA-256, and whether the SHA-256 is pinned, announced by
/// the hub, or neither.
///
/// # Errors
/// Same as [`resolve`] and [`place`]. Also fails if a file of the cache has changed since it was
/// fetched.
pub fn fetch_weights(
    args: &FetchWeightsArgs,
    progress: &mut dyn Progress,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let options = Options::from_environment()?;
    for name in &args.names {
        let (reference, wanted) = model(name)?;
        let resolved =
            resolve(&ModelReference::Hub(reference.clone()), wanted, &options, progress)?;
        for (path, file) in model_paths(&resolved)? {
            let line = checked(&path, &file, &reference)?;
            writeln!(out, "{line}").map_err(Error::Stream)?;
        }
        let Some(folder) = &args.out else { continue };
        let name = match known::by_name(name) {
            Some(known) => known.name,
            None => reference.repository.rsplit('/').next().unwrap_or(name),
        };
        let folder = folder.join(name);
        let count = place(&resolved, &folder)?.len();
        writeln!(out, "{}: {count} files", printable_path(&folder)).map_err(Error::Stream)?;
    }
    Ok(())
}

fn model(name: &str) -> Result<(HubReference, Wanted), Error> {
    match ModelReference::parse(&format!("hf:{}", name.trim_start_matches("hf:")))? {
        ModelReference::Hub(reference) => {
            let known = KNOWN.iter().find(|known| {
                known.repository == reference.repository && known.file == reference.file.as_deref()
            });
            let otherwise = match reference.file {
                Some(_) => Wanted::File,
                None => Wanted::LanguageModel,
            };
            Ok((reference, known.map_or(otherwise, |known| known.wanted)))
        }
        ModelReference::Local(path) => {
            Err(Error::Missing { path, hint: "name a model of the hub".to_owned() })
        }
    }
}

/// Reads a file of the cache again and compares its digest with the pinned or announced one.
fn checked(path: &std::path::Path, file: &str, reference: &HubReference) -> Result<String, Error> {
    let blob = fs::canonicalize(path).map_err(Error::io("find", path))?;
    let length = fs::metadata(&blob).map_err(Error::io("read", &blob))?.len();
    let digest = sha256(&blob)?;
    let commit = path
        .ancestors()
        .find(|folder| folder.parent().is_some_and(|parent| parent.ends_with("snapshots")))
        .and_then(|folder| folder.file_name()?.to_str())
        .unwrap_or_default();
    let pin = known::pinned_sha256(&reference.repository, commit, file);
    let etag = blob.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let announced = Some(etag).filter(|etag| etag.len() == 64);
    let (expected, origin, words) = match (pin, announced) {
        (Some(pin), _) => (pin, "pinned by capsmith", "as pinned"),
        (None, Some(etag)) => (etag, "announced by the hub", "as announced by the hub"),
        (None, None) => (digest.as_str(), "", "no pin"),
    };
    if expected != digest {
        return Err(Error::Checksum {
            name: blob.display().to_string(),
            algorithm: "SHA-256",
            expected: expected.into(),
            actual: digest.into(),
            origin,
            hint: "the file was changed in the cache; remove it and run the same command again",
        });
    }
    Ok(format!("{}  {length} bytes  sha256 {digest}  {words}", printable_path(path)))
}

/// Fetches Flickr8k.
///
/// # Errors
/// Same as [`fetch_data_set`].
pub fn fetch_flickr8k(
    args: &FetchDataSetArgs,
    progress: &mut dyn Progress,
    out: &mut dyn Write,
) -> Result<(), Error> {
    data_set(&FLICKR8K, args, progress, out)
}

/// Fetches the public part of Flickr30k and unpacks its images if the user has put them there.
///
/// # Errors
/// Same as [`fetch_data_set`]; [`Error::ByHand`] until the images are there.
pub fn fetch_flickr30k(
    args: &FetchDataSetArgs,
    progress: &mut dyn Progress,
    out: &mut dyn Write,
) -> Result<(), Error> {
    data_set(&FLICKR30K, args, progress, out)
}

fn data_set(
    set: &DataSet<'_>,
    args: &FetchDataSetArgs,
    progress: &mut dyn Progress,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let options = Options::from_environment()?;
    let folder = args.out.clone().unwrap_or_else(|| PathBuf::from("data").join(set.name));
    fetch_data_set(set, &folder, args.mirror.as_deref(), &options, progress)?;
    writeln!(
        out,
        "{}: {} pictures and their captions; its archives (*.zip) are not needed any more\n\
         `capsmith dataset check {}` looks at all of it",
        printable_path(&folder),
        set.pictures,
        printable_path(&folder)
    )
    .map_err(Error::Stream)
}
