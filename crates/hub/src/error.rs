//! What can go wrong on the way, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::reference::InvalidReference;
use foreign_text::printable_path;

/// Why a model or a data set could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text names neither a local path nor a model of the hub.
    #[error(transparent)]
    Reference(#[from] InvalidReference),
    /// A local path that is not there.
    #[error("there is no {}\nhint: {hint}", printable_path(path))]
    Missing {
        /// The path.
        path: PathBuf,
        /// How to get it.
        hint: String,
    },
    /// A whole repository where one file is needed.
    #[error("{0} names no file\nhint: write hf:{0}/FILE")]
    NoFile(String),
    /// Neither `HF_HOME` nor a home folder.
    #[error("there is no folder for the cache\nhint: set HF_HOME to a folder")]
    NoCacheFolder,
    /// A variable of the environment that cannot be used.
    #[error("{variable} {problem}")]
    Environment {
        /// Its name.
        variable: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Something is needed from the network, which may not be used.
    #[error(
        "{what} is not in {}, and HF_HUB_OFFLINE is set\nhint: {other}unset it and run `{command}`, \
         or copy the files from a machine that has them",
        printable_path(place)
    )]
    Offline {
        /// What is needed.
        what: String,
        /// Where it was looked for.
        place: PathBuf,
        /// A hint at another revision that is there, ending in `; or `.
        other: String,
        /// The command that fetches it.
        command: String,
    },
    /// The server asks for a token, or refuses the one it got.
    #[error(
        "{url}: the server answered {status}: {repository} is private, gated, or does not exist\n\
         hint: accept its licence at {page}, then {}", token_hint(*token)
    )]
    Denied {
        /// A finished file of this plan.
        url: String,
        /// 401 or 403.
        status: u16,
        /// `OWNER/NAME`.
        repository: String,
        /// The page where its terms are accepted.
        page: String,
        /// Whether a token was sent.
        token: bool,
    },
    /// No such repository, revision or file.
    #[error(
        "{repository} has no {} at revision {revision} ({url} answered 404)\nhint: look at {page}",
        file.as_deref().unwrap_or("files")
    )]
    NotFound {
        /// `OWNER/NAME`.
        repository: String,
        /// The file, where one was asked for.
        file: Option<String>,
        /// Branch, tag or commit.
        revision: String,
        /// A finished file of this plan.
        url: Box<str>,
        /// Where a person can look.
        page: Box<str>,
    },
    /// The server does not answer, or not with what was asked for, however often it is tried.
    #[error(
        "cannot fetch {url}: {reason} ({tries} tries)\n\
         hint: run the same command again; what has arrived is kept and not fetched twice"
    )]
    Unreachable {
        /// A finished file of this plan.
        url: String,
        /// The last failure.
        reason: String,
        /// How often it was tried.
        tries: u32,
    },
    /// An answer that another try will not change.
    #[error("cannot fetch {url}: {reason}")]
    Refused {
        /// A finished file of this plan.
        url: String,
        /// What the server said.
        reason: String,
    },
    /// An answer that does not come from a model hub: a log-in page or a proxy's notice.
    #[error(
        "{url} did not answer as a model hub: {problem}\n\
         hint: check HF_ENDPOINT, and whether a proxy or log-in page is in the way"
    )]
    NotTheHub {
        /// A finished file of this plan.
        url: String,
        /// What is odd.
        problem: String,
    },
    /// A file of another size than announced.
    #[error(
        "{name} has {actual} bytes where {expected} were announced; it is not kept\nhint: run the same command again"
    )]
    Size {
        /// The file.
        name: String,
        /// As announced.
        expected: u64,
        /// As received.
        actual: u64,
    },
    /// A file of another content than announced or pinned.
    #[error("{name} has {algorithm} {actual}, but {expected} is {origin}\nhint: {hint}")]
    Checksum {
        /// The file.
        name: String,
        /// Which digest.
        algorithm: &'static str,
        /// What it should be.
        expected: Box<str>,
        /// What it is.
        actual: Box<str>,
        /// Who says what it should be.
        origin: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// A repository without weights in a form that is read here.
    #[error(
        "{repository} at revision {revision} has no {missing}\nhint: see the files at {page}; \
         capsmith reads safetensors and pytorch_model.bin, with config.json and the tokenizer beside \
         them"
    )]
    NotAModel {
        /// `OWNER/NAME`.
        repository: String,
        /// The commit.
        revision: String,
        /// What is missing.
        missing: String,
        /// Where a person can look.
        page: String,
    },
    /// The disk is full, or a limit on file sizes is reached.
    #[error("cannot write {}: {source}\nhint: make room, or choose another disk{}", printable_path(path), cache_hint(*is_cache))]
    Full {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
        /// Whether it lies in the cache.
        is_cache: bool,
    },
    /// The operating system refused.
    #[error("cannot {action} {}: {source}{}", printable_path(path), permission_hint(source))]
    Io {
        /// What was being done, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A lock could not be taken.
    #[error(transparent)]
    Lock(durable::Error),
    /// An archive, or an index of weights, that is damaged or not what it is taken for.
    #[error("{} cannot be used: {problem}\nhint: {hint}", printable_path(path))]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong, and with which part of it.
        problem: String,
        /// What to do.
        hint: &'static str,
    },
    /// Something of another content lies where a file has to go.
    #[error(
        "{} is in the way: {problem}\nhint: move it away and run the same command again",
        printable_path(path)
    )]
    InTheWay {
        /// The file or folder.
        path: PathBuf,
        /// Why it cannot stay.
        problem: String,
    },
    /// Files that only the user can get.
    #[error("{0}")]
    ByHand(String),
    /// What there is to say cannot be written.
    #[error("{0}")]
    Stream(#[source] io::Error),
}

impl From<durable::Error> for Error {
    fn from(error: durable::Error) -> Self {
        match error {
            durable::Error::Io { path, source, .. } if is_full(&source) => {
                Self::Full { path, source, is_cache: false }
            }
            durable::Error::Io { action, path, source } => Self::Io { action, path, source },
            durable::Error::Locked(_) => Self::Lock(error),
        }
    }
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// A failed write: a full disk is told apart, for what to do about it.
    pub(crate) fn write(path: &Path, source: io::Error, is_cache: bool) -> Self {
        let path = path.to_owned();
        if is_full(&source) {
            Self::Full { path, source, is_cache }
        } else {
            Self::Io { action: "write", path, source }
        }
    }
}

/// Whether there is no room left, be it the disk's, a quota's or a limit's.
pub(crate) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

fn token_hint(token: bool) -> &'static str {
    if token {
        "check that the token in HF_TOKEN (or in the file $HF_HOME/token) may read it"
    } else {
        "set HF_TOKEN to a token from https://huggingface.co/settings/tokens"
    }
}

fn cache_hint(is_cache: bool) -> &'static str {
    if is_cache { " by setting HF_HOME to a folder there" } else { " with --out" }
}

fn permission_hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "\nhint: choose a folder that you can write to: HF_HOME for the cache, --out for the rest"
        }
        _ => "",
    }
}
