//! Differences of two configurations, all or those that decide a run's weights or captions.

use std::fmt::Write as _;

use crate::config::Config;
use crate::paths::PATHS_AND_MODELS;

/// Keys that a resumed run may change because they alter its weights by rounding at most.
///
/// These are hardware, logs and checkpoints; besides, it may change [`PATHS_AND_MODELS`].
const OPEN_ON_RESUME: [&str; 10] = [
    "training.device",
    "training.threads",
    "training.peer_timeout_seconds",
    "training.log_every_steps",
    "training.checkpoint_every_steps",
    "training.save_total_limit",
    "training.keep_best_checkpoint",
    "training.keep_every_steps",
    "training.scored_pictures",
    "decoding.batch_size",
];

impl Config {
    /// Returns the decoding values that `self` has and `official` has not, by their last name.
    ///
    /// The batch size is left out: captions depend on it by rounding only.
    #[must_use]
    pub fn changed_decoding(&self, official: &Self) -> Vec<String> {
        let before = official.values();
        let values = self.values().into_iter().filter(|pair| !before.contains(pair));
        let name = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
        values
            .filter(|(key, _)| key.starts_with("decoding.") && key != "decoding.batch_size")
            .map(|(key, value)| format!("{}={}", name(&key), value.trim_matches('"')))
            .collect()
    }

    /// Returns a line `key: before -> after` for every value that differs; empty when none does.
    #[must_use]
    pub fn difference(&self, other: &Self) -> String {
        self.difference_except(&[], other)
    }

    /// Returns [`Self::difference`] in the keys that decide a run's weights.
    ///
    /// It is empty if a run with the config `self` can be resumed with `other`.
    #[must_use]
    pub fn difference_of_run(&self, other: &Self) -> String {
        self.difference_except(&[&OPEN_ON_RESUME[..], &PATHS_AND_MODELS].concat(), other)
    }

    fn difference_except(&self, keys: &[&str], other: &Self) -> String {
        let (before, after) = (self.values(), other.values());
        let mut lines = String::new();
        for (key, value) in before.iter().filter(|(key, _)| !keys.contains(&key.as_str())) {
            match after.iter().find(|(name, _)| name == key) {
                Some((_, changed)) if changed != value => {
                    let _ = writeln!(lines, "  {key}: {value} -> {changed}");
                }
                _ => {}
            }
        }
        lines
    }
}
