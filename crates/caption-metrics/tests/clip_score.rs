//! CLIPScore and its kin by cosines that are known.

use std::error::Error as StdError;
use std::sync::Arc;

use caption_metrics::clip_score::{ClipModel, ClipScore, Cosines, clip_score, ref_clip_score};
use caption_metrics::meteor::Segment;
use caption_metrics::{Error, Evaluation, Options, Predictions, References, evaluate};

/// A CLIP whose cosines are written into the captions; a prompt halves them.
#[derive(Debug)]
struct Written;

impl ClipModel for Written {
    fn cosines(
        &self,
        images: &[Segment<'_, String>],
        prompt: &str,
        with_references: bool,
    ) -> Result<Cosines, Box<dyn StdError + Send + Sync>> {
        let scale = if prompt.is_empty() { 1.0 } else { 0.5 };
        let mut found = Cosines::default();
        for image in images {
            found.images.push(scale * image.hypothesis.parse::<f64>()?);
            let references = image.references.iter().map(|text| text.parse::<f64>());
            let references: Vec<f64> = references.collect::<Result<_, _>>()?;
            if with_references {
                found.references.push(references.into_iter().fold(-1.0, f64::max));
                found.cut_references += image.references.len();
            }
            found.cut_predictions += 1;
        }
        Ok(found)
    }

    fn sha256(&self) -> &'static str {
        "0"
    }

    fn context_length(&self) -> usize {
        77
    }
}

fn scored(metrics: &[&str], with_model: bool) -> Result<Evaluation, Error> {
    let references =
        References::new([("a", vec!["0.25", "-0.5"]), ("b", vec!["-1"]), ("c", vec!["1"])])?;
    let predictions = Predictions::new([("a", "0.4"), ("b", "0.2"), ("c", "-0.9")])?;
    let clip = ClipScore { model: Arc::new(Written), weight: 2.0, prompt: "P".to_owned() };
    let options = Options {
        metrics: metrics.iter().filter_map(|name| name.parse().ok()).collect(),
        clip: with_model.then_some(clip),
        ..Options::default()
    };
    evaluate(&references, &predictions, &options)
}

fn close(found: Option<f64>, expected: f64) {
    assert!(found.is_some_and(|found| (found - expected).abs() < 1e-15), "{found:?} {expected}");
}

#[test]
fn scores_are_those_computed_by_hand() -> Result<(), Error> {
    let found = scored(&["refclipscore", "clipscore-torchmetrics", "clipscore"], true)?;
    let corpus = &found.summary.corpus;
    let names: Vec<&str> = corpus.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["CLIPScore", "RefCLIPScore", "CLIPScore_torchmetrics"]);
    // Cosines with the prompt are 0.2, 0.1 and -0.45.
    close(corpus.get("CLIPScore"), (0.4 + 0.2) / 3.0);
    close(corpus.get("RefCLIPScore"), 2.0 * 0.4 * 0.25 / 0.65 / 3.0);
    // The mean of 40, 20 and -90 is clipped, and so is the score of the last image alone.
    close(corpus.get("CLIPScore_torchmetrics"), 0.0);
    let images: Vec<_> = found.per_image().collect();
    close(images[0].scores.get("CLIPScore_torchmetrics"), 40.0);
    close(images[1].scores.get("RefCLIPScore"), 0.0);
    close(images[2].scores.get("RefCLIPScore"), 0.0);
    close(images[2].scores.get("CLIPScore_torchmetrics"), 0.0);
    let protocol = found.summary.protocol.clip;
    let cut = protocol.map(|clip| (clip.cut_predictions, clip.cut_references));
    assert_eq!(cut, Some((3, 4)));
    Ok(())
}

#[test]
fn a_metric_that_needs_a_clip_is_refused_without_one() {
    for metric in ["clipscore", "refclipscore", "clipscore-torchmetrics"] {
        let error = scored(&["bleu", metric], false).err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.contains("--clip")), "{metric}");
    }
}

#[test]
fn no_number_stays_none() {
    assert!(clip_score(f64::NAN, 2.5).is_nan() && ref_clip_score(0.5, f64::NAN).is_nan());
    assert!(clip_score(-0.5, 2.5).abs() < f64::MIN_POSITIVE);
}
