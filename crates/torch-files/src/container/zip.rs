//! Reader of the format that `torch.save` writes since PyTorch 1.6.
//!
//! The file is a zip archive of uncompressed entries in one top folder. `data.pkl` is the object,
//! `data/KEY` each storage, and `byteorder` says little (absent before PyTorch 2.0). Entries are
//! slices of the mapped file; nothing is unpacked.

use std::fmt::Display;
use std::io::Cursor;

use ::zip::read::{ArchiveOffset, Config};
use ::zip::result::ZipError;
use ::zip::{CompressionMethod, ZipArchive};
use bytes::Bytes;

use super::nothing_after;
use crate::error::{Problem, shown};
use crate::pickle::{Container, Pickle};

/// Reads the object's pickle and finds its storages.
pub(super) fn read(input: &Bytes) -> Result<Pickle, Problem> {
    let mut archive = Archive::open(input)?;
    if archive.has_code() {
        return Err(Problem::content(
            "is a TorchScript archive (torch.jit.save), which holds program code\n\
             hint: save its weights in Python: torch.save(module.state_dict(), path)",
        ));
    }
    if archive.entry("byteorder")?.is_some_and(|order| *order != *b"little") {
        return Err(Problem::content(
            "is from a machine that is not little-endian\n\
             hint: load it in PyTorch and save it again on an ordinary computer",
        ));
    }
    let Some(data) = archive.entry("data.pkl")? else {
        return Err(invalid("there is no data.pkl in it"));
    };
    let mut pickle = Pickle::read(&data, 0, Container::Zip)?;
    nothing_after(pickle.end, &data)?;
    for storage in &mut pickle.storages {
        storage.bytes = archive.entry(&format!("data/{}", storage.key))?;
        if let Some(bytes) = storage.bytes.as_ref()
            && bytes.len() != storage.byte_length()
        {
            return Err(Problem::storage(format_args!(
                "storage {} has {} bytes, but should have {}",
                storage.key,
                bytes.len(),
                storage.byte_length()
            )));
        }
    }
    Ok(pickle)
}

/// Archive whose entries all lie in one folder.
struct Archive<'a> {
    input: &'a Bytes,
    directory: ZipArchive<Cursor<&'a [u8]>>,
    folder: String,
    /// Bytes of entries that may still be read. Reading more means that entries overlap.
    budget: usize,
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
            return Err(invalid("two entries have one name"));
        }
        let folders = directory.file_names().flatten().filter_map(|name| {
            let folder = name.strip_suffix("/data.pkl")?;
            (!folder.contains('/')).then(|| folder.to_owned())
        });
        let mut folders: Vec<String> = folders.take(2).collect();
        match folders.len() {
            1 => {
                let folder = folders.remove(0);
                Ok(Self { input, directory, folder, budget: input.len() })
            }
            0 => Err(invalid("there is no FOLDER/data.pkl in it")),
            _ => Err(invalid("there is more than one data.pkl in it")),
        }
    }

    /// Returns true for the program of a `TorchScript` archive.
    fn has_code(&self) -> bool {
        let code = format!("{}/code/", self.folder);
        let mut names = self.directory.file_names().flatten();
        names.any(|name| name.starts_with(&code)) || self.index("constants.pkl").is_some()
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.directory.index_for_name(&format!("{}/{name}", self.folder))
    }

    /// Returns the bytes of an entry after checking its checksum; `None` if there is no entry.
    fn entry(&mut self, name: &str) -> Result<Option<Bytes>, Problem> {
        let Some(index) = self.index(name) else { return Ok(None) };
        let damaged = |reason| invalid(format_args!("entry {} {reason}", shown(name)));
        let entry = self.directory.by_index_raw(index).map_err(|error| refused(&error))?;
        if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
            return Err(damaged("is compressed or encrypted, which torch.save never does"));
        }
        if entry.size() != entry.compressed_size() {
            return Err(damaged("has two different sizes"));
        }
        let range = entry.data_start().and_then(|start| {
            let end = start.checked_add(entry.size())?;
            Some(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
        });
        let Some(range) = range.filter(|range| range.end <= self.input.len()) else {
            return Err(damaged("reaches beyond the end of the file"));
        };
        match self.budget.checked_sub(range.len()) {
            Some(left) => self.budget = left,
            None => return Err(damaged("overlaps others")),
        }
        let bytes = self.input.slice(range);
        let crc = entry.crc32();
        drop(entry);
        if crc32fast::hash(&bytes) != crc && (crc != 0 || self.has_checksums()?) {
            return Err(damaged("is damaged: its checksum is wrong"));
        }
        Ok(Some(bytes))
    }

    /// Returns false if all checksums are 0.
    ///
    /// PyTorch writes zeros after `torch.serialization.set_crc32_options(False)`.
    fn has_checksums(&mut self) -> Result<bool, Problem> {
        for index in 0..self.directory.len() {
            let entry = self.directory.by_index_raw(index).map_err(|error| refused(&error))?;
            if entry.crc32() != 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn refused(error: &ZipError) -> Problem {
    invalid(format_args!("{error}\nhint: fetch or copy the file again; it may be truncated"))
}

fn invalid(reason: impl Display) -> Problem {
    Problem::Content(format!("is not an archive that torch.save writes: {reason}"))
}
