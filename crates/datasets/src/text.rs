//! Reading of caption and split files as text, with errors that name file and line.

use std::borrow::Cow;
use std::io::{self, Read as _};
use std::path::{Component, Path};

use foreign_text::open_regular;
use memchr::memchr_iter;

use crate::error::{LoadError, Location};

const BYTE_ORDER_MARK: char = '\u{feff}';

/// Reads a whole UTF-8 file, without its byte order mark if it has one.
///
/// The largest of these files, Flickr30k's JSON, has 36 MB.
pub(crate) fn read(path: &Path) -> Result<String, LoadError> {
    let mut bytes = Vec::new();
    let read = open_regular(path).and_then(|mut file| file.read_to_end(&mut bytes));
    read.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => LoadError::Missing { path: path.to_owned() },
        _ => LoadError::Io { path: path.to_owned(), source },
    })?;
    match String::from_utf8(bytes) {
        Ok(mut text) => {
            if text.starts_with(BYTE_ORDER_MARK) {
                text.drain(..BYTE_ORDER_MARK.len_utf8());
            }
            Ok(text)
        }
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let before = error.as_bytes().get(..valid).unwrap_or_default();
            let line = 1 + memchr_iter(b'\n', before).count();
            Err(LoadError::malformed(
                path,
                Location::Line(line),
                "is not UTF-8 text; save the file as UTF-8",
            ))
        }
    }
}

/// Returns the lines that are not blank, with numbers from 1; `\n` or `\r\n` ends a line.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line)).filter(|(_, line)| {
        // A blank line is not a row with too few fields.
        !line.trim().is_empty()
    })
}

/// Refuses a file name that could lead out of the images' folder.
pub(crate) fn check_name(name: &str, file: &Path, location: Location) -> Result<(), LoadError> {
    let problem = if name.is_empty() {
        "has no image name"
    } else if name.contains(['/', '\\', '\0']) || name == "." || name == ".." {
        "has an image name that is a path; names must be plain file names"
    } else {
        return Ok(());
    };
    Err(LoadError::malformed(file, location, format!("{problem}: {name:?}")))
}

/// Refuses a path that could lead out of the images' folder.
pub(crate) fn check_path(path: &str, file: &Path, location: Location) -> Result<(), LoadError> {
    let is_plain = |part: Component| matches!(part, Component::Normal(_));
    let problem = if path.is_empty() {
        "has no image name"
    } else if !Path::new(path).components().all(is_plain) || path.contains(['\\', '\0']) {
        "has an image name that is not a path within the folder of the pictures"
    } else {
        return Ok(());
    };
    Err(LoadError::malformed(file, location, format!("{problem}: {path:?}")))
}

/// Returns `folder/name`, or the name alone if `folder` is empty.
pub(crate) fn joined<'n>(folder: &str, name: &'n str) -> Cow<'n, str> {
    if folder.is_empty() { name.into() } else { format!("{folder}/{name}").into() }
}

/// Refuses a folder name that could lead out of the data set's folder.
pub(crate) fn check_folder(folder: &str, file: &Path, location: Location) -> Result<(), LoadError> {
    let is_plain = |part: Component| matches!(part, Component::Normal(_) | Component::CurDir);
    if Path::new(folder).components().all(is_plain) && !folder.contains(['\\', '\0']) {
        return Ok(());
    }
    let problem = format!("has a filepath that leads out of the data set: {folder:?}");
    Err(LoadError::malformed(file, location, problem))
}
