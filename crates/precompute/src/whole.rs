//! All pieces of a run together.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use crate::plan::Skipped;
use crate::sources::{self, Source};

/// All pieces together: what the output is made of, in its order.
#[derive(Default)]
pub(crate) struct Whole {
    pub(crate) skipped: Vec<Skipped>,
    /// The files of the pictures with rows, as records.
    pub(crate) sources: Vec<u8>,
    /// The files of those without.
    pub(crate) skipped_sources: Vec<u8>,
    pub(crate) segments: Vec<Segment>,
}

impl Whole {
    /// Adds the next batch: the names of its pictures with their files, and where its rows are.
    pub(crate) fn add<'n>(
        &mut self,
        pictures: impl Iterator<Item = (&'n String, Source)>,
        skipped: Vec<Skipped>,
        rows: Segment,
    ) {
        for (name, source) in pictures {
            let is_skipped = skipped.iter().any(|skipped| skipped.name == *name);
            let records = if is_skipped { &mut self.skipped_sources } else { &mut self.sources };
            sources::append(source, records);
        }
        self.skipped.extend(skipped);
        match self.segments.last_mut() {
            Some(last) if last.path == rows.path && last.start + last.length == rows.start => {
                last.length += rows.length;
            }
            _ => self.segments.push(rows),
        }
    }
}

/// A part of a file.
#[derive(Clone)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) start: u64,
    pub(crate) length: u64,
}

/// Parts of files one behind the other.
pub(crate) struct Joined {
    left: std::vec::IntoIter<Segment>,
    file: Option<io::Take<File>>,
}

impl Joined {
    pub(crate) fn new(segments: Vec<Segment>) -> Self {
        Self { left: segments.into_iter(), file: None }
    }
}

impl Read for Joined {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(file) = &mut self.file {
                let read = file.read(buffer)?;
                if read > 0 || buffer.is_empty() {
                    return Ok(read);
                }
            }
            let Some(Segment { path, start, length }) = self.left.next() else { return Ok(0) };
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(start))?;
            self.file = Some(file.take(length));
        }
    }
}
