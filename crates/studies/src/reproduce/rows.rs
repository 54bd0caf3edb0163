//! Stages of the runs of each row: training, evaluation and control.

use std::path::{Path, PathBuf};

use recipes::{Config, System};

use super::{Error, Planner, Row, Run, Shared, words};
use crate::stages::{Check, Input, Resume, Stage};

/// A run before its stages are added.
struct Planned {
    name: String,
    config: &'static str,
    seed: u64,
    device: String,
    resolved: Config,
    /// File of the resolved config.
    file: PathBuf,
    /// Run folder.
    folder: PathBuf,
}

impl Planned {
    /// Returns the folders of the scores of the run's rows, or of their controls.
    fn evaluations(&self, control: bool) -> Vec<PathBuf> {
        let rows = Row::ALL.into_iter().filter(|row| row.config() == self.config);
        let folder = self.folder.join("evaluation");
        rows.map(|row| folder.join(row.evaluation(control))).collect()
    }
}

impl Planner<'_> {
    /// Adds the stages of all runs of a configuration.
    pub(super) fn runs_of(&mut self, config: &'static str, shared: &Shared) -> Result<(), Error> {
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
        let planned = self.planned(format!("{config}-seed-{seed}"), config, seed, shared)?;
        let Planned { name, resolved, file, folder, .. } = &planned;
        let after = match &resolved.system {
            System::ClipPrefix(_) if self.prefix_reads_features() => {
                [shared.features, shared.gpt2_stage]
            }
            System::ClipPrefix(_) => [shared.embeddings, shared.gpt2_stage],
            System::Sbg(_) => [shared.keywords, shared.gpt2_stage],
            System::MergeRnn(_) => [shared.features, None],
        };
        let (file_text, out) = (file.display().to_string(), folder.display().to_string());
        let mut inputs = self.data_set_and([Input::Config(Box::new(resolved.clone()))]);
        inputs.extend(resolved.system.language_model().and_then(|model| self.model(model)));
        let trained = self.add(Stage {
            name: format!("train/{name}"),
            arguments: words(&["train", "--config", &file_text, "--out", &out]),
            resume: Resume::With("--resume"),
            inputs,
            after: after.into_iter().flatten().collect(),
            outputs: vec![folder.clone()],
            check: Check::Run { folder: folder.clone(), epochs: None },
            ..Stage::default()
        })?;
        self.scored(planned, trained)
    }

    /// Adds the stages that import and evaluate the published checkpoint.
    fn imported(
        &mut self,
        config: &'static str,
        checkpoint: &str,
        shared: &Shared,
    ) -> Result<(), Error> {
        let planned = self.planned(format!("{config}-published"), config, 0, shared)?;
        let Planned { name, resolved, file, folder, .. } = &planned;
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
            inputs: vec![
                Input::Config(Box::new(resolved.clone())),
                Input::Path(PathBuf::from(checkpoint)),
            ],
            after: [shared.embeddings, shared.gpt2_stage].into_iter().flatten().collect(),
            outputs: vec![folder.clone()],
            check: Check::Run { folder: folder.clone(), epochs: None },
            ..Stage::default()
        })?;
        self.scored(planned, imported)
    }

    fn planned(
        &self,
        name: String,
        config: &'static str,
        seed: u64,
        shared: &Shared,
    ) -> Result<Planned, Error> {
        let device = self.device(self.runs.len())?;
        let resolved = self.resolved(config, seed, &device, shared)?;
        let file = self.request.out.join("configs").join(format!("{name}.toml"));
        let folder = self.request.out.join("runs").join(&name);
        Ok(Planned { name, config, seed, device, resolved, file, folder })
    }

    /// Adds the stages that score a run after the stage `made`, and its control if the recipe has
    /// controls.
    fn scored(&mut self, planned: Planned, made: usize) -> Result<(), Error> {
        let evaluation = planned.folder.join("evaluation");
        let name = &planned.name;
        let (evaluated, control) = if self.request.family.recipe.controls {
            // An evaluation and its control are side by side in the run's folder.
            let mut official = planned.evaluations(false);
            let captions = evaluation.join("test");
            if !official.contains(&captions) {
                official.push(captions);
            }
            let stage = self.evaluation(format!("evaluate/{name}"), &planned, made, official);
            let evaluated = self.add(stage)?;
            let shuffled = planned.evaluations(true);
            let mut stage =
                self.evaluation(format!("control/{name}"), &planned, evaluated, shuffled);
            stage.arguments.push("--control".to_owned());
            (evaluated, Some(self.add(stage)?))
        } else {
            let stage =
                self.evaluation(format!("evaluate/{name}"), &planned, made, vec![evaluation]);
            (self.add(stage)?, None)
        };
        let Planned { config, seed, resolved, file, folder, .. } = planned;
        self.runs.push(Run {
            config,
            seed,
            folder,
            resolved: Some((file, resolved)),
            evaluated,
            control,
        });
        Ok(())
    }

    /// Returns the stage that evaluates a run into `outputs`.
    fn evaluation(
        &self,
        name: String,
        planned: &Planned,
        after: usize,
        outputs: Vec<PathBuf>,
    ) -> Stage {
        let folder = planned.folder.display().to_string();
        Stage {
            name,
            arguments: words(&["evaluate", "--run", &folder, "--device", &planned.device]),
            inputs: vec![self.metrics()],
            after: vec![after],
            outputs,
            ..Stage::default()
        }
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
        let has_encoder = !self.request.family.recipe.models.encoder.is_empty();
        let reads_features = match config {
            "merge-rnn" => has_encoder || self.request.models.vgg.is_some(),
            "sbg" => false,
            _ => self.prefix_reads_features(),
        };
        let embeddings = if reads_features { self.features() } else { self.embeddings() };
        let mut sets = vec![
            format!("data.dataset={}", quoted(&self.request.dataset)),
            format!("data.embeddings={embeddings:?}"),
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
}
