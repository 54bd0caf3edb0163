//! Paths in a run: relative to its folder where they are near it, else absolute.
//!
//! A study that is moved or copied takes its data along, and its runs find them there. A run that
//! is moved alone still finds them where they were when it was trained.

use std::path::{Path, PathBuf};

use recipes::{Config, without_dots};

use crate::embeddings_identity::Network;
use crate::provenance::Provenance;

/// Number of folders up from the run, itself included, of which relative paths are stored:
/// `runs/NAME` of a study, `runs` and the study.
const NEAR: [&str; 3] = [".", "..", "../.."];

/// Returns the absolute path of a run's folder.
fn absolute(path: &Path) -> PathBuf {
    without_dots(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))
}

/// Returns the configuration and provenance of a run with paths as its folder stores them.
pub(crate) fn stored(config: &Config, provenance: &Provenance, run: &Path) -> (Config, Provenance) {
    let run = absolute(run);
    let mut provenance = Provenance { folder: Some(run.clone()), ..provenance.clone() };
    store_encoder(&mut provenance, &run);
    let config = config.clone();
    let config =
        config.with_paths(&|path| stored_path(path, &run), &|name| stored_model(name, &run));
    (config, provenance)
}

/// Replaces the path of the image encoder by the one that the run stores.
pub(crate) fn store_encoder(provenance: &mut Provenance, run: &Path) {
    if provenance.folder.is_some() {
        replace_encoder(provenance, &|name| stored_model(name, &absolute(run)));
    }
}

/// Returns the stored form of a model; a name that is no path is one of the hub.
fn stored_model(name: &Path, run: &Path) -> PathBuf {
    if name.exists() { stored_path(name, run) } else { name.to_owned() }
}

fn stored_path(path: &Path, run: &Path) -> PathBuf {
    let path = absolute(path);
    // The root of the file system is near to everything.
    let mut near = run.ancestors().zip(NEAR).filter(|(folder, _)| folder.parent().is_some());
    let within =
        near.find_map(|(folder, up)| Some(Path::new(up).join(path.strip_prefix(folder).ok()?)));
    within.unwrap_or(path)
}

/// Returns a configuration with the stored paths resolved.
pub(crate) fn resolved(config: Config, run: &Path, trained_in: &Path) -> Config {
    let data = |path: &Path| resolved_path(path, run, trained_in);
    config.with_paths(&data, &|name| resolved_model(name, run, trained_in))
}

/// Resolves the stored path of the image encoder.
pub(crate) fn resolve_encoder(provenance: &mut Provenance, run: &Path) {
    if let Some(trained_in) = provenance.folder.clone() {
        replace_encoder(provenance, &|name| resolved_model(name, run, &trained_in));
    }
}

fn replace_encoder(provenance: &mut Provenance, replace: &dyn Fn(&Path) -> PathBuf) {
    // The encoder of imported embeddings is a name that somebody gave it.
    if let Some(identity) = &mut provenance.embeddings
        && identity.network != Network::Imported
    {
        identity.model = replace(Path::new(&identity.model)).display().to_string();
    }
}

/// Resolves a stored model: one that does not start with a dot is a name of the hub or absolute.
fn resolved_model(name: &Path, run: &Path, trained_in: &Path) -> PathBuf {
    if name.starts_with(".") || name.starts_with("..") {
        return resolved_path(name, run, trained_in);
    }
    name.to_owned()
}

fn resolved_path(path: &Path, run: &Path, trained_in: &Path) -> PathBuf {
    let here = without_dots(&run.join(path));
    let there = without_dots(&trained_in.join(path));
    if !here.exists() && there.exists() { there } else { here }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_near_a_run_are_relative_and_follow_it_or_stay_where_they_were() {
        let root = tempfile::tempdir().unwrap();
        let study = root.path().join("study");
        let run = study.join("runs/one");
        let file = study.join("embeddings.safetensors");
        std::fs::create_dir_all(&run).unwrap();
        std::fs::write(&file, "1").unwrap();
        let stored = stored_path(&file, &run);
        assert_eq!(stored, Path::new("../../embeddings.safetensors"));
        assert_eq!(resolved_path(&stored, &run, &run), file);
        assert_eq!(stored_path(Path::new("/elsewhere/set"), &run), Path::new("/elsewhere/set"));
        assert_eq!(stored_path(Path::new("/data"), Path::new("/run")), Path::new("/data"));
        assert_eq!(stored_path(&run.join("own"), &run), Path::new("./own"));

        // A run that is moved alone finds its data where they were.
        let alone = root.path().join("alone");
        std::fs::rename(&run, &alone).unwrap();
        assert_eq!(resolved_path(&stored, &alone, &run), file);
        // A study that is moved as a whole has them beside its runs.
        std::fs::rename(&alone, &run).unwrap();
        let moved = root.path().join("moved");
        std::fs::rename(&study, &moved).unwrap();
        let found = resolved_path(&stored, &moved.join("runs/one"), &run);
        assert_eq!(found, moved.join("embeddings.safetensors"));
        assert_eq!(resolved_model(Path::new("gpt2"), &moved, &run), Path::new("gpt2"));
    }
}
