//! `run.json`: the settings of an unfinished run, which whoever takes it up must repeat.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::plan::Plan;
use runs::Identity;

/// The format of the folder of an unfinished run.
const VERSION: u32 = 3;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    version: u32,
    batch_size: usize,
    pictures: usize,
    names_sha256: String,
    identity: Identity,
}

/// Writes the settings of a new run, or compares them with those that are there.
///
/// # Errors
/// [`Error::OtherRun`] says what is different.
pub(crate) fn match_or_write(plan: &Plan, folder: &Path) -> Result<(), Error> {
    let path = folder.join("run.json");
    let here = Run {
        version: VERSION,
        batch_size: plan.batch_size,
        pictures: plan.names.len(),
        names_sha256: plan.names_sha256(),
        identity: plan.identity.clone(),
    };
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = serde_json::to_vec(&here);
            let text = text.map_err(|error| Error::io("write", &path, error.into()))?;
            return Ok(durable::write(&path, &text)?);
        }
        Err(error) => return Err(Error::io("read", &path, error)),
    };
    let there: Run = serde_json::from_slice(&text).map_err(|error| Error::Damaged {
        path: path.clone(),
        reason: format!("is not the description of an unfinished run: {error}"),
        hint: "remove the folder it lies in to start over",
    })?;
    let differences = here.differences(&there);
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::OtherRun { path: folder.to_owned(), differences })
}

impl Run {
    fn differences(&self, other: &Self) -> Vec<String> {
        let numbers = [
            ("format", other.version as usize, self.version as usize),
            ("batch size", other.batch_size, self.batch_size),
            ("pictures", other.pictures, self.pictures),
        ];
        let mut differences: Vec<_> = numbers
            .into_iter()
            .filter(|(_, there, here)| there != here)
            .map(|(what, there, here)| format!("{what}: {there} there, {here} here"))
            .collect();
        if self.names_sha256 != other.names_sha256 && self.pictures == other.pictures {
            differences.push("pictures: other names, or another order".to_owned());
        }
        differences.extend(self.identity.differences(&other.identity));
        differences
    }
}
