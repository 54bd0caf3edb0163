//! What is kept of an unfinished run, so that it can go on after any interruption, and so that several
//! processes can share it.
//!
//! The folder `OUTPUT.partial` holds
//! - `run.json`: what the run is of; another run is refused,
//! - `piece-00000` and on, a folder for each [`PIECE_BATCHES`] batches, with
//!   - `rows`: its embeddings so far, f32 after f32,
//!   - `journal`: a line for each finished batch, with a digest of the line and of its rows,
//!   - `lock`: held while a process is at work on it,
//! - `lock`: held while all pieces are put together,
//! - at the very end `finished`: the output, to be renamed to its place.
//!
//! Pieces do not depend on how many processes there are, so that a run may go on with more or fewer. Rows
//! and journal are only ever appended to, and whatever the last lines promise but cannot show, half a
//! line, half a row, rows that never reached the disk, is cut off and done again. So nothing depends on
//! the order in which writes reach the disk, and syncing seldom costs seconds of work, not
//! correctness. Appending is why these files, alone in the workspace, do not go through `durable`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use durable::Lock;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::digest;
use crate::error::Error;
use crate::finished;
use crate::plan::{Plan, Skipped};
use crate::settings;

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
    rows: usize,
    skipped: Vec<Skipped>,
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
    /// Begins a run, or takes up the one that was begun.
    pub(crate) fn open(plan: &'p Plan<'p>) -> Result<Self, Error> {
        let folder = folder_of(plan.output);
        durable::create_dir_all(&folder)?;
        settings::match_or_write(plan, &folder)?;
        Ok(Self { plan, folder })
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
            Err(_) if self.plan.output.exists() => return Ok(Merged::ByAnother),
            lock => lock?,
        };
        if self.plan.output.exists() {
            return Ok(Merged::ByAnother);
        }
        let (mut skipped, mut rows, mut undone) = (Vec::new(), Vec::new(), 0);
        for number in 0..self.pieces() {
            match self.piece(number) {
                Ok(mut piece) => {
                    undone += piece.pictures() - piece.done();
                    skipped.append(&mut piece.skipped);
                    rows.push(piece.folder.join(ROWS));
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
        if skipped.len() == self.plan.names.len() {
            return Err(Error::NothingLeft(skipped.len()));
        }
        let header = finished::Header::new(self.plan, &skipped, &mut Joined::new(rows.clone()))
            .map_err(|error| Error::io("read", &self.folder, error))?;
        // In this folder first: a process killed while it writes leaves nothing beside the output.
        let finished = self.folder.join(FINISHED);
        header.write(&finished, &mut Joined::new(rows)).map_err(|error| match error {
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

/// Files one behind the other.
struct Joined {
    left: std::vec::IntoIter<PathBuf>,
    file: Option<File>,
}

impl Joined {
    fn new(paths: Vec<PathBuf>) -> Self {
        Self { left: paths.into_iter(), file: None }
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
            match self.left.next() {
                Some(path) => self.file = Some(File::open(path)?),
                None => return Ok(0),
            }
        }
    }
}

/// Some batches of an unfinished run, locked for this process.
pub(crate) struct Piece<'p> {
    plan: &'p Plan<'p>,
    folder: PathBuf,
    rows_file: File,
    journal_file: File,
    number: usize,
    /// The next batch.
    next: usize,
    rows: usize,
    skipped: Vec<Skipped>,
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
            next: number * PIECE_BATCHES,
            rows: 0,
            skipped: Vec::new(),
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
            self.count(line.entry);
            journal_end += length as u64;
        }
        let rows_end = (self.rows * self.row_bytes()) as u64;
        cut(&mut self.journal_file, journal_end)
            .map_err(|error| Error::io("shorten", &journal_path, error))?;
        cut(&mut self.rows_file, rows_end)
            .map_err(|error| Error::io("shorten", &self.folder.join(ROWS), error))
    }

    /// The next line of the journal, where it is whole and of the batch that is due.
    fn parse(&self, text: &[u8]) -> Option<Line> {
        let line: Line = serde_json::from_slice(text.strip_suffix(b"\n")?).ok()?;
        if self.next >= self.end() {
            return None;
        }
        let names = self.plan.names.get(self.plan.batch(self.next))?;
        let entry = &line.entry;
        let known = |skipped: &Skipped| names.contains(&skipped.name);
        (entry.batch == self.next
            && !names.is_empty()
            && entry.rows.checked_add(entry.skipped.len())? == names.len()
            && entry.skipped.iter().all(known))
        .then_some(line)
    }

    fn rows_are_there(&mut self, line: &Line) -> Result<bool, Error> {
        let path = self.folder.join(ROWS);
        let mut bytes = vec![0; line.entry.rows * self.row_bytes()];
        match self.rows_file.read_exact(&mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(Error::io("read", &path, error)),
        }
        let digest = line.entry.digest(&bytes).map_err(|error| Error::io("read", &path, error))?;
        Ok(digest == line.sha256)
    }

    fn count(&mut self, entry: Entry) {
        self.next += 1;
        self.rows += entry.rows;
        self.skipped.extend(entry.skipped);
    }

    fn row_bytes(&self) -> usize {
        self.plan.identity.dimension * size_of::<f32>()
    }

    /// Keeps its next batch: the embeddings `[rows, dimension]` and what was skipped.
    pub(crate) fn append(&mut self, rows: &[f32], skipped: &[Skipped]) -> Result<(), Error> {
        let bytes: Vec<u8> = rows.iter().flat_map(|value| value.to_le_bytes()).collect();
        let entry = Entry {
            batch: self.next,
            rows: rows.len() / self.plan.identity.dimension,
            skipped: skipped.to_vec(),
        };
        self.rows_file.write_all(&bytes).map_err(|error| self.cannot_keep(ROWS, error))?;
        append_line(&mut self.journal_file, &entry, &bytes)
            .map_err(|error| self.cannot_keep(JOURNAL, error))?;
        if self.synced.elapsed() >= SYNC_EVERY {
            self.sync()?;
        }
        self.count(entry);
        Ok(())
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
    pub(crate) fn left(&self) -> Range<usize> {
        self.next..self.end()
    }

    fn end(&self) -> usize {
        ((self.number + 1) * PIECE_BATCHES).min(self.plan.batches())
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
        self.rows
    }

    /// Pictures so far, skipped ones included.
    pub(crate) fn done(&self) -> usize {
        self.rows + self.skipped.len()
    }

    /// Pictures that were skipped so far.
    pub(crate) fn skipped(&self) -> &[Skipped] {
        &self.skipped
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

fn folder_of(output: &Path) -> PathBuf {
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
