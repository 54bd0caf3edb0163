//! Shows the stages of a study: a line for each running one, with the last line of its log.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use foreign_text::printable_path;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use studies::stages::{Damage, Observer, Outcome, Plan, StageAction};

use crate::terminal;

/// Shows a plan's stages; lines only where there is no terminal.
pub struct Screen {
    running: Mutex<HashMap<usize, ProgressBar>>,
    width: usize,
}

impl Screen {
    /// For this plan.
    pub fn new(plan: &Plan) -> Self {
        let width = plan.stages().iter().map(|stage| stage.name.len()).max().unwrap_or(0);
        Self { running: Mutex::default(), width }
    }

    fn bars(&self) -> std::sync::MutexGuard<'_, HashMap<usize, ProgressBar>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Screen {
    fn damaged(&self, plan: &Plan, at: usize, damage: &Damage) {
        let name = &plan.stages()[at].name;
        let kept = match damage {
            Damage::Lost(_) => "; what is there is kept under a name that ends in .damaged",
            Damage::Resumable(_) => "",
        };
        terminal::say(&format!("! {name} is run again: {}{kept}", damage.reason()));
    }

    fn started(&self, plan: &Plan, at: usize, action: StageAction) {
        let name = &plan.stages()[at].name;
        let what = match action {
            StageAction::Resume => "resumed".to_owned(),
            StageAction::Redo => format!("again{}", changes(plan, at)),
            StageAction::Restore => "again, since its results are damaged".to_owned(),
            StageAction::Keep | StageAction::Run => "started".to_owned(),
        };
        let style = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = ProgressBar::new_spinner().with_style(style);
        let bar = terminal::BARS.add(bar.with_prefix(format!("{name:<0$}", self.width)));
        bar.set_message(what.clone());
        bar.enable_steady_tick(Duration::from_millis(250));
        if bar.is_hidden() {
            terminal::say(&format!("{name}: {what}"));
        }
        self.bars().insert(at, bar);
    }

    fn said(&self, _plan: &Plan, at: usize, line: &str) {
        if let Some(bar) = self.bars().get(&at) {
            bar.set_message(line.to_owned());
        }
    }

    fn ended(&self, plan: &Plan, at: usize, outcome: &Outcome) {
        if let Some(bar) = self.bars().remove(&at) {
            bar.finish_and_clear();
        }
        let name = format!("{:<1$}", plan.stages()[at].name, self.width);
        match outcome {
            Outcome::Kept => terminal::say(&format!("✓ {name} was finished before")),
            Outcome::Finished { seconds } => {
                let time = HumanDuration(Duration::from_secs_f64(*seconds));
                terminal::say(&format!("✓ {name} {time:#}"));
            }
            Outcome::Failed { error } => {
                let log = plan.log_file(at);
                terminal::say(&format!(
                    "✗ {name} failed: {error}\n  all that it said: {}",
                    printable_path(&log)
                ));
            }
            Outcome::Skipped => terminal::say(&format!("- {name} left out: what it needs failed")),
            Outcome::Stopped => terminal::say(&format!("- {name} stopped; --resume resumes it")),
        }
    }
}

/// Returns why a stage is run again: the names of its changed inputs.
pub fn changes(plan: &Plan, at: usize) -> String {
    match plan.changes(at).unwrap_or_default() {
        names if names.is_empty() => String::new(),
        names => format!(", with other inputs: {}", names.join(", ")),
    }
}
