//! Early stops by the training loss, compared with the paper's rule and with wrong ones.

use runs::metrics::StepRecord;
use training::session::Outcome;

use super::stage::{Stage, alone};
use super::{least, newest};

/// Settings of a model that does not change: a loss depends on its batch alone.
const STILL: [&str; 2] = ["optimizer.learning_rate=0", "training.log_every_steps=3"];

/// Returns the number of epochs after which the paper stops, from the last loss of each.
///
/// It stops when none of the last `patience` epochs has improved on the best one before them.
fn paper_stops_after(last_losses: &[f64], patience: usize) -> usize {
    (patience + 1..=last_losses.len())
        .find(|&epochs| {
            let (before, waited) = last_losses[..epochs].split_at(epochs - patience);
            least(waited) >= least(before)
        })
        .unwrap_or(last_losses.len())
}

/// Returns the losses of each epoch.
fn by_epoch(records: &[StepRecord]) -> Vec<Vec<f64>> {
    records
        .chunk_by(|a, b| a.epoch == b.epoch)
        .map(|epoch| epoch.iter().map(|record| record.loss).collect())
        .collect()
}

#[test]
fn training_stops_when_the_last_loss_of_an_epoch_has_not_beaten_the_best_for_long_enough() {
    let _alone = alone();
    let stage = Stage::new();
    let epochs = 16;
    let (mut latest, mut by_previous, mut by_sum, mut in_all) = (0, 0, 0, 0);
    for seed in [1, 2, 3] {
        let set = |patience: usize| {
            let own = [
                format!("training.seed={seed}"),
                format!("training.epochs={epochs}"),
                format!("training.early_stop_epochs={patience}"),
            ];
            own.into_iter().chain(STILL.map(str::to_owned)).collect::<Vec<_>>()
        };
        let (_, outcome, all) = stage.trained(&format!("whole-{seed}"), &set(0));
        assert_eq!(outcome, Outcome::Finished { steps: epochs * Stage::BATCHES });
        let losses = by_epoch(&all);
        let last: Vec<f64> = losses.iter().map(|epoch| *epoch.last().unwrap()).collect();
        let sums: Vec<f64> = losses.iter().map(|epoch| epoch.iter().sum()).collect();

        for patience in 1..=3 {
            let name = format!("patience-{seed}-{patience}");
            let (run, outcome, records) = stage.trained(&name, &set(patience));
            let stop = paper_stops_after(&last, patience);
            println!("seed {seed}, patience {patience}: stops after {stop} epochs");
            let expected = if stop < last.len() {
                Outcome::StoppedEarly { epochs: stop as u64 }
            } else {
                Outcome::Finished { steps: epochs * Stage::BATCHES }
            };
            assert_eq!(outcome, expected, "seed {seed}, patience {patience}: {last:?}");
            let read: Vec<f64> = records.iter().map(|record| record.loss).collect();
            let until: Vec<f64> = losses[..stop].concat();
            assert_eq!(read, until, "stopping changes nothing before");
            let position = newest(&run);
            assert!(position.finished);
            assert_eq!(position.epoch, stop as u64);
            assert_eq!(position.best_loss, Some(least(&last[..stop])));

            latest = latest.max(stop);
            by_previous += usize::from(stop != stops_against_previous(&last, patience));
            by_sum += usize::from(stop != paper_stops_after(&sums, patience));
            in_all += usize::from(stop != stops_without_reset(&last, patience));
        }
    }
    // Or the losses could not tell the paper's rule from these others.
    assert!(latest > 4, "no run lasts");
    assert!(by_previous > 0 && by_sum > 0 && in_all > 0, "{by_previous} {by_sum} {in_all}");
}

/// Stops by a wrong rule: compares with the previous epoch instead of the best.
fn stops_against_previous(losses: &[f64], patience: usize) -> usize {
    let worse: Vec<bool> = losses.windows(2).map(|pair| pair[1] >= pair[0]).collect();
    let run = worse.windows(patience).position(|window| window.iter().all(|&worse| worse));
    run.map_or(losses.len(), |start| start + patience + 1)
}

/// Stops by a wrong rule: counts epochs without improvement even if they are not consecutive.
fn stops_without_reset(losses: &[f64], patience: usize) -> usize {
    let mut worse = (1..losses.len()).filter(|&epoch| losses[epoch] >= least(&losses[..epoch]));
    worse.nth(patience - 1).map_or(losses.len(), |epoch| epoch + 1)
}

#[test]
fn a_loss_that_stays_the_same_is_no_improvement() {
    let _alone = alone();
    let stage = Stage::of_one_caption();
    let sets = ["training.batch_size=5", "training.early_stop_epochs=3"];
    let (_, outcome, records) = stage.trained("run", &[&STILL[..], &sets].concat());
    assert!(records.iter().all(|record| record.loss.to_bits() == records[0].loss.to_bits()));
    assert_eq!(outcome, Outcome::StoppedEarly { epochs: 4 });
    assert_eq!(records.len(), 4);
}
