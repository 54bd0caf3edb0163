//! Evaluation of a run on a split: captions and scores.

use std::path::{Path, PathBuf};

use caption_metrics::{Evaluation, Metric, Options, Predictions, References, evaluate};
use durable::kept::Key;
use foreign_text::printable_path;
use keywords::ImageKeywords;
use launchers::ProcessRank;
use progress::Progress;
use recipes::{Config, System};
use runs::metrics::ScoredSplit;
use runs::{
    RunFolder, ScoreSettings, ScoreTags, ScoredCaptions, ScoresFile, checkpoints, scores_file,
};
use tch::Device;

use crate::captioner::Captioner;
use crate::captions::{Caption, ImageInputs, best};
use crate::error::Error;
use crate::inputs::Inputs;
use crate::pieces::{CaptionFiles, Written};
use crate::seeds::{self, Purpose};

/// Format number of captions.
///
/// Raise it when a change makes runs write other captions from the same inputs: kept captions with
/// another number are rewritten.
const RESULTS_VERSION: u32 = 1;

/// Scope of an evaluation.
#[derive(Debug, Clone, Default)]
pub struct EvaluateOptions {
    /// Split to caption.
    pub split: ScoredSplit,
    /// Seed of the control, which gives each image the caption of another one.
    ///
    /// These are the captions that the run generates from shuffled embeddings, and for SBG from
    /// the keywords of the same other image. Scores show whether captions depend on the image.
    pub control_seed: Option<u64>,
    /// Output folder; by default in the run's `evaluation/`, named after split and control.
    ///
    /// Scores with changed settings lie in a folder of their own there
    /// ([`ScoreSettings::variant`]).
    pub out: Option<PathBuf>,
    /// True if scores by fewer metrics than the folder has lie in a folder of their own.
    pub keeps_metrics: bool,
    /// Rank of this process, and the number of processes that share the work.
    pub process: ProcessRank,
}

/// Image of a scored split.
#[derive(Debug, Clone)]
pub struct CaptionedImage {
    /// File name.
    pub file_name: String,
    /// Reference captions, lower-cased; for Merge-RNN only their words.
    pub references: Vec<String>,
    /// Predicted caption.
    pub prediction: String,
}

impl CaptionedImage {
    /// Returns the form that files of scores take.
    pub(crate) fn scored(&self) -> scores_file::Scored<'_> {
        scores_file::Scored {
            file_name: &self.file_name,
            prediction: &self.prediction,
            references: &self.references,
        }
    }
}

/// Result of an evaluation by one process.
pub enum Evaluated {
    /// Captioned and scored, once for each choice of captions.
    Scored(Vec<Scored>),
    /// Number of images without captions; 0 if another process scores.
    ///
    /// The last process scores all captions.
    Left(usize),
}

/// Scored split.
pub struct Scored {
    /// Number of captions of an image of which the best is scored; `None` if it has one caption.
    pub best_of: Option<usize>,
    /// Folder of the files.
    pub folder: PathBuf,
    /// Scores.
    pub evaluation: Evaluation,
    /// Images with references and predictions, in the order of the split.
    pub captions: Vec<CaptionedImage>,
}

/// Captions a split with a run and scores the captions.
///
/// Writes `captions.json` with all captions, and for each choice `predictions.json`,
/// `references.json`, `scores.json` and `per-image.csv`. Several processes share the work through
/// the run's folder, and the last one scores. Finished pieces of a killed process are reused, and
/// finished captions are only scored. A control reuses the captions of a finished evaluation.
///
/// # Errors
/// Names bad input.
pub fn evaluate_run(
    folder: &RunFolder,
    captioner: &Captioner,
    device: Device,
    options: &EvaluateOptions,
    metrics: &Options,
    progress: &mut dyn Progress,
) -> Result<Evaluated, Error> {
    check_paths(captioner, folder, options.split)?;
    let inputs = Inputs::load(&captioner.config.data, device)?;
    check_identity(&inputs, captioner)?;
    let images = scored_images(&inputs, options.split)?;
    let to_caption = image_inputs(&inputs, captioner, &images)?;
    let Scoring { settings, out, earlier } = Scoring::new(folder, captioner, options, metrics)?;
    let key = captions_key(captioner, &inputs, &images, &to_caption);
    let kept_in = |folder: &PathBuf| CaptionFiles::new(folder, captioner, &to_caption, key.clone());
    let kept = earlier
        .iter()
        .map(kept_in)
        .find(|kept| kept.finished().is_some())
        .unwrap_or_else(|| kept_in(&out));
    let (written, merging) =
        match kept.written(captioner, &to_caption, options.process, progress)? {
            Written::All(written, merging) => (written, merging),
            Written::Left(images) => return Ok(Evaluated::Left(images)),
        };
    let shown = match options.control_seed {
        None => written.clone(),
        Some(_) if written.len() < 2 => {
            let text = "a control takes the captions of other images, and the split has one image";
            return Err(Error::Mismatch(text.to_owned()));
        }
        Some(seed) => deranged(seed, &written),
    };
    let metrics = &with_training_captions(metrics, &inputs, &captioner.config.system);
    let tags = ScoreTags { checkpoint: captioner.checkpoint.clone(), settings };
    let scored = captioner.best_of().into_iter().map(|best_of| {
        let folder = ScoredCaptions { control: false, best_of }.folder(&out);
        let system = &captioner.config.system;
        let captions = choose_captions(&inputs, system, &images, &shown, best_of);
        let evaluation = scores(&captions, metrics)?;
        let scored = captions.iter().map(CaptionedImage::scored);
        scores_file::write(&folder, Some(&tags), scored, &evaluation)?;
        Ok(Scored { best_of, folder, evaluation, captions })
    });
    let scored: Vec<Scored> = scored.collect::<Result<_, Error>>()?;
    if let Some(merging) = merging {
        kept.finish(&written, merging)?;
    }
    Ok(Evaluated::Scored(scored))
}

/// Returns the images of a split that have embeddings.
fn scored_images(inputs: &Inputs, split: ScoredSplit) -> Result<Vec<usize>, Error> {
    let all = match split {
        ScoredSplit::Validation => &inputs.split.validation,
        ScoredSplit::Test => &inputs.split.test,
    };
    let has_embedding = |image: &usize| inputs.row(*image).is_some();
    let images: Vec<usize> = all.iter().copied().filter(has_embedding).collect();
    if images.is_empty() {
        return Err(Error::Mismatch(format!(
            "the {split} split has no picture with an embedding; check data.split and data.{split}_captions of the run"
        )));
    }
    Ok(images)
}

/// Settings of the scores, and the folders that they and captions are in.
struct Scoring {
    settings: ScoreSettings,
    /// Folder of the scores.
    out: PathBuf,
    /// Folders that may have the captions already.
    earlier: Vec<PathBuf>,
}

impl Scoring {
    fn new(
        run: &RunFolder,
        captioner: &Captioner,
        options: &EvaluateOptions,
        metrics: &Options,
    ) -> Result<Self, Error> {
        let mut settings = settings(run, captioner, options.split, metrics)?;
        let control = options.control_seed.is_some();
        let controlled = |folder: &Path| ScoredCaptions { control, best_of: None }.folder(folder);
        let all_metrics = folder_of(&settings, run);
        if options.keeps_metrics
            && has_more_metrics(&first_scores(&controlled(&all_metrics), captioner), metrics)
        {
            let metrics = Metric::ALL.into_iter().filter(|metric| metrics.metrics.contains(metric));
            let names: Vec<&str> = metrics.map(Metric::name).collect();
            settings.changed.push(format!("metrics={}", names.join(",")));
        }
        if let Some(out) = &options.out {
            refuse_other_scores(&first_scores(out, captioner), captioner)?;
        }
        let uncontrolled = folder_of(&settings, run);
        let out = options.out.clone().unwrap_or_else(|| controlled(&uncontrolled));
        let mut earlier = Vec::new();
        if options.out.is_none() || control {
            let official = run.evaluation(&options.split.to_string());
            earlier.extend([official, all_metrics, uncontrolled]);
            earlier.retain(|folder| *folder != out);
        }
        Ok(Self { settings, out, earlier })
    }
}

/// Returns the key of a run's captions of these images.
fn captions_key(
    captioner: &Captioner,
    inputs: &Inputs,
    images: &[usize],
    to_caption: &ImageInputs,
) -> Key {
    let names: Vec<&str> =
        images.iter().map(|&image| inputs.corpus.images[image].file_name.as_str()).collect();
    let key = Key::new([
        ("version", RESULTS_VERSION.to_string()),
        ("model", captioner.checkpoint.model_sha256.clone()),
        ("embeddings", inputs.embeddings_sha256.clone()),
    ]);
    key.with_digest("config", &captioner.config.values_without_paths())
        .with_digest("images", &(names, images))
        .with_digest("keywords", &to_caption.keywords)
}

/// Returns the settings of the scores, with the names of those that the official scores lack.
fn settings(
    folder: &RunFolder,
    captioner: &Captioner,
    split: ScoredSplit,
    metrics: &Options,
) -> Result<ScoreSettings, Error> {
    let official = folder.config()?;
    let config = &captioner.config;
    let mut changed = config.changed_decoding(&official);
    let step = captioner.checkpoint.step;
    let usual = checkpoints::step(&folder.checkpoints(), official.usual_checkpoint())?;
    if usual.is_some_and(|usual| usual != step) {
        changed.push(format!("step={step}"));
    }
    if metrics.tokenizer != scoring_tokenizer(&config.system) {
        changed.push(format!("tokenizer={}", metrics.tokenizer));
    }
    if let Some(frequencies) = &metrics.cider_frequencies {
        changed.push(format!("cider_df={}", frequencies.images()));
    }
    let decoding = config.values().into_iter().filter(|(key, _)| key.starts_with("decoding."));
    Ok(ScoreSettings { split, decoding: decoding.collect(), changed })
}

/// Returns the folder of a run's scores with these settings.
fn folder_of(settings: &ScoreSettings, run: &RunFolder) -> PathBuf {
    let split = settings.split.to_string();
    match settings.variant() {
        None => run.evaluation(&split),
        Some(variant) => run.evaluation(&variant).join(split),
    }
}

/// Returns the folder of a run's first scores, where all its captions are in `folder`.
fn first_scores(folder: &Path, captioner: &Captioner) -> PathBuf {
    let best_of = captioner.best_of().into_iter().flatten().next();
    ScoredCaptions { control: false, best_of }.folder(folder)
}

/// Fails if a folder has scores of another checkpoint.
fn refuse_other_scores(folder: &Path, captioner: &Captioner) -> Result<(), Error> {
    let checkpoint = ScoresFile::read(folder).ok().and_then(|scores| scores.checkpoint);
    match checkpoint {
        Some(used) if used.model_sha256 != captioner.checkpoint.model_sha256 => {
            Err(Error::Mismatch(format!(
                "{} has scores of another run or checkpoint\nhint: name another folder with --out",
                printable_path(folder)
            )))
        }
        _ => Ok(()),
    }
}

/// Returns true if a folder has scores by other metrics than these.
fn has_more_metrics(folder: &Path, metrics: &Options) -> bool {
    let names: Vec<&str> =
        metrics.metrics.iter().flat_map(|metric| metric.names()).copied().collect();
    ScoresFile::read(folder).is_ok_and(|scores| {
        scores.corpus.keys().any(|name| !names.contains(&name.as_str()))
            || scores.diversity.is_some() && !metrics.metrics.contains(&Metric::Diversity)
    })
}

/// Fails if data of the run are not there, with the option that names them.
///
/// The error also names the captions of the split that the run has, which can be scored as files.
fn check_paths(captioner: &Captioner, run: &RunFolder, split: ScoredSplit) -> Result<(), Error> {
    let Config { data, system, .. } = &captioner.config;
    // An empty path is found in the data set.
    let exists = |path: &Path| path.as_os_str().is_empty() || path.exists();
    let mut needed = vec![
        ("captions file", &data.captions, "--set data.captions=FILE"),
        ("folder of pictures", &data.images, "--set data.images=DIR"),
        ("embeddings file", &data.embeddings, "--embeddings FILE"),
    ];
    if let System::Sbg(system) = system {
        let option = "--set keywords.selected=FILE";
        needed.push(("keywords file", &system.keywords.selected, option));
    }
    let missing = if data.source()?.exists() {
        needed.into_iter().find(|(_, path, _)| !exists(path))
    } else {
        Some(("data set", &data.dataset, "--dataset DIR"))
    };
    let Some((name, path, option)) = missing else { return Ok(()) };
    let scored = first_scores(&run.evaluation(&split.to_string()), captioner);
    let [references, predictions] =
        ["references.json", "predictions.json"].map(|name| scored.join(name));
    let instead = if references.exists() && predictions.exists() {
        format!(
            "; without it, score the captions that the run has: capsmith evaluate --references {} --predictions {} --tokenizer {}",
            printable_path(&references),
            printable_path(&predictions),
            scoring_tokenizer(system)
        )
    } else {
        String::new()
    };
    Err(Error::Mismatch(format!(
        "the run's {name}, {}, does not exist\nhint: if it has moved, name it with {option}{instead}; relative paths of a run of version 0.2.0 or before start at the folder that it was trained from",
        printable_path(path)
    )))
}

/// Checks that the embeddings are those that the run was trained on.
fn check_identity(inputs: &Inputs, captioner: &Captioner) -> Result<(), Error> {
    let (dimension, expected) = (inputs.identity.dimension, captioner.provenance.clip_dim);
    let differences = match &captioner.provenance.embeddings {
        Some(identity) => inputs.identity.differences(identity),
        None if dimension == expected => Vec::new(),
        None => vec![format!("dimension: {expected} there, {dimension} here")],
    };
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::Mismatch(format!(
        "{} is not the embeddings file that the run was trained with:\n  {}",
        printable_path(&captioner.config.data.embeddings),
        differences.join("\n  "),
    )))
}

/// Returns the inputs of images of the corpus, all of which have embeddings.
pub(crate) fn image_inputs(
    inputs: &Inputs,
    captioner: &Captioner,
    images: &[usize],
) -> Result<ImageInputs, Error> {
    let embeddings = inputs.embeddings_of(images);
    let keywords = match &captioner.config.system {
        System::Sbg(system) => {
            let selected = ImageKeywords::open(&system.keywords.selected)?;
            check_keywords(&selected, captioner)?;
            Some(inputs.keywords(&selected, images)?)
        }
        System::ClipPrefix(_) | System::MergeRnn(_) => None,
    };
    let numbers = (0..images.len() as u64).collect();
    Ok(ImageInputs { embeddings, keywords, numbers })
}

/// Checks that the keywords are those that the run was trained on.
fn check_keywords(selected: &ImageKeywords, captioner: &Captioner) -> Result<(), Error> {
    let trained = &captioner.provenance.keywords_sha256;
    if trained.as_ref().is_none_or(|trained| trained == selected.sha256()) {
        return Ok(());
    }
    Err(Error::Mismatch(format!(
        "{} is not the keywords file that the run was trained with: its SHA-256 differs\nhint: restore that file, or train again",
        printable_path(selected.path())
    )))
}

/// Returns each image with the best of its first `best_of` captions, by default of all.
pub(crate) fn choose_captions(
    inputs: &Inputs,
    system: &System,
    images: &[usize],
    written: &[Vec<Caption>],
    best_of: Option<usize>,
) -> Vec<CaptionedImage> {
    let captioned = images.iter().zip(written).map(|(&image, captions)| CaptionedImage {
        file_name: inputs.corpus.images[image].file_name.clone(),
        references: inputs.references(image, system),
        prediction: best(captions, best_of.unwrap_or(usize::MAX))
            .map(|best| best.text.clone())
            .unwrap_or_default(),
    });
    captioned.collect()
}

/// Adds the captions that a run was trained on, where diversity is asked for.
fn with_training_captions(metrics: &Options, inputs: &Inputs, system: &System) -> Options {
    let captions = || {
        let images = inputs.split.train.iter();
        images.flat_map(|&image| inputs.references(image, system)).collect()
    };
    let training_captions = metrics.metrics.contains(&Metric::Diversity).then(captions);
    Options { training_captions, ..metrics.clone() }
}

/// Scores captions against their references.
pub(crate) fn scores(captions: &[CaptionedImage], options: &Options) -> Result<Evaluation, Error> {
    let references = References::new(captions.iter().map(|one| (&one.file_name, &one.references)))?;
    let predictions =
        Predictions::new(captions.iter().map(|one| (&one.file_name, &one.prediction)))?;
    Ok(evaluate(&references, &predictions, options)?)
}

/// Replaces every item by another one, in a random cycle through all of them.
fn deranged<T: Clone>(seed: u64, items: &[T]) -> Vec<T> {
    let order = seeds::permutation(seed, Purpose::Shuffle, 0, items.len());
    let mut shuffled = items.to_vec();
    for (position, &index) in order.iter().enumerate() {
        shuffled[index] = items[order[(position + 1) % order.len()]].clone();
    }
    shuffled
}

/// Returns the tokenizer that a system's captions are scored with.
///
/// It is none for the paper's scores, and Penn Treebank's for Merge-RNN, as its authors score.
#[must_use]
pub fn scoring_tokenizer(system: &System) -> caption_metrics::Tokenizer {
    match system {
        System::ClipPrefix(_) | System::Sbg(_) => caption_metrics::Tokenizer::None,
        System::MergeRnn(_) => caption_metrics::Tokenizer::Ptb,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_picture_keeps_its_own_embedding_in_the_control() {
        let rows: Vec<usize> = (10..60).collect();
        let shuffled = deranged(1, &rows);
        assert!(rows.iter().zip(&shuffled).all(|(before, after)| before != after));
        let mut sorted = shuffled.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, rows);
        assert_ne!(shuffled, deranged(2, &rows));
    }
}
