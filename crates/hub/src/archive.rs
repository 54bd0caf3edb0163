//! Unpacking of untrusted zip archives.
//!
//! Entries are unpacked into a staging folder beside the destination and moved there once all of
//! them are complete and correct. A stopped unpacking resumes. An archive is refused whole if an
//! entry would leave the folder, is a link, or unpacks to more than its stated size. It is also
//! refused if its entries together unpack to more than images and texts plausibly could.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use crc32fast::Hasher;
use foreign_text::printable_path;
use zip::ZipArchive;

use crate::cache::create_parent;
use crate::{Error, Progress, Unit};

const MOST_ENTRIES: usize = 400_000;
/// Text in the archives unpacks to about six times its size, images to once.
const MOST_GROWTH: u64 = 30;
const ALWAYS_ALLOWED: u64 = 64 << 20;

/// Unpacks those entries of `archive` that `keep` selects into `destination`.
///
/// # Errors
/// The archive is damaged or refused, another file is in the way, or the disk is full.
/// `destination` then is unchanged, except for a hidden staging folder from which the next
/// unpacking resumes.
pub(crate) fn unpack(
    archive: &Path,
    destination: &Path,
    keep: fn(&Path) -> bool,
    progress: &mut dyn Progress,
) -> Result<(), Error> {
    let mut unpacking = Unpacking::open(archive, keep)?;
    let name = archive.file_name().unwrap_or_default().to_string_lossy();
    // Another archive of the same name must not resume in this one's folder.
    let staging = destination.join(format!(".{name}.{:08x}.unpacking", unpacking.identity()));
    durable::create_dir_all(&staging)?;
    let count = unpacking.entries.len() as u64;
    progress.start(&format!("unpacking {name}"), Unit::Files, Some(count), 0);
    let result = unpacking.fill(&staging, destination, progress);
    progress.finish();
    result?;
    move_over(&staging, destination)
}

struct Entry {
    index: usize,
    path: PathBuf,
    size: u64,
    crc32: u32,
}

struct Unpacking<'a> {
    archive: &'a Path,
    zip: ZipArchive<BufReader<File>>,
    entries: Vec<Entry>,
}

impl<'a> Unpacking<'a> {
    /// Reads the archive's directory and refuses unsafe entries before anything is written.
    fn open(archive: &'a Path, keep: fn(&Path) -> bool) -> Result<Self, Error> {
        let file = File::open(archive).map_err(Error::io("read", archive))?;
        let length = file.metadata().map_err(Error::io("read", archive))?.len();
        let mut zip = ZipArchive::new(BufReader::new(file))
            .map_err(|error| damaged(archive, error.to_string()))?;
        if zip.len() > MOST_ENTRIES {
            return Err(refused(archive, format!("it has {} entries", zip.len())));
        }
        let limit = length.saturating_mul(MOST_GROWTH).saturating_add(ALWAYS_ALLOWED);
        let (mut entries, mut total) = (Vec::new(), 0_u64);
        let mut paths = BTreeSet::new();
        for index in 0..zip.len() {
            let entry = zip
                .by_index_raw(index)
                .map_err(|error| damaged(archive, format!("entry {index}: {error}")))?;
            let shown = String::from_utf8_lossy(entry.name_raw()).into_owned();
            let refuse = |problem: &str| refused(archive, format!("entry {shown:?} {problem}"));
            let path = entry.enclosed_name().ok_or_else(|| refuse("leaves its folder"))?;
            if entry.is_symlink() {
                return Err(refuse("is a link"));
            }
            total = total.saturating_add(entry.size());
            if total > limit {
                return Err(refused(
                    archive,
                    format!("its {length} bytes unpack to more than {limit}"),
                ));
            }
            if entry.is_dir() || !keep(&path) {
                continue;
            }
            if entry.encrypted() {
                return Err(refuse("is encrypted"));
            }
            if !paths.insert(path.clone()) {
                return Err(refuse("is there twice"));
            }
            entries.push(Entry { index, path, size: entry.size(), crc32: entry.crc32() });
        }
        if entries.is_empty() {
            return Err(refused(archive, "nothing that capsmith reads is in it".to_owned()));
        }
        Ok(Self { archive, zip, entries })
    }

    /// Returns a checksum of the entries, to tell archives of different contents apart.
    fn identity(&self) -> u32 {
        let mut digest = Hasher::new();
        for entry in &self.entries {
            digest.update(entry.path.as_os_str().as_encoded_bytes());
            digest.update(&entry.size.to_le_bytes());
            digest.update(&entry.crc32.to_le_bytes());
        }
        digest.finalize()
    }

    fn fill(
        &mut self,
        staging: &Path,
        destination: &Path,
        progress: &mut dyn Progress,
    ) -> Result<(), Error> {
        for (number, entry) in self.entries.iter().enumerate() {
            let target = staging.join(&entry.path);
            // Unpacked already, by an earlier run that may have stopped while moving.
            if !is_unpacked(&target, entry) && !is_unpacked(&destination.join(&entry.path), entry) {
                create_parent(&target)?;
                if let Err(error) = write(&mut self.zip, self.archive, entry, &target) {
                    // The first error is the one to report.
                    let _ = fs::remove_file(&target);
                    return Err(error);
                }
            }
            progress.position(number as u64 + 1);
        }
        let folders: BTreeSet<PathBuf> = self
            .entries
            .iter()
            .flat_map(|entry| entry.path.ancestors().skip(1))
            .map(|folder| staging.join(folder))
            .filter(|folder| folder.is_dir())
            .collect();
        folders.iter().try_for_each(|folder| {
            let synced = File::open(folder).and_then(|folder| folder.sync_all());
            synced.map_err(Error::io("sync", folder))
        })
    }
}

/// Writes one entry, at most its stated size, and compares its checksum.
fn write(
    zip: &mut ZipArchive<BufReader<File>>,
    archive: &Path,
    entry: &Entry,
    target: &Path,
) -> Result<(), Error> {
    let shown = printable_path(&entry.path);
    let reader =
        zip.by_index(entry.index).map_err(|error| damaged(archive, format!("{shown}: {error}")))?;
    let mut file = File::create(target).map_err(|error| Error::write(target, error, false))?;
    let (mut digest, mut written) = (Hasher::new(), 0);
    let mut reader = reader.take(entry.size.saturating_add(1));
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = reader
            .read(&mut buffer)
            .map_err(|error| damaged(archive, format!("{shown}: {error}")))?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
        written += bytes.len() as u64;
        if written > entry.size {
            return Err(refused(archive, format!("{shown} unpacks to more than it says")));
        }
        digest.update(bytes);
        file.write_all(bytes).map_err(|error| Error::write(target, error, false))?;
    }
    if written != entry.size || digest.finalize() != entry.crc32 {
        return Err(damaged(archive, format!("{shown} is not what it was when it was packed")));
    }
    file.sync_all().map_err(|error| Error::write(target, error, false))
}

fn is_unpacked(path: &Path, entry: &Entry) -> bool {
    let Ok(metadata) = fs::symlink_metadata(path) else { return false };
    if !metadata.is_file() || metadata.len() != entry.size {
        return false;
    }
    let mut digest = Hasher::new();
    let Ok(file) = File::open(path) else { return false };
    let mut reader = BufReader::with_capacity(1 << 16, file);
    std::io::copy(&mut reader, &mut Digesting(&mut digest)).is_ok()
        && digest.finalize() == entry.crc32
}

struct Digesting<'d>(&'d mut Hasher);

impl Write for Digesting<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Renames the contents of `staging` into `destination`; each top-level entry appears whole.
fn move_over(staging: &Path, destination: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(staging).map_err(Error::io("read", staging))? {
        let entry = entry.map_err(Error::io("read", staging))?;
        let target = destination.join(entry.file_name());
        if target.exists() {
            let problem = "a file or folder of the archive has this name".to_owned();
            return Err(Error::InTheWay { path: target, problem });
        }
        durable::replace(&entry.path(), &target)?;
    }
    fs::remove_dir(staging).map_err(Error::io("remove", staging))
}

fn damaged(path: &Path, problem: String) -> Error {
    Error::Unusable {
        path: path.to_owned(),
        problem,
        hint: "the archive is damaged, or was not copied whole; remove it and get it again",
    }
}

fn refused(path: &Path, problem: String) -> Error {
    Error::Unusable {
        path: path.to_owned(),
        problem,
        hint: "this is not the data set's archive; nothing of it was unpacked",
    }
}
