//! Reader of the format that `torch.save` writes since PyTorch 1.6.
//!
//! The file is a zip archive of uncompressed entries in one top folder. `data.pkl` is the object,
//! `data/KEY` each storage, and `byteorder` says little (absent before PyTorch 2.0). Entries are
//! slices of the mapped file; nothing is unpacked.

use std::io::Cursor;

use ::zip::read::{ArchiveOffset, Config};
use ::zip::result::ZipError;
use ::zip::{CompressionMethod, ZipArchive};
use bytes::Bytes;

use super::nothing_after;
use crate::error::{Problem, shown};
use crate::finish::finish;
use crate::pickle::{Id, Pickle, Source, Storage};
use crate::tree::Node;

const PICKLE: &str = "/data.pkl";

pub(super) fn read(input: &Bytes) -> Result<(Vec<Node>, Id), Problem> {
    let mut archive = Archive::open(input)?;
    if archive.place("constants.pkl").is_some() || archive.place("code/").is_some() {
        return Err(Problem::UnsupportedKind(
            "a TorchScript archive (torch.jit.save), which holds program code\n\
             hint: save its weights in Python: torch.save(module.state_dict(), path)",
        ));
    }
    if let Some(order) = archive.entry("byteorder")?
        && *order != *b"little"
    {
        return Err(Problem::UnsupportedKind(
            "from a machine that is not little-endian\n\
             hint: load it in PyTorch and save it again on an ordinary computer",
        ));
    }
    let Some(data) = archive.entry("data.pkl")? else {
        return Err(Problem::Archive("there is no data.pkl in it".to_owned()));
    };
    let pickle = Pickle::read(&data, 0, Source::Zip)?;
    nothing_after(pickle.end, &data)?;
    finish(pickle, |key, storage| archive.storage(key, storage))
}

/// Archive whose entries all lie in one folder.
struct Archive<'a> {
    input: &'a Bytes,
    directory: ZipArchive<Cursor<&'a [u8]>>,
    folder: String,
    /// Bytes of entries that may still be read. Reading more means that entries overlap.
    left: usize,
}

impl<'a> Archive<'a> {
    fn open(input: &'a Bytes) -> Result<Self, Problem> {
        // The archive starts at byte 0. Searching for its start would read the whole file, and
        // fails (zip 9.8) if the first entry's name has 30 letters: PyTorch's zip64 records are as
        // long as that entry's header.
        let config = Config { archive_offset: ArchiveOffset::Known(0) };
        let directory = ZipArchive::with_config(config, Cursor::new(&**input))
            .map_err(|error| refused(&error))?;
        if directory.has_duplicate_names() {
            return Err(Problem::Archive("two entries have one name".to_owned()));
        }
        let mut folders = directory.file_names().flatten().filter_map(|name| {
            name.strip_suffix(PICKLE).filter(|folder| !folder.contains('/')).map(str::to_owned)
        });
        let (folder, another) = (folders.next(), folders.next());
        drop(folders);
        match (folder, another) {
            (Some(folder), None) => Ok(Self { input, directory, folder, left: input.len() }),
            (None, _) => Err(Problem::Archive("there is no FOLDER/data.pkl in it".to_owned())),
            _ => Err(Problem::Archive("there is more than one data.pkl in it".to_owned())),
        }
    }

    /// Returns the index of an entry. If `name` ends in a slash, returns an entry of that folder.
    fn place(&self, name: &str) -> Option<usize> {
        let name = format!("{}/{name}", self.folder);
        if name.ends_with('/') {
            return self
                .directory
                .file_names()
                .position(|entry| entry.is_ok_and(|entry| entry.starts_with(&name)));
        }
        self.directory.index_for_name(&name)
    }

    /// Returns the bytes of an entry and checks its checksum; returns `None` if there is no entry.
    fn entry(&mut self, name: &str) -> Result<Option<Bytes>, Problem> {
        let Some(place) = self.place(name) else { return Ok(None) };
        let wrong = |what: &str| Problem::Archive(format!("entry {} {what}", shown(name)));
        let entry = self.directory.by_index_raw(place).map_err(|error| refused(&error))?;
        if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
            return Err(wrong("is compressed or encrypted, which torch.save never does"));
        }
        if entry.size() != entry.compressed_size() {
            return Err(wrong("has two different sizes"));
        }
        let range = entry.data_start().and_then(|start| {
            let end = start.checked_add(entry.size())?;
            Some(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
        });
        let Some(range) = range.filter(|range| range.end <= self.input.len()) else {
            return Err(wrong("reaches beyond the end of the file"));
        };
        match self.left.checked_sub(range.len()) {
            Some(left) => self.left = left,
            None => return Err(wrong("overlaps others")),
        }
        let bytes = self.input.slice(range);
        let crc = entry.crc32();
        drop(entry);
        if crc32fast::hash(&bytes) != crc && (crc != 0 || self.has_checksums()?) {
            return Err(wrong("is damaged: its checksum is wrong"));
        }
        Ok(Some(bytes))
    }

    /// Returns false if all checksums are 0.
    ///
    /// PyTorch writes zeros after `torch.serialization.set_crc32_options(False)`.
    fn has_checksums(&mut self) -> Result<bool, Problem> {
        for place in 0..self.directory.len() {
            let entry = self.directory.by_index_raw(place).map_err(|error| refused(&error))?;
            if entry.crc32() != 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn storage(&mut self, key: &str, storage: &Storage) -> Result<Bytes, Problem> {
        let Some(bytes) = self.entry(&format!("data/{key}"))? else {
            return Err(Problem::storage(format!("storage {key} is missing")));
        };
        if bytes.len() != storage.byte_length() {
            return Err(Problem::storage(format!(
                "storage {key} has {} bytes, but should have {}",
                bytes.len(),
                storage.byte_length()
            )));
        }
        Ok(bytes)
    }
}

fn refused(error: &ZipError) -> Problem {
    Problem::Archive(format!("{error}\nhint: fetch or copy the file again; it may be truncated"))
}
