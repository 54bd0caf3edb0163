//! Layout of large data sets: tar archives, in which the files of an example are adjacent.
//!
//! The key of a file is its path up to the first dot of its name. Hidden files, and those in a
//! folder such as `__MACOSX__`, belong to no example (webdataset's rules). Of the files with one
//! key the image is read, and `txt` with a caption in each line, or else `json` with `caption` or a
//! list `captions`, as img2dataset writes them. Only headers and captions are read here: images
//! stay in their archives, and are read from there by offset.
//!
//! Keys are unique only within an archive: if two archives share a key, all images are named after
//! their archives, too.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use foreign_text::{open_regular, printable};
use pictures::PictureFile;
use rayon::prelude::*;
use tar::{Archive, Entry};

use crate::corpus::Corpus;
use crate::descriptions;
use crate::error::{LoadError, Location};
use crate::fingerprint::Fingerprint;
use crate::layout::Layout;
use crate::reading::{Captions, Reading, is_picture_name};
use crate::warnings::WarningKind;

/// Name patterns of archives.
pub(crate) const FILES: [&str; 3] = ["*.tar", "*.tar.gz", "*.tgz"];

/// Extensions of archives, including unsupported compressions, which are refused.
const ENDINGS: [&str; 6] = [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst"];

/// First bytes of compressed files.
const GZIP: &[u8] = b"\x1f\x8b";
const OTHERS: [(&str, &[u8]); 3] =
    [("bzip2", b"BZh"), ("xz", b"\xfd7zXZ\0"), ("zstd", b"\x28\xb5\x2f\xfd")];

/// Largest size of a caption file in bytes; longer files are ignored.
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// Returns the archives of a folder, sorted by name; an unpacked one hides its packed copy.
pub(crate) fn archives(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // macOS adds a `._` file to each other file.
        if let Ok(name) = entry.file_name().into_string()
            && !name.starts_with('.')
            && stem(&name).is_some()
            && entry.path().is_file()
        {
            names.push(name);
        }
    }
    names.sort();
    let mut seen = BTreeSet::new();
    let first = |name: &&String| stem(name).is_some_and(|stem| seen.insert(stem.to_owned()));
    Ok(names.iter().filter(first).map(|name| folder.join(name)).collect())
}

/// Returns true if a path has the name of an archive.
pub(crate) fn is_archive(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).and_then(stem).is_some()
}

/// Returns an archive's name without its extension; `None` for other files.
fn stem(name: &str) -> Option<&str> {
    ENDINGS.iter().find_map(|ending| name.strip_suffix(ending))
}

/// Reads the captions of all archives of a folder, and finds its images.
pub(crate) fn load(
    root: &Path,
    archives: &[PathBuf],
    captions: Captions,
) -> Result<(Corpus, Option<Fingerprint>), LoadError> {
    for naming in [Naming::Plain, Naming::WithArchive] {
        let mut reading = Reading::new(root, captions);
        let mut pictures = Vec::new();
        if add_all(archives, naming, &mut reading, &mut pictures)? {
            let (mut corpus, fingerprint) =
                reading.finish_with(root, root, Layout::WebDataset, pictures)?;
            corpus.caption_files = archives.to_vec();
            return Ok((corpus, fingerprint));
        }
    }
    Err(LoadError::NoCaptions(root.to_owned()))
}

/// Naming of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// By the path in the archive.
    Plain,
    /// By the archive as a folder, and the path in it.
    WithArchive,
}

/// Adds the examples of all archives; stops early if two archives share a plain name.
fn add_all<'f>(
    archives: &'f [PathBuf],
    naming: Naming,
    reading: &mut Reading<'f>,
    pictures: &mut Vec<PictureFile>,
) -> Result<bool, LoadError> {
    // Archives are read in groups of one for each thread: an archive's captions take megabytes.
    for archives in archives.chunks(rayon::current_num_threads()) {
        let read: Vec<_> = archives.par_iter().map(|archive| read(archive)).collect();
        for (archive, examples) in archives.iter().zip(read) {
            if !add(archive, examples?, naming, reading, pictures)? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Adds the examples of an archive, as [`add_all`] does.
fn add<'f>(
    archive: &'f Path,
    examples: Vec<Example>,
    naming: Naming,
    reading: &mut Reading<'f>,
    pictures: &mut Vec<PictureFile>,
) -> Result<bool, LoadError> {
    reading.file = archive;
    let others = pictures.len();
    for (number, example) in (1..).zip(examples) {
        let location = Location::Record(number);
        let Some((mut name, picture)) = example.picture else {
            reading.warn(WarningKind::NoSuchPicture, location, &example.key);
            continue;
        };
        if naming == Naming::WithArchive {
            let archive = archive.file_name().unwrap_or_default().to_string_lossy();
            name = format!("{archive}/{name}");
        }
        if example.captions.iter().all(|caption| caption.trim().is_empty()) {
            reading.warn(WarningKind::ImageWithoutCaptions, location, &name);
            continue;
        }
        if naming == Naming::Plain && reading.index_of(&name).is_some_and(|index| index < others) {
            return Ok(false);
        }
        let index = reading.add_named(&name, None, location)?;
        for caption in &example.captions {
            reading.add_caption(index, caption, location);
        }
        pictures.push(picture);
    }
    Ok(true)
}

/// Files with one key.
#[derive(Default)]
struct Example {
    key: String,
    picture: Option<(String, PictureFile)>,
    captions: Vec<String>,
    /// True if captions are from a `txt`.
    has_text: bool,
}

fn read(path: &Path) -> Result<Vec<Example>, LoadError> {
    let failed = |source| LoadError::Io { path: path.to_owned(), source };
    let open = || open_regular(path).map_err(failed);
    let mut file = open()?;
    let mut head = Vec::new();
    file.by_ref().take(8).read_to_end(&mut head).map_err(failed)?;
    if let Some((program, _)) = OTHERS.iter().find(|(_, magic)| head.starts_with(magic)) {
        let problem = format!("is compressed by {program}; unpack it first");
        return Err(LoadError::malformed(path, Location::Record(1), problem));
    }
    file.rewind().map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let mut examples =
        Examples { path, archive: path.into(), compressed: false, found: Vec::new() };
    if head.starts_with(GZIP) {
        examples.compressed = true;
        let mut archive = Archive::new(pictures::stream(file));
        for entry in archive.entries().map_err(failed)? {
            examples.add(entry.map_err(failed)?)?;
        }
    } else {
        let mut archive = Archive::new(file);
        for entry in archive.entries_with_seek().map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.raw_file_position() + entry.size() > length {
                let name = name_of(&entry);
                let problem = format!("the archive ends before its file {}", printable(&name));
                return Err(failed(io::Error::new(io::ErrorKind::UnexpectedEof, problem)));
            }
            examples.add(entry)?;
        }
    }
    Ok(examples.found)
}

/// Examples read so far from an archive.
struct Examples<'p> {
    path: &'p Path,
    archive: Arc<Path>,
    compressed: bool,
    found: Vec<Example>,
}

impl Examples<'_> {
    /// Adds a file of the archive to its example.
    fn add<R: Read>(&mut self, mut entry: Entry<R>) -> Result<(), LoadError> {
        let name = name_of(&entry);
        let Some((key, extension)) = split(&name).filter(|_| entry.header().entry_type().is_file())
        else {
            return Ok(());
        };
        if self.found.last().is_none_or(|example| example.key != key) {
            self.found.push(Example { key: key.to_owned(), ..Example::default() });
        }
        let location = Location::Record(self.found.len());
        let Some(example) = self.found.last_mut() else { return Ok(()) };
        match extension.to_ascii_lowercase().as_str() {
            "txt" => {
                let text = text(&mut entry, self.path, location, &name)?;
                let lines = descriptions::of_text(&text);
                if !lines.is_empty() {
                    example.captions = lines;
                    example.has_text = true;
                }
            }
            "json" if !example.has_text => {
                let text = text(&mut entry, self.path, location, &name)?;
                example.captions = descriptions::of_json(&text).map_err(|error| {
                    let name = printable(&name);
                    let problem =
                        format!("has {name}, which is no JSON object with captions: {error}");
                    LoadError::malformed(self.path, location, problem)
                })?;
            }
            // Of several images with one key, the one without a further suffix wins: masks have
            // one.
            extension
                if is_picture_name(&name)
                    && (example.picture.is_none() || !extension.contains('.')) =>
            {
                let picture = PictureFile::Member {
                    archive: Arc::clone(&self.archive),
                    compressed: self.compressed,
                    offset: entry.raw_file_position(),
                    length: entry.size(),
                };
                example.picture = Some((name, picture));
            }
            _ => {}
        }
        Ok(())
    }
}

fn name_of<R: Read>(entry: &Entry<R>) -> String {
    let name = entry.path_bytes();
    let name = String::from_utf8_lossy(&name);
    name.strip_prefix("./").unwrap_or(&name).to_owned()
}

/// Splits a path at the first dot of its last part; `None` if it belongs to no example.
fn split(name: &str) -> Option<(&str, &str)> {
    let first = name.split_once('/').map_or(name, |(folder, _)| folder);
    if first.len() >= 4 && first.starts_with("__") && first.ends_with("__") {
        return None;
    }
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = name[last..].find('.').filter(|&dot| dot > 0)?;
    Some((&name[..last + dot], &name[last + dot + 1..]))
}

fn text<R: Read>(
    entry: &mut Entry<R>,
    archive: &Path,
    location: Location,
    name: &str,
) -> Result<String, LoadError> {
    let bad = |problem: &str| {
        let name = printable(name);
        LoadError::malformed(archive, location, format!("has {name}, which {problem}"))
    };
    if entry.size() > MAX_TEXT_BYTES {
        return Err(bad("is too long for a caption"));
    }
    let mut bytes = Vec::new();
    entry
        .read_to_end(&mut bytes)
        .map_err(|source| LoadError::Io { path: archive.to_owned(), source })?;
    String::from_utf8(bytes).map_err(|_| bad("is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_key_ends_at_the_first_dot_of_the_last_part() {
        for (name, key) in [
            ("00012.jpg", Some(("00012", "jpg"))),
            ("a.b/00012.seg.png", Some(("a.b/00012", "seg.png"))),
            ("readme", None),
            ("a.b/readme", None),
            ("._00012.jpg", None),
            ("shard/.DS_Store", None),
            ("__MACOSX__/00012.jpg", None),
            ("__MACOSX/00012.jpg", Some(("__MACOSX/00012", "jpg"))),
        ] {
            assert_eq!(split(name), key, "{name}");
        }
    }
}
