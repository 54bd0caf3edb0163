//! Reproduction of a table of the paper: the runs of its rows, planned as stages from data to
//! scores.
//!
//! ```text
//! OUT/
//!   models/                     models that the study trains or fills with random weights
//!   embeddings.safetensors      CLIP's
//!   features.safetensors        the image encoder's, or VGG-16's for Merge-RNN
//!   keywords/                   SBG's labels and encyclopedia; selected.jsonl
//!   configs/ROW-seed-42.toml    resolved config of each run
//!   runs/ROW-seed-42/           run folders
//!   neighbours/                 captions and scores of the baseline, if the recipe has one
//!   stages/, logs/              see [`crate::stages`]
//!   table1.md, .csv, .json      the table with the published scores
//! ```

mod comparison;
mod models;
mod page;
mod published;
mod recipe;
mod rows;
mod table;

use std::path::{Path, PathBuf};

use datasets::ImageFiles;
use foreign_text::printable_path;
use recipes::{Config, ConfigError};

use crate::stages::{self, Input, Plan, Stage};

pub use comparison::Comparison;
pub use page::{Presentation, write_page};
pub use published::{COLUMNS, Row, Table};
pub use recipe::{
    Family, FamilyError, Keywords, LIT, Models, PRETRAINED, Precompute, PrefixInput, Pretrain,
    Recipe, Seeds,
};
pub use table::{Cell, Results, RowResult, results};

/// Request to reproduce a table.
#[derive(Debug, Clone)]
pub struct Request {
    /// Table of the paper.
    pub table: Table,
    /// Rows of the table.
    pub rows: Vec<Row>,
    /// Configurations of the rows.
    pub family: Family,
    /// Number of runs of each configuration; `None` for the recipe's.
    pub seeds: Option<u64>,
    /// Folder of the data set.
    pub dataset: PathBuf,
    /// Paths or hub names of the recipe's models.
    pub models: FoundModels,
    /// Devices that runs take in turn; empty for the configured ones.
    pub devices: Vec<String>,
    /// Published checkpoint of the paper, scored instead of a trained run in row
    /// `prefix-gradient-clipping`.
    pub published_checkpoint: Option<String>,
    /// True if METEOR's resources are available.
    pub meteor: bool,
    /// Folder of the study.
    pub out: PathBuf,
}

/// Paths or hub names of models; `None` for a model that a stage creates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundModels {
    /// CLIP.
    pub clip: Option<String>,
    /// GPT-2.
    pub gpt2: Option<String>,
    /// VGG-16, if Merge-RNN reads its features.
    pub vgg: Option<String>,
    /// BART, if it sorts labels into categories.
    pub nli: Option<String>,
    /// Model of sentence-transformers, if it detects near-synonyms or the image encoder is tuned.
    pub sentence: Option<String>,
}

/// A planned study.
#[derive(Debug)]
pub struct Reproduction {
    /// Stages of the study.
    pub plan: Plan,
    /// Runs of the study.
    pub runs: Vec<Run>,
    /// Index of the stage of the baseline, and its folder.
    pub baseline: Option<(usize, PathBuf)>,
}

/// A run of a configuration.
#[derive(Debug, Clone)]
pub struct Run {
    /// Name of the configuration.
    pub config: &'static str,
    /// Seed of the run.
    pub seed: u64,
    /// Run folder.
    pub folder: PathBuf,
    /// Resolved configuration and the file to write it to.
    pub resolved: Option<(PathBuf, Config)>,
    /// Index of the stage that scores it.
    pub evaluated: usize,
    /// Index of the stage that scores its control.
    pub control: Option<usize>,
}

/// Error of planning a study or reading its results.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data set cannot be read.
    #[error(transparent)]
    Corpus(#[from] datasets::LoadError),
    /// Stages cannot be planned.
    #[error(transparent)]
    Stages(#[from] stages::Error),
    /// Captions cannot be compared.
    #[error(transparent)]
    Captions(#[from] caption_metrics::Error),
    /// The scores of a run cannot be read.
    #[error(transparent)]
    Run(#[from] runs::Error),
    /// A run cannot be shown.
    #[error(transparent)]
    Report(#[from] report::Error),
    /// Results cannot be read.
    #[error("{}: {reason}", printable_path(path))]
    Results {
        /// The file.
        path: PathBuf,
        /// Description of the defect.
        reason: String,
    },
    /// A file cannot be written.
    #[error(transparent)]
    Durable(#[from] durable::Error),
}

impl Request {
    /// Plans the stages of all runs that the rows need. Writes nothing.
    ///
    /// # Errors
    /// Fails if a configuration or input cannot be used.
    pub fn plan(&self) -> Result<Reproduction, Error> {
        let mut configs: Vec<&'static str> = self.rows.iter().map(|row| row.config()).collect();
        configs.dedup();
        let mut plan = Plan::new(&self.out);
        let models = [
            (&self.models.clip, "$CLIP"),
            (&self.models.gpt2, "$GPT2"),
            (&self.models.vgg, "$VGG"),
            (&self.models.sentence, "$SENTENCE"),
            (&self.models.nli, "$NLI"),
            (&self.published_checkpoint, "$PUBLISHED"),
        ];
        for (model, name) in models {
            // A hub name identifies its model by itself.
            if let Some(path) = model.as_ref().map(Path::new).filter(|path| path.exists()) {
                plan.name_path(path, name);
            }
        }
        plan.name_path(&self.dataset, "$DATASET");
        let data_set = data_set(&self.dataset, &mut plan)?;
        let mut planner = Planner { request: self, data_set, plan, runs: Vec::new() };
        let shared = planner.shared(&configs)?;
        for config in configs {
            planner.runs_of(config, &shared)?;
        }
        let baseline = planner.baseline(&shared)?;
        let Planner { plan, runs, .. } = planner;
        Ok(Reproduction { plan, runs, baseline })
    }
}

impl Reproduction {
    /// Writes the configurations of all runs.
    ///
    /// # Errors
    /// Fails if a file cannot be written.
    pub fn write_configs(&self) -> Result<(), Error> {
        for (path, config) in self.runs.iter().filter_map(|run| run.resolved.as_ref()) {
            durable::create_dir_all(path.parent().unwrap_or(Path::new("")))?;
            durable::write_if_other(path, config.to_toml().as_bytes())?;
        }
        Ok(())
    }
}

/// Models, and indices of the stages that several runs depend on.
struct Shared {
    clip: String,
    gpt2: String,
    gpt2_stage: Option<usize>,
    embeddings: Option<usize>,
    features: Option<usize>,
    keywords: Option<usize>,
}

struct Planner<'a> {
    request: &'a Request,
    data_set: Vec<Input>,
    plan: Plan,
    runs: Vec<Run>,
}

impl Planner<'_> {
    /// Returns the input of stages that compute scores.
    fn metrics(&self) -> Input {
        Input::text("metrics", if self.request.meteor { "with METEOR" } else { "without METEOR" })
    }

    fn parse(&self, config: &str, sets: &[String]) -> Result<Config, Error> {
        let family = &self.request.family;
        Ok(family.config(config, sets)?)
    }

    /// Returns the device of the run with this index: one of `--device`, or else that of the
    /// CLIP-prefix rows, for all.
    fn device(&self, run: usize) -> Result<String, Error> {
        let devices = &self.request.devices;
        if devices.is_empty() {
            return Ok(self.parse("prefix-original", &[])?.training.device);
        }
        Ok(devices[run % devices.len()].clone())
    }

    fn prefix_reads_features(&self) -> bool {
        self.request.family.recipe.precompute.prefix == PrefixInput::Features
    }

    /// Returns the file of CLIP's embeddings.
    fn embeddings(&self) -> String {
        self.request.out.join("embeddings.safetensors").display().to_string()
    }

    /// Returns the file of the features of the image encoder or VGG-16.
    fn features(&self) -> String {
        self.request.out.join("features.safetensors").display().to_string()
    }

    fn selected(&self) -> PathBuf {
        self.request.out.join("selected.jsonl")
    }

    /// Returns a model's files as an input; `None` for a model that a stage of this plan creates,
    /// on whose key later stages depend.
    fn model(&self, model: &str) -> Option<Input> {
        let path = PathBuf::from(model);
        (!path.starts_with(self.models())).then_some(Input::Path(path))
    }

    /// Returns the folder of models that the study creates.
    fn models(&self) -> PathBuf {
        self.request.out.join("models")
    }

    fn data_set_and(&self, more: impl IntoIterator<Item = Input>) -> Vec<Input> {
        self.data_set.iter().cloned().chain(more).collect()
    }

    fn add(&mut self, stage: Stage) -> Result<usize, Error> {
        Ok(self.plan.add(stage)?)
    }
}

/// Returns the captions by their text, the images by their contents.
fn data_set(folder: &Path, plan: &mut Plan) -> Result<Vec<Input>, Error> {
    if datasets::is_absent(folder) {
        return Ok(vec![Input::text("captions", "no data set yet")]);
    }
    let pictures = ImageFiles::load(folder, None)?;
    Ok(vec![
        Input::text("captions", pictures.fingerprint),
        plan.contents(&pictures.locations.folder)?,
    ])
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A stage's key must not depend on outputs of the plan, or a resumed study would rerun
    /// everything.
    #[test]
    fn models_of_a_stage_are_identified_by_its_key_and_others_by_their_files() {
        let folder = tempfile::tempdir().unwrap();
        let (out, clip) = (folder.path().join("study"), folder.path().join("clip"));
        let request = |models: FoundModels| Request {
            table: Table::One,
            rows: Row::ALL.to_vec(),
            family: Family::open("small").unwrap(),
            seeds: None,
            dataset: folder.path().join("absent"),
            models,
            devices: Vec::new(),
            published_checkpoint: None,
            meteor: false,
            out: out.clone(),
        };
        let planned =
            |models: &FoundModels| format!("{:?}", request(models.clone()).plan().unwrap().plan);
        let random = FoundModels::default();
        let before = planned(&random);
        for model in ["clip", "gpt2"] {
            fs::create_dir_all(out.join("models").join(model)).unwrap();
            fs::write(out.join("models").join(model).join("model.safetensors"), "weights").unwrap();
        }
        assert_eq!(planned(&random), before);

        let sentence = Some("all-MiniLM-L6-v2".to_owned());
        let mut request_real = Request {
            family: Family::open("real").unwrap(),
            ..request(FoundModels { sentence, ..random.clone() })
        };
        let real = request_real.plan().unwrap();
        let stages = real.plan.stages();
        let names: Vec<&str> = stages.iter().map(|stage| stage.name.as_str()).collect();
        assert_eq!(
            names[..7],
            [
                "pretrain-encoder",
                "features",
                "pretrain-clip",
                "pretrain-gpt2",
                "embeddings",
                "keywords/build",
                "keywords/select",
            ]
        );
        let stage = |name: &str| stages.iter().find(|stage| stage.name == name).unwrap();
        let command = |name: &str| stage(name).arguments.join(" ");
        let model = out.join("models/encoder");
        for part in [
            "pretrain encoder --encoder efficientnet-lite2 --sentence-model all-MiniLM-L6-v2",
            "--test-captions 5000",
            "--steps 222",
            &format!("--out {}", model.display()),
        ] {
            let command = command("pretrain-encoder");
            assert!(command.contains(part), "{command}");
        }
        assert!(command("features").contains("precompute --dataset"));
        let file = model.join("model.safetensors").display().to_string();
        assert!(command("features").contains(&format!("--encoder {file} ")));
        assert_eq!(stage("features").after, [0]);
        let inputs = format!("{:?}", stage("features").inputs);
        assert!(!inputs.contains("model.safetensors"), "an output of the plan: {inputs}");
        assert!(command("pretrain-clip").contains("--learning-rate 0.002"));
        assert_eq!(stage("pretrain-clip").after, [1]);
        assert!(command("pretrain-gpt2").contains("--test-captions 5000"));
        assert!(command("embeddings").contains("--image-features"));
        assert!(command("control/sbg-seed-42").ends_with("--control"));
        let (baseline, _) = real.baseline.unwrap();
        assert_eq!(stages[baseline].after, [1], "it reads the encoder's features");
        let merge_rnn = real.runs.iter().find(|run| run.config == "merge-rnn").unwrap();
        let (_, config) = merge_rnn.resolved.as_ref().unwrap();
        assert!(config.data.embeddings.ends_with("features.safetensors"));

        request_real.family.recipe.pretrain.encoder = None;
        let plain = request_real.plan().unwrap();
        let first = &plain.plan.stages()[0];
        assert_eq!(first.name, "features");
        assert!(first.arguments.join(" ").contains("--encoder efficientnet-lite2"));

        let model = Some(clip.display().to_string());
        for found in [
            FoundModels { clip: model.clone(), ..random.clone() },
            FoundModels { nli: model.clone(), ..random.clone() },
            FoundModels { sentence: model, ..random },
        ] {
            let _ = fs::remove_dir_all(&clip);
            let before = planned(&found);
            fs::create_dir_all(&clip).unwrap();
            fs::write(clip.join("model.safetensors"), "weights").unwrap();
            assert_ne!(planned(&found), before);
        }
    }
}
