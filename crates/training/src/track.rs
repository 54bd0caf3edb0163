//! What a run writes down while it trains: `metrics.csv` and TensorBoard events.
//!
//! Events go through tensorboard-rs's record writer and tensorboard-proto's messages, but not through
//! its `FileWriter`: that one writes on a thread of its own which panics when the disk is full, and
//! two of them opened in the same second overwrite each other. Here every failure is returned.

use std::fs::{File, OpenOptions};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use protobuf::Message;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tensorboard_proto::event::{Event, SessionLog, SessionLog_SessionStatus};
use tensorboard_proto::summary::{Summary, Summary_Value};
use tensorboard_rs::record_writer::RecordWriter;

/// One training step as it is written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Steps finished, from 1.
    pub step: u64,
    /// Epoch, from 1.
    pub epoch: u64,
    /// Mean cross entropy over the batch's target tokens.
    pub loss: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Total L2 norm of the gradients, before clipping.
    pub gradient_norm: f64,
    /// Target tokens per second, averaged since the record before it was fetched.
    pub tokens_per_second: f64,
}

/// One epoch as it is written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Epochs finished, from 1.
    pub epoch: u64,
    /// Steps finished.
    pub step: u64,
    /// Loss of the last batch, which decides the early stop.
    pub last_loss: f64,
    /// Mean cross entropy over held-out target tokens, where captions are held out.
    pub validation_loss: Option<f64>,
}

/// A record that cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot record metrics in {}: {reason}", path.display())]
pub struct TrackError {
    /// The file concerned.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

fn failed<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> TrackError {
    let path = path.to_owned();
    move |reason| TrackError { path, reason: reason.to_string() }
}

/// Writes step records to a run folder.
pub struct Tracker {
    csv_path: PathBuf,
    csv: csv::Writer<File>,
    epochs_path: PathBuf,
    epochs: csv::Writer<File>,
    events: EventFile,
}

impl Tracker {
    /// Opens `metrics.csv`, `epochs.csv` and a new event file under `tensorboard/` in `run`.
    ///
    /// `steps` is how many steps the run has finished: later lines, left by a run that was killed
    /// after its last checkpoint, are dropped, and TensorBoard is told to drop them too.
    ///
    /// # Errors
    /// Names the file.
    pub fn open(run: &Path, steps: u64) -> Result<Self, TrackError> {
        let (csv_path, epochs_path) = (run.join("metrics.csv"), run.join("epochs.csv"));
        let csv = reopen(&csv_path, |record: &StepRecord| record.step <= steps)?;
        let epochs = reopen(&epochs_path, |record: &EpochRecord| record.step <= steps)?;
        let mut events = EventFile::create(&run.join("tensorboard"))?;
        let mut start = SessionLog::new();
        start.set_status(SessionLog_SessionStatus::START);
        // TensorBoard drops events at or after the step of a START.
        events.write(steps + 1, |event| event.set_session_log(start))?;
        let mut tracker = Self { csv_path, csv, epochs_path, epochs, events };
        tracker.flush()?;
        Ok(tracker)
    }

    /// Writes one step.
    ///
    /// # Errors
    /// Names the file.
    pub fn record(&mut self, record: &StepRecord) -> Result<(), TrackError> {
        self.csv.serialize(record).map_err(failed(&self.csv_path))?;
        let scalars = [
            ("train/loss", record.loss),
            ("train/learning_rate", record.learning_rate),
            ("train/gradient_norm", record.gradient_norm),
            ("train/tokens_per_second", record.tokens_per_second),
        ];
        self.events.write_scalars(record.step, scalars)
    }

    /// Writes one epoch.
    ///
    /// # Errors
    /// Names the file.
    pub fn record_epoch(&mut self, record: &EpochRecord) -> Result<(), TrackError> {
        self.epochs.serialize(record).map_err(failed(&self.epochs_path))?;
        let loss = record.validation_loss.map(|loss| ("validation/loss", loss));
        self.events.write_scalars(record.step, loss)?;
        self.flush()
    }

    /// Hands everything recorded to the operating system.
    ///
    /// # Errors
    /// Names the file.
    pub fn flush(&mut self) -> Result<(), TrackError> {
        self.csv.flush().map_err(failed(&self.csv_path))?;
        self.epochs.flush().map_err(failed(&self.epochs_path))?;
        self.events.flush()
    }
}

/// An event file of TensorBoard's.
pub struct EventFile {
    path: PathBuf,
    writer: RecordWriter<BufWriter<File>>,
}

impl EventFile {
    /// A new file in `folder`, beside those that are there.
    ///
    /// # Errors
    /// Names the file.
    pub fn create(folder: &Path) -> Result<Self, TrackError> {
        let (path, file) = create_event_file(folder)?;
        let mut file = Self { path, writer: RecordWriter::new(BufWriter::new(file)) };
        file.write(0, |event| event.set_file_version("brain.Event:2".to_owned()))?;
        Ok(file)
    }

    /// Writes numbers under their tags.
    ///
    /// # Errors
    /// Names the file.
    pub fn write_scalars<'t>(
        &mut self,
        step: u64,
        scalars: impl IntoIterator<Item = (&'t str, f64)>,
    ) -> Result<(), TrackError> {
        let mut summary = Summary::new();
        for (tag, value) in scalars {
            let mut entry = Summary_Value::new();
            entry.set_tag(tag.to_owned());
            entry.set_simple_value(value as f32);
            summary.mut_value().push(entry);
        }
        self.write(step, |event| event.set_summary(summary))
    }

    /// Writes an event of now with what `fill` puts in.
    ///
    /// # Errors
    /// Names the file.
    pub fn write(&mut self, step: u64, fill: impl FnOnce(&mut Event)) -> Result<(), TrackError> {
        let mut event = Event::new();
        event.set_wall_time(unix_seconds());
        event.set_step(i64::try_from(step).unwrap_or(i64::MAX));
        fill(&mut event);
        let bytes = event.write_to_bytes().map_err(failed(&self.path))?;
        self.writer.write(&bytes).map_err(failed(&self.path))
    }

    /// Hands everything written to the operating system.
    ///
    /// # Errors
    /// Names the file.
    pub fn flush(&mut self) -> Result<(), TrackError> {
        self.writer.flush().map_err(failed(&self.path))
    }
}

/// Opens a file of records to append to it, without the records that are not `kept`.
fn reopen<R: Serialize + DeserializeOwned>(
    path: &Path,
    kept: impl Fn(&R) -> bool,
) -> Result<csv::Writer<File>, TrackError> {
    let mut lines = csv::Writer::from_writer(Vec::new());
    for record in records::<R>(path)?.iter().filter(|record| kept(record)) {
        lines.serialize(record).map_err(failed(path))?;
    }
    let lines = lines.into_inner().map_err(failed(path))?;
    durable::write(path, &lines).map_err(failed(path))?;
    let file = OpenOptions::new().append(true).open(path).map_err(failed(path))?;
    Ok(csv::WriterBuilder::new().has_headers(lines.is_empty()).from_writer(file))
}

/// The records in a `metrics.csv` or `epochs.csv`, none where there is no file; a half-written last
/// line is dropped.
///
/// # Errors
/// Names the file when it cannot be read.
pub fn records<R: DeserializeOwned>(path: &Path) -> Result<Vec<R>, TrackError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(path)(error)),
    };
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file);
    Ok(reader.deserialize().map_while(Result::ok).collect())
}

fn create_event_file(folder: &Path) -> Result<(PathBuf, File), TrackError> {
    std::fs::create_dir_all(folder).map_err(failed(folder))?;
    let seconds = unix_seconds() as u64;
    // Sessions that start within one second must not share a file.
    for number in 0.. {
        let path = folder.join(format!("events.out.tfevents.{seconds:010}.capsmith.{number}"));
        match File::create_new(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(&path)(error)),
        }
    }
    Err(failed(folder)("no free file name"))
}

fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(step: u64) -> StepRecord {
        StepRecord {
            step,
            epoch: 1,
            loss: 1.0 / step as f64,
            learning_rate: 2e-5,
            gradient_norm: 0.5,
            tokens_per_second: 100.0,
        }
    }

    #[test]
    fn lines_after_the_checkpoint_and_half_lines_are_dropped_on_resume() {
        let run = tempfile::tempdir().unwrap();
        let path = run.path().join("metrics.csv");
        let mut tracker = Tracker::open(run.path(), 0).unwrap();
        for step in 1..=5 {
            tracker.record(&record(step)).unwrap();
        }
        tracker.flush().unwrap();
        drop(tracker);
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str("6,1,0.");
        std::fs::write(&path, text).unwrap();

        let mut tracker = Tracker::open(run.path(), 3).unwrap();
        tracker.record(&record(4)).unwrap();
        tracker.flush().unwrap();
        let steps: Vec<u64> =
            records::<StepRecord>(&path).unwrap().iter().map(|record| record.step).collect();
        assert_eq!(steps, [1, 2, 3, 4]);
        assert_eq!(std::fs::read_dir(run.path().join("tensorboard")).unwrap().count(), 2);
    }

    #[test]
    fn numbers_survive_the_file() {
        let run = tempfile::tempdir().unwrap();
        let mut tracker = Tracker::open(run.path(), 0).unwrap();
        tracker.record(&record(3)).unwrap();
        tracker.flush().unwrap();
        let epoch = EpochRecord {
            epoch: 1,
            step: 3,
            last_loss: 0.1 + 0.2,
            validation_loss: Some(1.0 / 3.0),
        };
        tracker.record_epoch(&epoch).unwrap();
        assert_eq!(records::<StepRecord>(&run.path().join("metrics.csv")).unwrap(), [record(3)]);
        assert_eq!(records::<EpochRecord>(&run.path().join("epochs.csv")).unwrap(), [epoch]);
    }
}
