//! Download of the package with pip.

use std::path::Path;

use pip::Wheel;

use super::Error;
use super::build::{Built, build};

/// Downloads pycocoevalcap 1.2 with pip and [builds](build) the resources at `destination`.
///
/// pip downloads into a folder beside `destination`, which is removed afterwards.
///
/// # Errors
/// [`Error::Pip`] with pip's output, and the errors of [`build`].
pub fn fetch(destination: &Path) -> Result<Built, Error> {
    let folder = destination.with_extension(format!("download.{}", std::process::id()));
    let wheel = Wheel::download("pycocoevalcap==1.2", &folder)?;
    build(wheel.path(), destination)
}
