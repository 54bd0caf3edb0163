//! Copies of models in folders of their own, for machines without a network.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cache::{copy, create_parent};
use crate::digest::Algorithm::Sha256;
use crate::{Error, model_files};

/// Links or copies a model that [`resolve`](crate::resolve()) returned into `folder`.
///
/// The model is a folder of files or a single file. Files are hard links if possible, else copies.
/// Existing files of the same contents stay. Returns the new paths.
///
/// # Errors
/// A file of other contents is in the way, or `folder` cannot be written.
pub fn copy_model(resolved: &Path, folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut targets = Vec::new();
    for (source, name) in model_files::paths(resolved)? {
        // The blob itself, not the link to it in the cache's snapshot.
        let source = fs::canonicalize(&source).map_err(Error::io("find", &source))?;
        let target = folder.join(name);
        create_parent(&target)?;
        if target.exists() {
            if Sha256.digest(&source)? != Sha256.digest(&target)? {
                return Err(Error::InTheWay(target, "it has other contents"));
            }
        } else if fs::hard_link(&source, &target).is_err() {
            copy(&source, &target)?;
        }
        targets.push(target);
    }
    Ok(targets)
}
