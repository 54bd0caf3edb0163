//! Options that all commands of `evaluate` share: tokenizer and metrics.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::clip_score::ClipScore;
use crate::meteor::{Resources, resources};
use crate::{CiderFrequencies, Error, Metric, Options, Subset, Tokenizer};

/// Prints a line for people, apart from the results.
pub type Note = fn(&str);

/// Tokenizer and metrics.
#[derive(Args, Clone, Debug)]
pub struct ScoringArgs {
    /// ptb: use pycocoevalcap's Penn Treebank tokenizer, as `COCOEvalCap` does; none: score
    /// captions unchanged, as the paper's notebooks do [default: ptb for files]
    #[arg(long, value_name = "none|ptb")]
    pub tokenizer: Option<Tokenizer>,

    /// Metrics out of bleu,meteor,rouge,cider,diversity, and with a CLIP (`capsmith evaluate`)
    /// clipscore,refclipscore,clipscore-torchmetrics [default: the first four, METEOR if it has
    /// been fetched; of files also clipscore,refclipscore if a CLIP is given]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub metrics: Option<Vec<Metric>>,

    /// Take CIDEr's document frequencies from this file, which `caption-eval df` makes, in place of
    /// the scored images' references
    #[arg(long, value_name = "FILE")]
    pub cider_df: Option<PathBuf>,

    /// CLIP of CLIPScore, of a program that has one.
    #[arg(skip)]
    pub clip: Option<ClipScore>,
}

impl ScoringArgs {
    /// Returns the options, with METEOR's resources opened where they are needed.
    ///
    /// `tokenizer` is the one without `--tokenizer`. Without `--metrics`, METEOR is left out if it
    /// has not been fetched, which `note` receives, and a CLIP adds its two published metrics.
    ///
    /// # Errors
    /// Fails if METEOR is asked for and its resources cannot be opened, or if the document
    /// frequencies cannot be read.
    pub fn options(&self, tokenizer: Tokenizer, note: Note) -> Result<Options, Error> {
        let (mut metrics, meteor) = match (&self.metrics, Resources::open_default()) {
            (Some(metrics), resources) => {
                let needed = metrics.contains(&Metric::Meteor).then_some(resources);
                (metrics.clone(), needed.transpose()?)
            }
            (None, Ok(resources)) => (Metric::PYCOCOEVALCAP.to_vec(), Some(resources)),
            (
                None,
                Err(error @ (resources::Error::Missing(_) | resources::Error::NoDataFolder)),
            ) => {
                note(&format!("METEOR is left out: {error}"));
                (Options::default().metrics, None)
            }
            (None, Err(error)) => return Err(error.into()),
        };
        if self.metrics.is_none() && self.clip.is_some() {
            metrics.extend([Metric::ClipScore, Metric::RefClipScore]);
        }
        let cider_frequencies = self.cider_df.as_deref().map(CiderFrequencies::read).transpose()?;
        Ok(Options {
            tokenizer: self.tokenizer.unwrap_or(tokenizer),
            metrics,
            meteor,
            cider_frequencies: cider_frequencies.map(Arc::new),
            subset: Subset::All,
            clip: self.clip.clone(),
            training_captions: None,
        })
    }

    /// Returns the options for files of captions, whose tokenizer is `COCOEvalCap`'s by default.
    pub(super) fn file_options(&self, subset: Option<&Path>, note: Note) -> Result<Options, Error> {
        let subset = match subset {
            None => Subset::All,
            Some(name) if name == "predictions" => Subset::Predictions,
            Some(file) => Subset::read(file)?,
        };
        Ok(Options { subset, ..self.options(Tokenizer::Ptb, note)? })
    }
}
