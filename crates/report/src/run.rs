//! What a run folder holds, as far as a page shows it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use caption_metrics::{Metric, Predictions, References};
use foreign_text::printable_path;
use keywords::ImageKeywords;
use training::checkpoint;
use training::config::{Config, System};
use training::run_folder::RunFolder;
use training::scores_file::ScoresFile;
use training::track::{self, EpochRecord, EpochScores, StepRecord};

use crate::error::Error;

/// A run, read once. What a run does not have yet is empty.
pub struct Run {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) config: Config,
    pub(crate) steps: Vec<StepRecord>,
    pub(crate) epochs: Vec<EpochRecord>,
    pub(crate) epoch_scores: Vec<EpochScores>,
    /// Of the test split, captions from the pictures before the controls.
    pub(crate) evaluations: Vec<Evaluation>,
    /// What captions were written from, where that is words.
    pub(crate) keywords: Option<ImageKeywords>,
}

/// Captions of a split, with their scores.
pub(crate) struct Evaluation {
    /// The choice among several captions, such as "best of 2", and the checkpoint that wrote them
    /// where the run captions with another by now, such as "step 40 of 60".
    pub choice: Option<String>,
    /// Whether captions were written from other pictures.
    pub control: bool,
    /// Tokenizer of the captions: `none` or `ptb`.
    pub tokenizer: String,
    /// By the names of [`metrics`].
    pub scores: BTreeMap<String, f64>,
    /// In the order of the split.
    pub captions: Vec<Captioned>,
}

/// A caption of one picture.
pub(crate) struct Captioned {
    /// The picture's file name.
    pub picture: String,
    /// What the run wrote.
    pub caption: String,
    /// What people wrote.
    pub references: Vec<String>,
    /// By the names of [`metrics`].
    pub scores: BTreeMap<String, f64>,
}

/// The names of all scores, in their usual order.
pub(crate) fn metrics() -> impl Iterator<Item = &'static str> {
    Metric::ALL.into_iter().flat_map(Metric::names).copied()
}

impl Run {
    /// Reads the run in `path`, to be shown under `name`.
    ///
    /// # Errors
    /// Names what is no run folder, and a file that is damaged. Nothing but the configuration must be
    /// there.
    pub fn open(path: &Path, name: String) -> Result<Self, Error> {
        let run = RunFolder::open(path)?;
        let config = run.config().map_err(|error| in_file(path, error))?;
        let step = checkpoint::step(&run.checkpoints(), config.usual_checkpoint())?;
        let keywords = match &config.system {
            System::Sbg(system) if system.keywords.selected.exists() => {
                Some(ImageKeywords::open(&system.keywords.selected)?)
            }
            _ => None,
        };
        Ok(Self {
            name,
            path: path.to_owned(),
            steps: track::records(&path.join("metrics.csv"))?,
            epochs: track::records(&path.join("epochs.csv"))?,
            epoch_scores: track::records(&path.join("epoch-scores.csv"))?,
            evaluations: evaluations(path, step)?,
            config,
            keywords,
        })
    }

    /// The evaluation whose captions stand for the run: where there are several choices, the one among
    /// the most.
    pub(crate) fn main(&self) -> Option<&Evaluation> {
        self.evaluations.iter().rfind(|evaluation| !evaluation.control)
    }

    /// The command that evaluates the run.
    pub(crate) fn evaluate_command(&self) -> String {
        format!("capsmith evaluate --run {}", printable_path(&self.path))
    }
}

impl Evaluation {
    /// The name that `run`'s captions of this evaluation go by.
    pub fn label(&self, run: &str) -> String {
        match &self.choice {
            Some(choice) => format!("{run}, {choice}"),
            None => run.to_owned(),
        }
    }

    /// The caption of the picture of this file name.
    pub fn of(&self, picture: &str) -> Option<&Captioned> {
        self.captions.iter().find(|one| one.picture == picture)
    }
}

/// A configuration's error with the file, which those of single keys do not name.
fn in_file(run: &Path, error: training::Error) -> Error {
    let path = run.join("config.toml");
    let reason = error.to_string();
    if reason.contains(&path.display().to_string()) {
        return error.into();
    }
    Error::File { path, reason }
}

/// Reads all evaluations that are whole: one that was cut short has no scores. The run captions with
/// the checkpoint of `step`.
fn evaluations(run: &Path, step: Option<u64>) -> Result<Vec<Evaluation>, Error> {
    let folder = run.join("evaluation");
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::File { path: folder, reason: error.to_string() }),
    };
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    folders.retain(|folder| folder.join("scores.json").exists());
    folders.sort_by_key(|folder| Kind::of(folder));
    folders.iter().map(|folder| evaluation(run, folder, step)).collect()
}

/// What an evaluation's folder is called by: `test`, `test-best-of-2`, `test-shuffled-best-of-2`.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    control: bool,
    /// The number at the end of the choice, so that 10 comes after 2.
    among: u64,
    choice: String,
}

impl Kind {
    fn of(folder: &Path) -> Self {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let rest = name.strip_prefix("test").unwrap_or(&name);
        let (control, rest) = match rest.strip_prefix("-shuffled") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let choice = rest.trim_start_matches('-').replace('-', " ");
        let among = choice.rsplit(' ').next().and_then(|last| last.parse().ok()).unwrap_or(0);
        Self { control, among, choice }
    }
}

fn evaluation(run: &Path, folder: &Path, step: Option<u64>) -> Result<Evaluation, Error> {
    let again = |path: &Path, reason: String| Error::File {
        path: path.to_owned(),
        reason: format!(
            "{reason}; evaluate again: capsmith evaluate --run {}",
            printable_path(run)
        ),
    };
    let path = folder.join("scores.json");
    let scores = ScoresFile::read(folder)?;
    let references = References::read(folder.join("references.json"))?;
    let predictions_path = folder.join("predictions.json");
    let predictions = Predictions::read(&predictions_path)?;
    let captions = references.iter().map(|(picture, references)| {
        let caption = predictions
            .get(picture)
            .ok_or_else(|| again(&predictions_path, format!("{picture} has no caption")))?;
        let scores = scores
            .per_image
            .get(picture)
            .ok_or_else(|| again(&path, format!("{picture} has no scores")))?;
        Ok(Captioned {
            picture: picture.to_owned(),
            caption: caption.to_owned(),
            references: references.to_vec(),
            scores: scores.clone(),
        })
    });
    let captions = captions.collect::<Result<_, Error>>()?;
    let Kind { control, choice, .. } = Kind::of(folder);
    let used = scores.checkpoint.map(|checkpoint| checkpoint.step);
    let other = used.zip(step).filter(|(used, step)| used != step);
    let other = other.map(|(used, step)| format!("step {used} of {step}"));
    let choice: Vec<String> =
        [choice].into_iter().filter(|choice| !choice.is_empty()).chain(other).collect();
    Ok(Evaluation {
        choice: Some(choice.join(", ")).filter(|choice| !choice.is_empty()),
        control,
        tokenizer: scores.protocol.tokenizer,
        scores: scores
            .corpus
            .into_iter()
            .filter_map(|(name, score)| Some((name, score?)))
            .collect(),
        captions,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evaluations_are_ordered_by_what_they_choose_among_and_controls_come_last() {
        let mut names = [
            "test-shuffled-best-of-2",
            "test-best-of-10",
            "test",
            "test-shuffled",
            "test-best-of-2",
        ];
        names.sort_by_key(|name| Kind::of(Path::new(name)));
        assert_eq!(
            names,
            [
                "test",
                "test-best-of-2",
                "test-best-of-10",
                "test-shuffled",
                "test-shuffled-best-of-2"
            ]
        );
        assert_eq!(Kind::of(Path::new("x/test-shuffled-best-of-2")).choice, "best of 2");
    }
}
