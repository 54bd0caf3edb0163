//! Plan of a sweep: stages of shared inputs, then training and evaluation of each run, rung by
//! rung.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use foreign_text::printable_path;
use recipes::{ClipPrefix, Config, Data, Sbg, System, Tokenizer};
use runs::ScoredCaptions;

use super::Error;
use super::definition::{Sweep, Trial};
use crate::stages::{Check, Input, Plan, Resume, Stage};

/// A run, trained and scored up to a rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Goal {
    pub trial: usize,
    pub seed: u64,
    pub rung: usize,
}

/// A plan, and the stages of its runs.
pub(super) struct Planned {
    pub plan: Plan,
    /// Stages of each run from the rung before; the last stage measures the run.
    pub goals: BTreeMap<Goal, Vec<usize>>,
}

/// Planner of a sweep in a folder.
pub(super) struct Planner<'a> {
    pub sweep: &'a Sweep,
    /// Absolute path of the sweep's folder.
    pub out: &'a Path,
    /// Resolved config of each trial.
    pub configs: Vec<Config>,
    /// Contents of files that many stages read.
    pub contents: BTreeMap<PathBuf, Input>,
}

impl Planner<'_> {
    /// Returns the folder of a trial.
    pub fn trial_folder(&self, trial: usize) -> PathBuf {
        self.out.join("trials").join(format!("{trial:03}"))
    }

    /// Returns the config file of a trial.
    pub fn config_file(&self, trial: usize) -> PathBuf {
        self.trial_folder(trial).join("config.toml")
    }

    /// Returns the folder of a run.
    pub fn run_folder(&self, trial: usize, seed: u64) -> PathBuf {
        self.trial_folder(trial).join(format!("seed-{seed}"))
    }

    /// Returns the folder of a run's scores at a rung.
    pub fn evaluation(&self, goal: Goal) -> PathBuf {
        let part = self.sweep.split;
        let name = match self.sweep.rungs[goal.rung] {
            None => part.to_string(),
            Some(epochs) => format!("{part}-epoch-{epochs}"),
        };
        self.run_folder(goal.trial, goal.seed).join("evaluation").join(name)
    }

    /// Returns the folder of the scores that rank a run at a rung.
    pub fn scored(&self, goal: Goal) -> PathBuf {
        let best_of = self.sweep.choice.as_deref().and_then(ScoredCaptions::parse_choice);
        ScoredCaptions { control: false, best_of }.folder(&self.evaluation(goal))
    }

    /// Returns the plan that reaches these goals, with the rungs below each.
    pub fn plan(&mut self, goals: &[Goal]) -> Result<Planned, Error> {
        let mut planned = Planned { plan: Plan::new(self.out), goals: BTreeMap::new() };
        let mut shared = BTreeMap::new();
        for goal in goals {
            let before = self.shared(&mut planned.plan, &mut shared, goal.trial)?;
            let mut after = before;
            for rung in 0..=goal.rung {
                let stages = self.goal(&mut planned.plan, Goal { rung, ..*goal }, after)?;
                after = stages.last().copied().into_iter().collect();
                planned.goals.insert(Goal { rung, ..*goal }, stages);
            }
        }
        Ok(planned)
    }

    /// Returns the plan of every run up to the highest rung.
    pub fn plan_of_all(&mut self) -> Result<Planned, Error> {
        let trials = self.sweep.trials.iter().map(|trial| trial.number);
        let runs = self.goals(trials, self.sweep.rungs.len() - 1);
        self.plan(&runs)
    }

    /// Returns the runs of trials at a rung, one for each seed.
    pub fn goals(&self, trials: impl IntoIterator<Item = usize>, rung: usize) -> Vec<Goal> {
        let seeds = &self.sweep.seeds;
        let runs = |trial: usize| seeds.iter().map(move |&seed| Goal { trial, seed, rung });
        trials.into_iter().flat_map(runs).collect()
    }

    /// Adds the stages that train a run to a rung and score it.
    fn goal(
        &mut self,
        plan: &mut Plan,
        goal: Goal,
        after: Vec<usize>,
    ) -> Result<Vec<usize>, Error> {
        let stop = self.sweep.rungs[goal.rung];
        let name = |command: &str| {
            let until = stop.map(|epochs| format!("-epoch-{epochs}")).unwrap_or_default();
            format!("{:03}/seed-{}/{command}{until}", goal.trial, goal.seed)
        };
        let config = self.configs[goal.trial].clone();
        let run = self.run_folder(goal.trial, goal.seed);
        let mut arguments = words(&["train", "--config"], &self.config_file(goal.trial));
        arguments.extend(words(&["--resume", "--out"], &run));
        arguments.extend(["--set".to_owned(), format!("training.seed={}", goal.seed)]);
        if let System::ClipPrefix(ClipPrefix { tokenizer: Tokenizer::Custom { .. }, .. }) =
            &config.system
        {
            arguments.extend(words(&["--tokenizers"], &self.out.join("tokenizers")));
        }
        if let Some(epochs) = stop {
            arguments.extend(["--stop-after-epochs".to_owned(), epochs.to_string()]);
        }
        let mut inputs = vec![Input::Config(Box::new(config.clone()))];
        if goal.rung == 0 {
            inputs.extend(self.inputs(plan, &config)?);
        }
        let train = plan.add(Stage {
            name: name("train"),
            arguments,
            resume: Resume::Rerun,
            inputs,
            after,
            // Higher rungs resume the same run.
            outputs: if goal.rung == 0 { vec![run.clone()] } else { Vec::new() },
            check: Check::Run { folder: run.clone(), epochs: stop },
            ..Stage::default()
        })?;
        if !self.sweep.is_by_score() {
            return Ok(vec![train]);
        }
        let out = self.evaluation(goal);
        let mut arguments = words(&["evaluate", "--run"], &run);
        arguments.extend(["--split".to_owned(), self.sweep.split.to_string()]);
        arguments.extend(words(&["--out"], &out));
        arguments.extend(["--device".to_owned(), config.training.device.clone()]);
        let evaluate = plan.add(Stage {
            name: name("evaluate"),
            arguments,
            after: vec![train],
            outputs: vec![self.scored(goal)],
            check: match stop {
                Some(epochs) => Check::Scores { run: run.clone(), epochs },
                None => Check::Contents,
            },
            ..Stage::default()
        })?;
        Ok(vec![train, evaluate])
    }

    /// Returns the inputs of a run that no stage creates.
    fn inputs(&mut self, plan: &mut Plan, config: &Config) -> Result<Vec<Input>, Error> {
        let mut paths = vec![config.data.dataset.clone(), config.data.embeddings.clone()];
        // A hub name is no path, and its model never changes.
        paths.extend(config.system.language_model().map(PathBuf::from));
        if let System::Sbg(Sbg { keywords, .. }) = &config.system {
            paths.extend([
                keywords.selected.clone(),
                keywords.labels.clone(),
                keywords.encyclopedia.clone(),
            ]);
        }
        let created = self.stage_outputs(config);
        paths
            .into_iter()
            .filter(|path| !created.contains(path))
            .map(|path| self.contents(plan, &path))
            .collect()
    }

    fn contents(&mut self, plan: &mut Plan, path: &Path) -> Result<Input, Error> {
        if let Some(known) = self.contents.get(path) {
            return Ok(known.clone());
        }
        let input = plan.contents(path)?;
        self.contents.insert(path.to_owned(), input.clone());
        Ok(input)
    }

    /// Returns the files of a config that stages of this sweep create or have created.
    fn stage_outputs(&self, config: &Config) -> Vec<PathBuf> {
        let mut plan = Plan::new(self.out);
        let stages = self.shared_stages(config);
        let created = stages.into_iter().filter(|stage| {
            let index = plan.add(Stage { after: Vec::new(), ..stage.clone() });
            let record = index.and_then(|index| plan.record(index));
            let is_missing = stage.outputs.iter().any(|output| !output.exists());
            is_missing || !matches!(record, Ok(None))
        });
        created.flat_map(|stage| stage.outputs).collect()
    }

    /// Adds the stages that create missing inputs of a trial, each once; returns their indices.
    fn shared(
        &self,
        plan: &mut Plan,
        known: &mut BTreeMap<String, usize>,
        trial: usize,
    ) -> Result<Vec<usize>, Error> {
        let config = &self.configs[trial];
        let created = self.stage_outputs(config);
        let mut all: Vec<usize> = Vec::new();
        for stage in self.shared_stages(config) {
            if !stage.outputs.iter().any(|output| created.contains(output)) {
                continue;
            }
            let index = match known.get(&stage.name) {
                Some(&index) => index,
                None => plan.add(Stage { after: all.clone(), ..stage.clone() })?,
            };
            known.insert(stage.name, index);
            all.push(index);
        }
        Ok(all)
    }

    /// Returns the stages that create a config's embeddings and keywords, in order; none if the
    /// sweep names no CLIP.
    fn shared_stages(&self, config: &Config) -> Vec<Stage> {
        let Some(clip) = &self.sweep.clip else { return Vec::new() };
        let data = &config.data;
        let device = &config.training.device;
        let by_clip = ["--clip".to_owned(), clip.clone(), "--device".to_owned(), device.clone()];
        let stage = |name: &str, start: &[&str], more: Vec<String>, outputs: Vec<PathBuf>| {
            let mut arguments = with_data_set(start, data);
            arguments.extend(by_clip.clone());
            arguments.extend(more);
            Stage {
                name: format!("shared/{name}-{}", short_name(&outputs[0])),
                arguments,
                resume: Resume::Rerun,
                outputs,
                ..Stage::default()
            }
        };
        let out = words(&["--out"], &data.embeddings);
        let mut all =
            vec![stage("embeddings", &["precompute"], out, vec![data.embeddings.clone()])];
        if let System::Sbg(Sbg { keywords, .. }) = &config.system {
            let folder = keywords.labels.parent().unwrap_or(Path::new(""));
            all.push(stage(
                "keywords",
                &["keywords", "build"],
                words(&["--out"], folder),
                vec![keywords.labels.clone(), keywords.encyclopedia.clone()],
            ));
            let mut more = words(&["--keywords"], folder);
            more.extend(words(&["--embeddings"], &data.embeddings));
            more.extend(words(&["--out"], &keywords.selected));
            let outputs = vec![keywords.selected.clone()];
            all.push(stage("selection", &["keywords", "select"], more, outputs));
        }
        all
    }

    /// Fails if an input of a trial is missing and no stage creates it.
    pub fn check_inputs(&self, trial: &Trial) -> Result<(), String> {
        let config = &self.configs[trial.number];
        if self.sweep.clip.is_some() {
            return check_keyword_names(config);
        }
        let mut files = vec![&config.data.embeddings];
        if let System::Sbg(Sbg { keywords, .. }) = &config.system {
            files.extend([&keywords.selected, &keywords.labels, &keywords.encyclopedia]);
        }
        match files.into_iter().find(|file| !file.exists()) {
            None => Ok(()),
            Some(missing) => Err(format!(
                "{} does not exist; name a CLIP in the sweep file, such as clip = \"openai/clip-vit-large-patch14\", to let the sweep create it, or create it with capsmith precompute or keywords",
                printable_path(missing)
            )),
        }
    }
}

/// Fails if keyword files are missing and have other names than `keywords build` gives them.
fn check_keyword_names(config: &Config) -> Result<(), String> {
    let System::Sbg(Sbg { keywords, .. }) = &config.system else { return Ok(()) };
    let (labels, encyclopedia) = (&keywords.labels, &keywords.encyclopedia);
    let are_named = labels.ends_with("labels.json")
        && encyclopedia.ends_with("encyclopedia.json")
        && labels.parent() == encyclopedia.parent();
    if are_named || (labels.exists() && encyclopedia.exists()) {
        return Ok(());
    }
    Err("keywords.labels and keywords.encyclopedia do not exist, and the sweep can only create them as labels.json and encyclopedia.json in one folder".into())
}

fn with_data_set(start: &[&str], data: &Data) -> Vec<String> {
    let mut all = words(&[start, &["--dataset"]].concat(), &data.dataset);
    if data.layout != "auto" {
        all.extend(["--layout".to_owned(), data.layout.clone()]);
    }
    for (option, value) in [
        ("--captions", data.captions.display().to_string()),
        ("--images", data.images.display().to_string()),
        ("--image-column", data.image_column.clone()),
        ("--caption-column", data.caption_column.clone()),
    ] {
        if !value.is_empty() {
            all.extend([option.to_owned(), value]);
        }
    }
    all
}

fn words(start: &[&str], path: &Path) -> Vec<String> {
    start.iter().map(ToString::to_string).chain([path.display().to_string()]).collect()
}

/// Returns a path as part of a file name.
fn short_name(path: &Path) -> String {
    let text = path.display().to_string();
    text.chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' })
        .collect()
}
