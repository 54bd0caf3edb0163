//! Records in a temporary file: written one after the other, then read from any place.
//!
//! The file has no name and is gone with the process, however that ends. Up to [`IN_MEMORY`] bytes stay in
//! memory.

use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

use tempfile::SpooledTempFile;

use crate::Error;

/// What small corpora need never reaches a disk.
const IN_MEMORY: usize = 4 << 20;

/// Records that are being written.
pub(crate) struct Writer {
    file: BufWriter<SpooledTempFile>,
    position: u64,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self { file: BufWriter::new(SpooledTempFile::new(IN_MEMORY)), position: 0 }
    }

    /// Where the next record starts.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn number(&mut self, number: u64) -> Result<(), Error> {
        self.bytes(&number.to_le_bytes())
    }

    pub(crate) fn text(&mut self, text: &str) -> Result<(), Error> {
        self.number(text.len() as u64)?;
        self.bytes(text.as_bytes())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.position += bytes.len() as u64;
        self.file.write_all(bytes).map_err(temporary)
    }

    /// The records, to be read.
    pub(crate) fn finish(self) -> Result<Reader, Error> {
        let mut file = self.file.into_inner().map_err(|error| temporary(error.into_error()))?;
        file.rewind().map_err(temporary)?;
        Ok(Reader { file: BufReader::new(file), position: 0 })
    }
}

/// Records that can be read.
pub(crate) struct Reader {
    file: BufReader<SpooledTempFile>,
    position: u64,
}

impl Reader {
    /// Goes to where a record starts. What is near is still at hand.
    pub(crate) fn go_to(&mut self, position: u64) -> Result<(), Error> {
        let distance = position.cast_signed() - self.position.cast_signed();
        if distance != 0 {
            self.file.seek_relative(distance).map_err(temporary)?;
            self.position = position;
        }
        Ok(())
    }

    pub(crate) fn number(&mut self) -> Result<u64, Error> {
        let mut bytes = [0; 8];
        self.file.read_exact(&mut bytes).map_err(temporary)?;
        self.position += bytes.len() as u64;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(crate) fn text(&mut self) -> Result<String, Error> {
        let length = self.number()?;
        let mut bytes = vec![0; length as usize];
        self.file.read_exact(&mut bytes).map_err(temporary)?;
        self.position += length;
        String::from_utf8(bytes).map_err(|error| temporary(io::Error::other(error)))
    }
}

fn temporary(source: io::Error) -> Error {
    Error::Temporary { folder: std::env::temp_dir(), source }
}
