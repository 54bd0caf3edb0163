//! What a run writes down while it trains: `metrics.csv`, `epochs.csv`, `epoch-scores.csv` and
//! TensorBoard events.
//!
//! Events go through tensorboard-rs's record writer and tensorboard-proto's messages, but not through
//! its `FileWriter`: that one writes on a thread of its own which panics when the disk is full, and
//! two of them opened in the same second overwrite each other. Here every failure is returned.

use std::fmt;
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

/// How well the pictures that are captioned after each epoch were captioned, as it is written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochScores {
    /// Epochs finished, from 1.
    pub epoch: u64,
    /// Steps finished.
    pub step: u64,
    /// Which pictures were captioned.
    pub split: ScoredSplit,
    /// How many.
    pub pictures: usize,
    /// BLEU-1.
    #[serde(rename = "BLEU-1")]
    pub bleu_1: f64,
    /// BLEU-2.
    #[serde(rename = "BLEU-2")]
    pub bleu_2: f64,
    /// BLEU-3.
    #[serde(rename = "BLEU-3")]
    pub bleu_3: f64,
    /// BLEU-4.
    #[serde(rename = "BLEU-4")]
    pub bleu_4: f64,
    /// ROUGE-L.
    #[serde(rename = "ROUGE_L")]
    pub rouge_l: f64,
    /// CIDEr, with the document frequencies of these pictures' references.
    #[serde(rename = "CIDEr")]
    pub cider: f64,
}

impl EpochScores {
    /// Names, as in an evaluation, and scores.
    #[must_use]
    pub fn named(&self) -> [(&'static str, f64); 6] {
        [
            ("BLEU-1", self.bleu_1),
            ("BLEU-2", self.bleu_2),
            ("BLEU-3", self.bleu_3),
            ("BLEU-4", self.bleu_4),
            ("ROUGE_L", self.rouge_l),
            ("CIDEr", self.cider),
        ]
    }
}

/// Which pictures are captioned and scored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScoredSplit {
    /// Those held out to choose by.
    Validation,
    /// Those to report on.
    #[default]
    Test,
}

impl fmt::Display for ScoredSplit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Validation => "validation",
            Self::Test => "test",
        })
    }
}

/// A record that cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[error("metrics in {}: {reason}", path.display())]
pub struct TrackError {
    /// The file concerned.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

fn failed<E: fmt::Display>(path: &Path) -> impl FnOnce(E) -> TrackError {
    let path = path.to_owned();
    move |reason| TrackError { path, reason: reason.to_string() }
}

/// A file of records that are appended.
struct Lines {
    path: PathBuf,
    writer: csv::Writer<File>,
}

impl Lines {
    /// Opens a file without the records that are not `kept`.
    fn reopen<R: Serialize + DeserializeOwned>(
        path: PathBuf,
        kept: impl Fn(&R) -> bool,
    ) -> Result<Self, TrackError> {
        let mut lines = csv::Writer::from_writer(Vec::new());
        for record in records::<R>(&path)?.iter().filter(|record| kept(record)) {
            lines.serialize(record).map_err(failed(&path))?;
        }
        let lines = lines.into_inner().map_err(failed(&path))?;
        durable::write(&path, &lines).map_err(failed(&path))?;
        let file = OpenOptions::new().append(true).open(&path).map_err(failed(&path))?;
        let writer = csv::WriterBuilder::new().has_headers(lines.is_empty()).from_writer(file);
        Ok(Self { path, writer })
    }

    fn write(&mut self, record: &impl Serialize) -> Result<(), TrackError> {
        self.writer.serialize(record).map_err(failed(&self.path))
    }

    fn flush(&mut self) -> Result<(), TrackError> {
        self.writer.flush().map_err(failed(&self.path))
    }
}

/// Writes step records to a run folder.
pub struct Tracker {
    steps: Lines,
    epochs: Lines,
    scores: Lines,
    scored_epochs: u64,
    events: EventFile,
}

impl Tracker {
    /// Opens `metrics.csv`, `epochs.csv`, `epoch-scores.csv` and a new event file under `tensorboard/` in
    /// `run`.
    ///
    /// `steps` is how many steps the run has finished: later lines, left by a run that was killed
    /// after its last checkpoint, are dropped, and TensorBoard is told to drop them too.
    ///
    /// # Errors
    /// Names the file.
    pub fn open(run: &Path, steps: u64) -> Result<Self, TrackError> {
        let scores_path = run.join("epoch-scores.csv");
        let kept = |scores: &EpochScores| scores.step <= steps;
        let scored = records::<EpochScores>(&scores_path)?;
        let scored_epochs = scored.iter().filter(|scores| kept(scores)).map(|scores| scores.epoch);
        let scored_epochs = scored_epochs.max().unwrap_or(0);
        let mut events = EventFile::create(&run.join("tensorboard"))?;
        let mut start = SessionLog::new();
        start.set_status(SessionLog_SessionStatus::START);
        // TensorBoard drops events at or after the step of a START.
        events.write(steps + 1, |event| event.set_session_log(start))?;
        let mut tracker = Self {
            steps: Lines::reopen(run.join("metrics.csv"), |record: &StepRecord| {
                record.step <= steps
            })?,
            epochs: Lines::reopen(run.join("epochs.csv"), |record: &EpochRecord| {
                record.step <= steps
            })?,
            scores: Lines::reopen(scores_path, kept)?,
            scored_epochs,
            events,
        };
        tracker.flush()?;
        Ok(tracker)
    }

    /// The last epoch whose scores are written; 0 where none are.
    #[must_use]
    pub fn scored_epochs(&self) -> u64 {
        self.scored_epochs
    }

    /// Writes one step.
    ///
    /// # Errors
    /// Names the file.
    pub fn record(&mut self, record: &StepRecord) -> Result<(), TrackError> {
        self.steps.write(record)?;
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
        self.epochs.write(record)?;
        let loss = record.validation_loss.map(|loss| ("validation/loss", loss));
        self.events.write_scalars(record.step, loss)?;
        self.flush()
    }

    /// Writes an epoch's scores.
    ///
    /// # Errors
    /// Names the file.
    pub fn record_scores(&mut self, scores: &EpochScores) -> Result<(), TrackError> {
        self.scores.write(scores)?;
        self.scored_epochs = scores.epoch;
        let scalars =
            scores.named().map(|(name, score)| (format!("{}/{name}", scores.split), score));
        self.events.write_scalars(scores.step, scalars)?;
        self.flush()
    }

    /// Hands everything recorded to the operating system.
    ///
    /// # Errors
    /// Names the file.
    pub fn flush(&mut self) -> Result<(), TrackError> {
        self.steps.flush()?;
        self.epochs.flush()?;
        self.scores.flush()?;
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
    pub fn write_scalars(
        &mut self,
        step: u64,
        scalars: impl IntoIterator<Item = (impl Into<String>, f64)>,
    ) -> Result<(), TrackError> {
        let mut summary = Summary::new();
        for (tag, value) in scalars {
            let mut entry = Summary_Value::new();
            entry.set_tag(tag.into());
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

/// The records in a `metrics.csv`, `epochs.csv` or `epoch-scores.csv`, none where there is no file; a
/// half-written last line is dropped.
///
/// # Errors
/// Names the file when it cannot be read, and the line that is damaged.
pub fn records<R: DeserializeOwned>(path: &Path) -> Result<Vec<R>, TrackError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(path)(error)),
    };
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file);
    let mut lines = reader.deserialize().peekable();
    let mut records = Vec::new();
    while let Some(line) = lines.next() {
        match line {
            Ok(record) => records.push(record),
            Err(_) if lines.peek().is_none() => {}
            Err(error) => return Err(failed(path)(error)),
        }
    }
    Ok(records)
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
    fn a_damaged_line_is_named_unless_it_is_the_last() {
        let run = tempfile::tempdir().unwrap();
        let path = run.path().join("metrics.csv");
        let text = "step,epoch,loss,learning_rate,gradient_norm,tokens_per_second\n1,1,0.5,0,1,9\n";
        std::fs::write(&path, format!("{text}2,1,0.")).unwrap();
        assert_eq!(records::<StepRecord>(&path).unwrap().len(), 1);
        std::fs::write(&path, format!("{text}2,1,x,0,1,9\n3,1,0.5,0,1,9\n")).unwrap();
        let error = records::<StepRecord>(&path).unwrap_err().to_string();
        assert!(error.contains("metrics.csv") && error.contains("line: 3"), "{error}");
    }

    #[test]
    fn scores_after_the_checkpoint_are_dropped_and_those_before_it_are_known() {
        let run = tempfile::tempdir().unwrap();
        let scores = |epoch: u64| EpochScores {
            epoch,
            step: epoch * 10,
            split: ScoredSplit::Test,
            pictures: 3,
            bleu_1: 0.5,
            bleu_2: 0.4,
            bleu_3: 0.3,
            bleu_4: 1.0 / 3.0,
            rouge_l: 0.1,
            cider: 0.0,
        };
        let mut tracker = Tracker::open(run.path(), 0).unwrap();
        assert_eq!(tracker.scored_epochs(), 0);
        for epoch in 1..=3 {
            tracker.record_scores(&scores(epoch)).unwrap();
        }
        assert_eq!(Tracker::open(run.path(), 20).unwrap().scored_epochs(), 2);
        let path = run.path().join("epoch-scores.csv");
        assert_eq!(records::<EpochScores>(&path).unwrap(), [scores(1), scores(2)]);
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
