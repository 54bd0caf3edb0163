//! Checks of downloaded resources: METEOR's, and models from the hub. All are optional.

use std::fs;
use std::path::Path;
use std::time::Duration;

use caption_metrics::meteor::{Resources, resources};
use foreign_text::printable_path;
use hub::Options;

use super::machine::{disk, size};
use crate::finding::Verdict;

/// Time limit for the hub to respond.
const TIME_LIMIT: Duration = Duration::from_secs(5);

pub(super) fn meteor() -> Verdict {
    let path = match resources::default_path() {
        Ok(path) => path,
        Err(error) => return Verdict::skipped(error.to_string()),
    };
    match Resources::open(&path) {
        Ok(resources) => {
            Verdict::ok(format!("{}, {}", printable_path(&path), size(resources.size() as u64)))
        }
        Err(error) => {
            let text = error.to_string();
            let reason = text.lines().next().unwrap_or_default();
            Verdict::skipped(reason)
                .with_hint("`capsmith fetch meteor` fetches it; other scores need none")
        }
    }
}

pub(super) fn hub() -> Verdict {
    let options = match Options::from_environment() {
        Ok(options) => options,
        Err(error) => return Verdict::failed(error.to_string()),
    };
    match hub::ping(&options, TIME_LIMIT) {
        Ok(()) => Verdict::ok(format!("{} answers", options.endpoint)),
        Err(reason) => Verdict::skipped(format!("{} is out of reach: {reason}", options.endpoint))
            .with_hint("models in the cache, and folders named in a config, work without it"),
    }
}

pub(super) fn cache() -> Verdict {
    let folder = match Options::from_environment() {
        Ok(options) => options.cache,
        Err(error) => return Verdict::failed(error.to_string()),
    };
    if !folder.is_dir() {
        return Verdict::skipped(format!("{} is not there yet", printable_path(&folder)));
    }
    let taken = size(bytes_below(&folder));
    Verdict {
        detail: format!("{taken} in {}; {}", printable_path(&folder), disk(&folder).detail),
        ..disk(&folder)
    }
}

/// Returns the total size of all files below a folder, without following links.
fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) if metadata.is_file() => metadata.len(),
        _ => 0,
    };
    entries.flatten().map(bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_as_large_as_its_files() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("blobs")).unwrap();
        fs::write(folder.path().join("blobs/a"), [0; 1000]).unwrap();
        fs::write(folder.path().join("b"), [0; 24]).unwrap();
        std::os::unix::fs::symlink("blobs/a", folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink("..", folder.path().join("up")).unwrap();
        assert_eq!(bytes_below(folder.path()), 1024);
    }
}
