//! Baseline without a model: the consensus caption of the nearest training images (Devlin et al.
//! 2015, arXiv 1505.04467).

use std::path::Path;

use caption_metrics::consensus::Consensus;
use caption_metrics::{Evaluation, Options};
use networks::normalized;
use rayon::prelude::*;
use recipes::Data;
use runs::{ScoresFile, scores_file};
use tch::Device;

use crate::error::Error;
use crate::evaluate::{CaptionedImage, scores};
use crate::inputs::Inputs;

/// Captions and scores the test images of `data` by the consensus of their `neighbours`.
///
/// Neighbours are that many training images of highest cosine with the embedding of the test
/// image; of equal ones the first. [`caption_metrics::consensus`] chooses among their captions.
/// Writes the files of an evaluation into `out`.
///
/// # Errors
/// Fails if the data cannot be loaded, no training or test image has an embedding, or a file
/// cannot be written.
pub fn evaluate_neighbours(
    data: &Data,
    neighbours: usize,
    out: &Path,
    metrics: &Options,
) -> Result<Evaluation, Error> {
    refuse_other_scores(out)?;
    let inputs = Inputs::load(data, Device::Cpu)?;
    let captions = captions(&inputs, neighbours)?;
    let evaluation = scores(&captions, metrics)?;
    let scored = captions.iter().map(CaptionedImage::scored);
    scores_file::write(out, None, scored, &evaluation)?;
    Ok(evaluation)
}

/// Fails if a folder has scores that no baseline wrote.
fn refuse_other_scores(folder: &Path) -> Result<(), Error> {
    let path = folder.join(scores_file::SCORES);
    let is_baselines = || ScoresFile::read(folder).is_ok_and(|scores| scores.checkpoint.is_none());
    if path.exists() && !is_baselines() {
        let reason = "is not of a baseline; choose another --out".to_owned();
        return Err(Error::RunFile { path, reason });
    }
    Ok(())
}

fn captions(inputs: &Inputs, neighbours: usize) -> Result<Vec<CaptionedImage>, Error> {
    let with_embedding = |images: &[usize]| -> Vec<usize> {
        images.iter().copied().filter(|&image| inputs.row(image).is_some()).collect()
    };
    let (train, test) = (with_embedding(&inputs.split.train), with_embedding(&inputs.split.test));
    if train.is_empty() || test.is_empty() {
        return Err(Error::Mismatch(
            "the training or the test split has no picture with an embedding; check --split and --test-captions".to_owned(),
        ));
    }
    let nearest = nearest(inputs, &train, &test, neighbours.min(train.len()))?;
    let train_captions: Vec<Vec<String>> =
        train.iter().map(|&image| inputs.captions(&[image])).collect();
    let consensus = Consensus::new(&train_captions);
    let captions = nearest.into_par_iter().map(|nearest| {
        let chosen = consensus.choose(&nearest);
        chosen.map_or_else(String::new, |(image, number)| train_captions[image][number].clone())
    });
    let captions: Vec<String> = captions.collect();
    let captioned = test.iter().zip(captions).map(|(&image, prediction)| CaptionedImage {
        file_name: inputs.corpus.images[image].file_name.clone(),
        references: inputs.captions(&[image]),
        prediction,
    });
    Ok(captioned.collect())
}

/// Returns the positions in `train` of the `count` nearest images of each of `test`.
fn nearest(
    inputs: &Inputs,
    train: &[usize],
    test: &[usize],
    count: usize,
) -> Result<Vec<Vec<usize>>, Error> {
    let unit = |images: &[usize]| normalized(&inputs.embeddings_of(images));
    let cosines = unit(test)?.matmul(&unit(train)?.tr());
    let order = cosines.argsort_stable(true, -1, true).narrow(1, 0, count as i64).contiguous();
    let order = Vec::<i64>::try_from(order.view([-1]))?;
    let rows = order.chunks(count).map(|row| row.iter().map(|&index| index as usize).collect());
    Ok(rows.collect())
}
