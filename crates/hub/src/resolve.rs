//! Resolution of a reference to a path: first from the cache, then over the network.

use std::fs;
use std::iter;
use std::path::{Path, PathBuf};

use crate::cache::{Repository, create_parent};
use crate::client::{Client, Description, Listing, RemoteFile};
use crate::digest::Checksum;
use crate::known;
use crate::model_files::{self, Needs};
use crate::reference::{HubReference, ModelReference};
use crate::transfer::{self, Source};
use crate::{Error, Options, Progress};
use foreign_text::printable_path;

/// The parts of a model that are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// CLIP model: `config.json`, the image processor's settings, the tokenizer and weights.
    Clip,
    /// CLIP model without the tokenizer, for its vision tower only.
    ClipVision,
    /// CLIP model without the image processor's settings, for its text tower only.
    ClipText,
    /// Language model: `config.json`, the tokenizer and weights.
    LanguageModel,
    /// Single file, which the reference names.
    File,
}

/// Returns the path of a model, fetching its files that are not in the cache.
///
/// A reference to a file gives that file. A reference to a repository gives a snapshot folder of
/// the cache with the `wanted` files and, if the repository has them, the optional small files. The
/// network is not used if all files are cached: a fetched branch or tag stays at the commit it had
/// then. A local path is returned unchanged.
///
/// # Errors
/// A local path does not exist; a model is not cached and cannot be fetched; a received file does
/// not match the announced or pinned digest. No error leaves a damaged file under its final name.
pub fn resolve(
    reference: &ModelReference,
    wanted: Wanted,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<PathBuf, Error> {
    match reference {
        ModelReference::Local(path) if path.exists() => Ok(path.clone()),
        ModelReference::Local(path) => {
            Err(Error::Missing { hint: hint_for_missing(path), path: path.clone() })
        }
        ModelReference::Hub(reference) => Fetch::new(reference, options).run(wanted, progress),
    }
}

/// Returns a hint; `weights/gpt2` is the folder that `fetch weights gpt2 --out weights` fills.
fn hint_for_missing(path: &Path) -> String {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    match (known::by_name(name), parent) {
        (Some(_), Some(parent)) => format!(
            "run `capsmith fetch weights {name} --out {}`, or write {name} to have it fetched",
            printable_path(parent)
        ),
        _ => "check the path; a model of the hub is written hf:OWNER/NAME".to_owned(),
    }
}

struct Fetch<'a> {
    reference: &'a HubReference,
    revision: String,
    client: Client<'a>,
    cache: Repository,
    /// Other locations of the model: other caches, and its other name.
    elsewhere: Vec<Repository>,
}

impl<'a> Fetch<'a> {
    fn new(reference: &'a HubReference, options: &'a Options) -> Self {
        let pinned = || known::pinned_revision(&reference.repository, reference.file.as_deref());
        let revision = reference.revision.as_deref().or_else(pinned).unwrap_or("main").to_owned();
        let names = [Some(reference.repository.as_str()), known::other_name(&reference.repository)];
        let caches = iter::once(&options.cache).chain(&options.other_caches);
        let mut places = caches
            .flat_map(|cache| names.into_iter().flatten().map(|name| Repository::new(cache, name)));
        Self {
            reference,
            revision,
            client: Client::new(options),
            cache: places
                .next()
                .unwrap_or_else(|| Repository::new(&options.cache, &reference.repository)),
            elsewhere: places.collect(),
        }
    }

    /// Returns the first cached snapshot of `revision` that `fits`.
    fn cached(&self, revision: &str, fits: impl Fn(&Path) -> bool) -> Option<PathBuf> {
        iter::once(&self.cache).chain(&self.elsewhere).find_map(|place| {
            let snapshot = place.snapshot(&place.commit(revision)?);
            fits(&snapshot).then_some(snapshot)
        })
    }

    fn run(&self, wanted: Wanted, progress: &mut dyn Progress) -> Result<PathBuf, Error> {
        let needs = match wanted {
            Wanted::Clip => Needs { preprocessor: true, tokenizer: true },
            Wanted::ClipVision => Needs { preprocessor: true, tokenizer: false },
            Wanted::ClipText | Wanted::LanguageModel | Wanted::File => {
                Needs { preprocessor: false, tokenizer: true }
            }
        };
        match &self.reference.file {
            Some(file) => self.one_file(file, progress),
            None if wanted == Wanted::File => Err(Error::NoFile(self.reference.repository.clone())),
            None => self.folder(needs, progress),
        }
    }

    fn one_file(&self, file: &str, progress: &mut dyn Progress) -> Result<PathBuf, Error> {
        let fits = |snapshot: &Path| snapshot.join(file).is_file();
        if let Some(snapshot) = self.cached(&self.revision, fits) {
            return Ok(snapshot.join(file));
        }
        self.refuse_offline(Some(file), fits)?;
        let (path, commit) = self.file(file, &self.revision, progress)?;
        self.cache.remember(&self.revision, &commit)?;
        Ok(path)
    }

    fn folder(&self, needs: Needs, progress: &mut dyn Progress) -> Result<PathBuf, Error> {
        let fits = |snapshot: &Path| model_files::is_complete(snapshot, needs);
        if let Some(snapshot) = self.cached(&self.revision, fits) {
            return Ok(snapshot);
        }
        self.refuse_offline(None, fits)?;
        if let Some(other) = self.other_revision(fits) {
            progress.say(&format!("fetching revision {}; {other}", self.revision));
        }
        let repository = &self.reference.repository;
        let Listing { commit, files } = self.client.list(repository, &self.revision, progress)?;
        let not_a_model = |missing: String| Error::NotAModel {
            repository: repository.clone(),
            revision: commit.clone(),
            missing,
            page: format!("{}/tree/{commit}", self.client.page(repository)),
        };
        let wanted = model_files::select(&files, needs).map_err(not_a_model)?;
        for file in &wanted.files {
            self.file(file, &commit, progress)?;
        }
        if let Some(index) = wanted.index {
            let (path, _) = self.file(index, &commit, progress)?;
            for shard in model_files::shards(&path)? {
                if !files.contains(&shard) {
                    return Err(not_a_model(format!("{shard}, which {index} speaks of")));
                }
                self.file(&shard, &commit, progress)?;
            }
        }
        self.cache.remember(&self.revision, &commit)?;
        Ok(self.cache.snapshot(&commit))
    }

    fn refuse_offline(
        &self,
        file: Option<&str>,
        fits: impl Fn(&Path) -> bool,
    ) -> Result<(), Error> {
        if !self.client.options.offline {
            return Ok(());
        }
        let HubReference { repository, .. } = self.reference;
        let file = file.map(|file| format!("/{file}")).unwrap_or_default();
        let other = self.other_revision(fits).map(|other| format!("{other}; or "));
        Err(Error::Offline {
            what: format!("{repository}{file} at revision {} (or a part of it)", self.revision),
            place: self.client.options.cache.clone(),
            other: other.unwrap_or_default(),
            command: format!("capsmith fetch weights {}", self.reference),
        })
    }

    /// Returns a hint at another cached revision that `fits`: `main`, else a commit.
    fn other_revision(&self, fits: impl Fn(&Path) -> bool) -> Option<String> {
        let found = if self.cached("main", &fits).is_some() {
            "main".to_owned()
        } else {
            let commits = iter::once(&self.cache).chain(&self.elsewhere).flat_map(|place| {
                place.commits().into_iter().filter(|commit| fits(&place.snapshot(commit)))
            });
            commits.min()?
        };
        let HubReference { repository, file, .. } = self.reference;
        let file = file.as_ref().map(|file| format!("/{file}")).unwrap_or_default();
        Some(format!("hf:{repository}{file}@{found} takes the revision that is in the cache"))
    }

    /// Fetches one file into the cache; returns its path there and its commit.
    fn file(
        &self,
        file: &str,
        revision: &str,
        progress: &mut dyn Progress,
    ) -> Result<(PathBuf, String), Error> {
        if let Some(commit) = self.cache.commit(revision) {
            let path = self.cache.snapshot(&commit).join(file);
            if path.is_file() {
                return Ok((path, commit));
            }
        }
        let repository = &self.reference.repository;
        let remote = RemoteFile { repository, revision, file };
        let description = self.client.describe(remote, progress)?;
        let Description { commit, etag, size, .. } = &description;
        let name = format!("{repository}/{file}");
        let pin = known::pinned_sha256(repository, commit, file)
            .map(|hex| Checksum::Sha256(hex.to_owned()));
        check_announcement(&name, etag, pin.as_ref())?;

        let blob = self.cache.blob(etag);
        create_parent(&blob)?;
        let _lock = self.cache.lock(etag, progress)?;
        // Another process may have fetched it during the wait.
        if !is_whole(&blob, *size) {
            self.blob(&name, &description, pin.as_ref(), progress)?;
        }
        Ok((self.cache.link(etag, commit, file)?, commit.clone()))
    }

    /// Fetches and checks a blob. Only a complete, correct file gets the blob's name.
    fn blob(
        &self,
        name: &str,
        description: &Description,
        pin: Option<&Checksum>,
        progress: &mut dyn Progress,
    ) -> Result<(), Error> {
        let Description { url, etag, size, .. } = description;
        let blob = self.cache.blob(etag);
        let partial = self.cache.blob(&format!("{etag}.incomplete"));
        let source = Source { url, name, size: *size, is_cache: true };
        transfer::download(&self.client, &source, &partial, progress)?;
        let announced = Checksum::from_etag(etag);
        if announced.is_none() && pin.is_none() {
            progress.say(&format!(
                "{name}: the hub announces no checksum, so only the size was checked"
            ));
        }
        let checks = [(announced.as_ref(), "announced by the hub"), (pin, "pinned by capsmith")];
        for (checksum, origin) in checks {
            let Some(checksum) = checksum else { continue };
            let hint = "it is not kept; run the same command again, and if that does not help, a \
                        proxy or the hub changes it";
            if let Err(error) = checksum.check(&partial, name, origin, hint) {
                // The first error is the one to report.
                let _ = fs::remove_file(&partial);
                return Err(error);
            }
        }
        Ok(durable::replace(&partial, &blob)?)
    }
}

/// Fails before the download if the hub announces another digest than the pinned one.
fn check_announcement(name: &str, etag: &str, pin: Option<&Checksum>) -> Result<(), Error> {
    match (Checksum::from_etag(etag), pin) {
        (Some(announced @ Checksum::Sha256(_)), Some(pin)) if announced != *pin => {
            Err(Error::Checksum {
                name: name.to_owned(),
                algorithm: pin.algorithm(),
                expected: pin.hex().into(),
                actual: announced.hex().into(),
                origin: "pinned by capsmith",
                hint: "the hub announces another file at this commit, so it was not fetched; check \
                       HF_ENDPOINT",
            })
        }
        _ => Ok(()),
    }
}

fn is_whole(blob: &Path, size: Option<u64>) -> bool {
    fs::metadata(blob)
        .is_ok_and(|metadata| metadata.is_file() && size.is_none_or(|size| metadata.len() == size))
}
