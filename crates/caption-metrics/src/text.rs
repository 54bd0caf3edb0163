//! Files as UTF-8 text, checked while they are read.

use std::fs::{self, File};
use std::io::{self, Chain, Cursor, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::Error;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A file without its byte order mark, whose bytes are UTF-8 or an error.
///
/// Parsers hide errors of their reader, so this keeps them; see [`Text::failure`].
pub(crate) struct Text {
    path: PathBuf,
    file: Chain<Cursor<Vec<u8>>, File>,
    /// The start of a character whose end has not been read.
    pending: Vec<u8>,
    line: usize,
    /// Bytes of the line.
    bytes: usize,
    failure: Option<Error>,
}

impl Text {
    /// Opens a file.
    ///
    /// Refuses folders, devices, and pipes that have a name: opening one waits for a writer. A
    /// shell's `<(…)` is a link to a pipe, and is read.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Read { path: path.to_owned(), source };
        let wrong = |message: &str| {
            Err(Error::Malformed { path: path.to_owned(), message: message.to_owned() })
        };
        let is_named_pipe = fs::symlink_metadata(path).map_err(failed)?.file_type().is_fifo();
        let kind = fs::metadata(path).map_err(failed)?.file_type();
        if is_named_pipe || !(kind.is_file() || kind.is_fifo()) {
            return wrong("it is not a regular file; save the captions to a file and name that");
        }
        let mut file = File::open(path).map_err(failed)?;
        let mut start = Vec::new();
        (&mut file).take(BYTE_ORDER_MARK.len() as u64).read_to_end(&mut start).map_err(failed)?;
        if start.is_empty() {
            return wrong("it is empty");
        }
        if start.starts_with(&[0x1f, 0x8b]) {
            return wrong("it is compressed by gzip; unpack it first: gunzip FILE");
        }
        let has_mark = start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]);
        if has_mark || start.iter().take(2).any(|&byte| byte == 0) {
            return wrong("it is UTF-16 or UTF-32, or binary; save the file as UTF-8");
        }
        let bytes = if start == BYTE_ORDER_MARK { std::mem::take(&mut start).len() } else { 0 };
        let file = Cursor::new(start).chain(file);
        let (path, pending) = (path.to_owned(), Vec::new());
        Ok(Self { path, file, pending, line: 1, bytes, failure: None })
    }

    /// Takes the error that ended reading, if it was not the parser that ended it.
    pub(crate) fn failure(&mut self) -> Option<Error> {
        self.failure.take()
    }

    /// Checks the bytes read so far, all of them if this is the end.
    fn check(&mut self, is_end: bool) -> Result<(), Error> {
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
        if !is_wrong {
            return Ok(());
        }
        let (line, byte) = (self.line, self.bytes + 1);
        let message = format!("line {line}, byte {byte} is not UTF-8; save the file as UTF-8");
        Err(Error::Malformed { path: self.path.clone(), message })
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
            Err(source) => Err(Error::Read { path: self.path.clone(), source }),
        };
        checked.map_err(|failure| {
            self.failure = Some(failure);
            io::Error::other("reading the file failed")
        })
    }
}

/// Reads a whole file as UTF-8 text without its byte order mark.
pub(crate) fn read(path: &Path) -> Result<String, Error> {
    let mut text = Text::open(path)?;
    let mut all = String::new();
    match text.read_to_string(&mut all) {
        Ok(_) => Ok(all),
        Err(source) => Err(text.failure().unwrap_or(Error::Read { path: path.to_owned(), source })),
    }
}
