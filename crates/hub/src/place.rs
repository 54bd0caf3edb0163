//! Copies of models in folders of their own, for machines without a network.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::cache::{create_parent, temporary};
use crate::digest::sha256;
use crate::{Error, model_files};

/// Links or copies a model that [`resolve`](crate::resolve()) returned into `folder`.
///
/// The model is a folder of files or a single file. Files are hard links if possible, else copies.
/// Present files of the same contents stay. Returns the new paths.
///
/// # Errors
/// A file of other contents is in the way, or `folder` cannot be written.
pub fn place(resolved: &Path, folder: &Path) -> Result<Vec<PathBuf>, Error> {
    model_paths(resolved)?
        .into_iter()
        .map(|(source, name)| {
            let target = folder.join(name);
            one(&source, &target)?;
            Ok(target)
        })
        .collect()
}

/// Returns the paths of a resolved model's files, with their names within the model.
pub(crate) fn model_paths(resolved: &Path) -> Result<Vec<(PathBuf, String)>, Error> {
    if resolved.is_dir() {
        let names = model_files::present(resolved)?;
        return Ok(names.into_iter().map(|name| (resolved.join(&name), name)).collect());
    }
    let name = resolved.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(vec![(resolved.to_owned(), name)])
}

fn one(source: &Path, target: &Path) -> Result<(), Error> {
    // The blob itself, not the link to it in the cache's snapshot.
    let source = fs::canonicalize(source).map_err(Error::io("find", source))?;
    if target.exists() {
        if is_same(&source, target)? {
            return Ok(());
        }
        let problem = "it has another content".to_owned();
        return Err(Error::InTheWay { path: target.to_owned(), problem });
    }
    create_parent(target)?;
    let temporary = temporary(target);
    if fs::hard_link(&source, &temporary).is_ok() {
        return Ok(durable::replace(&temporary, target)?);
    }
    let mut file = File::open(&source).map_err(Error::io("read", &source))?;
    Ok(durable::write_with(target, |out| io::copy(&mut file, out).map(drop))?)
}

fn is_same(source: &Path, target: &Path) -> Result<bool, Error> {
    let length = |path: &Path| fs::metadata(path).map(|metadata| metadata.len());
    let lengths = (
        length(source).map_err(Error::io("read", source))?,
        length(target).map_err(Error::io("read", target))?,
    );
    Ok(lengths.0 == lengths.1 && sha256(source)? == sha256(target)?)
}
