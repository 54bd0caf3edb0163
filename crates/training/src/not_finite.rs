//! Refuses losses and gradient norms that are not finite.

use std::fmt::Write as _;

use runs::RunFolder;

use crate::error::Error;
use crate::pending::{PendingStep, StepValues};
use crate::state::TrainState;
use crate::systems::System;

/// File in the run folder that lists the captions of the batch.
const LIST: &str = "not-finite-batch.txt";

/// Refuses the first step whose loss or norm is not finite, and lists its batch's captions.
///
/// # Errors
/// Fails with [`Error::NotFinite`], or if the list cannot be written.
pub(crate) fn check<S: System>(
    pending: &[PendingStep],
    values: &[StepValues],
    state: &TrainState<S>,
    run: &RunFolder,
) -> Result<(), Error> {
    for (step, values) in pending.iter().zip(values) {
        for (what, value) in [("loss", values.loss), ("gradient norm", values.norm)] {
            if !value.is_finite() {
                return Err(not_finite(what, value, step, state, run)?);
            }
        }
    }
    Ok(())
}

fn not_finite<S: System>(
    what: &'static str,
    value: f64,
    step: &PendingStep,
    state: &TrainState<S>,
    run: &RunFolder,
) -> Result<Error, Error> {
    let mut captions = String::new();
    for &index in &step.batch {
        let example = &state.system.examples()[index];
        let _ = writeln!(captions, "{}", state.system.describe(example, &state.inputs));
    }
    let list = run.path().join(LIST);
    if state.process.rank == 0 {
        durable::write(&list, captions.as_bytes())?;
    }
    let first: Vec<String> = captions.lines().take(3).map(|line| format!("  {line}")).collect();
    Ok(Error::NotFinite {
        what,
        value,
        step: step.step,
        captions: step.batch.len(),
        list,
        first: first.join("\n"),
    })
}
