//! Unpacking of untrusted zip archives.
//!
//! Entries are unpacked into a staging folder next to the destination and moved there once all of
//! them are complete and correct. A stopped unpacking resumes. An archive is refused whole if an
//! entry would leave the folder, is a link, or unpacks to more than its stated size. It is also
//! refused if its entries together unpack to more than images and texts plausibly could.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};

use crc32fast::Hasher;
use foreign_text::printable_path;
use progress::{Progress, Unit};
use zip::ZipArchive;

use crate::Error;
use crate::cache::create_parent;
use crate::digest::each_piece;

type Zip = ZipArchive<BufReader<File>>;

const MAX_ENTRIES: usize = 400_000;
/// Maximum of unpacked bytes per byte of the archive. Text has about six, images have one.
const MAX_EXPANSION: u64 = 30;
/// Unpacked bytes that are allowed for any archive.
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
    let file = File::open(archive).map_err(Error::io("read", archive))?;
    let length = file.metadata().map_err(Error::io("read", archive))?.len();
    let mut zip = ZipArchive::new(BufReader::new(file))
        .map_err(|error| damaged(archive, error.to_string()))?;
    let entries = entries(archive, &mut zip, length, keep)?;
    let name = archive.file_name().unwrap_or_default().to_string_lossy();
    // Another archive of the same name must not resume in this one's folder.
    let staging = destination.join(format!(".{name}.{:08x}.unpacking", identity(&entries)));
    durable::create_dir_all(&staging)?;
    progress.start(
        &format!("unpacking {name}"),
        Unit::Count("files"),
        Some(entries.len() as u64),
        0,
    );
    let result: Result<(), Error> = entries.iter().enumerate().try_for_each(|(number, entry)| {
        let target = staging.join(&entry.path);
        // An earlier run may have stopped while it moved the entries to the destination.
        if !is_unpacked(&target, entry) && !is_unpacked(&destination.join(&entry.path), entry) {
            create_parent(&target)?;
            write(&mut zip, archive, entry, &target).inspect_err(|_| {
                // The first error is the one to report.
                let _ = fs::remove_file(&target);
            })?;
        }
        progress.position(number as u64 + 1);
        Ok(())
    });
    progress.finish();
    result?;
    let folders = entries.iter().flat_map(|entry| entry.path.ancestors().skip(1));
    for folder in folders.collect::<BTreeSet<&Path>>() {
        let folder = staging.join(folder);
        if folder.is_dir() {
            let synced = File::open(&folder).and_then(|file| file.sync_all());
            synced.map_err(Error::io("sync", &folder))?;
        }
    }
    move_contents(&staging, destination)
}

struct Entry {
    index: usize,
    path: PathBuf,
    size: u64,
    crc32: u32,
}

/// Reads the archive's directory and refuses unsafe entries before anything is written.
fn entries(
    archive: &Path,
    zip: &mut Zip,
    length: u64,
    keep: fn(&Path) -> bool,
) -> Result<Vec<Entry>, Error> {
    if zip.len() > MAX_ENTRIES {
        return Err(refused(archive, format!("it has {} entries", zip.len())));
    }
    let limit = length.saturating_mul(MAX_EXPANSION).saturating_add(ALWAYS_ALLOWED);
    let (mut entries, mut total, mut paths) = (Vec::new(), 0_u64, BTreeSet::new());
    for index in 0..zip.len() {
        let entry = zip
            .by_index_raw(index)
            .map_err(|error| damaged(archive, format!("entry {index}: {error}")))?;
        let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
        let refuse = |problem: &str| Err(refused(archive, format!("entry {name:?} {problem}")));
        let Some(path) = entry.enclosed_name() else { return refuse("leaves its folder") };
        if entry.is_symlink() {
            return refuse("is a link");
        }
        total = total.saturating_add(entry.size());
        if total > limit {
            let problem = format!("its {length} bytes unpack to more than {limit}");
            return Err(refused(archive, problem));
        }
        if entry.is_dir() || !keep(&path) {
            continue;
        }
        if entry.encrypted() {
            return refuse("is encrypted");
        }
        if !paths.insert(path.clone()) {
            return refuse("is there twice");
        }
        entries.push(Entry { index, path, size: entry.size(), crc32: entry.crc32() });
    }
    if entries.is_empty() {
        return Err(refused(archive, "it has no file that capsmith reads".to_owned()));
    }
    Ok(entries)
}

/// Returns a checksum of the entries, to tell archives of different contents apart.
fn identity(entries: &[Entry]) -> u32 {
    let mut hasher = Hasher::new();
    for entry in entries {
        hasher.update(entry.path.as_os_str().as_encoded_bytes());
        hasher.update(&entry.size.to_le_bytes());
        hasher.update(&entry.crc32.to_le_bytes());
    }
    hasher.finalize()
}

/// Writes one entry. The reader fails if the entry is too long or has another checksum.
fn write(zip: &mut Zip, archive: &Path, entry: &Entry, target: &Path) -> Result<(), Error> {
    let bad = |problem: &dyn std::fmt::Display| {
        damaged(archive, format!("{}: {problem}", printable_path(&entry.path)))
    };
    let reader = zip.by_index(entry.index).map_err(|error| bad(&error))?;
    let mut file = File::create(target).map_err(Error::io("write", target))?;
    let mut written = 0;
    each_piece(reader, |piece| {
        let piece = piece.map_err(|error| bad(&error))?;
        written += piece.len() as u64;
        file.write_all(piece).map_err(Error::io("write", target))
    })?;
    if written != entry.size {
        return Err(bad(&format!("it has {written} bytes instead of {}", entry.size)));
    }
    file.sync_all().map_err(Error::io("write", target))
}

fn is_unpacked(path: &Path, entry: &Entry) -> bool {
    let is_whole = |metadata: fs::Metadata| metadata.is_file() && metadata.len() == entry.size;
    let mut hasher = Hasher::new();
    let mut update = |piece: std::io::Result<&[u8]>| piece.map(|piece| hasher.update(piece));
    fs::symlink_metadata(path).is_ok_and(is_whole)
        && File::open(path).and_then(|file| each_piece(file, &mut update)).is_ok()
        && hasher.finalize() == entry.crc32
}

/// Renames the contents of `staging` into `destination`; each top-level entry appears whole.
fn move_contents(staging: &Path, destination: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(staging).map_err(Error::io("read", staging))? {
        let entry = entry.map_err(Error::io("read", staging))?;
        let target = destination.join(entry.file_name());
        if target.exists() {
            return Err(Error::InTheWay(target, "a file or folder of the archive has this name"));
        }
        durable::replace(&entry.path(), &target)?;
    }
    Ok(durable::remove(staging)?)
}

fn damaged(archive: &Path, problem: String) -> Error {
    let hint = "the archive is damaged or incomplete; remove it and get it again";
    Error::Unusable { path: archive.to_owned(), problem, hint }
}

fn refused(archive: &Path, problem: String) -> Error {
    let hint = "this is not the data set's archive; nothing of it was unpacked";
    Error::Unusable { path: archive.to_owned(), problem, hint }
}
