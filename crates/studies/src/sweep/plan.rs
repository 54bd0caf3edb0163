//! A sweep's runs as stages: shared inputs first, then for each run its training and its scores, up to one
//! rung after the other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use foreign_text::printable_path;
use recipes::{ClipPrefix, Config, Data, Sbg, System, Tokenizer};

use super::Error;
use super::definition::{Sweep, Trial};
use crate::stages::{Check, Input, Plan, Resume, Stage};

/// One run, trained and scored up to a rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Goal {
    pub trial: usize,
    pub seed: u64,
    pub rung: usize,
}

/// A plan, and where in it the runs are.
pub(super) struct Planned {
    pub plan: Plan,
    /// The stages of a run up to a rung from the one before, the last of which measures it.
    pub goals: BTreeMap<Goal, Vec<usize>>,
}

/// Makes plans of one sweep in one folder.
pub(super) struct Planner<'a> {
    pub sweep: &'a Sweep,
    /// The sweep's folder, absolute.
    pub out: &'a Path,
    /// Of each trial, as it is trained.
    pub configs: Vec<Config>,
    /// Stands for the code in stages' keys.
    pub code: &'a str,
    /// What is known of files that many stages read.
    pub looked_at: BTreeMap<PathBuf, Input>,
}

impl Planner<'_> {
    /// A trial's folder in the sweep's.
    pub fn trial_folder(&self, trial: usize) -> PathBuf {
        self.out.join("trials").join(format!("{trial:03}"))
    }

    /// The config file that a trial's runs are started from.
    pub fn config_file(&self, trial: usize) -> PathBuf {
        self.trial_folder(trial).join("config.toml")
    }

    /// A run's folder.
    pub fn run_folder(&self, trial: usize, seed: u64) -> PathBuf {
        self.trial_folder(trial).join(format!("seed-{seed}"))
    }

    /// Where a run's scores at a rung are.
    pub fn evaluation(&self, goal: Goal) -> PathBuf {
        let part = self.sweep.split;
        let name = match self.sweep.rungs[goal.rung] {
            None => part.to_string(),
            Some(epochs) => format!("{part}-epoch-{epochs}"),
        };
        self.run_folder(goal.trial, goal.seed).join("evaluation").join(name)
    }

    /// The plan that reaches these goals, each with the rungs below it.
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

    /// Training to a rung, and the scores there.
    fn goal(
        &mut self,
        plan: &mut Plan,
        goal: Goal,
        after: Vec<usize>,
    ) -> Result<Vec<usize>, Error> {
        let stop = self.sweep.rungs[goal.rung];
        let name = |what: &str| {
            let until = stop.map(|epochs| format!("-epoch-{epochs}")).unwrap_or_default();
            format!("{:03}/seed-{}/{what}{until}", goal.trial, goal.seed)
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
        let mut inputs = vec![Input::Text(config.to_toml())];
        if goal.rung == 0 {
            inputs.extend(self.inputs(&config)?);
        }
        let train = plan.add(
            Stage {
                name: name("train"),
                arguments,
                resume: Resume::Itself,
                inputs,
                after,
                // The rungs above go on with the same run.
                outputs: if goal.rung == 0 { vec![run.clone()] } else { Vec::new() },
                check: Check::Run { folder: run.clone(), epochs: stop },
                optional: false,
            },
            self.code,
        )?;
        if !self.sweep.is_by_score() {
            return Ok(vec![train]);
        }
        let out = self.evaluation(goal);
        let mut arguments = words(&["evaluate", "--run"], &run);
        arguments.extend(["--split".to_owned(), self.sweep.split.to_string()]);
        arguments.extend(words(&["--out"], &out));
        arguments.extend(["--device".to_owned(), config.training.device.clone()]);
        let evaluate = plan.add(
            Stage {
                name: name("evaluate"),
                arguments,
                resume: Resume::Anew,
                inputs: Vec::new(),
                after: vec![train],
                outputs: vec![scored(&out, self.sweep.choice.as_deref())],
                check: match stop {
                    Some(epochs) => Check::Scores { run: run.clone(), epochs },
                    None => Check::Contents,
                },
                optional: false,
            },
            self.code,
        )?;
        Ok(vec![train, evaluate])
    }

    /// What a run reads that no stage makes.
    fn inputs(&mut self, config: &Config) -> Result<Vec<Input>, Error> {
        let mut paths = vec![config.data.dataset.clone(), config.data.embeddings.clone()];
        // A model of the hub is no path here, and never changes.
        paths.extend(config.system.language_model().map(PathBuf::from));
        if let System::Sbg(Sbg { keywords, .. }) = &config.system {
            paths.extend([
                keywords.selected.clone(),
                keywords.labels.clone(),
                keywords.encyclopedia.clone(),
            ]);
        }
        let made = self.made_here(config);
        paths
            .into_iter()
            .filter(|path| !made.contains(path))
            .map(|path| self.look_at(&path))
            .collect()
    }

    fn look_at(&mut self, path: &Path) -> Result<Input, Error> {
        if let Some(known) = self.looked_at.get(path) {
            return Ok(known.clone());
        }
        let input = Input::listing(path)?;
        self.looked_at.insert(path.to_owned(), input.clone());
        Ok(input)
    }

    /// The files of a config that stages of this sweep make, or have made.
    fn made_here(&self, config: &Config) -> Vec<PathBuf> {
        let mut plan = Plan::new(self.out);
        let stages = self.shared_stages(config);
        let made = stages.into_iter().filter(|stage| {
            let at = plan.add(Stage { after: Vec::new(), ..stage.clone() }, self.code);
            let record = at.and_then(|at| plan.record(at));
            let is_missing = stage.outputs.iter().any(|output| !output.exists());
            is_missing || !matches!(record, Ok(None))
        });
        made.flat_map(|stage| stage.outputs).collect()
    }

    /// Adds the stages that make what a trial reads and is not there, each once; the trial comes after
    /// them.
    fn shared(
        &self,
        plan: &mut Plan,
        known: &mut BTreeMap<String, usize>,
        trial: usize,
    ) -> Result<Vec<usize>, Error> {
        let config = &self.configs[trial];
        let made = self.made_here(config);
        let mut all: Vec<usize> = Vec::new();
        for stage in self.shared_stages(config) {
            if !stage.outputs.iter().any(|output| made.contains(output)) {
                continue;
            }
            let at = match known.get(&stage.name) {
                Some(&at) => at,
                None => plan.add(Stage { after: all.clone(), ..stage.clone() }, self.code)?,
            };
            known.insert(stage.name, at);
            all.push(at);
        }
        Ok(all)
    }

    /// The stages that make a config's embeddings and keywords, each after the ones before; none where the
    /// sweep names no CLIP to make them by.
    fn shared_stages(&self, config: &Config) -> Vec<Stage> {
        let Some(clip) = &self.sweep.clip else { return Vec::new() };
        let data = &config.data;
        let device = &config.training.device;
        let by_clip = ["--clip".to_owned(), clip.clone(), "--device".to_owned(), device.clone()];
        let stage = |what: &str, start: &[&str], more: Vec<String>, outputs: Vec<PathBuf>| {
            let mut arguments = of_data_set(start, data);
            arguments.extend(by_clip.clone());
            arguments.extend(more);
            Stage {
                name: format!("shared/{what}-{}", short_name(&outputs[0])),
                arguments,
                resume: Resume::Itself,
                inputs: Vec::new(),
                after: Vec::new(),
                outputs,
                check: Check::Contents,
                optional: false,
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

    /// Refuses a trial whose files are missing and not made here.
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
                "{} is not there; name a CLIP in the sweep's file, such as clip = \"openai/clip-vit-large-patch14\", and the sweep makes it once, or make it with capsmith precompute or keywords",
                printable_path(missing)
            )),
        }
    }
}

/// `keywords build` gives its files their names.
fn check_keyword_names(config: &Config) -> Result<(), String> {
    let System::Sbg(Sbg { keywords, .. }) = &config.system else { return Ok(()) };
    let (labels, encyclopedia) = (&keywords.labels, &keywords.encyclopedia);
    let are_named = labels.ends_with("labels.json")
        && encyclopedia.ends_with("encyclopedia.json")
        && labels.parent() == encyclopedia.parent();
    if are_named || (labels.exists() && encyclopedia.exists()) {
        return Ok(());
    }
    Err("keywords.labels and keywords.encyclopedia are not there, and can only be made as labels.json and encyclopedia.json in one folder".into())
}

/// The folder of scores of that choice, where there are several: as `capsmith evaluate` names it.
pub(super) fn scored(evaluation: &Path, choice: Option<&str>) -> PathBuf {
    let Some(choice) = choice else { return evaluation.to_owned() };
    let mut name = evaluation.file_name().unwrap_or_default().to_owned();
    name.push(format!("-{choice}"));
    evaluation.with_file_name(name)
}

fn of_data_set(start: &[&str], data: &Data) -> Vec<String> {
    let mut all = words(&[start, &["--dataset"]].concat(), &data.dataset);
    if data.layout != "auto" {
        all.extend(["--layout".to_owned(), data.layout.clone()]);
    }
    all
}

fn words(start: &[&str], path: &Path) -> Vec<String> {
    start.iter().map(ToString::to_string).chain([path.display().to_string()]).collect()
}

/// A path as part of a file's name.
fn short_name(path: &Path) -> String {
    let text = path.display().to_string();
    text.chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' })
        .collect()
}
