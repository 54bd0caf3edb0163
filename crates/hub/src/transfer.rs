//! Downloads of single files, which resume where an earlier try ended.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;

use progress::{Progress, Unit};
use ureq::Body;
use ureq::http::{Response, StatusCode};

use crate::Error;
use crate::client::Client;
use crate::data_set::has_extension;
use crate::digest::{Checksum, each_piece};
use crate::headers::header_text;
use crate::retry::{RequestError, with_retries};

/// Number of new bytes from which a failed try resets the count of tries.
const MIN_PROGRESS: u64 = 1 << 20;

/// A file to fetch.
pub(crate) struct Source<'a> {
    pub url: &'a str,
    /// Name for messages.
    pub name: &'a str,
    /// Announced size in bytes.
    pub size: Option<u64>,
    pub checksums: Vec<Checksum>,
}

impl Source<'_> {
    fn check_size(&self, actual: u64) -> Result<(), Error> {
        let Some(expected) = self.size.filter(|size| *size != actual) else { return Ok(()) };
        Err(Error::Mismatch {
            name: self.name.to_owned(),
            property: "size",
            expected: format!("{expected} bytes").into(),
            actual: format!("{actual} bytes").into(),
            origin: "announced",
            hint: "it is not kept; run the same command again",
        })
    }
}

/// Downloads `source` to `target`, which appears only if its size and digests are right.
///
/// Resumes `target` with the suffix `.incomplete`. The caller holds a lock on `target`.
///
/// # Errors
/// The incomplete file is kept, unless it has wrong contents or the disk is full.
pub(crate) fn download(
    client: &Client<'_>,
    source: &Source<'_>,
    target: &Path,
    progress: &mut dyn Progress,
) -> Result<(), Error> {
    let incomplete = target.with_added_extension("incomplete");
    let fetched = fetch(client, source, &incomplete, progress);
    progress.finish();
    let hint = "it is not kept; run the same command again, and if that does not help, a proxy or \
                the server changes it";
    let mut checksums = source.checksums.iter();
    let checked = fetched
        .and_then(|()| checksums.try_for_each(|sum| sum.check(&incomplete, source.name, hint)));
    if let Err(error) = &checked
        && (matches!(error, Error::Mismatch { .. }) || error.is_disk_full())
    {
        // The first error is the one to report.
        let _ = fs::remove_file(&incomplete);
    }
    checked?;
    Ok(durable::replace(&incomplete, target)?)
}

fn fetch(
    client: &Client<'_>,
    source: &Source<'_>,
    path: &Path,
    progress: &mut dyn Progress,
) -> Result<(), Error> {
    let mut file = IncompleteFile::open(path)?;
    if source.size.is_some_and(|size| file.length > size) {
        file.clear()?;
    }
    progress.start(source.name, Unit::Bytes, source.size, file.length);
    with_retries(client.options, source.url, progress, |progress, tries| {
        if file.length > 0 && source.size == Some(file.length) {
            return Ok(());
        }
        let before = file.length;
        let result = request(client, source, &mut file, progress);
        if file.length >= before + MIN_PROGRESS {
            *tries = 0;
        }
        result
    })?;
    file.file.sync_all().map_err(Error::io("write", path))
}

/// Makes one request and appends the received bytes to `file`, even if it fails midway.
fn request(
    client: &Client<'_>,
    source: &Source<'_>,
    file: &mut IncompleteFile<'_>,
    progress: &mut dyn Progress,
) -> Result<(), RequestError> {
    let response = client.get(source.url, file.length)?;
    let start =
        match response.status() {
            StatusCode::PARTIAL_CONTENT => Some(range_start(&response).ok_or_else(|| {
                RequestError::temporary("the server sent an unusable Content-Range")
            })?),
            StatusCode::OK => {
                let has_page = header_text(&response, "content-type")
                    .is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/html"));
                if has_page && !has_extension(Path::new(source.name), &["html", "htm"]) {
                    let problem = "it sent a web page instead of the file".to_owned();
                    return Err(Error::NotTheHub { url: source.url.to_owned(), problem }.into());
                }
                Some(0)
            }
            StatusCode::RANGE_NOT_SATISFIABLE => None,
            _ => return Err(RequestError::of_status(&response, source.url)),
        };
    if start != Some(file.length) {
        file.clear()?;
    }
    if start != Some(file.length) {
        return Err(RequestError::temporary("the server sent another part than the requested one"));
    }
    let length = header_text(&response, "content-length").and_then(|text| text.parse::<u64>().ok());
    let end = length.map(|length| file.length.saturating_add(length));
    end.map_or(Ok(()), |end| source.check_size(end))?;
    progress.position(file.length);
    each_piece(response.into_body().into_reader(), |piece| {
        file.append(piece.map_err(|error| RequestError::temporary(error.to_string()))?)?;
        if source.size.is_some_and(|size| file.length > size) {
            source.check_size(file.length)?;
        }
        progress.position(file.length);
        Ok::<_, RequestError>(())
    })?;
    match end.or(source.size) {
        Some(end) if file.length < end => Err(RequestError::temporary(format!(
            "the connection was cut at {} of {end} bytes",
            file.length
        ))),
        _ => Ok(source.check_size(file.length)?),
    }
}

/// Returns START of `bytes START-END/TOTAL`.
fn range_start(response: &Response<Body>) -> Option<u64> {
    let range = header_text(response, "content-range")?.strip_prefix("bytes ")?;
    range.split_once('-')?.0.trim().parse().ok()
}

/// A file that grows while it is fetched.
struct IncompleteFile<'p> {
    file: File,
    path: &'p Path,
    length: u64,
}

impl<'p> IncompleteFile<'p> {
    fn open(path: &'p Path) -> Result<Self, Error> {
        let opened = OpenOptions::new().append(true).create(true).open(path);
        let file = opened.map_err(Error::io("write", path))?;
        let length = file.metadata().map_err(Error::io("read", path))?.len();
        Ok(Self { file, path, length })
    }

    fn clear(&mut self) -> Result<(), Error> {
        self.length = 0;
        self.file.set_len(0).map_err(Error::io("write", self.path))
    }

    fn append(&mut self, piece: &[u8]) -> Result<(), Error> {
        self.length += piece.len() as u64;
        self.file.write_all(piece).map_err(Error::io("write", self.path))
    }
}
