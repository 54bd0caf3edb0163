//! What is kept of an unfinished run, so that it can go on after any interruption, and so that several
//! processes can share it.
//!
//! The folder `OUTPUT.partial` holds
//! - `run.json`: what the run is of; another run is refused,
//! - `piece-00000` and on, a folder for each [`PIECE_BATCHES`] batches, with
//!   - `rows`: its embeddings so far, f32 after f32,
//!   - `journal`: a line for each finished batch: where its rows are, which files its pictures were
//!     read from, and a digest of the line and of the rows; the last line of a batch counts,
//!   - `lock`: held while a process is at work on it,
//! - `lock`: held while all pieces are put together,
//! - at the very end `finished`: the output, to be renamed to its place.
//!
//! Pieces do not depend on how many processes there are, so that a run may go on with more or fewer. Rows
//! and journal are only ever appended to, and whatever the last lines promise but cannot show, half a
//! line, half a row, rows that never reached the disk, is cut off and done again. So nothing depends on
//! the order in which writes reach the disk, and syncing seldom costs seconds of work, not
//! correctness. Appending is why these files, alone in the workspace, do not go through `durable`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use durable::Lock;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::ahead::Batch;
use crate::digest;
use crate::error::Error;
use crate::finished;
use crate::plan::{Plan, Skipped};
use crate::previous::{FileVersion, Previous};
use crate::settings;
use crate::sources::{self, Source, Verdict};
use crate::whole::{Joined, Segment, Whole};

/// After a power cut this much work may be done again; a killed process loses a batch at most.
const SYNC_EVERY: Duration = Duration::from_secs(1);

const ROWS: &str = "rows";
const JOURNAL: &str = "journal";
const LOCK: &str = "lock";
const FINISHED: &str = "finished";

/// What the journal says of a batch.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    batch: usize,
    /// Rows of the piece before its own.
    start: usize,
    rows: usize,
    skipped: Vec<Skipped>,
    /// The file of each picture of the batch, skipped ones included.
    sources: Vec<Source>,
}

/// A line of the journal.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    entry: Entry,
    /// Of the entry's JSON and the batch's bytes in `rows`.
    sha256: String,
}

impl Entry {
    fn digest(&self, rows: &[u8]) -> io::Result<String> {
        let mut sha256 = Sha256::new();
        digest::add_text(&mut sha256, &serde_json::to_string(self)?);
        sha256.update(rows);
        Ok(hex::encode(sha256.finalize()))
    }
}

/// Batches of a piece.
pub(crate) const PIECE_BATCHES: usize = 32;

/// An unfinished run.
pub(crate) struct Partial<'p> {
    plan: &'p Plan<'p>,
    folder: PathBuf,
    /// The output that it replaces, if there is one.
    replaces: Option<FileVersion>,
}

/// How all pieces of a run stand.
pub(crate) enum Merged {
    /// They are put together in the output; these pictures have no row.
    Finished(Vec<Skipped>),
    /// Another process has put them together.
    ByAnother,
    /// So many pictures are other processes', and not done.
    Waiting(usize),
}

impl<'p> Partial<'p> {
    /// Begins a run, or takes up the one that was begun. It may replace an output, if that is still
    /// of the version `replaces`.
    pub(crate) fn open(plan: &'p Plan<'p>, replaces: Option<FileVersion>) -> Result<Self, Error> {
        let folder = folder_of(plan.output);
        durable::create_dir_all(&folder)?;
        settings::match_or_write(plan, &folder)?;
        Ok(Self { plan, folder, replaces })
    }

    /// Returns true if another process has merged the pieces.
    pub(crate) fn is_finished(&self) -> bool {
        self.plan.output.exists() && FileVersion::of(self.plan.output) != self.replaces
    }

    /// How many pieces there are.
    pub(crate) fn pieces(&self) -> usize {
        self.plan.batches().div_ceil(PIECE_BATCHES)
    }

    /// A piece, locked for this process.
    pub(crate) fn piece(&self, number: usize) -> Result<Piece<'p>, Error> {
        Piece::open(self.plan, &self.folder, number)
    }

    /// The folder itself.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Puts all pieces together in the output and removes the folder, if all are done. No piece may be
    /// locked by this process.
    pub(crate) fn merge(&self) -> Result<Merged, Error> {
        let lock = match durable::wait_for_lock(&self.folder.join(LOCK)) {
            Err(_) if self.is_finished() => return Ok(Merged::ByAnother),
            lock => lock?,
        };
        if self.is_finished() {
            return Ok(Merged::ByAnother);
        }
        let (mut whole, mut undone) = (Whole::default(), 0);
        for number in 0..self.pieces() {
            match self.piece(number) {
                Ok(piece) => {
                    undone += piece.pictures() - piece.done();
                    piece.add_to(&mut whole);
                }
                // Somebody is at work on it.
                Err(Error::File(durable::Error::Locked(_))) => {
                    undone += pictures_of(self.plan, number);
                }
                Err(error) => return Err(error),
            }
        }
        if undone > 0 {
            return Ok(Merged::Waiting(undone));
        }
        let Whole { skipped, sources, skipped_sources, segments } = whole;
        if skipped.len() == self.plan.names.len() {
            return Err(Error::NothingLeft(skipped.len()));
        }
        let records = [sources, skipped_sources].concat();
        let mut rows = Joined::new(segments.clone());
        let header = finished::Header::new(self.plan, &skipped, &mut rows, records)
            .map_err(|error| Error::io("read", &self.folder, error))?;
        // In this folder first: a process killed while it writes leaves nothing beside the output.
        let finished = self.folder.join(FINISHED);
        let written = header.write(&finished, &mut Joined::new(segments));
        written.map_err(|error| match error {
            durable::Error::Io { source, .. } => {
                let done = self.plan.names.len();
                Error::Keep { path: finished.clone(), done, source }
            }
            locked @ durable::Error::Locked(_) => locked.into(),
        })?;
        durable::replace(&finished, self.plan.output)?;
        remove_files(&self.folder)?;
        drop(lock);
        Ok(Merged::Finished(skipped))
    }
}

fn pictures_of(plan: &Plan, piece: usize) -> usize {
    let first = piece * PIECE_BATCHES;
    (first..first + PIECE_BATCHES).map(|batch| plan.batch(batch).len()).sum()
}

/// Some batches of an unfinished run, locked for this process.
pub(crate) struct Piece<'p> {
    plan: &'p Plan<'p>,
    folder: PathBuf,
    rows_file: File,
    journal_file: File,
    number: usize,
    /// The batches that are done.
    batches: BTreeMap<usize, Entry>,
    /// Rows in its file, those of replaced batches included.
    rows_end: usize,
    synced: Instant,
    _lock: Lock,
}

impl<'p> Piece<'p> {
    fn open(plan: &'p Plan<'p>, partial: &Path, number: usize) -> Result<Self, Error> {
        let folder = partial.join(format!("piece-{number:05}"));
        durable::create_dir_all(&folder)?;
        let lock = durable::lock(&folder.join(LOCK))?;
        let mut piece = Self {
            plan,
            rows_file: open_file(&folder.join(ROWS))?,
            journal_file: open_file(&folder.join(JOURNAL))?,
            folder,
            number,
            batches: BTreeMap::new(),
            rows_end: 0,
            synced: Instant::now(),
            _lock: lock,
        };
        piece.recover()?;
        Ok(piece)
    }

    /// Takes over the finished batches and cuts off what is not whole.
    fn recover(&mut self) -> Result<(), Error> {
        let journal_path = self.folder.join(JOURNAL);
        let journal = self.journal_file.try_clone();
        let journal = journal.map_err(|error| Error::io("read", &journal_path, error))?;
        let mut journal = BufReader::new(journal);
        let mut journal_end = 0;
        let mut text = Vec::new();
        loop {
            text.clear();
            let length = journal
                .read_until(b'\n', &mut text)
                .map_err(|error| Error::io("read", &journal_path, error))?;
            let Some(line) = self.parse(&text) else { break };
            if !self.rows_are_there(&line)? {
                break;
            }
            self.take(line.entry);
            journal_end += length as u64;
        }
        let rows_end = (self.rows_end * self.row_bytes()) as u64;
        cut(&mut self.journal_file, journal_end)
            .map_err(|error| Error::io("shorten", &journal_path, error))?;
        cut(&mut self.rows_file, rows_end)
            .map_err(|error| Error::io("shorten", &self.folder.join(ROWS), error))
    }

    /// The next line of the journal, where it is whole and of a batch of this piece.
    fn parse(&self, text: &[u8]) -> Option<Line> {
        let line: Line = serde_json::from_slice(text.strip_suffix(b"\n")?).ok()?;
        let entry = &line.entry;
        if !self.range().contains(&entry.batch) {
            return None;
        }
        let names = self.plan.names.get(self.plan.batch(entry.batch))?;
        let known = |skipped: &Skipped| names.contains(&skipped.name);
        (entry.start <= self.rows_end
            && entry.rows.checked_add(entry.skipped.len())? == names.len()
            && entry.sources.len() == names.len()
            && entry.skipped.iter().all(known))
        .then_some(line)
    }

    fn rows_are_there(&mut self, line: &Line) -> Result<bool, Error> {
        let Some(bytes) = self.read_rows(&line.entry)? else { return Ok(false) };
        let path = &self.folder.join(ROWS);
        let digest = line.entry.digest(&bytes).map_err(|error| Error::io("read", path, error))?;
        Ok(digest == line.sha256)
    }

    /// The rows of a batch as bytes; none where the file ends before them.
    fn read_rows(&mut self, entry: &Entry) -> Result<Option<Vec<u8>>, Error> {
        let mut bytes = vec![0; entry.rows * self.row_bytes()];
        let start = SeekFrom::Start((entry.start * self.row_bytes()) as u64);
        match self.rows_file.seek(start).and_then(|_| self.rows_file.read_exact(&mut bytes)) {
            Ok(()) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(Error::io("read", &self.folder.join(ROWS), error)),
        }
    }

    fn take(&mut self, entry: Entry) {
        self.rows_end = self.rows_end.max(entry.start + entry.rows);
        self.batches.insert(entry.batch, entry);
    }

    fn row_bytes(&self) -> usize {
        self.plan.identity.dimension * size_of::<f32>()
    }

    /// Keeps a batch: the embeddings `[rows, dimension]` of what was not skipped.
    pub(crate) fn append(&mut self, batch: &Batch, rows: &[f32]) -> Result<(), Error> {
        let (skipped, sources) = (batch.skipped.clone(), batch.sources.clone());
        self.append_rows(batch.index, rows, skipped, sources)
    }

    fn append_rows(
        &mut self,
        batch: usize,
        rows: &[f32],
        skipped: Vec<Skipped>,
        sources: Vec<Source>,
    ) -> Result<(), Error> {
        let bytes: Vec<u8> = rows.iter().flat_map(|value| value.to_le_bytes()).collect();
        let rows = rows.len() / self.plan.identity.dimension;
        let entry = Entry { batch, start: self.rows_end, rows, skipped, sources };
        self.rows_file.write_all(&bytes).map_err(|error| self.cannot_keep(ROWS, error))?;
        self.append_entry(entry, &bytes)
    }

    fn append_entry(&mut self, entry: Entry, rows: &[u8]) -> Result<(), Error> {
        append_line(&mut self.journal_file, &entry, rows)
            .map_err(|error| self.cannot_keep(JOURNAL, error))?;
        if self.synced.elapsed() >= SYNC_EVERY {
            self.sync()?;
        }
        self.take(entry);
        Ok(())
    }

    /// Takes over from the previous output what has not changed since.
    pub(crate) fn take_over(&mut self, previous: &Previous) -> Result<(), Error> {
        for batch in self.left() {
            if let Some((rows, skipped, sources)) = previous.batch(self.plan, batch)? {
                self.append_rows(batch, &rows, skipped, sources)?;
            }
        }
        Ok(())
    }

    /// Compares the pictures that are done with what they are now, and forgets the batches of those
    /// that have changed; returns these pictures, or none where `stop` was raised meanwhile.
    pub(crate) fn compare(
        &mut self,
        progress: impl FnMut(usize, usize),
        stop: &AtomicBool,
    ) -> Result<Option<Vec<usize>>, Error> {
        let plan = self.plan;
        let records: Vec<_> = self
            .batches
            .iter()
            .flat_map(|(batch, entry)| plan.batch(*batch).zip(entry.sources.iter().copied()))
            .collect();
        let find = |picture| plan.file(picture);
        let Some(verdicts) = sources::compare(&records, find, progress, stop) else {
            return Ok(None);
        };
        let (mut changed, mut touched) = (Vec::new(), BTreeSet::new());
        for ((picture, _), verdict) in records.iter().zip(verdicts) {
            let batch = picture / plan.batch_size;
            match verdict {
                Verdict::Same => {}
                Verdict::Changed => {
                    changed.push(*picture);
                    self.batches.remove(&batch);
                }
                Verdict::Touched(record) => {
                    if let Some(entry) = self.batches.get_mut(&batch) {
                        entry.sources[picture % plan.batch_size] = Some(record);
                        touched.insert(batch);
                    }
                }
            }
        }
        for batch in touched {
            self.record(batch)?;
        }
        Ok(Some(changed))
    }

    /// Writes a batch's entry again, whose pictures' files have other times now.
    fn record(&mut self, batch: usize) -> Result<(), Error> {
        let Some(entry) = self.batches.remove(&batch) else { return Ok(()) };
        let rows = self.read_rows(&entry)?.unwrap_or_default();
        self.append_entry(entry, &rows)?;
        let end = SeekFrom::End(0);
        self.rows_file.seek(end).map_err(|error| self.cannot_keep(ROWS, error))?;
        Ok(())
    }

    /// Adds its batches to all pieces together.
    fn add_to(self, whole: &mut Whole) {
        let row_bytes = self.row_bytes() as u64;
        let path = self.folder.join(ROWS);
        for (batch, Entry { start, rows, skipped, sources, .. }) in self.batches {
            let rows = Segment {
                path: path.clone(),
                start: start as u64 * row_bytes,
                length: rows as u64 * row_bytes,
            };
            let names = &self.plan.names[self.plan.batch(batch)];
            whole.add(names.iter().zip(sources), skipped, rows);
        }
    }

    /// Brings everything to the disk.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        self.rows_file.sync_data().map_err(|error| self.cannot_keep(ROWS, error))?;
        self.journal_file.sync_data().map_err(|error| self.cannot_keep(JOURNAL, error))?;
        self.synced = Instant::now();
        Ok(())
    }

    fn cannot_keep(&self, file: &str, source: io::Error) -> Error {
        Error::Keep { path: self.folder.join(file), done: self.done(), source }
    }

    /// The batches that are not done.
    pub(crate) fn left(&self) -> Vec<usize> {
        self.range().filter(|batch| !self.batches.contains_key(batch)).collect()
    }

    fn range(&self) -> Range<usize> {
        let end = ((self.number + 1) * PIECE_BATCHES).min(self.plan.batches());
        self.number * PIECE_BATCHES..end
    }

    /// Its number.
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Its pictures.
    pub(crate) fn pictures(&self) -> usize {
        pictures_of(self.plan, self.number)
    }

    /// Embeddings so far.
    pub(crate) fn rows(&self) -> usize {
        self.batches.values().map(|entry| entry.rows).sum()
    }

    /// Pictures so far, skipped ones included.
    pub(crate) fn done(&self) -> usize {
        self.rows() + self.skipped().count()
    }

    /// Pictures that were skipped so far.
    pub(crate) fn skipped(&self) -> impl Iterator<Item = &Skipped> {
        self.batches.values().flat_map(|entry| &entry.skipped)
    }
}

/// Removes what a run left that was killed after it had written its output.
pub(crate) fn remove(output: &Path) -> Result<(), Error> {
    let folder = folder_of(output);
    if !folder.exists() {
        return Ok(());
    }
    match durable::lock(&folder.join(LOCK)) {
        Ok(_lock) => remove_files(&folder),
        // The process that wrote the output is removing it.
        Err(durable::Error::Locked(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Empties and removes the folder. The lock goes last: until then no other process works here.
fn remove_files(folder: &Path) -> Result<(), Error> {
    let cannot_remove = |error| Error::io("remove", folder, error);
    for entry in fs::read_dir(folder).map_err(cannot_remove)? {
        let entry = entry.map_err(cannot_remove)?;
        let path = entry.path();
        if path.is_dir() {
            fs::remove_dir_all(&path).map_err(cannot_remove)?;
        } else if entry.file_name() != LOCK {
            fs::remove_file(&path).map_err(cannot_remove)?;
        }
    }
    fs::remove_file(folder.join(LOCK)).map_err(cannot_remove)?;
    fs::remove_dir(folder).map_err(cannot_remove)
}

/// Returns the folder of an unfinished run of this output.
pub(crate) fn folder_of(output: &Path) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    output.with_file_name(name)
}

fn open_file(path: &Path) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path).map_err(|error| Error::io("open", path, error))
}

/// Shortens a file and moves to its end.
fn cut(file: &mut File, length: u64) -> io::Result<()> {
    file.set_len(length)?;
    file.seek(SeekFrom::Start(length)).map(|_| ())
}

fn append_line(journal: &mut File, entry: &Entry, rows: &[u8]) -> io::Result<()> {
    // Borrowed, where `Line` owns.
    #[derive(Serialize)]
    struct Line<'e> {
        entry: &'e Entry,
        sha256: String,
    }
    let mut text = serde_json::to_vec(&Line { entry, sha256: entry.digest(rows)? })?;
    text.push(b'\n');
    journal.write_all(&text)
}
