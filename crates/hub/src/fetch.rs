//! Data sets in a folder: fetch, check, unpack, count.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use datasets::IMAGE_FOLDERS;
use progress::Progress;

use crate::archive::unpack;
use crate::cache::lock;
use crate::client::Client;
use crate::data_set::{Archive, DataSet, has_extension, is_image, is_text};
use crate::digest::Checksum;
use crate::transfer::{Source, download};
use crate::{Error, Options};

/// File in the folder of a data set that is or was fetched.
const FETCH_LOCK: &str = ".fetch.lock";

/// Returns true if a data set may be missing from `folder`, or incomplete after a fetch, which
/// [`fetch_data_set`] completes.
#[must_use]
pub fn may_lack_data_set(folder: &Path) -> bool {
    datasets::is_absent(folder) || folder.join(FETCH_LOCK).exists()
}

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
    let _lock = lock(&folder.join(FETCH_LOCK), progress)?;
    for archive in set.archives {
        let is_unpacked = if archive.files.is_empty() {
            most_images(folder)?.1 == set.images
        } else {
            archive.files.iter().all(|file| folder.join(file).is_file())
        };
        if !is_unpacked {
            let path = fetch(archive, set, folder, mirror, options, progress)?;
            unpack(&path, folder, archive.keep, progress)?;
        }
    }
    if let Some(instructions) = set.instructions
        && most_images(folder)?.1 == 0
    {
        let archive = users_archive(set, folder)?.ok_or_else(|| {
            Error::ByHand(instructions.replace("FOLDER", &folder.display().to_string()))
        })?;
        unpack(&archive, folder, |path| is_image(path) || is_text(path), progress)?;
    }
    let (path, count) = most_images(folder)?;
    if count == set.images {
        return Ok(());
    }
    Err(Error::Unusable {
        path,
        problem: format!("it has {count} pictures where {} has {}", set.name, set.images),
        hint: "move away the folder, and the archive that it came from if you put one there, and run \
               the same command again",
    })
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
    let checksum = Checksum::published(archive.digest);
    if path.is_file() {
        let hint = "remove the file and run the same command again";
        checksum.check(&path, &path.display().to_string(), hint)?;
        return Ok(path);
    }
    if options.offline {
        return Err(Error::Offline {
            missing: archive.file.to_owned(),
            folder: folder.to_owned(),
            hint: format!("unset it and run `capsmith fetch {}`", set.name),
        });
    }
    let url = match mirror {
        Some(mirror) => format!("{}/{}", mirror.trim_end_matches('/'), archive.file),
        None => archive.url.to_owned(),
    };
    let source =
        Source { url: &url, name: archive.file, size: archive.size, checksums: vec![checksum] };
    download(&Client::new(options), &source, &path, progress)?;
    Ok(path)
}

/// Returns a zip archive in `folder` that is none of the data set's public ones.
fn users_archive(set: &DataSet<'_>, folder: &Path) -> Result<Option<PathBuf>, Error> {
    let entries = fs::read_dir(folder).map_err(Error::io("read", folder))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_public = |path: &Path| {
        let name = path.file_name().and_then(OsStr::to_str);
        set.archives.iter().any(|archive| Some(archive.file) == name)
    };
    let is_users =
        |path: &PathBuf| path.is_file() && has_extension(path, &["zip"]) && !is_public(path);
    Ok(paths.filter(is_users).min())
}

/// Returns the image folder with the most images, and their number; `folder` if there is none.
fn most_images(folder: &Path) -> Result<(PathBuf, usize), Error> {
    let mut best = (folder.to_owned(), 0);
    for path in IMAGE_FOLDERS.map(|name| folder.join(name)) {
        if path.is_dir() {
            let entries = fs::read_dir(&path).map_err(Error::io("read", &path))?;
            let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
            let count = names.filter(|name| is_image(Path::new(name))).count();
            if count > best.1 {
                best = (path, count);
            }
        }
    }
    Ok(best)
}
