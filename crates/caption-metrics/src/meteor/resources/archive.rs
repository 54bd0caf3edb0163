//! Reading single files out of zip archives (wheels and jars are both zip).

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};

use flate2::read::DeflateDecoder;

const END_SIGNATURE: [u8; 4] = *b"PK\x05\x06";
const ENTRY_SIGNATURE: [u8; 4] = *b"PK\x01\x02";
const END_SIZE: usize = 22;
const ENTRY_SIZE: usize = 46;
const LOCAL_HEADER_SIZE: u64 = 30;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// A source that can be read from any place.
pub(super) trait Source: Read + Seek {}
impl Source for File {}
impl Source for Cursor<Vec<u8>> {}

/// A zip archive.
pub(super) struct Archive<R> {
    source: R,
    directory: Vec<u8>,
}

struct Entry {
    method: u16,
    crc: u32,
    compressed: u64,
    header_at: u64,
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|&bytes| u16::from_le_bytes(bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|&bytes| u32::from_le_bytes(bytes))
}

impl<R: Source> Archive<R> {
    /// Reads the directory at the archive's end.
    pub(super) fn new(mut source: R) -> io::Result<Self> {
        let not_zip = || invalid("it is not a zip archive");
        let length = source.seek(SeekFrom::End(0))?;
        // The end record may be followed by a comment of up to 64 KiB.
        let tail_at = length.saturating_sub(END_SIZE as u64 + 0xFFFF);
        source.seek(SeekFrom::Start(tail_at))?;
        let mut tail = Vec::new();
        source.read_to_end(&mut tail)?;
        let end = tail
            .windows(END_SIGNATURE.len())
            .rposition(|window| window == END_SIGNATURE)
            .and_then(|at| tail.get(at..at + END_SIZE))
            .ok_or_else(not_zip)?;
        let (Some(size), Some(at)) = (u32_at(end, 12), u32_at(end, 16)) else {
            return Err(not_zip());
        };
        source.seek(SeekFrom::Start(u64::from(at)))?;
        let mut directory = Vec::new();
        source.by_ref().take(u64::from(size)).read_to_end(&mut directory)?;
        Ok(Self { source, directory })
    }

    fn find(&self, name: &str) -> Option<Entry> {
        let mut rest = self.directory.as_slice();
        while rest.get(..4)? == ENTRY_SIGNATURE {
            let variable = |at| u16_at(rest, at).map(usize::from);
            let name_length = variable(28)?;
            if rest.get(ENTRY_SIZE..ENTRY_SIZE + name_length)? == name.as_bytes() {
                return Some(Entry {
                    method: u16_at(rest, 10)?,
                    crc: u32_at(rest, 16)?,
                    compressed: u64::from(u32_at(rest, 20)?),
                    header_at: u64::from(u32_at(rest, 42)?),
                });
            }
            rest = rest.get(ENTRY_SIZE + name_length + variable(30)? + variable(32)?..)?;
        }
        None
    }

    /// The contents of one file, checked.
    pub(super) fn read(&mut self, name: &str) -> io::Result<Vec<u8>> {
        let entry = self.find(name).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("{name} is not in it"))
        })?;
        self.source.seek(SeekFrom::Start(entry.header_at))?;
        let mut header = [0; LOCAL_HEADER_SIZE as usize];
        self.source.read_exact(&mut header)?;
        let skip = |at| u16_at(&header, at).map_or(0, i64::from);
        self.source.seek(SeekFrom::Current(skip(26) + skip(28)))?;
        let compressed = self.source.by_ref().take(entry.compressed);
        let mut contents = Vec::new();
        match entry.method {
            STORED => io::copy(&mut { compressed }, &mut contents)?,
            DEFLATED => io::copy(&mut DeflateDecoder::new(compressed), &mut contents)?,
            _ => return Err(invalid("it is compressed in an unknown way")),
        };
        if crc32fast::hash(&contents) == entry.crc {
            Ok(contents)
        } else {
            Err(invalid(&format!("the checksum of {name} is wrong")))
        }
    }
}
