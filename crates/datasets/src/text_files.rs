//! Layout with a file of captions beside each image, in any folder below the data set's.
//!
//! That is what kohya's scripts and img2dataset's `files` output have. `NAME.txt` holds a caption
//! in each line that is not blank; without it `NAME.caption` does, or `caption` or `captions` in
//! `NAME.json`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pictures::PictureFile;

use crate::corpus::Corpus;
use crate::descriptions;
use crate::error::{LoadError, Location};
use crate::fingerprint::Fingerprint;
use crate::layout::Layout;
use crate::reading::{Captions, Reading, is_picture_name};
use crate::text;
use crate::warnings::WarningKind;

/// Description of the files that make a folder this layout.
pub(crate) const FILES: [&str; 1] = ["pictures with a .txt, .caption or .json file each"];

/// Extensions of files of captions, in the order of preference.
const EXTENSIONS: [&str; 3] = ["txt", "caption", "json"];

/// Levels of folders to search below the data set's.
const MAX_DEPTH: usize = 4;

/// Returns a file of captions beside an image, the first in the order of names.
pub(crate) fn find(folder: &Path) -> io::Result<Option<PathBuf>> {
    let names = names_below(folder)?;
    let texts = names.iter().filter_map(|name| captions_of(name, &names));
    let mut files = texts.map(|text| folder.join(text));
    // Annotations of other programs are JSON, too.
    let has_captions = |file: &PathBuf| {
        !is_json(file)
            || text::read(file).is_ok_and(|text| {
                descriptions::of_json(&text).is_ok_and(|captions| !captions.is_empty())
            })
    };
    Ok(files.find(has_captions))
}

/// Reads the captions of all images below `folder`.
pub(crate) fn load(
    root: &Path,
    folder: &Path,
    captions: Captions,
) -> Result<(Corpus, Option<Fingerprint>), LoadError> {
    let names =
        names_below(folder).map_err(|source| LoadError::Io { path: folder.to_owned(), source })?;
    let found: Vec<(&String, Option<PathBuf>)> = names
        .iter()
        .filter(|name| is_picture_name(name))
        .map(|name| (name, captions_of(name, &names).map(|text| folder.join(text))))
        .collect();
    let mut reading = Reading::new(folder, captions);
    let mut members = Vec::new();
    for (name, file) in &found {
        let Some(file) = file else {
            reading.warnings.add(WarningKind::PictureWithoutCaptions, folder, None, name);
            continue;
        };
        let location = Location::Line(1);
        let text = text::read(file)?;
        let captions = if is_json(file) {
            descriptions::of_json(&text).map_err(|error| {
                let problem = format!("is no JSON object with captions: {error}");
                LoadError::malformed(file, location, problem)
            })?
        } else {
            descriptions::of_text(&text)
        };
        reading.file = file;
        if captions.iter().all(|caption| caption.trim().is_empty()) {
            reading.warn(WarningKind::ImageWithoutCaptions, location, name);
            continue;
        }
        let index = reading.add_named(name, None, location)?;
        for caption in &captions {
            reading.add_caption(index, caption, location);
        }
        members.push(PictureFile::File(folder.join(name)));
    }
    reading.file = folder;
    reading.finish_with(root, folder, Layout::TextFiles, members)
}

fn is_json(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "json")
}

/// Returns the file of captions of an image, if `names` has one.
fn captions_of(name: &str, names: &BTreeSet<String>) -> Option<String> {
    if !is_picture_name(name) {
        return None;
    }
    let (stem, _) = name.rsplit_once('.')?;
    EXTENSIONS
        .iter()
        .map(|extension| format!("{stem}.{extension}"))
        .find(|file| names.contains(file))
}

/// Returns the paths of all files below a folder, without hidden ones.
fn names_below(folder: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let mut folders = vec![String::new()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(folder.join(&inner))? {
            let entry = entry?;
            // Names of other encodings cannot be those of captioned images.
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with('.') {
                continue;
            }
            let path = text::joined(&inner, &name).into_owned();
            if !entry.path().is_dir() {
                names.insert(path);
            } else if path.matches('/').count() < MAX_DEPTH {
                folders.push(path);
            }
        }
    }
    Ok(names)
}
