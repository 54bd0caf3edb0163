//! Large sets' layout: tar archives, in which the files of an example follow each other.
//!
//! A file's key is its name up to the first dot (webdataset's rule). Of a key's files the picture is read,
//! and `txt`, a caption in each line, or where there is none `json`, with `caption` or a list `captions`, as
//! img2dataset writes them. Only headers and captions are read here: pictures stay where they are, and
//! each is read by its place in its archive.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use serde::Deserialize;
use tar::{Archive, Entry};

use crate::corpus::{Corpus, Layout, PictureFile};
use crate::error::{LoadError, Place};
use crate::fingerprint::Fingerprint;
use crate::reading::{Captions, Reading, is_picture_name};
use crate::warnings::WarningKind;

/// What the archives are called.
pub(crate) const FILES: [&str; 1] = ["*.tar"];

/// A caption file longer than this is none.
const LONGEST_TEXT: u64 = 1 << 20;

/// The archives of a folder, by name.
pub(crate) fn archives(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut archives = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "tar") && path.is_file() {
            archives.push(path);
        }
    }
    archives.sort();
    Ok(archives)
}

/// Reads the captions of all archives of a folder, and finds its pictures.
pub(crate) fn load(
    root: &Path,
    archives: &[PathBuf],
    captions: Captions,
) -> Result<(Corpus, Option<Fingerprint>), LoadError> {
    let mut reading = Reading::new(root, captions);
    let mut pictures = Vec::new();
    // As many at a time as there are threads: an archive's captions are megabytes.
    for archives in archives.chunks(rayon::current_num_threads()) {
        let read: Vec<_> = archives.par_iter().map(|archive| read(archive)).collect();
        for (archive, examples) in archives.iter().zip(read) {
            add(archive, examples?, &mut reading, &mut pictures)?;
        }
    }
    reading.finish_in_archives(root, Layout::WebDataset, pictures)
}

/// Adds the examples of an archive.
fn add<'f>(
    archive: &'f Path,
    examples: Vec<Example>,
    reading: &mut Reading<'f>,
    pictures: &mut Vec<PictureFile>,
) -> Result<(), LoadError> {
    reading.file = archive;
    for (number, example) in (1..).zip(examples) {
        let place = Place::Record(number);
        let Some((name, picture)) = example.picture else {
            reading.warn(WarningKind::NoSuchPicture, place, &example.key);
            continue;
        };
        if example.captions.iter().all(|caption| caption.trim().is_empty()) {
            reading.warn(WarningKind::ImageWithoutCaptions, place, &name);
            continue;
        }
        let index = reading.add_image(&name, None, place)?;
        for caption in &example.captions {
            reading.add_caption(index, caption, place);
        }
        pictures.push(picture);
    }
    Ok(())
}

/// The files of one key.
#[derive(Default)]
struct Example {
    key: String,
    picture: Option<(String, PictureFile)>,
    captions: Vec<String>,
    /// Captions are from a `txt`.
    has_text: bool,
}

#[derive(Deserialize)]
struct Description {
    caption: Option<String>,
    #[serde(default)]
    captions: Vec<String>,
}

fn read(path: &Path) -> Result<Vec<Example>, LoadError> {
    let failed = |source| LoadError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let shared: Arc<Path> = path.into();
    let mut archive = Archive::new(file);
    let mut examples: Vec<Example> = Vec::new();
    for entry in archive.entries_with_seek().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let end = entry.raw_file_position() + entry.size();
        if end > length {
            let source = io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the archive ends before its file {}", name_of(&entry)),
            );
            return Err(failed(source));
        }
        let name = name_of(&entry);
        let (key, extension) = split(&name);
        if examples.last().is_none_or(|example| example.key != key) {
            examples.push(Example { key: key.to_owned(), ..Example::default() });
        }
        let place = Place::Record(examples.len());
        let Some(example) = examples.last_mut() else { continue };
        match extension.to_ascii_lowercase().as_str() {
            "txt" => {
                let text = text(&mut entry, path, place, &name)?;
                example.captions = text.lines().map(|line| line.trim().to_owned()).collect();
                example.captions.retain(|line| !line.is_empty());
                example.has_text = true;
            }
            "json" if !example.has_text => {
                let text = text(&mut entry, path, place, &name)?;
                let found: Description = serde_json::from_str(&text).map_err(|error| {
                    LoadError::malformed(
                        path,
                        place,
                        format!("has {name}, which is no JSON object with captions: {error}"),
                    )
                })?;
                example.captions = found.caption.into_iter().chain(found.captions).collect();
            }
            _ if is_picture_name(&name) => {
                let picture = PictureFile::Member {
                    archive: Arc::clone(&shared),
                    offset: entry.raw_file_position(),
                    length: entry.size(),
                };
                example.picture = Some((name, picture));
            }
            _ => {}
        }
    }
    Ok(examples)
}

fn name_of(entry: &Entry<File>) -> String {
    let name = entry.path_bytes();
    let name = String::from_utf8_lossy(&name);
    name.strip_prefix("./").unwrap_or(&name).to_owned()
}

/// A name before and behind the first dot of its last part.
fn split(name: &str) -> (&str, &str) {
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    match name[last..].find('.') {
        Some(dot) => (&name[..last + dot], &name[last + dot + 1..]),
        None => (name, ""),
    }
}

fn text(
    entry: &mut Entry<File>,
    archive: &Path,
    place: Place,
    name: &str,
) -> Result<String, LoadError> {
    let bad = |problem: &str| {
        LoadError::malformed(archive, place, format!("has {name}, which {problem}"))
    };
    if entry.size() > LONGEST_TEXT {
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
        assert_eq!(split("00012.jpg"), ("00012", "jpg"));
        assert_eq!(split("a.b/00012.seg.png"), ("a.b/00012", "seg.png"));
        assert_eq!(split("readme"), ("readme", ""));
    }
}
