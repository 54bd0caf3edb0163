//! Results, and the two files for them.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::interner::Strings;
use crate::options::Tokenizer;
use crate::resampling::{self, Interval, Resampling};
use crate::scores::{Scores, Statistics, corpus};

/// Protocol of the scores.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Protocol {
    /// The program that gives the same numbers.
    pub equivalent: &'static str,
    /// The tokenizer of the captions.
    pub tokenizer: Tokenizer,
    /// Captions in which a line separator is read as white space, while in pycocoevalcap it would
    /// pair the captions after it with the wrong images: with the PTB tokenizer CR, VT, FF, U+2028
    /// and U+2029, without tokenizer (for METEOR's sake) LF and CR.
    pub captions_with_line_separators: usize,
    /// Images with references that were left out, as they have no prediction; only where
    /// [`Options::only_predicted`](crate::Options::only_predicted) allows that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images_without_prediction: Option<usize>,
}

/// The scores of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageScores<'a> {
    /// The image.
    pub id: &'a str,
    /// Its scores.
    pub scores: Scores,
}

/// The scores of a corpus.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Protocol of the scores.
    pub protocol: Protocol,
    /// The number of images.
    pub n: usize,
    /// The scores of the corpus. Only those of ROUGE-L and CIDEr are means over images.
    pub corpus: Scores,
    /// Bootstrap intervals of the corpus scores, once asked for.
    pub confidence: Option<Confidence>,
}

/// The result of [`evaluate`](crate::evaluate).
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The scores of the corpus.
    pub summary: Summary,
    pub(crate) ids: Strings,
    pub(crate) statistics: Vec<Statistics>,
}

impl Evaluation {
    /// Returns the scores of every image, in the order of the references.
    #[must_use]
    pub fn per_image(&self) -> impl ExactSizeIterator<Item = ImageScores<'_>> {
        let images = self.ids.iter().zip(&self.statistics);
        images.map(|(id, image)| ImageScores { id, scores: corpus(&[image]) })
    }

    /// Computes bootstrap intervals of the corpus scores.
    pub fn add_confidence(&mut self, resampling: Resampling) {
        let intervals = resampling::bootstrap(&self.summary.corpus, &self.statistics, resampling);
        self.summary.confidence = Some(Confidence { resampling, intervals });
    }

    /// Writes all scores as JSON, every number so that it reads back as the same double.
    ///
    /// # Errors
    /// Fails if `out` does.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        out.write_all(b"\n")
    }

    /// Writes the scores of every image as CSV: `image_id`, then a column a score.
    ///
    /// # Errors
    /// Fails if `out` does.
    pub fn write_csv(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "image_id")?;
        self.summary.corpus.iter().try_for_each(|(name, _)| write!(out, ",{name}"))?;
        writeln!(out)?;
        for image in self.per_image() {
            write!(out, "{}", quoted(image.id))?;
            image.scores.iter().try_for_each(|(_, score)| write!(out, ",{score}"))?;
            writeln!(out)?;
        }
        Ok(())
    }
}

impl Serialize for Evaluation {
    /// `{"protocol": …, "n": …, "corpus": {name: score}, "per_image": {image: {name: score}}}`, and
    /// `"confidence"` where it was asked for.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("protocol", &self.summary.protocol)?;
        map.serialize_entry("n", &self.summary.n)?;
        map.serialize_entry("corpus", &self.summary.corpus)?;
        if let Some(confidence) = &self.summary.confidence {
            map.serialize_entry("confidence", confidence)?;
        }
        let images = || self.per_image().map(|image| (image.id, image.scores));
        map.serialize_entry("per_image", &Entries(images))?;
        map.end()
    }
}

/// Bootstrap intervals of corpus scores.
#[derive(Clone, Debug, PartialEq)]
pub struct Confidence {
    /// The number of resamples and the seed.
    pub resampling: Resampling,
    /// An interval for each corpus score.
    pub intervals: Vec<Interval>,
}

impl Serialize for Confidence {
    /// `{"level": 0.95, "resamples": …, "seed": …, "intervals": {name: {"low": …, "high": …}}}`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("level", &resampling::LEVEL)?;
        map.serialize_entry("resamples", &self.resampling.resamples)?;
        map.serialize_entry("seed", &self.resampling.seed)?;
        map.serialize_entry("intervals", &Entries(|| self.intervals.iter().map(|i| (i.name, i))))?;
        map.end()
    }
}

/// A map of the entries that a function gives.
struct Entries<F>(F);

impl<F: Fn() -> I, I: Iterator<Item = (K, V)>, K: Serialize, V: Serialize> Serialize
    for Entries<F>
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map((self.0)())
    }
}

/// Quotes a CSV cell where RFC 4180 asks for it.
fn quoted(cell: &str) -> Cow<'_, str> {
    if cell.contains(['"', ',', '\n', '\r']) {
        Cow::Owned(format!("\"{}\"", cell.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(cell)
    }
}
