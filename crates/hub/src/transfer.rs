//! Downloads of single files, which resume where an earlier try ended.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use ureq::Body;
use ureq::http::{Response, StatusCode};

use crate::client::{Client, header_text, is_html};
use crate::retry::{Fault, Patience};
use crate::{Error, Progress, Unit};

/// Number of new bytes from which a failed try resets the retry counter.
const PROGRESS: u64 = 1 << 20;

/// A file to fetch.
pub(crate) struct Source<'a> {
    pub url: &'a str,
    /// Name for messages.
    pub name: &'a str,
    /// Announced size in bytes.
    pub size: Option<u64>,
    /// True if the file goes to the cache; chooses the hint for a full disk.
    pub is_cache: bool,
}

/// Downloads `source` into `partial`, resuming at the end of `partial`.
///
/// The caller holds a lock on `partial` and checks the contents before use.
///
/// # Errors
/// `partial` is kept for a later resume, unless its size is wrong or the disk is full.
pub(crate) fn download(
    client: &Client<'_>,
    source: &Source<'_>,
    partial: &Path,
    progress: &mut dyn Progress,
) -> Result<(), Error> {
    let result = fetch(client, source, partial, progress);
    progress.finish();
    if matches!(result, Err(Error::Size { .. } | Error::Full { .. })) {
        // The first error is the one to report.
        let _ = fs::remove_file(partial);
    }
    result
}

fn fetch(
    client: &Client<'_>,
    source: &Source<'_>,
    partial: &Path,
    progress: &mut dyn Progress,
) -> Result<(), Error> {
    let mut patience = Patience::new(client.options);
    let mut done = length(partial)?;
    if source.size.is_some_and(|size| done > size) {
        truncate(partial, source)?;
        done = 0;
    }
    progress.start(source.name, Unit::Bytes, source.size, done);
    while source.size.is_none_or(|size| done < size) || done == 0 {
        match attempt(client, source, partial, done, progress) {
            Ok(()) => break,
            Err(fault) => {
                let now = length(partial)?;
                if now >= done + PROGRESS {
                    patience.renew();
                }
                done = now;
                patience.pause(source.url, fault, progress)?;
            }
        }
    }
    let file = OpenOptions::new().append(true).open(partial).map_err(Error::io("open", partial))?;
    file.sync_all().map_err(|error| Error::write(partial, error, source.is_cache))
}

/// Makes one request and appends the received bytes to `partial`, even if it fails midway.
fn attempt(
    client: &Client<'_>,
    source: &Source<'_>,
    partial: &Path,
    have: u64,
    progress: &mut dyn Progress,
) -> Result<(), Fault> {
    let answer = client.get(source.url, have)?;
    let start = match answer.status() {
        StatusCode::PARTIAL_CONTENT => {
            let (start, total) = content_range(&answer)
                .ok_or_else(|| Fault::passing("the server sent an unusable Content-Range"))?;
            check_size(source, total)?;
            if start != have {
                truncate(partial, source)?;
                return Err(Fault::passing("the server sent another part than was asked for"));
            }
            start
        }
        StatusCode::OK => {
            if is_html(&answer) && !has_html_name(source.name) {
                let problem = "it sent a page for people instead of the file".to_owned();
                return Err(Error::NotTheHub { url: source.url.to_owned(), problem }.into());
            }
            if let Some(length) = body_length(&answer) {
                check_size(source, length)?;
            }
            truncate(partial, source)?;
            0
        }
        StatusCode::RANGE_NOT_SATISFIABLE => {
            truncate(partial, source)?;
            return Err(Fault::passing("the server has less of the file than is here"));
        }
        _ => return Err(Fault::of_status(&answer, source.url)),
    };
    let end = body_length(&answer).map(|length| start.saturating_add(length)).or(source.size);
    progress.position(start);
    let arrived = append(answer, source, partial, start, progress)?;
    match end {
        Some(end) if arrived < end => {
            Err(Fault::passing(format!("the connection was cut at {arrived} of {end} bytes")))
        }
        _ => Ok(check_size(source, arrived)?),
    }
}

/// Writes the body to the end of `partial` and returns the new length.
fn append(
    answer: Response<Body>,
    source: &Source<'_>,
    partial: &Path,
    start: u64,
    progress: &mut dyn Progress,
) -> Result<u64, Fault> {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(partial)
        .map_err(|error| Error::write(partial, error, source.is_cache))?;
    let mut body = answer.into_body().into_reader();
    let mut buffer = vec![0; 1 << 17];
    let mut arrived = start;
    loop {
        let count = body.read(&mut buffer).map_err(|error| Fault::passing(error.to_string()))?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
            return Ok(arrived);
        };
        arrived += bytes.len() as u64;
        if let Some(size) = source.size
            && arrived > size
        {
            return Err(wrong_size(source, size, arrived).into());
        }
        file.write_all(bytes).map_err(|error| Error::write(partial, error, source.is_cache))?;
        progress.position(arrived);
    }
}

fn length(path: &Path) -> Result<u64, Error> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(Error::Io { action: "read", path: path.to_owned(), source: error }),
    }
}

fn truncate(path: &Path, source: &Source<'_>) -> Result<(), Error> {
    File::create(path).map(drop).map_err(|error| Error::write(path, error, source.is_cache))
}

fn check_size(source: &Source<'_>, actual: u64) -> Result<(), Error> {
    match source.size {
        Some(expected) if expected != actual => Err(wrong_size(source, expected, actual)),
        _ => Ok(()),
    }
}

fn wrong_size(source: &Source<'_>, expected: u64, actual: u64) -> Error {
    Error::Size { name: source.name.to_owned(), expected, actual }
}

fn body_length(answer: &Response<Body>) -> Option<u64> {
    header_text(answer, "content-length")?.parse().ok()
}

/// Returns start and total of `bytes START-END/TOTAL`.
fn content_range(answer: &Response<Body>) -> Option<(u64, u64)> {
    let (range, total) =
        header_text(answer, "content-range")?.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.trim().parse().ok()?, total.trim().parse().ok()?))
}

fn has_html_name(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|end| end == "html" || end == "htm")
}
