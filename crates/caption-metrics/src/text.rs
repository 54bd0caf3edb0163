//! Files as UTF-8 text, checked as they are read.

use std::fs::{self, File};
use std::io::{self, Chain, Cursor, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use crate::Error;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A file without its byte order mark, whose bytes are UTF-8 or an error.
///
/// Parsers hide what went wrong below them, so this keeps it; see [`Text::failure`].
pub(crate) struct Text {
    file: Chain<Cursor<Vec<u8>>, File>,
    /// The start of a character whose end has not been read.
    pending: Vec<u8>,
    line: usize,
    /// Bytes of the line.
    bytes: usize,
    failure: Option<Failure>,
}

enum Failure {
    Read(io::Error),
    NotUtf8 { line: usize, byte: usize },
}

impl Text {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Read { path: path.to_owned(), source };
        check_kind(path)?;
        let mut file = File::open(path).map_err(failed)?;
        let mut start = Vec::new();
        (&mut file).take(BYTE_ORDER_MARK.len() as u64).read_to_end(&mut start).map_err(failed)?;
        if start.is_empty() {
            return Err(Error::Empty { path: path.to_owned() });
        }
        if is_utf16(&start) {
            return Err(Error::Utf16 { path: path.to_owned() });
        }
        let bytes = if start == BYTE_ORDER_MARK { std::mem::take(&mut start).len() } else { 0 };
        let file = Cursor::new(start).chain(file);
        Ok(Self { file, pending: Vec::new(), line: 1, bytes, failure: None })
    }

    /// Why reading ended, if it was not by the parser's will.
    pub(crate) fn failure(&mut self, path: &Path) -> Option<Error> {
        let path = path.to_owned();
        Some(match self.failure.take()? {
            Failure::Read(source) => Error::Read { path, source },
            Failure::NotUtf8 { line, byte } => Error::NotUtf8 { path, line, byte },
        })
    }

    /// Checks what has been read, all of it if this is the end.
    fn check(&mut self, is_end: bool) -> Result<(), Failure> {
        let (valid, is_wrong) = match std::str::from_utf8(&self.pending) {
            Ok(text) => (text.len(), false),
            Err(error) => (error.valid_up_to(), is_end || error.error_len().is_some()),
        };
        for byte in self.pending.drain(..valid) {
            self.bytes += 1;
            if byte == b'\n' {
                self.line += 1;
                self.bytes = 0;
            }
        }
        if is_wrong {
            return Err(Failure::NotUtf8 { line: self.line, byte: self.bytes + 1 });
        }
        Ok(())
    }
}

impl Read for Text {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let checked = match self.file.read(buffer) {
            Ok(read) => {
                self.pending.extend_from_slice(&buffer[..read]);
                self.check(read == 0 && !buffer.is_empty()).map(|()| read)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => Err(Failure::Read(error)),
        };
        checked.map_err(|failure| {
            self.failure = Some(failure);
            io::Error::other("the file cannot be read on")
        })
    }
}

/// Refuses folders, devices, and pipes that have a name: opening one waits for a writer.
///
/// A shell's `<(…)` is a link to a pipe, and is read.
fn check_kind(path: &Path) -> Result<(), Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let is_named_pipe = fs::symlink_metadata(path).map_err(failed)?.file_type().is_fifo();
    let kind = fs::metadata(path).map_err(failed)?.file_type();
    if is_named_pipe || !(kind.is_file() || kind.is_fifo()) {
        return Err(Error::NotAFile { path: path.to_owned() });
    }
    Ok(())
}

/// Returns whether the first bytes of a file are those of UTF-16 or UTF-32, marked or not.
fn is_utf16(start: &[u8]) -> bool {
    let has_mark = start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]);
    has_mark || start.iter().take(2).any(|&byte| byte == 0)
}

/// The whole of a file as UTF-8 text without its byte order mark.
pub(crate) fn read(path: &Path) -> Result<String, Error> {
    let mut text = Text::open(path)?;
    let mut all = String::new();
    match text.read_to_string(&mut all) {
        Ok(_) => Ok(all),
        Err(source) => {
            Err(text.failure(path).unwrap_or(Error::Read { path: path.to_owned(), source }))
        }
    }
}
