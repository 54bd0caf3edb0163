//! Scores by name, and the statistics of images from which they are computed.

use serde::ser::{Serialize, Serializer};

use crate::clip_score::{ImageClipScores, positive};
use crate::metric::Metric;
use crate::{bleu, meteor, numerics};

/// Scores by name, in the order of [`Metric::ALL`]; those not asked for are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores(Vec<(&'static str, f64)>);

impl Scores {
    pub(crate) fn push(&mut self, name: &'static str, score: f64) {
        self.0.push((name, score));
    }

    /// Returns the score of a name (`"BLEU-1"`, `"METEOR"`, `"ROUGE_L"`, `"CIDEr"`).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, score)| *score)
    }

    /// Returns names and scores, in order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'static str, f64)> {
        self.0.iter().copied()
    }
}

impl Serialize for Scores {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

/// The counts and scores of an image from which corpus scores are computed.
///
/// `None` for a metric that was not asked for. With METEOR it takes 188 bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statistics {
    pub(crate) bleu: Option<bleu::Statistics>,
    pub(crate) meteor: Option<meteor::Statistics>,
    pub(crate) rouge: Option<f64>,
    pub(crate) cider: Option<f64>,
    /// Scores by a CLIP; empty if none was asked for.
    pub(crate) clip: ImageClipScores,
}

/// Returns the scores of a corpus of these images, which may repeat. All have the same metrics.
pub(crate) fn corpus(images: &[&Statistics]) -> Scores {
    let mut scores = Scores::default();
    let Some(first) = images.first() else { return scores };
    if first.bleu.is_some() {
        let mut sum = bleu::Statistics::default();
        images.iter().filter_map(|image| image.bleu.as_ref()).for_each(|bleu| sum += bleu);
        for (name, score) in Metric::Bleu.names().iter().zip(sum.scores()) {
            scores.push(name, score);
        }
    }
    if first.meteor.is_some() {
        let all = images.iter().filter_map(|image| image.meteor.as_ref());
        scores.push("METEOR", meteor::Statistics::sum(all).score());
    }
    let mut mean = |name, score: fn(&Statistics) -> Option<f64>| {
        if score(first).is_some() {
            let all: Vec<f64> = images.iter().filter_map(|image| score(image)).collect();
            scores.push(name, numerics::mean(&all));
        }
    };
    mean("ROUGE_L", |image| image.rouge);
    mean("CIDEr", |image| image.cider);
    for (index, (name, _)) in first.clip.iter().enumerate() {
        let all: Vec<f64> =
            images.iter().filter_map(|image| Some(image.clip.get(index)?.1)).collect();
        scores.push(name, positive(numerics::mean(&all)));
    }
    scores
}
