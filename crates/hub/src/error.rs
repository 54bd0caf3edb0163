//! Errors of fetching models and data sets, with hints.

use std::io;
use std::path::{Path, PathBuf};

use crate::reference::InvalidReference;
use foreign_text::printable_path;

/// Error of fetching a model or data set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text names neither a local path nor a model of the hub.
    #[error(transparent)]
    Reference(#[from] InvalidReference),
    /// The local path does not exist.
    #[error("there is no {}\nhint: {hint}", printable_path(path))]
    Missing {
        /// Path.
        path: PathBuf,
        /// Hint for the user.
        hint: String,
    },
    /// The reference names a whole repository where one file is needed.
    #[error("{0} names no file\nhint: write hf:{0}/FILE")]
    NoFile(String),
    /// Neither `HF_HOME` nor a home folder is known.
    #[error("there is no folder for the cache\nhint: set HF_HOME to a folder")]
    NoCacheFolder,
    /// The value of an environment variable cannot be used.
    #[error("{variable} {problem}")]
    Environment {
        /// Name of the variable.
        variable: &'static str,
        /// Reason.
        problem: String,
    },
    /// A file has to be fetched, but the network must not be used.
    #[error(
        "{what} is not in {}, and HF_HUB_OFFLINE is set\nhint: {other}unset it and run `{command}`, \
         or copy the files from a machine that has them",
        printable_path(place)
    )]
    Offline {
        /// Missing file or model.
        what: String,
        /// Folder that was searched.
        place: PathBuf,
        /// Hint at another cached revision, ending in `; or `.
        other: String,
        /// Command that fetches the file.
        command: String,
    },
    /// The server asks for a token or refuses the given one.
    #[error(
        "{url}: the server answered {status}: {repository} is private, gated, or does not exist\n\
         hint: accept its licence at {page}, then {}", token_hint(*token)
    )]
    Denied {
        /// Requested address.
        url: String,
        /// HTTP status: 401 or 403.
        status: u16,
        /// `OWNER/NAME`.
        repository: String,
        /// Web page where its terms are accepted.
        page: String,
        /// Whether a token was sent.
        token: bool,
    },
    /// The repository, revision or file does not exist.
    #[error(
        "{repository} has no {} at revision {revision} ({url} answered 404)\nhint: look at {page}",
        file.as_deref().unwrap_or("files")
    )]
    NotFound {
        /// `OWNER/NAME`.
        repository: String,
        /// The file, if one was requested.
        file: Option<String>,
        /// Branch, tag or commit.
        revision: String,
        /// Requested address.
        url: Box<str>,
        /// Web page of the repository.
        page: Box<str>,
    },
    /// The server did not send the requested file in any of the tries.
    #[error(
        "cannot fetch {url}: {reason} ({tries} tries)\n\
         hint: run the same command again; what has arrived is kept and not fetched twice"
    )]
    Unreachable {
        /// Requested address.
        url: String,
        /// Failure of the last try.
        reason: String,
        /// Number of tries.
        tries: u32,
    },
    /// The server answered with an error that a retry would not change.
    #[error("cannot fetch {url}: {reason}")]
    Refused {
        /// Requested address.
        url: String,
        /// Answer of the server.
        reason: String,
    },
    /// The response does not come from a model hub: a log-in page or a proxy's notice.
    #[error(
        "{url} did not answer as a model hub: {problem}\n\
         hint: check HF_ENDPOINT, and whether a proxy or log-in page is in the way"
    )]
    NotTheHub {
        /// Requested address.
        url: String,
        /// Reason.
        problem: String,
    },
    /// A received file has another size than announced.
    #[error(
        "{name} has {actual} bytes where {expected} were announced; it is not kept\nhint: run the same command again"
    )]
    Size {
        /// The file.
        name: String,
        /// Announced size in bytes.
        expected: u64,
        /// Received size in bytes.
        actual: u64,
    },
    /// A file has another digest than announced or pinned.
    #[error("{name} has {algorithm} {actual}, but {expected} is {origin}\nhint: {hint}")]
    Checksum {
        /// The file.
        name: String,
        /// Name of the digest's algorithm.
        algorithm: &'static str,
        /// Expected digest.
        expected: Box<str>,
        /// Actual digest.
        actual: Box<str>,
        /// Source of the expected digest.
        origin: &'static str,
        /// Hint for the user.
        hint: &'static str,
    },
    /// The repository has no weights in a supported format.
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
        /// Name of the missing file.
        missing: String,
        /// Web page of the repository's files.
        page: String,
    },
    /// The disk is full, or a limit on file sizes is reached.
    #[error("cannot write {}: {source}\nhint: make room, or choose another disk{}", printable_path(path), cache_hint(*is_cache))]
    Full {
        /// File.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
        /// True if the file is in the cache.
        is_cache: bool,
    },
    /// The operating system refused the operation.
    #[error("cannot {action} {}: {source}{}", printable_path(path), permission_hint(source))]
    Io {
        /// Verb for the operation.
        action: &'static str,
        /// File or folder.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// A lock could not be taken.
    #[error(transparent)]
    Lock(durable::Error),
    /// An archive or an index of weights is damaged or has another format.
    #[error("{} cannot be used: {problem}\nhint: {hint}", printable_path(path))]
    Unusable {
        /// File.
        path: PathBuf,
        /// Reason, and the affected part of the file.
        problem: String,
        /// Hint for the user.
        hint: &'static str,
    },
    /// A file or folder of other contents is at the destination.
    #[error(
        "{} is in the way: {problem}\nhint: move it away and run the same command again",
        printable_path(path)
    )]
    InTheWay {
        /// File or folder.
        path: PathBuf,
        /// Reason why it cannot stay.
        problem: String,
    },
    /// Some files can only be fetched by the user. Holds the instructions.
    #[error("{0}")]
    ByHand(String),
    /// The output cannot be written.
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
            error => Self::Lock(error),
        }
    }
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// Returns the error of a failed write; [`Error::Full`] for a full disk.
    pub(crate) fn write(path: &Path, source: io::Error, is_cache: bool) -> Self {
        let path = path.to_owned();
        if is_full(&source) {
            Self::Full { path, source, is_cache }
        } else {
            Self::Io { action: "write", path, source }
        }
    }
}

/// Returns whether no space is left on the disk, in a quota or below a limit.
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
