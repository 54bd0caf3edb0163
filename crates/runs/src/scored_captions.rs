//! Names of the folders of an evaluation: `test`, `test-best-of-2`, `test-shuffled-best-of-2`.

use std::fmt;
use std::path::{Path, PathBuf};

/// Captions that a folder has the scores of. The end of its name tells them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScoredCaptions {
    /// True for a control: captions of other images.
    pub control: bool,
    /// Number of captions of an image of which the best is scored; `None` if it has one caption.
    pub best_of: Option<usize>,
}

impl ScoredCaptions {
    /// Returns the folder of these captions' scores, where those of all captions are in `folder`.
    #[must_use]
    pub fn folder(self, folder: &Path) -> PathBuf {
        let mut name = folder.file_name().unwrap_or_default().to_owned();
        name.push(self.to_string());
        folder.with_file_name(name)
    }

    /// Reads the end of a folder's name, after the split; `None` if it is another.
    #[must_use]
    pub fn parse(end: &str) -> Option<Self> {
        let (control, choice) = match end.strip_prefix("-shuffled") {
            Some(choice) => (true, choice),
            None => (false, end),
        };
        let best_of = match choice.strip_prefix('-') {
            Some(choice) => Some(Self::parse_choice(choice)?),
            None if choice.is_empty() => None,
            None => return None,
        };
        Some(Self { control, best_of })
    }

    /// Reads a name that [`Self::choice`] returns; `None` if it is another.
    #[must_use]
    pub fn parse_choice(name: &str) -> Option<usize> {
        name.strip_prefix("best-of-")?.parse().ok()
    }

    /// Returns the name of a choice among this number of captions, such as `best-of-2`.
    #[must_use]
    pub fn choice(best_of: usize) -> String {
        format!("best-of-{best_of}")
    }
}

impl fmt::Display for ScoredCaptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.control { "-shuffled" } else { "" })?;
        self.best_of.map_or(Ok(()), |best_of| write!(f, "-{}", Self::choice(best_of)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for (control, best_of, end) in [
            (false, None, ""),
            (false, Some(10), "-best-of-10"),
            (true, None, "-shuffled"),
            (true, Some(2), "-shuffled-best-of-2"),
        ] {
            let captions = ScoredCaptions { control, best_of };
            assert_eq!(captions.to_string(), end);
            assert_eq!(ScoredCaptions::parse(end), Some(captions));
        }
        for other in ["-mine", "best-of-2", "-best-of-", "-shuffled2", "-epoch-3"] {
            assert_eq!(ScoredCaptions::parse(other), None, "{other}");
        }
    }
}
