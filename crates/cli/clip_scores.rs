//! Options of CLIPScore: the CLIP, and the embeddings of the pictures that it computed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use caption_metrics::Metric;
use caption_metrics::clip_score::{ClipScore, PROMPT, WEIGHT};
use foreign_text::printable_path;
use hub::ModelFiles;
use precompute::Network;
use runs::RunFolder;
use tch::Device;
use training::clip_scorer::ClipScorer;

use crate::{bounds, models};

#[derive(clap::Args)]
pub struct ClipScoreArgs {
    /// Folder or hub name of the CLIP that computes clipscore and refclipscore. Without
    /// --embeddings, also the CLIP that an SBG run reranks with, if it has moved. [default for a
    /// run: the CLIP of its embeddings]
    #[arg(long, global = true)]
    clip: Option<String>,
    /// Embeddings of the pictures by that CLIP, from `capsmith precompute`. Without --clip, or
    /// without a metric that needs a CLIP, the run's own embeddings, if they have moved. [default:
    /// those of the run, if a CLIP computed them]
    #[arg(long, global = true, value_name = "FILE")]
    embeddings: Option<PathBuf>,
    /// Weight w of clipscore and refclipscore; 2 for PAC-S, with its CLIP
    #[arg(long, global = true, value_name = "W", default_value_t = WEIGHT, value_parser = bounds::rate)]
    clipscore_weight: f64,
    /// Prompt before each caption, for clipscore and refclipscore
    #[arg(long, global = true, value_name = "TEXT", default_value = PROMPT)]
    clipscore_prompt: String,
}

impl ClipScoreArgs {
    /// Returns the CLIP that an SBG run reranks with, if it has moved.
    pub fn reranking(&self, metrics: &[Metric]) -> Option<&str> {
        self.clip.as_deref().filter(|_| !self.is_for_scores(metrics))
    }

    /// Returns the embeddings that a run captions by, if they have moved.
    pub fn embeddings_of_run(&self, metrics: &[Metric]) -> Option<&Path> {
        self.embeddings.as_deref().filter(|_| !self.is_for_scores(metrics))
    }

    /// Returns true if the CLIP and its embeddings are for scores alone.
    fn is_for_scores(&self, metrics: &[Metric]) -> bool {
        let needs_clip = metrics.iter().any(|metric| metric.needs_clip());
        needs_clip && self.clip.is_some() && self.embeddings.is_some()
    }

    /// Loads the CLIP that scores captions, if a metric needs one.
    ///
    /// Without `metrics` the CLIP is for its own, if it is given. `run` is the evaluated run with
    /// its overrides, if there is one.
    pub fn load(
        &self,
        metrics: Option<&[Metric]>,
        run: Option<(&Path, &[String])>,
        device: impl FnOnce() -> anyhow::Result<Device>,
    ) -> anyhow::Result<Option<ClipScore>> {
        let is_given = self.clip.is_some() || self.embeddings.is_some();
        let own: &[Metric] = if is_given { &[Metric::ClipScore] } else { &[] };
        let Some(metric) = metrics.unwrap_or(own).iter().find(|metric| metric.needs_clip()) else {
            if run.is_none() && is_given {
                bail!("--clip and --embeddings are for clipscore; add it to --metrics");
            }
            return Ok(None);
        };
        let (clip, embeddings) = match (&self.clip, &self.embeddings, run) {
            (Some(clip), Some(embeddings), _) => (clip.clone(), embeddings.clone()),
            (clip, _, Some((run, sets))) => of_run(run, sets, clip.as_deref())?,
            (_, _, None) => bail!(
                "{} compares captions with pictures; name a CLIP and the embeddings of the pictures that it computed\nhint: capsmith precompute --clip M --dataset DATA --out F, then --clip M --embeddings F",
                metric.name()
            ),
        };
        let clip = models::find(&clip, ModelFiles::ClipText)
            .context("name the folder of the CLIP with --clip")?;
        Ok(Some(ClipScore {
            model: Arc::new(ClipScorer::load(&clip, &embeddings, device()?)?),
            weight: self.clipscore_weight,
            prompt: self.clipscore_prompt.clone(),
        }))
    }
}

/// Returns the CLIP of a run's embeddings, or `moved` in its place, and the embeddings.
fn of_run(run: &Path, sets: &[String], moved: Option<&str>) -> anyhow::Result<(String, PathBuf)> {
    let folder = RunFolder::open(run)?;
    let identity = folder.provenance()?.embeddings;
    match identity.filter(|identity| identity.network == Network::Clip) {
        Some(identity) => Ok((
            moved.map_or(identity.model, str::to_owned),
            folder.config()?.with_settings(sets)?.data.embeddings,
        )),
        None => bail!(
            "no CLIP computed the embeddings that {} was trained on\nhint: name a CLIP with --clip, and its embeddings of the pictures with --embeddings",
            printable_path(run)
        ),
    }
}
