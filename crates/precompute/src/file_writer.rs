//! Writing of files of embeddings, whose format [`crate::finished`] describes.

use std::io::{self, Read, Write};
use std::path::Path;

use runs::Identity;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::contents::Contents;
use crate::error::Error;
use crate::sources::{self, RECORD};

pub(crate) const FORMAT: &str = "capsmith-embeddings";
pub(crate) const VERSION: &str = "1";
pub(crate) const TENSOR: &str = "embeddings";
pub(crate) const PICTURES: &str = "pictures";
pub(crate) const PICTURES_SHA256: &str = "pictures_sha256";

/// Metadata that the file's digest covers, as text.
pub(crate) struct Texts {
    pub(crate) names: String,
    pub(crate) skipped: String,
    pub(crate) identity: String,
}

impl Texts {
    pub(crate) fn digest(&self) -> Sha256 {
        let mut sha256 = Sha256::new();
        for text in [&self.names, &self.skipped, &self.identity] {
            // With its length, which keeps "ab", "c" apart from "a", "bc".
            sha256.update((text.len() as u64).to_le_bytes());
            sha256.update(text);
        }
        sha256
    }
}

/// Writes a file of embeddings, all or nothing. `rows` is read twice.
pub(crate) fn write<R: Read>(
    path: &Path,
    identity: &Identity,
    contents: &Contents,
    rows: impl Fn() -> R,
) -> Result<(), durable::Error> {
    let mut records = Vec::new();
    contents.sources.iter().for_each(|source| sources::append(*source, &mut records));
    let header = header(identity, contents, &mut rows(), &records)
        .map_err(|source| durable::Error::Io { action: "write", path: path.to_owned(), source })?;
    durable::write_with(path, |file| {
        file.write_all(&header)?;
        io::copy(&mut rows(), file)?;
        file.write_all(&records)
    })
}

fn header(
    identity: &Identity,
    contents: &Contents,
    rows: &mut impl Read,
    records: &[u8],
) -> io::Result<Vec<u8>> {
    let texts = Texts {
        names: serde_json::to_string(&contents.names)?,
        skipped: serde_json::to_string(&contents.skipped)?,
        identity: serde_json::to_string(identity)?,
    };
    let mut sha256 = texts.digest();
    let length = add_rows(&mut sha256, rows)?;
    let mut header = json!({
        "__metadata__": {
            "format": FORMAT,
            "version": VERSION,
            "identity": texts.identity,
            "names": texts.names,
            "skipped": texts.skipped,
            "sha256": hex::encode(sha256.finalize()),
        },
        TENSOR: {
            "dtype": "F32",
            "shape": [contents.names.len(), identity.dimension],
            "data_offsets": [0, length],
        },
    });
    if !records.is_empty() {
        header["__metadata__"][PICTURES_SHA256] = hex::encode(Sha256::digest(records)).into();
        header[PICTURES] = json!({
            "dtype": "U8",
            "shape": [records.len() / RECORD, RECORD],
            "data_offsets": [length, length + records.len()],
        });
    }
    let mut text = header.to_string().into_bytes();
    // The format asks for rows that begin at a multiple of eight bytes.
    text.resize(text.len().next_multiple_of(8), b' ');
    Ok([&(text.len() as u64).to_le_bytes(), &text[..]].concat())
}

fn add_rows(sha256: &mut Sha256, rows: &mut impl Read) -> io::Result<usize> {
    let mut buffer = vec![0; 1 << 20];
    let mut length = 0;
    loop {
        let read = rows.read(&mut buffer)?;
        if read == 0 {
            return Ok(length);
        }
        sha256.update(&buffer[..read]);
        length += read;
    }
}

/// Reader of blocks of values, one block in memory at a time.
pub(crate) struct Blocks<I> {
    blocks: I,
    bytes: io::Cursor<Vec<u8>>,
}

impl<I: Iterator<Item = Result<Vec<f32>, Error>>> Blocks<I> {
    pub(crate) fn new(blocks: I) -> Self {
        Self { blocks, bytes: io::Cursor::default() }
    }
}

impl<I: Iterator<Item = Result<Vec<f32>, Error>>> Read for Blocks<I> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.bytes.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let Some(block) = self.blocks.next() else { return Ok(0) };
            let values = block.map_err(io::Error::other)?;
            self.bytes = io::Cursor::new(values.iter().flat_map(|v| v.to_le_bytes()).collect());
        }
    }
}

/// Fails with the names whose rows have values that are infinite or no numbers.
pub(crate) fn check_finite<S: AsRef<str>>(
    names: &[S],
    rows: &[f32],
    dimension: usize,
) -> Result<(), Error> {
    let rows = names.iter().zip(rows.chunks(dimension));
    let faulty = rows.filter(|(_, row)| !row.iter().all(|value| value.is_finite()));
    let faulty: Vec<String> = faulty.map(|(name, _)| name.as_ref().to_owned()).collect();
    if faulty.is_empty() { Ok(()) } else { Err(Error::NotFinite(faulty)) }
}
