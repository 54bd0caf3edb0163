//! Unique display names of runs.

use std::path::{Path, PathBuf};

use crate::error::Error;

/// Returns a unique display name for each run.
///
/// The name is the folder's name. Equal names are prefixed with as many parent folders as needed.
///
/// # Errors
/// Names a folder that does not exist or is given twice.
pub fn names(runs: &[PathBuf]) -> Result<Vec<String>, Error> {
    let mut parts: Vec<Vec<String>> = Vec::with_capacity(runs.len());
    for path in runs {
        let whole = components(path)?;
        if parts.contains(&whole) {
            let reason = "this run is given twice".to_owned();
            return Err(Error::File { path: path.clone(), reason });
        }
        parts.push(whole);
    }
    Ok(parts.iter().map(|whole| shortest(whole, &parts)).collect())
}

/// Returns the components of a folder's canonical path.
fn components(path: &Path) -> Result<Vec<String>, Error> {
    let fail = |error: std::io::Error| {
        let reason = match error.kind() {
            std::io::ErrorKind::NotFound => "this run does not exist".to_owned(),
            _ => format!("cannot be opened: {error}"),
        };
        let hint = "\nhint: `capsmith train CONFIG --out RUN` creates a run";
        Error::File { path: path.to_owned(), reason: reason + hint }
    };
    let whole = path.canonicalize().map_err(fail)?;
    let parts = whole.components().map(|part| part.as_os_str().to_string_lossy().into_owned());
    Ok(parts.collect())
}

/// Returns the shortest suffix of the path that no other path ends with.
fn shortest(whole: &[String], all: &[Vec<String>]) -> String {
    let shared = |kept: usize| {
        let end = &whole[whole.len() - kept..];
        all.iter().filter(|other| other.ends_with(end)).count() > 1
    };
    let kept = (1..whole.len()).find(|&kept| !shared(kept)).unwrap_or(whole.len());
    whole[whole.len() - kept..].join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_shortest_unique_endings_of_paths() {
        let folder = tempfile::tempdir().unwrap();
        let folder_of = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(&path).unwrap();
            path
        };
        let paths =
            [folder_of("a/x/run"), folder_of("b/x/run"), folder_of("a/run"), folder_of("a/other")];
        assert_eq!(names(&paths).unwrap(), ["a/x/run", "b/x/run", "a/run", "other"]);
        assert_eq!(names(&paths[..1]).unwrap(), ["run"]);

        let twice = [folder_of("a/run"), folder.path().join("a/x/../run")];
        assert!(names(&twice).unwrap_err().to_string().contains("twice"));
        let error = names(&[folder.path().join("absent")]).unwrap_err().to_string();
        assert!(error.contains("absent") && error.contains("capsmith train"), "{error}");
    }
}
