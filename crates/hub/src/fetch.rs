//! Data sets in a folder: fetch, check, unpack, count.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::archive::unpack;
use crate::cache::lock;
use crate::client::Client;
use crate::data_set::{Archive, DataSet, has_extension, is_picture, is_text};
use crate::digest::Checksum;
use crate::transfer::{self, Source};
use crate::{Error, Options, Progress};

/// Image folders after unpacking, in the order in which `datasets::Corpus` looks for them.
const PICTURE_FOLDERS: [&str; 7] = [
    "Images",
    "images",
    "Flicker8k_Dataset",
    "flickr30k_images",
    "flickr30k-images",
    "flickr30k_images/flickr30k_images",
    "flickr30k-images/flickr30k-images",
];

/// Fetches a data set into `folder` and unpacks it.
///
/// Fetches the missing public archives, checks and unpacks them. If the images are only given on
/// request, it unpacks the zip archive that the user has put into `folder`. Present files are not
/// fetched again, and archives are kept. With `mirror`, archives are fetched from `MIRROR/FILE`.
///
/// # Errors
/// [`Error::ByHand`] with instructions if images are missing that only the user can get. Otherwise
/// the error of fetching, checking or unpacking.
pub fn fetch_data_set(
    set: &DataSet<'_>,
    folder: &Path,
    mirror: Option<&str>,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<(), Error> {
    durable::create_dir_all(folder)?;
    let _lock = lock(&folder.join(".fetch.lock"), progress)?;
    for archive in set.archives {
        if !is_unpacked(archive, set, folder)? {
            let path = fetch(archive, set, folder, mirror, options, progress)?;
            unpack(&path, folder, archive.keep, progress)?;
        }
    }
    if let Some(instructions) = set.by_hand
        && most_pictures(folder)?.is_none()
    {
        let archive = foreign_archive(set, folder)?.ok_or_else(|| {
            let folder = folder.display().to_string();
            Error::ByHand(instructions.replace("FOLDER", &folder))
        })?;
        unpack(&archive, folder, |path| is_picture(path) || is_text(path), progress)?;
    }
    check_pictures(set, folder)
}

fn is_unpacked(archive: &Archive<'_>, set: &DataSet<'_>, folder: &Path) -> Result<bool, Error> {
    if archive.gives.is_empty() {
        let found = most_pictures(folder)?;
        return Ok(found.is_some_and(|(_, count)| count == set.pictures));
    }
    Ok(archive.gives.iter().all(|file| folder.join(file).is_file()))
}

/// Returns the path of the archive in `folder`, fetching it if it is not there.
fn fetch(
    archive: &Archive<'_>,
    set: &DataSet<'_>,
    folder: &Path,
    mirror: Option<&str>,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<PathBuf, Error> {
    let path = folder.join(archive.file);
    let checksum = checksum(archive.digest);
    let (name, origin) = (path.display().to_string(), "published for this archive");
    if path.is_file() {
        checksum.check(&path, &name, origin, "remove the file, and it will be fetched anew")?;
        return Ok(path);
    }
    if options.offline {
        return Err(Error::Offline {
            what: archive.file.to_owned(),
            place: folder.to_owned(),
            other: String::new(),
            command: format!("capsmith fetch {}", set.name),
        });
    }
    let url = match mirror {
        Some(mirror) => format!("{}/{}", mirror.trim_end_matches('/'), archive.file),
        None => archive.url.to_owned(),
    };
    let partial = folder.join(format!("{}.partial", archive.file));
    let source = Source { url: &url, name: archive.file, size: archive.size, is_cache: false };
    transfer::download(&Client::new(options), &source, &partial, progress)?;
    if let Err(error) =
        checksum.check(&partial, archive.file, origin, "it is not kept; run the same command again")
    {
        // The first error is the one to report.
        let _ = fs::remove_file(&partial);
        return Err(error);
    }
    durable::replace(&partial, &path)?;
    Ok(path)
}

fn checksum(digest: &str) -> Checksum {
    match digest.split_once(':') {
        Some(("md5", hex)) => Checksum::Md5(hex.to_owned()),
        Some((_, hex)) => Checksum::Sha256(hex.to_owned()),
        None => Checksum::Sha256(digest.to_owned()),
    }
}

/// Returns a zip archive in `folder` that is none of the data set's public ones.
fn foreign_archive(set: &DataSet<'_>, folder: &Path) -> Result<Option<PathBuf>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let is_ours = set.archives.iter().any(|archive| archive.file == name);
        if path.is_file() && !is_ours && has_extension(&path, &["zip"]) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found.into_iter().next())
}

/// Returns the image folder with the most images, and their number.
fn most_pictures(folder: &Path) -> Result<Option<(PathBuf, usize)>, Error> {
    let mut best: Option<(PathBuf, usize)> = None;
    for name in PICTURE_FOLDERS {
        let path = folder.join(name);
        if !path.is_dir() {
            continue;
        }
        let entries = fs::read_dir(&path).map_err(Error::io("read", &path))?;
        let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
        let count = names.filter(|name| is_picture(Path::new(name))).count();
        if count > best.as_ref().map_or(0, |(_, count)| *count) {
            best = Some((path, count));
        }
    }
    Ok(best)
}

fn check_pictures(set: &DataSet<'_>, folder: &Path) -> Result<(), Error> {
    let (path, count) = most_pictures(folder)?.unwrap_or_else(|| (folder.to_owned(), 0));
    if count == set.pictures {
        return Ok(());
    }
    Err(Error::Unusable {
        path,
        problem: format!("it has {count} pictures where {} has {}", set.name, set.pictures),
        hint: "move the folder away, and the archive that it came from if you put one there, and run \
               the same command again",
    })
}
