//! Picture files that a user names: files, folders and lists.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::LoadError;
use crate::reading::is_picture_name;

/// Returns the files of `paths`, each once: a folder stands for its pictures, by name.
///
/// With `recursive`, also for those of its subfolders, links to folders excepted. Names that start
/// with a dot are left out. A path that is no folder is returned as it is.
///
/// # Errors
/// Names a folder that cannot be read, or the first one if no path gives a file.
pub fn picture_paths(paths: &[PathBuf], recursive: bool) -> Result<Vec<PathBuf>, LoadError> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            add_folder(path, recursive, &mut files)?;
        } else {
            files.push(path.clone());
        }
    }
    if let ([], Some(first)) = (&files[..], paths.first()) {
        return Err(LoadError::NoPicturesInside(first.clone()));
    }
    let mut seen = HashSet::new();
    files.retain(|file| seen.insert(file.clone()));
    Ok(files)
}

fn add_folder(folder: &Path, recursive: bool, files: &mut Vec<PathBuf>) -> Result<(), LoadError> {
    let error = |source| LoadError::Io { path: folder.to_owned(), source };
    let entries = fs::read_dir(folder).map_err(error)?.collect::<Result<Vec<_>, _>>();
    let mut entries = entries.map_err(error)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if entry.file_type().map_err(error)?.is_dir() {
            if recursive {
                add_folder(&path, recursive, files)?;
            }
        } else if is_picture_name(&entry.file_name().to_string_lossy()) {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_stands_for_its_pictures_and_a_file_for_itself() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for folder in ["photos/b", "photos/empty"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        for name in
            ["photos/c.JPG", "photos/a.png", "photos/a.txt", "photos/.a.jpg", "photos/b/d.webp"]
        {
            fs::write(at(name), "").unwrap();
        }
        let found = |paths: &[&str], recursive| {
            let paths: Vec<PathBuf> = paths.iter().map(|name| at(name)).collect();
            let names = |files: Vec<PathBuf>| {
                let name =
                    |file: &PathBuf| file.strip_prefix(root.path()).unwrap().display().to_string();
                files.iter().map(name).collect::<Vec<_>>()
            };
            picture_paths(&paths, recursive).map(names).map_err(|error| error.to_string())
        };
        assert_eq!(found(&["photos"], false).unwrap(), ["photos/a.png", "photos/c.JPG"]);
        assert_eq!(
            found(&["photos/c.JPG", "photos", "gone.jpg", "photos/a.txt"], true).unwrap(),
            ["photos/c.JPG", "photos/a.png", "photos/b/d.webp", "gone.jpg", "photos/a.txt"]
        );
        assert_eq!(found(&["photos/empty", "photos/c.JPG"], true).unwrap(), ["photos/c.JPG"]);
        let error = found(&["photos/empty", "photos/empty"], true).unwrap_err();
        assert!(
            error.contains("empty has no pictures") && error.contains("--recursive"),
            "{error}"
        );
    }
}
