//! Tables that a run appends records to, with digests that show changes.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use durable::sealed;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::{MetricsError, failed};

const DIGESTS: &str = "logs.json";

/// Contents of `logs.json`: the digested start of each file, by file name.
pub(super) type LogDigests = BTreeMap<String, Start>;

/// Digested start of a file that is appended to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Start {
    bytes: usize,
    sha256: String,
}

impl Start {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len(), sha256: hex::encode(Sha256::digest(bytes)) }
    }
}

pub(super) fn write_digests(run: &Path, digests: &LogDigests) -> Result<(), MetricsError> {
    let path = run.join(DIGESTS);
    sealed::write_json(&path, digests).map_err(failed(&path))
}

/// File with a digest of all bytes written to it.
struct DigestedFile {
    file: File,
    digest: Sha256,
    bytes: usize,
}

impl Write for DigestedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.digest.update(&bytes[..count]);
        self.bytes += count;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// File of records that are appended.
pub(super) struct Lines {
    path: PathBuf,
    writer: csv::Writer<DigestedFile>,
}

impl Lines {
    /// Replaces the file at `path` by the whole lines `kept`, and opens it to append.
    pub(super) fn reopen(path: PathBuf, kept: &[u8]) -> Result<Self, MetricsError> {
        durable::write(&path, kept).map_err(failed(&path))?;
        let file = OpenOptions::new().append(true).open(&path).map_err(failed(&path))?;
        let file = DigestedFile { file, digest: Sha256::new_with_prefix(kept), bytes: kept.len() };
        let writer = csv::WriterBuilder::new().has_headers(kept.is_empty()).from_writer(file);
        Ok(Self { path, writer })
    }

    pub(super) fn write(&mut self, record: &impl Serialize) -> Result<(), MetricsError> {
        self.writer.serialize(record).map_err(failed(&self.path))
    }

    pub(super) fn flush(&mut self) -> Result<(), MetricsError> {
        self.writer.flush().map_err(failed(&self.path))
    }

    /// Flushes the file to the disk and returns its digest.
    pub(super) fn sync(&mut self) -> Result<Start, MetricsError> {
        self.flush()?;
        let DigestedFile { file, digest, bytes } = self.writer.get_ref();
        file.sync_all().map_err(failed(&self.path))?;
        Ok(Start { bytes: *bytes, sha256: hex::encode(digest.clone().finalize()) })
    }
}

/// Returns the lines of the records in `kept`, with a header unless there are none.
pub(super) fn kept_lines<R: Serialize + DeserializeOwned>(
    path: &Path,
    kept: impl Fn(&R) -> bool,
) -> Result<Vec<u8>, MetricsError> {
    let mut lines = csv::Writer::from_writer(Vec::new());
    for record in records::<R>(path)?.iter().filter(|record| kept(record)) {
        lines.serialize(record).map_err(failed(path))?;
    }
    lines.into_inner().map_err(failed(path))
}

/// Returns the records in a `metrics.csv`, `epochs.csv` or `epoch-scores.csv`.
///
/// Returns none if there is no file, and drops a half-written last line.
///
/// # Errors
/// Names the file if it cannot be read or has changed, and the line that is damaged.
pub fn records<R: DeserializeOwned>(path: &Path) -> Result<Vec<R>, MetricsError> {
    // The digest is read first, since a running training appends to the file.
    let start = start(path)?;
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(path)(error)),
    };
    if let Some(start) = start
        && bytes.get(..start.bytes).map(Start::of) != Some(start)
    {
        return Err(failed(path)(
            "it is damaged: it does not begin with the lines that training wrote (by their digest in logs.json)\nhint: restore it from a copy, or move it away to resume the run without these lines",
        ));
    }
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(bytes.as_slice());
    let mut lines = reader.deserialize().peekable();
    let mut records = Vec::new();
    while let Some(line) = lines.next() {
        match line {
            Ok(record) => records.push(record),
            Err(_) if lines.peek().is_none() => {}
            Err(error) => return Err(failed(path)(error)),
        }
    }
    Ok(records)
}

/// Returns the digested start of a log; `None` for a run of version 0.1.0.
fn start(log: &Path) -> Result<Option<Start>, MetricsError> {
    let path = log.with_file_name(DIGESTS);
    let mut digests: LogDigests = match sealed::read_json(&path) {
        Ok(digests) => digests,
        Err(sealed::SealError::Unreadable(error)) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(error) => {
            let reason = format!(
                "{error}\nhint: move it away, and metrics.csv, epochs.csv and epoch-scores.csv are read without it"
            );
            return Err(failed(&path)(reason));
        }
    };
    let name = log.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    Ok(digests.remove(name))
}
