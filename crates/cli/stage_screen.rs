//! Progress display of a study: one line per running stage, with the last line of its log.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use foreign_text::printable_path;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use studies::stages::{Damage, Observer, Outcome, Plan, StageAction};

use crate::terminal;

/// Shows the stages of a plan; without a terminal, prints only their start and end.
pub struct Screen {
    running: Mutex<HashMap<usize, ProgressBar>>,
    width: usize,
}

impl Screen {
    /// Creates the display of a plan.
    pub fn new(plan: &Plan) -> Self {
        let width = plan.stages().iter().map(|stage| stage.name.len()).max().unwrap_or(0);
        Self { running: Mutex::default(), width }
    }

    fn bars(&self) -> std::sync::MutexGuard<'_, HashMap<usize, ProgressBar>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Screen {
    fn damaged(&self, plan: &Plan, index: usize, damage: &Damage) {
        let name = &plan.stages()[index].name;
        let kept = match damage {
            Damage::Lost(_) => "; the damaged files are kept under names that end in .damaged",
            Damage::Resumable(_) => "",
        };
        terminal::say(&format!("! {name} runs again: {}{kept}", damage.reason()));
    }

    fn started(&self, plan: &Plan, index: usize, action: StageAction) {
        let name = &plan.stages()[index].name;
        let status = match action {
            StageAction::Resume => "resuming".to_owned(),
            StageAction::Redo => {
                let (changes, took) = (changes(plan, index), took(plan, index));
                format!("running again{changes}{took}; earlier outputs are kept as *.previous")
            }
            StageAction::Restore => "running again, since its results are damaged".to_owned(),
            StageAction::Keep | StageAction::Run => "started".to_owned(),
        };
        let style = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = ProgressBar::new_spinner().with_style(style);
        let bar = terminal::BARS.add(bar.with_prefix(format!("{name:<0$}", self.width)));
        bar.set_message(status.clone());
        bar.enable_steady_tick(Duration::from_millis(250));
        if bar.is_hidden() {
            terminal::say(&format!("{name}: {status}"));
        }
        self.bars().insert(index, bar);
    }

    fn output(&self, _plan: &Plan, index: usize, line: &str) {
        if let Some(bar) = self.bars().get(&index) {
            bar.set_message(line.to_owned());
        }
    }

    fn ended(&self, plan: &Plan, index: usize, outcome: &Outcome) {
        if let Some(bar) = self.bars().remove(&index) {
            bar.finish_and_clear();
        }
        let name = format!("{:<1$}", plan.stages()[index].name, self.width);
        match outcome {
            Outcome::Kept => terminal::say(&format!("✓ {name} already finished")),
            Outcome::Finished { seconds } => {
                let time = HumanDuration(Duration::from_secs_f64(*seconds));
                terminal::say(&format!("✓ {name} {time:#}"));
            }
            Outcome::Failed { error } => {
                let log = plan.log_file(index);
                terminal::say(&format!(
                    "✗ {name} failed: {error}\n  log: {}",
                    printable_path(&log)
                ));
            }
            Outcome::Skipped => {
                terminal::say(&format!("- {name} skipped: a stage that it depends on failed"));
            }
            Outcome::Stopped => {
                terminal::say(&format!("- {name} stopped; resume it with --resume"));
            }
        }
    }
}

/// Returns the reason to run a stage again: the names of its changed inputs.
pub fn changes(plan: &Plan, index: usize) -> String {
    match plan.changes(index).unwrap_or_default() {
        names if names.is_empty() => String::new(),
        names => format!(", changed inputs: {}", names.join(", ")),
    }
}

/// Returns the time that a stage has taken, as its record measured it; empty for none.
pub fn took(plan: &Plan, index: usize) -> String {
    let seconds = plan.record(index).ok().flatten().map_or(0.0, |record| record.seconds);
    if seconds < 1.0 {
        return String::new();
    }
    format!(" (took {})", HumanDuration(Duration::from_secs_f64(seconds)))
}
