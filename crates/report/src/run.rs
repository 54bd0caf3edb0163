//! The contents of a run folder that reports show.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use caption_metrics::{Diversity, Metric, Predictions, References};
use foreign_text::printable_path;
use recipes::{Config, System};
use runs::ImageKeywords;
use runs::RunFolder;
use runs::ScoredCaptions;
use runs::ScoresFile;
use runs::checkpoints;
use runs::metrics::{self, EpochRecord, EpochScores, StepRecord};

use crate::error::Error;

/// A run, read once. Parts that do not exist yet are empty.
pub struct Run {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) config: Config,
    /// Hardware that the run was trained on last; `None` if not recorded.
    pub(crate) machine: Option<String>,
    /// Name of the data set that the run learned from; `None` for an imported model.
    pub(crate) learned_from: Option<String>,
    /// Folder of larger images with the names of the data set's, if there is one.
    pub(crate) large_images: Option<PathBuf>,
    pub(crate) steps: Vec<StepRecord>,
    pub(crate) epochs: Vec<EpochRecord>,
    pub(crate) epoch_scores: Vec<EpochScores>,
    /// Evaluations on the test split, controls last.
    pub(crate) evaluations: Vec<Evaluation>,
    /// Keywords from which the captions were generated, if the system uses keywords.
    pub(crate) keywords: Option<ImageKeywords>,
}

/// Captions of a split and their scores.
pub(crate) struct Evaluation {
    /// Folder of the evaluation.
    pub folder: PathBuf,
    /// Label of the evaluation, such as "top-2" for a choice among several captions.
    ///
    /// It includes the checkpoint, such as "step 40 of 60", if the run now captions with another
    /// one.
    pub choice: Option<String>,
    /// True if the captions were generated from other images.
    pub control: bool,
    /// True for scores of the test split with the run's own settings.
    pub official: bool,
    /// Tokenizer of the captions: `none` or `ptb`.
    pub tokenizer: String,
    /// Corpus scores, keyed by the names in [`metrics`].
    pub scores: BTreeMap<String, f64>,
    /// Diversity of the captions, if it was computed.
    pub diversity: Option<Diversity>,
    /// Captions in the order of the split.
    pub captions: Vec<Captioned>,
}

/// Caption of one image.
pub(crate) struct Captioned {
    /// File name of the image.
    pub picture: String,
    /// Generated caption.
    pub caption: String,
    /// Reference captions.
    pub references: Vec<String>,
    /// Scores, keyed by the names in [`metrics`].
    pub scores: BTreeMap<String, f64>,
}

/// Returns the names of all scores, in their usual order.
pub(crate) fn metrics() -> impl Iterator<Item = &'static str> {
    Metric::ALL.into_iter().flat_map(Metric::names).copied()
}

impl Run {
    /// Reads the run in `path`, to be shown under `name`.
    ///
    /// # Errors
    /// Names a folder that is not a run, or a damaged file. Only the configuration is required.
    pub fn open(path: &Path, name: String) -> Result<Self, Error> {
        let run = RunFolder::open(path)?;
        let config = run.config().map_err(|error| in_file(path, error))?;
        let step = checkpoints::step(&run.checkpoints(), config.usual_checkpoint())?;
        let provenance = run.provenance().ok();
        let machine = provenance.as_ref().map(|provenance| provenance.hardware().to_string());
        let learned_from = provenance.and_then(|provenance| provenance.learned_from(&config));
        let keywords = match &config.system {
            System::Sbg(system) if system.keywords.selected.exists() => {
                Some(ImageKeywords::open(&system.keywords.selected)?)
            }
            _ => None,
        };
        Ok(Self {
            name,
            path: path.to_owned(),
            machine,
            learned_from,
            large_images: None,
            steps: metrics::records(&path.join("metrics.csv"))?,
            epochs: metrics::records(&path.join("epochs.csv"))?,
            epoch_scores: metrics::records(&path.join("epoch-scores.csv"))?,
            evaluations: evaluations(path, step)?,
            config,
            keywords,
        })
    }

    /// Returns the run with the images of a data set that has moved.
    #[must_use]
    pub fn with_data_set(mut self, dataset: &Path) -> Self {
        dataset.clone_into(&mut self.config.data.dataset);
        self
    }

    /// Returns the run with larger images of the same names in place of the data set's.
    #[must_use]
    pub fn with_large_images(mut self, folder: Option<&Path>) -> Self {
        self.large_images = folder.map(Path::to_owned);
        self
    }

    /// Returns the name of the data set that the run learned from; `None` for an imported model.
    #[must_use]
    pub fn learned_from(&self) -> Option<&str> {
        self.learned_from.as_deref()
    }

    /// Returns the number of test images that the run has captioned.
    #[must_use]
    pub fn captioned(&self) -> usize {
        self.main().map_or(0, |evaluation| evaluation.captions.len())
    }

    /// Returns the evaluation that represents the run; with several choices, the one among the
    /// most.
    pub(crate) fn main(&self) -> Option<&Evaluation> {
        self.official().pop()
    }

    /// Returns [`Self::main`], if there is one.
    pub(crate) fn main_only(&self) -> Vec<&Evaluation> {
        self.main().into_iter().collect()
    }

    /// Returns the official evaluations that are no controls.
    pub(crate) fn official(&self) -> Vec<&Evaluation> {
        let is_official = |one: &&Evaluation| one.official && !one.control;
        self.evaluations.iter().filter(is_official).collect()
    }

    /// Returns the command that evaluates the run.
    pub(crate) fn evaluate_command(&self) -> String {
        format!("capsmith evaluate {}", printable_path(&self.path))
    }
}

impl Evaluation {
    /// Returns the display name of this evaluation of `run`.
    pub fn label(&self, run: &str) -> String {
        match &self.choice {
            Some(choice) => format!("{run}, {choice}"),
            None => run.to_owned(),
        }
    }

    /// Returns the caption of the image with this file name.
    pub fn of(&self, picture: &str) -> Option<&Captioned> {
        self.captions.iter().find(|one| one.picture == picture)
    }
}

/// Adds the file's path to a configuration error, unless the error has it already.
fn in_file(run: &Path, error: runs::Error) -> Error {
    let path = run.join("config.toml");
    let reason = error.to_string();
    if reason.contains(&path.display().to_string()) {
        return error.into();
    }
    Error::File { path, reason }
}

/// Reads all complete evaluations; an interrupted one has no scores.
///
/// The run captions with the checkpoint of `step`.
fn evaluations(run: &Path, step: Option<u64>) -> Result<Vec<Evaluation>, Error> {
    let root = run.join("evaluation");
    let mut folders = Vec::new();
    for folder in subfolders(&root)? {
        // Scores with changed settings lie one level deeper.
        folders.extend(subfolders(&folder)?);
        folders.push(folder);
    }
    folders.retain(|folder| folder.join("scores.json").exists());
    folders.sort_by_key(|folder| Kind::of(&root, folder));
    folders.iter().map(|folder| evaluation(run, folder, step)).collect()
}

/// Returns the folders in a folder; none if it does not exist.
fn subfolders(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(Error::File { path: folder.to_owned(), reason: error.to_string() });
        }
    };
    Ok(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect())
}

/// Parts of an evaluation folder's path: `test`, `test-best-of-2`, `num_beams=5/test`.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    /// Changed settings, or the name if it is not of the test split; empty for official scores.
    variant: String,
    captions: ScoredCaptions,
}

impl Kind {
    fn of(root: &Path, folder: &Path) -> Self {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let changed = folder.parent().filter(|parent| *parent != root).and_then(Path::file_name);
        let mut variant: Vec<&str> =
            changed.and_then(|changed| changed.to_str()).into_iter().collect();
        let captions = name.strip_prefix("test").and_then(ScoredCaptions::parse);
        if captions.is_none() {
            variant.push(&name);
        }
        Self { variant: variant.join(" "), captions: captions.unwrap_or_default() }
    }
}

fn evaluation(run: &Path, folder: &Path, step: Option<u64>) -> Result<Evaluation, Error> {
    let damaged = |path: &Path, reason: String| Error::File {
        path: path.to_owned(),
        reason: format!("{reason}; evaluate again: capsmith evaluate {}", printable_path(run)),
    };
    let path = folder.join("scores.json");
    let scores = ScoresFile::read(folder)?;
    let references = References::read(folder.join("references.json"))?;
    let predictions_path = folder.join("predictions.json");
    let predictions = Predictions::read(&predictions_path)?;
    let captions = references.iter().map(|(picture, references)| {
        let caption = predictions
            .get(picture)
            .ok_or_else(|| damaged(&predictions_path, format!("{picture} has no caption")))?;
        let scores = scores
            .per_image
            .get(picture)
            .ok_or_else(|| damaged(&path, format!("{picture} has no scores")))?;
        Ok(Captioned { picture: picture.to_owned(), caption, references, scores: scores.clone() })
    });
    let captions = captions.collect::<Result<_, Error>>()?;
    let Kind { captions: ScoredCaptions { control, best_of }, variant } =
        Kind::of(&run.join("evaluation"), folder);
    let used = scores.checkpoint.map(|checkpoint| checkpoint.step);
    let other = used.zip(step).filter(|(used, step)| used != step && !variant.contains("step="));
    let other = other.map(|(used, step)| format!("step {used} of {step}"));
    let choice = best_of.map(System::choice_title).unwrap_or_default();
    let parts = [choice, variant.replace(',', ", ")];
    let choice: Vec<String> =
        parts.into_iter().filter(|part| !part.is_empty()).chain(other).collect();
    Ok(Evaluation {
        folder: folder.to_owned(),
        choice: Some(choice.join(", ")).filter(|choice| !choice.is_empty()),
        control,
        official: variant.is_empty(),
        tokenizer: scores.protocol.tokenizer,
        scores: scores
            .corpus
            .into_iter()
            .filter_map(|(name, score)| Some((name, score?)))
            .collect(),
        diversity: scores.diversity,
        captions,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_have_the_names_of_the_paper() {
        assert_eq!([1, 5].map(System::choice_title), ["one caption", "top-5"]);
    }

    #[test]
    fn evaluations_are_ordered_by_what_they_choose_among_and_controls_come_last() {
        let mut names = [
            "test-shuffled-best-of-2",
            "num_beams=5/test",
            "validation",
            "test-best-of-10",
            "test",
            "test-shuffled",
            "test-best-of-2",
        ];
        let kind = |name: &str| Kind::of(Path::new(""), Path::new(name));
        names.sort_by_key(|name| kind(name));
        assert_eq!(
            names,
            [
                "test",
                "test-best-of-2",
                "test-best-of-10",
                "test-shuffled",
                "test-shuffled-best-of-2",
                "num_beams=5/test",
                "validation"
            ]
        );
        let variant = kind("num_beams=5/test-shuffled-best-of-2");
        assert_eq!((variant.captions.best_of, variant.variant.as_str()), (Some(2), "num_beams=5"));
    }
}
