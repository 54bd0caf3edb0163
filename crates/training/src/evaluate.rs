//! Captions a split with a trained run and scores it.

use std::path::{Path, PathBuf};

use caption_metrics::{Evaluation, Options, Predictions, References, evaluate};
use durable::kept::Key;
use foreign_text::printable_path;
use keywords::ImageKeywords;
use launchers::ProcessRank;
use tch::{Device, Tensor};

use crate::captioner::{Caption, Captioner, Choice, Event, Pictures, best};
use crate::error::Error;
use crate::inputs::Inputs;
use crate::pieces::KeptCaptions;
use crate::seeds::{self, Purpose};
use recipes::System;
use runs::RunFolder;
use runs::metrics::ScoredSplit;
use runs::scores_file;

/// Format number of captions. Raise it where a run would write other captions from the same inputs
/// than before: kept captions of other numbers are written again.
const RESULTS_VERSION: u32 = 1;

/// What of a data set is captioned.
#[derive(Debug, Clone, Default)]
pub struct What {
    /// Which pictures.
    pub split: ScoredSplit,
    /// Each picture is captioned from what is known of another one, by this seed: the control that
    /// shows whether captions depend on the picture.
    pub shuffle_seed: Option<u64>,
    /// Where the files go; else into a folder of the run's `evaluation/` that is named after these.
    pub out: Option<PathBuf>,
    /// Which of how many processes that share the work this one is.
    pub process: ProcessRank,
}

/// How far a split is.
pub enum Evaluated {
    /// Captioned and scored, once for each choice.
    Scored(Vec<Scored>),
    /// So many pictures are left to other processes, the last of which scores all; 0 where all have captions.
    Left(usize),
}

/// A scored split.
pub struct Scored {
    /// How each caption was chosen, where there are several ways, such as `best-of-2`.
    pub choice: Option<String>,
    /// Where the files are.
    pub folder: PathBuf,
    /// The scores.
    pub evaluation: Evaluation,
    /// Picture, references and prediction, in the order of the split.
    pub captions: Vec<Captioned>,
}

/// One picture of a scored split.
#[derive(Debug, Clone)]
pub struct Captioned {
    /// Its file name.
    pub file_name: String,
    /// The captions that people wrote, lower-cased; for Merge-RNN only their words.
    pub references: Vec<String>,
    /// What the run wrote.
    pub prediction: String,
}

/// Captions a split with the run's captioner and writes `predictions.json`, `references.json`,
/// `scores.json` and `per-image.csv`, for each of its choices, and `captions.json` with all captions.
///
/// Of several processes each captions a part, and the last to be done scores all; they need the run's
/// folder in common. What a process that was killed had written is taken up, and captions that are all
/// there are only scored. `progress` is told how many pictures are this process's.
///
/// # Errors
/// Bad input is named.
pub fn evaluate_run(
    folder: &RunFolder,
    captioner: &Captioner,
    device: Device,
    what: &What,
    options: &Options,
    mut progress: impl FnMut(Event, usize),
) -> Result<Evaluated, Error> {
    let inputs = Inputs::load(&captioner.config.data, device)?;
    check_identity(&inputs, captioner)?;
    let split = what.split;
    let all = match split {
        ScoredSplit::Validation => &inputs.split.validation,
        ScoredSplit::Test => &inputs.split.test,
    };
    let images: Vec<usize> =
        all.iter().copied().filter(|&image| inputs.row(image).is_some()).collect();
    if images.is_empty() {
        return Err(Error::Mismatch(format!(
            "the {split} split has no picture with an embedding; check data.split and data.{split}_captions of the run"
        )));
    }
    let seen = match what.shuffle_seed {
        None => images.clone(),
        Some(seed) => deranged(seed, &images),
    };
    let pictures = pictures(&inputs, captioner, &seen)?;
    let shuffled = if what.shuffle_seed.is_some() { "-shuffled" } else { "" };
    let out = what.out.clone().unwrap_or_else(|| folder.evaluation(&format!("{split}{shuffled}")));
    let names: Vec<&str> =
        images.iter().map(|&image| inputs.corpus.images[image].file_name.as_str()).collect();
    let key = Key::new([
        ("version", RESULTS_VERSION.to_string()),
        ("model", captioner.checkpoint.model_sha256.clone()),
        ("embeddings", inputs.embeddings_sha256.clone()),
    ]);
    let key = key
        .with_digest("config", &captioner.config.to_toml())
        .with_digest("images", &(names, &seen))
        .with_digest("keywords", &pictures.keywords);
    let kept = KeptCaptions::new(&out, captioner, &pictures, key);
    let (written, merging) = if let Some(written) = kept.finished() {
        let note = format!("captioned before: {}", printable_path(kept.file()));
        progress(Event::Note(&note), images.len());
        (written, None)
    } else {
        if let Some(error) = kept.damage() {
            let note = format!("{} {error}: captioning again", printable_path(kept.file()));
            progress(Event::Note(&note), images.len());
        }
        let Some(pieces) = kept.write(captioner, &pictures, what.process, progress)? else {
            return Ok(Evaluated::Left(kept.all().err().unwrap_or_default()));
        };
        // None if another process has scored all captions.
        let Some(lock) = pieces.lock()? else { return Ok(Evaluated::Left(0)) };
        match kept.all() {
            Ok(written) => (written, Some((pieces, lock))),
            Err(missing) => return Ok(Evaluated::Left(missing)),
        }
    };
    let scored = captioner.choices().into_iter().map(|choice| {
        let folder = match &choice.name {
            None => out.clone(),
            Some(choice) => with_ending(&out, choice),
        };
        let system = &captioner.config.system;
        let captions = chosen(&inputs, system, &images, &written, &choice);
        let evaluation = scores(&captions, options)?;
        let scored = captions.iter().map(|one| scores_file::Scored {
            file_name: &one.file_name,
            prediction: &one.prediction,
            references: &one.references,
        });
        scores_file::write(&folder, &captioner.checkpoint, scored, &evaluation)?;
        Ok(Scored { choice: choice.name, folder, evaluation, captions })
    });
    let scored: Vec<Scored> = scored.collect::<Result<_, Error>>()?;
    if let Some(merging) = merging {
        kept.finish(&written, merging)?;
    }
    Ok(Evaluated::Scored(scored))
}

fn with_ending(folder: &Path, ending: &str) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(format!("-{ending}"));
    folder.with_file_name(name)
}

/// The embeddings that the run was trained on, and no others.
fn check_identity(inputs: &Inputs, captioner: &Captioner) -> Result<(), Error> {
    let (dimension, wanted) = (inputs.identity.dimension, captioner.provenance.clip_dim);
    let differences = match &captioner.provenance.embeddings {
        Some(identity) => inputs.identity.differences(identity),
        None if dimension == wanted => Vec::new(),
        None => vec![format!("dimension: {wanted} there, {dimension} here")],
    };
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::Mismatch(format!(
        "{} is not the embedding file that the run was trained on:\n  {}",
        printable_path(&captioner.config.data.embeddings),
        differences.join("\n  "),
    )))
}

/// What is known of pictures of the corpus, all of which have embeddings.
pub(crate) fn pictures(
    inputs: &Inputs,
    captioner: &Captioner,
    images: &[usize],
) -> Result<Pictures, Error> {
    let rows: Vec<i64> = images.iter().filter_map(|&image| inputs.row(image)).collect();
    let device = inputs.embeddings.device();
    let embeddings =
        inputs.embeddings.index_select(0, &Tensor::from_slice(&rows).to_device(device));
    let keywords = match &captioner.config.system {
        System::Sbg(system) => {
            let selected = ImageKeywords::open(&system.keywords.selected)?;
            check_keywords(&selected, captioner)?;
            Some(inputs.keywords(&selected, images)?)
        }
        System::ClipPrefix(_) | System::MergeRnn(_) => None,
    };
    let numbers = (0..images.len() as u64).collect();
    Ok(Pictures { embeddings, keywords, numbers })
}

/// Refuses keywords that are not those that the run was trained on.
fn check_keywords(selected: &ImageKeywords, captioner: &Captioner) -> Result<(), Error> {
    let trained = &captioner.provenance.keywords_sha256;
    if trained.as_ref().is_none_or(|trained| trained == selected.sha256()) {
        return Ok(());
    }
    Err(Error::Mismatch(format!(
        "{} does not hold the keywords that the run was trained on (it has another SHA-256); restore that file, or train again",
        printable_path(selected.path())
    )))
}

/// Each picture with the caption that is chosen among those written for it.
pub(crate) fn chosen(
    inputs: &Inputs,
    system: &System,
    images: &[usize],
    written: &[Vec<Caption>],
    choice: &Choice,
) -> Vec<Captioned> {
    let captioned = images.iter().zip(written).map(|(&image, captions)| Captioned {
        file_name: inputs.corpus.images[image].file_name.clone(),
        references: inputs.references(image, system),
        prediction: best(captions, choice.among).map(|best| best.text.clone()).unwrap_or_default(),
    });
    captioned.collect()
}

/// Scores captions against their references.
pub(crate) fn scores(captions: &[Captioned], options: &Options) -> Result<Evaluation, Error> {
    let references = References::new(captions.iter().map(|one| (&one.file_name, &one.references)))?;
    let predictions =
        Predictions::new(captions.iter().map(|one| (&one.file_name, &one.prediction)))?;
    Ok(evaluate(&references, &predictions, options)?)
}

/// Every picture replaced by another one: a random cycle through all of them.
fn deranged(seed: u64, rows: &[usize]) -> Vec<usize> {
    let order = seeds::permutation(seed, Purpose::Shuffle, 0, rows.len());
    let mut shuffled = rows.to_vec();
    for (position, &index) in order.iter().enumerate() {
        shuffled[index] = rows[order[(position + 1) % order.len()]];
    }
    shuffled
}

/// Returns the tokens that a system's captions are scored by: raw strings, as the paper scores, or Penn
/// Treebank tokens, as Merge-RNN's authors score.
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
