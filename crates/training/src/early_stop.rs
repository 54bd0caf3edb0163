//! End of an epoch: best losses, and the decision to stop.

use recipes::{EarlyStopOn, Training};
use runs::checkpoints::Position;

/// Moves `position` to the next epoch, and decides whether training is finished.
///
/// It is finished after all epochs, or when the deciding loss has not improved for
/// `early_stop_epochs` epochs in a row.
///
/// The deciding loss is that of the epoch's last batch, as in the paper, or the held-out one.
pub(crate) fn end_epoch(
    position: &mut Position,
    training: &Training,
    last_loss: f64,
    held_out_loss: Option<f64>,
) {
    position.epoch += 1;
    position.batch = 0;
    position.last_loss = None;
    // The last loss is not a number if none of the epoch's batches since a resume had a target.
    let is_better =
        |loss: f64, best: Option<f64>| loss.is_finite() && best.is_none_or(|best| loss < best);
    let measured = held_out_loss.unwrap_or(last_loss);
    let deciding_loss = match training.early_stop_on {
        EarlyStopOn::LastBatch => last_loss,
        EarlyStopOn::HeldOut => measured,
    };
    if is_better(deciding_loss, position.best_loss) {
        position.best_loss = Some(deciding_loss);
        position.epochs_without_improvement = 0;
    } else {
        position.epochs_without_improvement += 1;
    }
    if is_better(measured, position.best.map(|(best, _)| best)) {
        position.best = Some((measured, position.step));
    }
    let patience = training.early_stop_epochs;
    position.finished = position.epoch >= training.epochs
        || (patience > 0 && position.epochs_without_improvement >= patience);
}
