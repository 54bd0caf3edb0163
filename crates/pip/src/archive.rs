//! Single files of zip archives (wheels and jars are both zip).

use std::io::Read;

use flate2::read::DeflateDecoder;

const END_SIGNATURE: &[u8] = b"PK\x05\x06";
const ENTRY_SIGNATURE: &[u8] = b"PK\x01\x02";
const ENTRY_SIZE: usize = 46;
const LOCAL_HEADER_SIZE: usize = 30;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// Zip archive in memory.
#[derive(Debug)]
pub struct Archive<'a> {
    bytes: &'a [u8],
    /// The entries of its directory, from the first one on.
    directory: &'a [u8],
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|&bytes| u16::from_le_bytes(bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|&bytes| u32::from_le_bytes(bytes))
}

impl<'a> Archive<'a> {
    /// Finds the directory, which the record at the archive's end points to.
    ///
    /// # Errors
    /// Fails if there is none.
    pub fn new(bytes: &'a [u8]) -> Result<Self, String> {
        let mut starts = bytes.windows(END_SIGNATURE.len());
        let directory = starts
            .rposition(|window| window == END_SIGNATURE)
            .and_then(|end| u32_at(bytes, end + 16))
            .and_then(|at| bytes.get(at as usize..));
        directory
            .map(|directory| Self { bytes, directory })
            .ok_or_else(|| "it is not a zip archive".to_owned())
    }

    /// Returns the directory's entry of a file.
    fn entry(&self, name: &str) -> Option<&'a [u8]> {
        let mut rest = self.directory;
        while rest.starts_with(ENTRY_SIGNATURE) {
            let length = |at| u16_at(rest, at).map(usize::from);
            let name_length = length(28)?;
            if rest.get(ENTRY_SIZE..ENTRY_SIZE + name_length)? == name.as_bytes() {
                return Some(rest);
            }
            rest = rest.get(ENTRY_SIZE + name_length + length(30)? + length(32)?..)?;
        }
        None
    }

    /// Returns the compressed bytes of an entry, which follow its second header.
    fn contents(&self, entry: &[u8]) -> Option<&'a [u8]> {
        let header = self.bytes.get(u32_at(entry, 42)? as usize..)?;
        let length = |at| u16_at(header, at).map(usize::from);
        let start = LOCAL_HEADER_SIZE + length(26)? + length(28)?;
        header.get(start..start + u32_at(entry, 20)? as usize)
    }

    /// Unpacks one file and checks its CRC-32.
    ///
    /// # Errors
    /// Fails if the file is absent or damaged.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        let entry = self.entry(name).ok_or_else(|| format!("{name} is not in it"))?;
        let damaged = || format!("{name} is cut short");
        let compressed = self.contents(entry).ok_or_else(damaged)?;
        let contents = match u16_at(entry, 10) {
            Some(STORED) => compressed.to_owned(),
            Some(DEFLATED) => {
                let mut contents = Vec::new();
                let read = DeflateDecoder::new(compressed).read_to_end(&mut contents);
                read.map_err(|error| format!("{name}: {error}"))?;
                contents
            }
            _ => return Err(format!("{name} is compressed in an unknown way")),
        };
        if Some(crc32fast::hash(&contents)) != u32_at(entry, 16) {
            return Err(format!("the checksum of {name} is wrong"));
        }
        Ok(contents)
    }
}
