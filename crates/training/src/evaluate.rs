//! Captions a split with a trained run and scores it.

use std::path::PathBuf;

use caption_metrics::{Evaluation, Options, Predictions, References, evaluate};
use serde::Serialize;
use tch::{Device, Tensor};

use crate::captioner::Captioner;
use crate::error::Error;
use crate::inputs::Inputs;
use crate::run_folder::{RunFolder, write_json};
use crate::seeds::{self, Purpose};

/// A scored split.
pub struct Scored {
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
    /// What people wrote, lower-cased.
    pub references: Vec<String>,
    /// What the run wrote.
    pub prediction: String,
}

/// COCO's results format.
#[derive(Serialize)]
struct CocoResult<'a> {
    image_id: &'a str,
    caption: &'a str,
}

/// Captions the test split with the run's captioner and writes `predictions.json`, `references.json`, `scores.json` and
/// `per-image.csv` under `evaluation/`.
///
/// With `shuffle_seed` each picture is captioned from another test picture's embedding: the control
/// that shows whether captions depend on the picture.
///
/// # Errors
/// Bad input is named.
pub fn evaluate_run(
    folder: &RunFolder,
    captioner: &Captioner,
    device: Device,
    shuffle_seed: Option<u64>,
    options: &Options,
    mut progress: impl FnMut(usize, usize),
) -> Result<Scored, Error> {
    let inputs = Inputs::load(&captioner.config.data, device)?;
    let (dimension, wanted) = (inputs.identity.dimension, captioner.provenance.clip_dim);
    let differences = match &captioner.provenance.embeddings {
        Some(identity) => inputs.identity.differences(identity),
        None if dimension == wanted => Vec::new(),
        None => vec![format!("dimension: {wanted} there, {dimension} here")],
    };
    if !differences.is_empty() {
        return Err(Error::Mismatch(format!(
            "{} is not the embedding file that the run was trained on:\n  {}",
            captioner.config.data.embeddings.display(),
            differences.join("\n  "),
        )));
    }
    let (images, rows): (Vec<usize>, Vec<i64>) = inputs
        .split
        .test
        .iter()
        .filter_map(|&image| inputs.row(image).map(|row| (image, row)))
        .unzip();
    if images.is_empty() {
        return Err(Error::Mismatch(
            "the test split has no picture with an embedding; check data.split and data.test_captions".into(),
        ));
    }
    let rows = match shuffle_seed {
        None => rows,
        Some(seed) => deranged(seed, &rows),
    };
    let embeddings =
        inputs.embeddings.index_select(0, &Tensor::from_slice(&rows).to_device(device));
    let total = images.len();
    let predictions = captioner.caption(&embeddings, |done| progress(done, total))?;

    let captions: Vec<Captioned> = images
        .into_iter()
        .zip(predictions)
        .map(|(image, mut predictions)| Captioned {
            file_name: inputs.corpus.images[image].file_name.clone(),
            references: lower_cased(&inputs.corpus.images[image].captions),
            prediction: predictions.swap_remove(0).text,
        })
        .collect();
    let name = if shuffle_seed.is_some() { "test-shuffled" } else { "test" };
    score(folder.evaluation(name), captions, options)
}

fn score(folder: PathBuf, captions: Vec<Captioned>, options: &Options) -> Result<Scored, Error> {
    let references = References::new(
        captions.iter().map(|one| (one.file_name.clone(), one.references.clone())),
    )?;
    let predictions = Predictions::new(
        captions.iter().map(|one| (one.file_name.clone(), one.prediction.clone())),
    )?;
    let evaluation = evaluate(&references, &predictions, options)?;
    durable::create_dir_all(&folder)?;
    let results: Vec<CocoResult> = captions
        .iter()
        .map(|one| CocoResult { image_id: &one.file_name, caption: &one.prediction })
        .collect();
    write_json(&folder.join("predictions.json"), &results)?;
    let all: serde_json::Map<String, serde_json::Value> =
        captions.iter().map(|one| (one.file_name.clone(), one.references.clone().into())).collect();
    write_json(&folder.join("references.json"), &all)?;
    durable::write(&folder.join("per-image.csv"), evaluation.per_image_csv().as_bytes())?;
    write_json(&folder.join("scores.json"), &evaluation)?;
    Ok(Scored { folder, evaluation, captions })
}

fn lower_cased(captions: &[String]) -> Vec<String> {
    captions.iter().map(|caption| caption.to_lowercase()).collect()
}

/// Every row replaced by another one: a random cycle through all of them.
fn deranged(seed: u64, rows: &[i64]) -> Vec<i64> {
    let order = seeds::permutation(seed, Purpose::Shuffle, 0, rows.len());
    let mut shuffled = rows.to_vec();
    for (position, &index) in order.iter().enumerate() {
        shuffled[index] = rows[order[(position + 1) % order.len()]];
    }
    shuffled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_picture_keeps_its_own_embedding_in_the_control() {
        let rows: Vec<i64> = (10..60).collect();
        let shuffled = deranged(1, &rows);
        assert!(rows.iter().zip(&shuffled).all(|(before, after)| before != after));
        let mut sorted = shuffled.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, rows);
        assert_ne!(shuffled, deranged(2, &rows));
    }
}
