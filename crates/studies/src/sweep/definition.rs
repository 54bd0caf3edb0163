//! Reading and checking of a sweep's file and the config of every trial.

use std::path::{Path, PathBuf};

use foreign_text::printable_path;
use recipes::{Config, System};
use runs::ScoredCaptions;
use runs::metrics::ScoredSplit;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::Error;
use super::halving::{self, Direction};
use super::space::{MAX_TRIALS, Settings, Space};

/// Name of the metric that is no score: the loss on held-out captions.
pub const VALIDATION_LOSS: &str = "validation-loss";

/// Keys that a sweep file must not set, and what to do instead.
const RESERVED_KEYS: [(&str, &str); 2] = [
    ("training.seed", "list seeds under `seeds`; each trial is trained with all of them"),
    ("training.device", "name devices with --device"),
];

/// Search strategy: selection of trials from the space, and length of their training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Search {
    /// Every combination of values.
    Grid {},
    /// Combinations drawn at random.
    Random {
        /// Number of trials.
        trials: usize,
        /// Random seed of the draws.
        seed: u64,
    },
    /// Random combinations, of which only the best are trained longer.
    SuccessiveHalving {
        /// Number of trials.
        trials: usize,
        /// Random seed of the draws.
        seed: u64,
        /// Reduction factor: at each rung one in `eta` trials survives, for `eta` times as many
        /// epochs.
        eta: u64,
        /// Epochs of the first rung.
        min_epochs: u64,
    },
}

/// Contents of a sweep file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SweepFile {
    base: PathBuf,
    metric: String,
    direction: Direction,
    split: ScoredSplit,
    choice: Option<String>,
    seeds: Vec<u64>,
    clip: Option<String>,
    search: Search,
    #[serde(default)]
    fixed: Table,
    space: Table,
}

/// A checked sweep.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// Name of the file, without its extension.
    pub name: String,
    /// Path of the sweep's file.
    pub file: PathBuf,
    /// Path of the base config.
    pub base: PathBuf,
    /// Metric that ranks trials: a score such as `CIDEr`, or `validation-loss`.
    pub metric: String,
    /// Direction in which the metric improves.
    pub direction: Direction,
    /// Scored split.
    pub split: ScoredSplit,
    /// Ranked variant of runs that rerank captions, such as `best-of-5`.
    pub choice: Option<String>,
    /// Seeds that each trial is trained with.
    pub seeds: Vec<u64>,
    /// CLIP that computes missing embeddings and keywords.
    pub clip: Option<String>,
    /// Search strategy.
    pub search: Search,
    /// Search space.
    pub space: Space,
    /// Epochs of each rung; a single `None` if every trial is trained fully.
    pub rungs: Vec<Option<u64>>,
    /// Trials, by number.
    pub trials: Vec<Trial>,
}

/// A combination of values.
#[derive(Debug, Clone)]
pub struct Trial {
    /// Number of the trial, from 0.
    pub number: usize,
    /// Values of the varied keys.
    pub settings: Settings,
    /// Resolved config, with the first seed.
    pub config: Config,
}

impl Sweep {
    /// Reads and checks a sweep's file, its base config, and the config of every trial.
    ///
    /// # Errors
    /// Fails if a file cannot be read or a key is invalid; names the key and the expected values.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path).map_err(|reason| Error::Invalid { path: path.to_owned(), reason })
    }

    fn parse(text: &str, path: &Path) -> Result<Self, String> {
        let file: SweepFile =
            toml::from_str(text).map_err(|error| error.to_string().trim().to_owned())?;
        let space = Space::parse(&file.space).map_err(|reason| format!("[space]: {reason}"))?;
        let drawn = match file.search {
            Search::Grid {} => space.grid(),
            Search::Random { trials, seed } | Search::SuccessiveHalving { trials, seed, .. } => {
                check_trials(trials)?;
                space.draw(seed, trials)
            }
        };
        let fixed = flattened(&file.fixed);
        check_keys(&fixed, &space)?;
        check_seeds(&file.seeds)?;
        let base = std::fs::read_to_string(&file.base).map_err(|error| {
            format!(
                "`base`: cannot read {}: {error}; it is a path from the current folder",
                printable_path(&file.base)
            )
        })?;
        let trial = |(number, settings): (usize, Settings)| {
            let config = config(&base, &file, &fixed, &settings);
            config.map(|config| Trial { number, settings: settings.clone(), config }).map_err(
                |reason| format!("trial {number} ({}): {reason}", format_settings(&settings)),
            )
        };
        // The base alone first, so that its errors name no trial.
        config(&base, &file, &fixed, &Vec::new())?;
        let drawn = drawn.map_err(|reason| format!("[space]: {reason}"))?;
        let trials = drawn.into_iter().enumerate().map(trial).collect::<Result<Vec<_>, _>>()?;
        let rungs = rungs(file.search, &space, &trials[0].config)?;
        let sweep = Self {
            name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            file: path.to_owned(),
            base: file.base,
            metric: file.metric,
            direction: file.direction,
            split: file.split,
            choice: file.choice,
            seeds: file.seeds,
            clip: file.clip,
            search: file.search,
            space,
            rungs,
            trials,
        };
        sweep.check_metric()?;
        Ok(sweep)
    }

    /// Returns whether a score of captions ranks trials, rather than a loss.
    #[must_use]
    pub fn is_by_score(&self) -> bool {
        self.metric != VALIDATION_LOSS
    }

    fn check_metric(&self) -> Result<(), String> {
        let scores: Vec<&str> = caption_metrics::Metric::PYCOCOEVALCAP
            .iter()
            .flat_map(|metric| metric.names().iter().copied())
            .collect();
        if self.is_by_score() && !scores.contains(&self.metric.as_str()) {
            return Err(format!(
                "`metric` is \"{}\", but must be one of {}, {VALIDATION_LOSS}{}",
                self.metric,
                scores.join(", "),
                nearest(&self.metric, &scores)
            ));
        }
        let (better, other) = if self.is_by_score() {
            (Direction::Maximize, "\"maximize\": a higher score is better")
        } else {
            (Direction::Minimize, "\"minimize\": a lower loss is better")
        };
        if self.direction != better {
            return Err(format!("`direction` of {} must be {other}", self.metric));
        }
        if !self.is_by_score() && self.split != ScoredSplit::Validation {
            return Err("`split` must be \"validation\" where `metric` is validation-loss".into());
        }
        self.trials.iter().try_for_each(|trial| self.check_split(trial))
    }

    /// Fails if the scored split is empty or `choice` is not a variant of the runs.
    fn check_split(&self, trial: &Trial) -> Result<(), String> {
        let data = &trial.config.data;
        let is_empty = data.split == datasets::SplitKind::Paper && data.validation_captions == 0;
        if self.split == ScoredSplit::Validation && is_empty {
            return Err("trials are compared on the validation split, but data.validation_captions is 0; hold captions out under [fixed], such as data.validation_captions = 1000 (or set split = \"test\", which makes the test scores optimistic)".into());
        }
        let choices: Vec<String> = match &trial.config.system {
            System::Sbg(system) if self.is_by_score() => {
                system.reranking.best_of.iter().map(|&best| ScoredCaptions::choice(best)).collect()
            }
            _ => Vec::new(),
        };
        match &self.choice {
            None if choices.is_empty() => Ok(()),
            Some(choice) if choices.contains(choice) => Ok(()),
            Some(choice) if choices.is_empty() => Err(format!(
                "`choice` is \"{choice}\", but these runs have one caption a picture; leave it out"
            )),
            _ => Err(format!(
                "`choice` must say which captions are scored: {}",
                choices
                    .iter()
                    .map(|choice| format!("\"{choice}\""))
                    .collect::<Vec<_>>()
                    .join(" or ")
            )),
        }
    }
}

fn check_trials(trials: usize) -> Result<(), String> {
    if (1..=MAX_TRIALS).contains(&trials) {
        return Ok(());
    }
    Err(format!("`search.trials` is {trials}, but must be from 1 to {MAX_TRIALS}"))
}

fn check_seeds(seeds: &[u64]) -> Result<(), String> {
    let is_twice = |(index, seed): (usize, &u64)| seeds[..index].contains(seed);
    if seeds.is_empty() || seeds.iter().enumerate().any(is_twice) {
        return Err(format!("`seeds` is {seeds:?}, but must be one or more distinct seeds"));
    }
    Ok(())
}

fn check_keys(fixed: &Settings, space: &Space) -> Result<(), String> {
    let varied = space.axes.iter().map(|axis| axis.key.as_str());
    for key in fixed.iter().map(|(key, _)| key.as_str()).chain(varied.clone()) {
        if let Some((_, instead)) = RESERVED_KEYS.iter().find(|(reserved, _)| *reserved == key) {
            return Err(format!("`{key}` cannot be set here; {instead}"));
        }
    }
    for key in varied {
        if fixed.iter().any(|(other, _)| other == key) {
            return Err(format!("`{key}` is in [fixed] and in [space]; leave one out"));
        }
    }
    Ok(())
}

fn config(
    base: &str,
    file: &SweepFile,
    fixed: &Settings,
    settings: &Settings,
) -> Result<Config, String> {
    let set = |(key, value): &(String, Value)| format!("{key}={value}");
    let mut sets: Vec<String> = fixed.iter().chain(settings).map(set).collect();
    sets.extend(file.seeds.first().map(|seed| format!("training.seed={seed}")));
    Config::parse(base, &file.base, &sets).map_err(|error| error.to_string())
}

fn rungs(search: Search, space: &Space, config: &Config) -> Result<Vec<Option<u64>>, String> {
    let Search::SuccessiveHalving { eta, min_epochs, .. } = search else { return Ok(vec![None]) };
    let epochs = config.training.epochs;
    if space.axes.iter().any(|axis| axis.key == "training.epochs") {
        return Err("`training.epochs` cannot vary in successive halving, which sets the epochs of each rung".into());
    }
    if eta < 2 {
        return Err(format!("`search.eta` is {eta}, but must be at least 2"));
    }
    if min_epochs == 0 || min_epochs > epochs {
        return Err(format!(
            "`search.min_epochs` is {min_epochs}, but must be from 1 to training.epochs, {epochs}"
        ));
    }
    Ok(halving::rungs(min_epochs, eta, epochs).into_iter().map(Some).collect())
}

/// Returns a nested table as dotted keys and values.
fn flattened(table: &Table) -> Settings {
    let mut all = Settings::new();
    for (name, value) in table {
        match value {
            Value::Table(inner) => all.extend(
                flattened(inner).into_iter().map(|(key, value)| (format!("{name}.{key}"), value)),
            ),
            _ => all.push((name.clone(), value.clone())),
        }
    }
    all
}

fn nearest(word: &str, words: &[&str]) -> String {
    let plain = |word: &str| word.to_lowercase().replace('_', "-");
    let similar = |other: &&&str| strsim::jaro_winkler(&plain(word), &plain(other));
    words
        .iter()
        .filter(|other| similar(other) > 0.8)
        .max_by(|a, b| similar(a).total_cmp(&similar(b)))
        .map_or_else(String::new, |word| format!("; did you mean \"{word}\"?"))
}

/// Formats a value for people.
#[must_use]
pub fn format_value(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Float(number) if *number != 0.0 && !(1e-3..1e6).contains(&number.abs()) => {
            format!("{number:e}")
        }
        Value::Float(number) => number.to_string(),
        Value::Table(section) => {
            let one = |(key, value): (&String, &Value)| match key.as_str() {
                "kind" => format_value(value),
                _ => format!("{key}={}", format_value(value)),
            };
            section.iter().map(one).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

/// Formats settings in one line.
#[must_use]
pub fn format_settings(settings: &Settings) -> String {
    let one = |(key, value): &(String, Value)| format!("{key}={}", format_value(value));
    settings.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

    fn file(search: &str, space: &str) -> String {
        format!(
            "base = \"{ROOT}/configs/small/prefix-gradient-clipping.toml\"\nmetric = \"CIDEr\"\n\
             direction = \"maximize\"\nsplit = \"validation\"\nseeds = [1, 2]\n[search]\n{search}\n\
             [fixed]\ndata.validation_captions = 1000\n[space]\n{space}\n"
        )
    }

    fn parse(text: &str) -> Result<Sweep, String> {
        Sweep::parse(text, Path::new("some.toml"))
    }

    const GRID: &str = "kind = \"grid\"";
    const RATES: &str = "optimizer.learning_rate = [1e-4, 1e-3]";

    #[test]
    fn trials_are_the_base_with_what_is_fixed_and_what_varies() {
        let sweep = parse(&file(GRID, RATES)).unwrap();
        assert_eq!((sweep.name.as_str(), sweep.rungs.as_slice()), ("some", &[None][..]));
        let rates: Vec<f64> =
            sweep.trials.iter().map(|trial| trial.config.optimizer.learning_rate).collect();
        assert_eq!(rates, [1e-4, 1e-3]);
        for trial in &sweep.trials {
            assert_eq!(trial.config.data.validation_captions, 1000);
            assert_eq!(trial.config.training.seed, 1);
            assert_eq!(trial.config.training.epochs, 3);
        }
        let search = "kind = \"successive-halving\"\ntrials = 3\nseed = 1\neta = 2\nmin_epochs = 1";
        let halving = parse(&file(search, "optimizer.beta1 = { uniform = [0.8, 0.9] }")).unwrap();
        assert_eq!(halving.rungs, [Some(1), Some(2), Some(3)]);
    }

    #[test]
    fn the_sweeps_that_come_along_can_be_run() {
        let folder = Path::new(ROOT).join("configs/sweeps");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut kinds: Vec<String> = files
            .map(|path| {
                let text = std::fs::read_to_string(&path).unwrap();
                let text = text.replace("base = \"", &format!("base = \"{ROOT}/"));
                let sweep = Sweep::parse(&text, &path);
                format!("{:?}", sweep.unwrap_or_else(|error| panic!("{error}")).search)
            })
            .map(|search| search.split(' ').next().unwrap().to_owned())
            .collect();
        kinds.sort();
        kinds.dedup();
        assert_eq!(kinds, ["Grid", "Random", "SuccessiveHalving"]);
    }

    #[test]
    fn what_cannot_be_run_is_refused_with_its_key_before_anything_starts() {
        let random = |trials: usize| format!("kind = \"random\"\ntrials = {trials}\nseed = 1");
        let halving = |eta: u64, min: u64| {
            format!(
                "kind = \"successive-halving\"\ntrials = 2\nseed = 1\neta = {eta}\nmin_epochs = {min}"
            )
        };
        for (search, space, expected) in [
            (GRID, "optimizer.learning_rat = [1]", "did you mean `optimizer.learning_rate`"),
            (
                GRID,
                "optimizer.learning_rate = [\"fast\"]",
                "trial 0 (optimizer.learning_rate=fast)",
            ),
            (
                GRID,
                "optimizer.beta1 = [0.9, 1.5]",
                "trial 1 (optimizer.beta1=1.5): `optimizer.beta1` is 1.5",
            ),
            (GRID, "training.seed = [1, 2]", "list seeds under `seeds`"),
            (GRID, "data.validation_captions = [0, 5]", "in [fixed] and in [space]"),
            (GRID, "optimizer.beta1 = { uniform = [0, 1] }", "`optimizer.beta1` has a range"),
            (&random(0), RATES, "`search.trials` is 0"),
            (&random(3), RATES, "there are only 2"),
            (&halving(1, 1), RATES, "`search.eta` is 1"),
            (&halving(2, 6), RATES, "`search.min_epochs` is 6"),
            (&halving(2, 1), "training.epochs = [1, 2]", "`training.epochs` cannot vary"),
            ("kind = \"gird\"", RATES, "unknown variant `gird`"),
            ("kind = \"grid\"\ntrials = 3", RATES, "unknown field `trials`"),
        ] {
            let error = parse(&file(search, space)).unwrap_err();
            assert!(error.contains(expected), "{space}: {error}");
        }
        for (from, to, expected) in [
            ("metric = \"CIDEr\"", "metric = \"Bleu_4\"", "did you mean \"BLEU-4\"?"),
            ("maximize", "minimize", "a higher score is better"),
            ("metric = \"CIDEr\"", "metric = \"validation-loss\"", "a lower loss is better"),
            ("data.validation_captions = 1000", "", "data.validation_captions is 0"),
            ("seeds = [1, 2]", "seeds = []", "`seeds` is []"),
            ("seeds = [1, 2]", "seeds = [1, 1]", "`seeds` is [1, 1]"),
            ("seeds = [1, 2]", "sedes = [1, 2]", "unknown field `sedes`"),
            ("seeds = [1, 2]", "seeds = [1]\nchoice = \"best-of-2\"", "leave it out"),
            ("prefix-gradient-clipping.toml", "absent.toml", "absent.toml"),
            ("prefix-gradient-clipping.toml", "sbg.toml", "`choice` must say"),
        ] {
            let error = parse(&file(GRID, RATES).replace(from, to)).unwrap_err();
            assert!(error.contains(expected), "{to}: {error}");
        }
    }
}
