//! Logs of a run while it trains: `metrics.csv`, `epochs.csv`, `epoch-scores.csv` and
//! TensorBoard events.
//!
//! With each checkpoint, `logs.json` records the digests of the three tables as they are then, so
//! that a changed digit is noticed.

mod error;
mod events;
mod lines;
mod samples;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tensorboard_proto::event::{SessionLog, SessionLog_SessionStatus};

pub use error::MetricsError;
pub use events::{EventFile, plugin_value};
pub use lines::records;
use lines::{Lines, LogDigests, Start, kept_lines, write_digests};
pub use samples::SampleCaption;

/// Record of one training step.
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

/// Record of one epoch.
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

/// Scores of the images that are captioned after an epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochScores {
    /// Epochs finished, from 1.
    pub epoch: u64,
    /// Steps finished.
    pub step: u64,
    /// Split of the captioned images.
    pub split: ScoredSplit,
    /// Number of images.
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
    /// CIDEr, with the document frequencies of these images' references.
    #[serde(rename = "CIDEr")]
    pub cider: f64,
}

impl EpochScores {
    /// Returns the scores with the names that an evaluation gives them.
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

/// Split whose images are captioned and scored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScoredSplit {
    /// The held-out images.
    Validation,
    /// The test images.
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

const STEPS: &str = "metrics.csv";
const EPOCHS: &str = "epochs.csv";
const SCORES: &str = "epoch-scores.csv";

/// Writes step records to a run folder.
pub struct Tracker {
    run: PathBuf,
    steps: Lines,
    epochs: Lines,
    scores: Lines,
    scored_epochs: u64,
    events: EventFile,
    /// True if the event file has the images of the sample captions.
    has_images: bool,
}

impl Tracker {
    /// Opens the logs of `run` for appending.
    ///
    /// These are `metrics.csv`, `epochs.csv`, `epoch-scores.csv` and a new event file. The event
    /// file is in the run folder itself, since TensorBoard names a run after the file's folder;
    /// runs of version 0.2.0 and earlier have theirs in `tensorboard/`. Only records up to `steps`,
    /// the number of finished steps, are kept: a run that was killed after its last checkpoint
    /// leaves later ones. TensorBoard drops those, too.
    ///
    /// # Errors
    /// Names the file.
    pub fn open(run: &Path, steps: u64) -> Result<Self, MetricsError> {
        let scores_path = run.join(SCORES);
        let kept = |scores: &EpochScores| scores.step <= steps;
        let scored = records::<EpochScores>(&scores_path)?;
        let scored_epochs = scored.iter().filter(|scores| kept(scores)).map(|scores| scores.epoch);
        let scored_epochs = scored_epochs.max().unwrap_or(0);
        let earlier = run.join("tensorboard");
        let mut events = EventFile::create(if earlier.is_dir() { &earlier } else { run })?;
        let mut start = SessionLog::new();
        start.set_status(SessionLog_SessionStatus::START);
        // TensorBoard drops events at or after the step of a START event.
        events.write(steps + 1, |event| event.set_session_log(start))?;
        let [steps_path, epochs_path] = [STEPS, EPOCHS].map(|name| run.join(name));
        let kept_steps = kept_lines(&steps_path, |record: &StepRecord| record.step <= steps)?;
        let kept_epochs = kept_lines(&epochs_path, |record: &EpochRecord| record.step <= steps)?;
        let kept_scores = kept_lines(&scores_path, kept)?;
        // The digests come first: the kept lines are also how the present files begin.
        let kept = [(STEPS, &kept_steps), (EPOCHS, &kept_epochs), (SCORES, &kept_scores)];
        let digests = kept.map(|(name, lines)| (name.to_owned(), Start::of(lines)));
        write_digests(run, &LogDigests::from(digests))?;
        let mut tracker = Self {
            run: run.to_owned(),
            steps: Lines::reopen(steps_path, &kept_steps)?,
            epochs: Lines::reopen(epochs_path, &kept_epochs)?,
            scores: Lines::reopen(scores_path, &kept_scores)?,
            scored_epochs,
            events,
            has_images: false,
        };
        tracker.flush()?;
        Ok(tracker)
    }

    /// Returns the last epoch with recorded scores; 0 without any.
    #[must_use]
    pub fn scored_epochs(&self) -> u64 {
        self.scored_epochs
    }

    /// Writes one step.
    ///
    /// # Errors
    /// Names the file.
    pub fn record(&mut self, record: &StepRecord) -> Result<(), MetricsError> {
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
    pub fn record_epoch(&mut self, record: &EpochRecord) -> Result<(), MetricsError> {
        self.epochs.write(record)?;
        let loss = record.validation_loss.map(|loss| ("validation/loss", loss));
        self.events.write_scalars(record.step, loss)?;
        self.flush()
    }

    /// Writes an epoch's scores, and some of the scored captions for TensorBoard.
    ///
    /// The first call writes the images of the captions as well, where their files can be read.
    ///
    /// # Errors
    /// Names the file.
    pub fn record_scores(
        &mut self,
        scores: &EpochScores,
        samples: &[SampleCaption],
    ) -> Result<(), MetricsError> {
        self.scores.write(scores)?;
        self.scored_epochs = scores.epoch;
        let scalars =
            scores.named().map(|(name, score)| (format!("{}/{name}", scores.split), score));
        self.events.write_scalars(scores.step, scalars)?;
        if !self.has_images {
            self.events.write_values(scores.step, samples::images(scores.split, samples))?;
            self.has_images = true;
        }
        self.events.write_values(scores.step, [samples::table(scores.split, samples)])?;
        self.seal()
    }

    /// Flushes all records to the disk and writes their digests.
    ///
    /// # Errors
    /// Names the file.
    pub fn seal(&mut self) -> Result<(), MetricsError> {
        let all =
            [(STEPS, &mut self.steps), (EPOCHS, &mut self.epochs), (SCORES, &mut self.scores)];
        let digests = all.map(|(name, lines)| Ok((name.to_owned(), lines.sync()?)));
        let digests = digests.into_iter().collect::<Result<LogDigests, MetricsError>>()?;
        self.events.flush()?;
        write_digests(&self.run, &digests)
    }

    /// Hands all records to the operating system.
    ///
    /// # Errors
    /// Names the file.
    pub fn flush(&mut self) -> Result<(), MetricsError> {
        self.steps.flush()?;
        self.epochs.flush()?;
        self.scores.flush()?;
        self.events.flush()
    }
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
        assert_eq!(event_files(run.path()), 2);
    }

    fn event_files(folder: &Path) -> usize {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        entries.filter(|name| name.to_str().unwrap().contains("tfevents")).count()
    }

    #[test]
    fn a_run_of_an_earlier_version_keeps_its_folder_of_events() {
        let run = tempfile::tempdir().unwrap();
        let earlier = run.path().join("tensorboard");
        drop(EventFile::create(&earlier).unwrap());
        drop(Tracker::open(run.path(), 0).unwrap());
        assert_eq!((event_files(&earlier), event_files(run.path())), (2, 0));
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
            tracker.record_scores(&scores(epoch), &[]).unwrap();
        }
        assert_eq!(Tracker::open(run.path(), 20).unwrap().scored_epochs(), 2);
        let path = run.path().join("epoch-scores.csv");
        assert_eq!(records::<EpochScores>(&path).unwrap(), [scores(1), scores(2)]);
    }

    #[test]
    fn a_changed_digit_is_noticed_and_lines_behind_the_last_checkpoint_are_not_needed() {
        let run = tempfile::tempdir().unwrap();
        let path = run.path().join("metrics.csv");
        let mut tracker = Tracker::open(run.path(), 0).unwrap();
        tracker.record(&record(1)).unwrap();
        tracker.record(&record(2)).unwrap();
        tracker.seal().unwrap();
        tracker.record(&record(3)).unwrap();
        tracker.flush().unwrap();
        drop(tracker);
        let text = std::fs::read_to_string(&path).unwrap();
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            records::<StepRecord>(&path).map(|records| records.len())
        };
        assert_eq!(read(&text).unwrap(), 3);
        assert_eq!(
            read(text.strip_suffix("100.0\n").unwrap()).unwrap(),
            2,
            "a killed run's last line"
        );
        for damaged in [text.replace("2,1,0.5", "2,1,0.4"), text.replace("2,1,0.5,", "")] {
            let error = read(&damaged).unwrap_err().to_string();
            assert!(error.contains("metrics.csv") && error.contains("logs.json"), "{error}");
            let opened = Tracker::open(run.path(), 2).map(|_| ());
            assert!(opened.unwrap_err().to_string().contains("metrics.csv"));
        }
        // Dropped lines are no longer covered by the digest.
        read(&text).unwrap();
        drop(Tracker::open(run.path(), 1).unwrap());
        assert_eq!(records::<StepRecord>(&path).unwrap().len(), 1);
        let digests = run.path().join("logs.json");
        let text = std::fs::read_to_string(&digests).unwrap().replace("bytes", "byteS");
        std::fs::write(&digests, text).unwrap();
        assert!(records::<StepRecord>(&path).unwrap_err().to_string().contains("logs.json"));
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
