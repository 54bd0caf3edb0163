//! Stages of the runs of each row: training, evaluation and control.

use std::path::{Path, PathBuf};

use recipes::{Config, System};

use super::{Error, Planner, Row, Run, Shared, words};
use crate::stages::{Check, Input, Resume, Stage};

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
        let name = format!("{config}-seed-{seed}");
        let device = self.device(self.runs.len());
        let resolved = self.resolved(config, seed, &device, shared)?;
        let file = self.request.out.join("configs").join(format!("{name}.toml"));
        let folder = self.request.out.join("runs").join(&name);
        let (file_text, out) = (file.display().to_string(), folder.display().to_string());
        let after = match &resolved.system {
            System::ClipPrefix(_) if self.prefix_reads_features() => {
                [shared.features, shared.gpt2_stage]
            }
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
        self.scored(
            &name,
            Run {
                config,
                seed,
                folder,
                resolved: Some((file, resolved)),
                evaluated: trained,
                control: None,
            },
        )
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
        self.scored(
            &name,
            Run {
                config,
                seed: 0,
                folder,
                resolved: Some((file, resolved)),
                evaluated: imported,
                control: None,
            },
        )
    }

    /// Adds the stages that score a run, and its control if the recipe has controls.
    ///
    /// `run.evaluated` is the stage that makes the run.
    fn scored(&mut self, name: &str, mut run: Run) -> Result<(), Error> {
        let device = self.device(self.runs.len());
        let controls = self.request.family.recipe.controls;
        // An evaluation and its control are side by side in the run's folder.
        let outputs = |control: bool| {
            let rows = Row::ALL.into_iter().filter(|row| row.config() == run.config);
            let mut folders: Vec<PathBuf> = rows
                .map(|row| run.folder.join("evaluation").join(row.evaluation(control)))
                .collect();
            let captions = run.folder.join("evaluation/test");
            if !control && !folders.contains(&captions) {
                folders.push(captions);
            }
            folders
        };
        let (official, shuffled) = (outputs(false), outputs(true));
        let all = vec![run.folder.join("evaluation")];
        let stage = |name: String, more: &[&str], after: usize, outputs: Vec<PathBuf>| {
            let folder = run.folder.display().to_string();
            let mut arguments = words(&["evaluate", "--run", &folder, "--device", &device]);
            arguments.extend(words(more));
            Stage {
                name,
                arguments,
                resume: Resume::Restart,
                inputs: vec![self.metrics()],
                after: vec![after],
                outputs,
                check: Check::Contents,
                optional: false,
            }
        };
        let outputs = if controls { official } else { all };
        let evaluate = stage(format!("evaluate/{name}"), &[], run.evaluated, outputs);
        let control = |after| stage(format!("control/{name}"), &["--control"], after, shuffled);
        // The stages are added in this order, so the next index is that of the evaluation.
        let control = controls.then(|| control(self.plan.stages().len()));
        run.evaluated = self.add(evaluate)?;
        run.control = control.map(|control| self.add(control)).transpose()?;
        self.runs.push(run);
        Ok(())
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
