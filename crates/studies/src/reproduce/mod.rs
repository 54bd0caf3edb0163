//! Reproduction of a table of the paper: the runs of its rows, planned as stages from data to
//! scores.
//!
//! ```text
//! OUT/
//!   models/                     models with random weights, if the recipe has them
//!   embeddings.safetensors      CLIP's
//!   features.safetensors        VGG-16's, for Merge-RNN
//!   keywords/                   SBG's labels and encyclopedia; selected.jsonl
//!   configs/ROW-seed-42.toml    resolved config of each run
//!   runs/ROW-seed-42/           run folders
//!   stages/, logs/              see [`crate::stages`]
//!   table1.md, .csv, .json      the table with the published scores
//! ```

mod estimate;
mod page;
mod published;
mod recipe;
mod table;

use std::path::{Path, PathBuf};

use datasets::ImageFiles;
use foreign_text::printable_path;
use recipes::{Config, ConfigError, System};

use crate::stages::{self, Check, Input, Plan, Resume, Stage};

pub use estimate::Estimate;
pub use page::write_page;
pub use published::{COLUMNS, Row, Table};
pub use recipe::{Family, FamilyError, Keywords, Models, Precompute, Recipe, Seeds};
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

/// Paths or hub names of models; `None` for a model with random weights, which a stage creates.
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
    /// Model of sentence-transformers, if it detects near-synonyms.
    pub sentence: Option<String>,
}

/// A planned study.
#[derive(Debug)]
pub struct Reproduction {
    /// Stages of the study.
    pub plan: Plan,
    /// Runs of the study.
    pub runs: Vec<Run>,
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
        let mut planner = Planner {
            request: self,
            data_set: data_set(&self.dataset)?,
            plan: Plan::new(&self.out),
            runs: Vec::new(),
        };
        let shared = planner.shared(&configs)?;
        for config in configs {
            planner.runs_of(config, &shared)?;
        }
        let Planner { plan, runs, .. } = planner;
        Ok(Reproduction { plan, runs })
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
    fn shared(&mut self, configs: &[&str]) -> Result<Shared, Error> {
        let needs = |system: &str| configs.iter().any(|config| config.starts_with(system));
        let (models, device) = (&self.request.models, self.device(0));
        let (clip, clip_stage) = match &models.clip {
            Some(clip) => (clip.clone(), None),
            None => self.random_model("clip", &[])?,
        };
        let (gpt2, gpt2_stage) = match &models.gpt2 {
            Some(gpt2) => (gpt2.clone(), None),
            None => self.random_gpt2()?,
        };
        let merge_rnn_uses_clip = models.vgg.is_none();
        let embeddings = if needs("prefix") || needs("sbg") || merge_rnn_uses_clip {
            let encoder = ["--clip", &clip];
            Some(self.precompute("embeddings", encoder, &device, clip_stage)?)
        } else {
            None
        };
        let features = match &models.vgg {
            Some(vgg) if needs("merge-rnn") => {
                Some(self.precompute("features", ["--vgg", vgg], &device, None)?)
            }
            _ => embeddings,
        };
        let keywords = match embeddings {
            Some(embeddings) if needs("sbg") => Some(self.keywords(&clip, &device, embeddings)?),
            _ => None,
        };
        Ok(Shared { clip, gpt2, gpt2_stage, embeddings, features, keywords })
    }

    fn random_gpt2(&mut self) -> Result<(String, Option<usize>), Error> {
        // Its tokenizer is trained on captions, which must exclude the test set.
        let config = self.parse("prefix-original", &[])?;
        let dataset = self.request.dataset.display().to_string();
        let test_captions = config.data.test_captions.to_string();
        self.random_model("gpt2", &["--dataset", &dataset, "--test-captions", &test_captions])
    }

    fn random_model(
        &mut self,
        kind: &str,
        more: &[&str],
    ) -> Result<(String, Option<usize>), Error> {
        let out = self.models().join(kind);
        let mut arguments = words(&["init", kind, "--out", &out.display().to_string()]);
        arguments.extend(words(more));
        let inputs = if more.is_empty() { Vec::new() } else { self.data_set.clone() };
        let stage = self.add(Stage {
            name: format!("init-{kind}"),
            arguments,
            resume: Resume::Restart,
            inputs,
            after: Vec::new(),
            outputs: vec![out.clone()],
            check: Check::Contents,
            optional: false,
        })?;
        Ok((out.display().to_string(), Some(stage)))
    }

    fn precompute(
        &mut self,
        name: &str,
        encoder: [&str; 2],
        device: &str,
        after: Option<usize>,
    ) -> Result<usize, Error> {
        let out = self.request.out.join(format!("{name}.safetensors"));
        let dataset = self.request.dataset.display().to_string();
        let dtype = &self.request.family.recipe.precompute.dtype;
        let mut arguments = words(&["precompute", "--dataset", &dataset]);
        arguments.extend(words(&encoder));
        let text = out.display().to_string();
        arguments.extend(words(&["--out", &text, "--device", device, "--dtype", dtype]));
        self.add(Stage {
            name: name.to_owned(),
            arguments,
            resume: Resume::Rerun,
            inputs: self.data_set_and(self.model(encoder[1])),
            after: after.into_iter().collect(),
            outputs: vec![out],
            check: Check::Contents,
            optional: false,
        })
    }

    /// Adds the stages that build labels and encyclopedia and select keywords; returns the last
    /// one.
    fn keywords(&mut self, clip: &str, device: &str, embeddings: usize) -> Result<usize, Error> {
        let recipe = &self.request.family.recipe.keywords;
        let dataset = self.request.dataset.display().to_string();
        let folder = self.request.out.join("keywords");
        let folder_text = folder.display().to_string();
        let mut build = words(&[
            "keywords",
            "build",
            "--dataset",
            &dataset,
            "--out",
            &folder_text,
            "--clip",
            clip,
            "--synonyms",
            &recipe.synonyms,
            "--categories",
            &recipe.categories,
            "--device",
            device,
        ]);
        if let Some(nli) = &self.request.models.nli {
            build.extend(words(&["--nli", nli]));
        }
        let mut models: Vec<Input> = self.model(clip).into_iter().collect();
        if let Some(sentence) = &self.request.models.sentence {
            build.extend(words(&["--sentence-model", sentence]));
            models.extend(self.model(sentence));
        }
        let built = self.add(Stage {
            name: "keywords/build".to_owned(),
            arguments: build,
            resume: Resume::Rerun,
            inputs: self.data_set_and(models),
            after: vec![embeddings],
            outputs: vec![folder.clone()],
            check: Check::Contents,
            optional: false,
        })?;
        let selected = self.selected();
        let embeddings_file = self.request.out.join("embeddings.safetensors").display().to_string();
        self.add(Stage {
            name: "keywords/select".to_owned(),
            arguments: words(&[
                "keywords",
                "select",
                "--dataset",
                &dataset,
                "--clip",
                clip,
                "--embeddings",
                &embeddings_file,
                "--keywords",
                &folder_text,
                "--out",
                &selected.display().to_string(),
                "--device",
                device,
            ]),
            resume: Resume::Rerun,
            inputs: Vec::new(),
            after: vec![built],
            outputs: vec![selected],
            check: Check::Contents,
            optional: false,
        })
    }

    fn runs_of(&mut self, config: &'static str, shared: &Shared) -> Result<(), Error> {
        if config == "prefix-gradient-clipping"
            && let Some(checkpoint) = &self.request.published_checkpoint
        {
            return self.imported(config, checkpoint, shared);
        }
        let first = self.parse(config, &[])?.training.seed;
        let count = self.request.seeds.unwrap_or(self.request.family.recipe.seeds.of(config));
        for seed in first..first + count {
            self.run(config, seed, shared)?;
        }
        Ok(())
    }

    fn run(&mut self, config: &'static str, seed: u64, shared: &Shared) -> Result<(), Error> {
        let name = format!("{config}-seed-{seed}");
        let device = self.device(self.runs.len());
        let resolved = self.resolved(config, seed, &device, shared)?;
        let file = self.request.out.join("configs").join(format!("{name}.toml"));
        let folder = self.request.out.join("runs").join(&name);
        let (file_text, out) = (file.display().to_string(), folder.display().to_string());
        let after = match &resolved.system {
            System::ClipPrefix(_) => [shared.embeddings, shared.gpt2_stage],
            System::Sbg(_) => [shared.keywords, shared.gpt2_stage],
            System::MergeRnn(_) => [shared.features, None],
        };
        let mut inputs = self.data_set_and([Input::text("config", resolved.to_toml())]);
        inputs.extend(resolved.system.language_model().and_then(|model| self.model(model)));
        let trained = self.add(Stage {
            name: format!("train/{name}"),
            arguments: words(&["train", "--config", &file_text, "--out", &out]),
            resume: Resume::With("--resume"),
            inputs,
            after: after.into_iter().flatten().collect(),
            outputs: vec![folder.clone()],
            check: Check::Run { folder: folder.clone(), epochs: None },
            optional: false,
        })?;
        let evaluated = self.evaluate(&name, &folder, &device, trained)?;
        let resolved = Some((file, resolved));
        self.runs.push(Run { config, seed, folder, resolved, evaluated });
        Ok(())
    }

    /// Adds the stages that import and evaluate the published checkpoint.
    fn imported(
        &mut self,
        config: &'static str,
        checkpoint: &str,
        shared: &Shared,
    ) -> Result<(), Error> {
        let name = format!("{config}-published");
        let device = self.device(self.runs.len());
        let resolved = self.resolved(config, 0, &device, shared)?;
        let file = self.request.out.join("configs").join(format!("{name}.toml"));
        let folder = self.request.out.join("runs").join(&name);
        let imported = self.add(Stage {
            name: format!("import/{name}"),
            arguments: words(&[
                "import",
                checkpoint,
                "--out",
                &folder.display().to_string(),
                "--config",
                &file.display().to_string(),
                "--tokenizer",
                &shared.gpt2,
            ]),
            resume: Resume::Restart,
            inputs: vec![
                Input::text("config", resolved.to_toml()),
                Input::Path(PathBuf::from(checkpoint)),
            ],
            after: [shared.embeddings, shared.gpt2_stage].into_iter().flatten().collect(),
            outputs: vec![folder.clone()],
            check: Check::Run { folder: folder.clone(), epochs: None },
            optional: false,
        })?;
        let evaluated = self.evaluate(&name, &folder, &device, imported)?;
        let resolved = Some((file, resolved));
        self.runs.push(Run { config, seed: 0, folder, resolved, evaluated });
        Ok(())
    }

    fn evaluate(
        &mut self,
        name: &str,
        folder: &Path,
        device: &str,
        after: usize,
    ) -> Result<usize, Error> {
        let meteor = if self.request.meteor { "with METEOR" } else { "without METEOR" };
        self.add(Stage {
            name: format!("evaluate/{name}"),
            arguments: words(&[
                "evaluate",
                "--run",
                &folder.display().to_string(),
                "--device",
                device,
            ]),
            resume: Resume::Restart,
            inputs: vec![Input::text("metrics", meteor)],
            after: vec![after],
            outputs: vec![folder.join("evaluation")],
            check: Check::Contents,
            optional: false,
        })
    }

    /// Returns a configuration with the paths of the study's files.
    fn resolved(
        &self,
        config: &str,
        seed: u64,
        device: &str,
        shared: &Shared,
    ) -> Result<Config, Error> {
        let out = &self.request.out;
        let quoted = |path: &Path| format!("{:?}", path.display().to_string());
        let embeddings = match (config, &self.request.models.vgg) {
            ("merge-rnn", Some(_)) => out.join("features.safetensors"),
            _ => out.join("embeddings.safetensors"),
        };
        let mut sets = vec![
            format!("data.dataset={}", quoted(&self.request.dataset)),
            format!("data.embeddings={}", quoted(&embeddings)),
            format!("training.device={device:?}"),
            format!("training.seed={seed}"),
        ];
        if config != "merge-rnn" {
            sets.push(format!("gpt2.model={:?}", shared.gpt2));
        }
        if config == "sbg" {
            let keywords = out.join("keywords");
            sets.push(format!("keywords.selected={}", quoted(&self.selected())));
            sets.push(format!("keywords.labels={}", quoted(&keywords.join("labels.json"))));
            let encyclopedia = keywords.join("encyclopedia.json");
            sets.push(format!("keywords.encyclopedia={}", quoted(&encyclopedia)));
            sets.push(format!("reranking.clip={:?}", shared.clip));
        }
        self.parse(config, &sets)
    }

    fn parse(&self, config: &str, sets: &[String]) -> Result<Config, Error> {
        let family = &self.request.family;
        Ok(family.config(config, sets)?)
    }

    /// Returns the device of the run with this index.
    fn device(&self, run: usize) -> String {
        let devices = &self.request.devices;
        if devices.is_empty() {
            let configured = self.parse("prefix-original", &[]);
            return configured.map_or_else(|_| "cpu".to_owned(), |config| config.training.device);
        }
        devices[run % devices.len()].clone()
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

    /// Returns the folder of models with random weights.
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

/// Returns the captions by their text, the images by their sizes and modification times.
fn data_set(folder: &Path) -> Result<Vec<Input>, Error> {
    if !folder.exists() {
        return Ok(vec![Input::text("captions", "no data set yet")]);
    }
    let pictures = ImageFiles::load(folder, None)?;
    Ok(vec![
        Input::text("captions", pictures.fingerprint),
        Input::listing(&pictures.locations.folder)?,
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

        let found = FoundModels { clip: Some(clip.display().to_string()), ..random };
        let before = planned(&found);
        fs::create_dir_all(&clip).unwrap();
        fs::write(clip.join("model.safetensors"), "weights").unwrap();
        assert_ne!(planned(&found), before);
    }
}
