//! Names that stand for paths in keys and records of stages.

use std::path::{Path, PathBuf};

/// Paths with names that stand for them in keys, the most specific ones last.
#[derive(Debug, Clone)]
pub(super) struct NamedPaths(pub Vec<(PathBuf, &'static str)>);

impl NamedPaths {
    /// Returns a path by the name of the most specific path that it is in.
    pub fn name(&self, path: &Path) -> String {
        let within = |(named, name): &(PathBuf, &str)| {
            let rest = path.strip_prefix(named).ok()?;
            let rest = rest.display().to_string();
            Some(if rest.is_empty() { (*name).to_owned() } else { format!("{name}/{rest}") })
        };
        self.0.iter().rev().find_map(within).unwrap_or_else(|| path.display().to_string())
    }

    /// Returns the path that has a name.
    pub fn path(&self, name: &str) -> PathBuf {
        let within = |(named, start): &(PathBuf, &str)| match name.strip_prefix(start)? {
            "" => Some(named.clone()),
            rest => Some(named.join(rest.strip_prefix('/')?)),
        };
        self.0.iter().rev().find_map(within).unwrap_or_else(|| PathBuf::from(name))
    }
}
