//! [`training::trainer::train`] over whole runs: early stops, learning rates, and seeds.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests may")]

mod early_stop;
#[allow(dead_code, reason = "each file of tests uses some of it")]
#[path = "../stage/mod.rs"]
mod stage;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use networks::weights::Checkpoint;
use recipes::CheckpointChoice;
use runs::RunFolder;
use runs::checkpoints::{self, Position};
use runs::metrics::{self, EpochRecord, EpochScores, ScoredSplit, StepRecord};
use stage::{Stage, Watcher, alone};
use tch::Device;
use training::checkpoint;
use training::export::{Format, export};
use training::session::{Outcome, TrainOptions};
use training::trainer::train;

fn least(losses: &[f64]) -> f64 {
    losses.iter().copied().fold(f64::INFINITY, f64::min)
}

fn resumed() -> TrainOptions {
    TrainOptions { resume: true, ..TrainOptions::default() }
}

fn newest(run: &RunFolder) -> Position {
    checkpoints::latest(&run.checkpoints()).unwrap().0.unwrap().position
}

#[test]
fn the_rate_starts_at_zero_and_ends_one_step_above_it() {
    let _alone = alone();
    let stage = Stage::new();
    let (epochs, warmup, peak) = (3, 5, 1e-3);
    let total = epochs * Stage::BATCHES;
    let sets = [
        "optimizer.learning_rate=1e-3",
        "optimizer.warmup_steps=5",
        "training.epochs=3",
        "training.early_stop_epochs=0",
        "training.checkpoint_every_steps=1",
        "training.save_total_limit=99",
    ];
    let (run, outcome, records) = stage.trained("run", &sets);
    assert_eq!(outcome, Outcome::Finished { steps: total });
    assert!(records.iter().map(|record| record.step).eq(1..=total));
    let epochs: Vec<u64> = records.iter().map(|record| record.epoch).collect();
    assert_eq!(epochs, [1, 2, 3].map(|epoch| [epoch; Stage::BATCHES as usize]).concat());

    let rates: Vec<f64> = records.iter().map(|record| record.learning_rate).collect();
    let down = (total - warmup) as f64;
    assert!(rates[0].to_bits() == 0, "{}", rates[0]);
    for (rate, expected) in [
        (rates[1], peak / warmup as f64),
        (rates[warmup as usize], peak),
        (rates[total as usize - 2], peak * 2.0 / down),
        (rates[total as usize - 1], peak / down),
    ] {
        assert!((rate / expected - 1.0).abs() < 1e-12, "{rate} {expected}");
    }

    // Nothing moves at a rate of zero; everything that is read does at the next.
    let weight = |step: u64| stage::weight(&run, step, "gpt.transformer.h.0.mlp.c_fc.weight");
    let pretrained = stage.pretrained("transformer.h.0.mlp.c_fc.weight");
    assert_eq!(weight(1), pretrained);
    assert_ne!(weight(2), pretrained);
    assert_eq!(newest(&run).step, total);
}

#[test]
fn a_run_is_decided_by_its_seed_whether_or_not_it_is_interrupted() {
    let _alone = alone();
    let stage = Stage::new();
    let sets = |seed: u64| {
        [
            format!("training.seed={seed}"),
            "optimizer.learning_rate=1e-3".to_owned(),
            "training.epochs=2".to_owned(),
            "training.early_stop_epochs=0".to_owned(),
            "training.log_every_steps=3".to_owned(),
            format!("gpt2.model={}", stage.gpt2_with_dropout().display()),
        ]
    };
    let (run, _, records) = stage.trained("first", &sets(1));
    let first = stage::newest_files(&run);
    assert_eq!(
        first.keys().collect::<Vec<_>>(),
        ["model.safetensors", "optimizer.safetensors", "state.json"]
    );
    let (run, _, again) = stage.trained("second", &sets(1));
    assert!(stage::newest_files(&run) == first, "the same seed");
    assert_eq!(losses_and_norms(&again), losses_and_norms(&records));

    let (run, ..) = stage.trained("other", &sets(2));
    let other = stage::newest_files(&run);
    assert!(first.iter().all(|(name, bytes)| other[name] != *bytes), "another seed");

    // Dropout is what the above is about: without it the run goes elsewhere.
    let mut without = sets(1);
    without[5] = format!("gpt2.model={}", stage.gpt2().display());
    let (run, ..) = stage.trained("without", &without);
    assert!(stage::newest_files(&run)["model.safetensors"] != first["model.safetensors"]);

    for steps in [1, Stage::BATCHES - 1, Stage::BATCHES, Stage::BATCHES + 4] {
        let run = stage.run(&format!("interrupted-{steps}"));
        let config = stage.config(&sets(1));
        let stop = AtomicBool::new(false);
        let mut watcher = Watcher::stopping(&stop, steps);
        let outcome = train(
            &run,
            &config,
            Some(&stage.gpt2_with_dropout()),
            &TrainOptions::default(),
            &mut watcher,
            &stop,
        )
        .unwrap();
        assert_eq!(outcome, Outcome::Interrupted { steps });
        stop.store(false, Ordering::Relaxed);
        let outcome = train(
            &run,
            &config,
            Some(&stage.gpt2_with_dropout()),
            &resumed(),
            &mut Watcher::default(),
            &stop,
        )
        .unwrap();
        assert_eq!(outcome, Outcome::Finished { steps: 2 * Stage::BATCHES });
        assert!(stage::newest_files(&run) == first, "interrupted after {steps} steps");
        let resumed = stage::records(&run);
        assert_eq!(losses_and_norms(&resumed), losses_and_norms(&records));
    }
}

/// Checks the schedule of all epochs, wherever training stops.
#[test]
fn a_run_that_stops_after_some_epochs_goes_on_to_the_same_bits() {
    let _alone = alone();
    let stage = Stage::new();
    let sets = [
        "optimizer.learning_rate=1e-3",
        "training.epochs=4",
        "training.early_stop_epochs=0",
        "tokenizer.kind=custom",
        "tokenizer.vocab_size=290",
    ];
    let (whole, ..) = stage.trained("whole", &sets);
    let (run, config, stop) = (stage.run("parts"), stage.config(&sets), AtomicBool::new(false));
    let kept = stage.run("tokenizers").path().to_owned();
    let until = |epochs| {
        let options = TrainOptions {
            resume: true,
            stop_after_epochs: Some(epochs),
            tokenizers: Some(kept.clone()),
            process: launchers::ProcessRank::SINGLE,
        };
        train(&run, &config, Some(&stage.gpt2()), &options, &mut Watcher::default(), &stop).unwrap()
    };
    for epochs in [1, 3] {
        assert_eq!(until(epochs), Outcome::Paused { epochs });
        let position = newest(&run);
        assert_eq!((position.epoch, position.batch), (epochs, 0));
        assert_eq!(stage::records(&run).len() as u64, epochs * Stage::BATCHES);
        assert!(!position.finished);
    }
    // Finished work stays unchanged.
    assert_eq!(until(2), Outcome::Paused { epochs: 3 });
    assert_eq!(until(9), Outcome::Finished { steps: 4 * Stage::BATCHES });
    assert_eq!(until(4), Outcome::Finished { steps: 4 * Stage::BATCHES });
    assert!(stage::newest_files(&run) == stage::newest_files(&whole));
    assert_eq!(losses_and_norms(&stage::records(&run)), losses_and_norms(&stage::records(&whole)));
}

fn losses_and_norms(records: &[StepRecord]) -> Vec<(u64, f64, f64)> {
    records.iter().map(|record| (record.step, record.loss, record.gradient_norm)).collect()
}

/// Checks that each system and setting writes the same bytes twice, and when resumed.
#[test]
fn every_kind_of_run_repeats_to_the_bit() {
    let _alone = alone();
    let stage = Stage::new();
    let kinds: [(&str, &[&str]); 7] = [
        ("custom", &["tokenizer.kind=custom", "tokenizer.vocab_size=290"]),
        ("frozen", &["gpt2.tuning=frozen"]),
        (
            "prefix-only",
            &[
                "gpt2.tuning=frozen",
                "mapper.kind=transformer",
                "mapper.clip_length=2",
                "mapper.layers=2",
            ],
        ),
        ("parts", &["training.gradient_accumulation_steps=4"]),
        ("sorted", &["training.sort_by_length=true"]),
        ("bf16", &["training.precision=bf16"]),
        ("recomputed", &["training.gradient_checkpointing=true"]),
    ];
    let mut all = Vec::new();
    for (name, own) in kinds {
        let model = format!("gpt2.model={}", stage.gpt2_with_dropout().display());
        let sets: Vec<&str> = [
            "optimizer.learning_rate=1e-3",
            "training.epochs=2",
            "training.early_stop_epochs=0",
            "data.validation_captions=5",
            &model,
        ]
        .into_iter()
        .chain(own.iter().copied())
        .collect();
        let (run, outcome, records) = stage.trained(name, &sets);
        assert_eq!(outcome, Outcome::Finished { steps: 2 * Stage::BATCHES_WITHOUT_HELD_OUT });
        assert!(records.iter().all(|record| record.loss.is_finite() && record.gradient_norm > 0.0));
        let bytes = stage::newest_files(&run);
        let (again, ..) = stage.trained(&format!("{name}-again"), &sets);
        assert!(stage::newest_files(&again) == bytes, "{name} again");

        let cut = stage.run(&format!("{name}-cut"));
        let config = stage.config(&sets);
        let model = stage.gpt2_with_dropout();
        let stop = AtomicBool::new(false);
        let mut watcher = Watcher::stopping(&stop, 3);
        train(&cut, &config, Some(&model), &TrainOptions::default(), &mut watcher, &stop).unwrap();
        stop.store(false, Ordering::Relaxed);
        train(&cut, &config, Some(&model), &resumed(), &mut Watcher::default(), &stop).unwrap();
        assert!(stage::newest_files(&cut) == bytes, "{name} stopped on the way");
        all.push((name, bytes["model.safetensors"].clone()));
    }
    for (index, (name, bytes)) in all.iter().enumerate() {
        for (other, theirs) in &all[index + 1..] {
            assert!(bytes != theirs, "{name} and {other} are one run");
        }
    }
}

#[test]
fn a_frozen_gpt2_stays_as_it_is_and_a_custom_tokenizer_cuts_its_embeddings() {
    let _alone = alone();
    let stage = Stage::new();
    let rate = "optimizer.learning_rate=1e-2";
    let sets = [rate, "training.epochs=1", "gpt2.tuning=frozen"];
    let (run, ..) = stage.trained("frozen", &sets);
    let steps = newest(&run).step;
    for name in ["transformer.wte.weight", "transformer.h.0.mlp.c_fc.weight"] {
        assert_eq!(stage::weight(&run, steps, &format!("gpt.{name}")), stage.pretrained(name));
    }
    assert!(stage::newest_files(&run)["optimizer.safetensors"].len() < 20_000, "no GPT-2 in it");

    let sets = ["optimizer.learning_rate=0", "tokenizer.kind=custom", "tokenizer.vocab_size=280"];
    let (run, ..) = stage.trained("custom", &sets);
    let steps = newest(&run).step;
    let pretrained = stage.pretrained("transformer.wte.weight");
    assert!(pretrained.size()[0] > 280);
    let kept = stage::weight(&run, steps, "gpt.transformer.wte.weight");
    assert_eq!(kept, pretrained.narrow(0, 0, 280));
    for file in ["tokenizer.json", "vocab.json", "merges.txt", "config.json"] {
        assert!(run.gpt2().join(file).is_file(), "{file}");
    }

    let config = stage.config(&["tokenizer.kind=custom", "tokenizer.vocab_size=9999"]);
    let (run, stop) = (stage.run("too-many"), AtomicBool::new(false));
    let error = train(
        &run,
        &config,
        Some(&stage.gpt2()),
        &TrainOptions::default(),
        &mut Watcher::default(),
        &stop,
    );
    assert!(error.unwrap_err().to_string().contains("tokenizer.vocab_size"), "named");
}

#[test]
fn held_out_captions_choose_the_best_checkpoint_which_is_kept_with_every_nth() {
    let _alone = alone();
    let stage = Stage::new();
    // Overfits: many passes over few captions, so that the loss on others rises again.
    let sets = [
        "optimizer.learning_rate=0.03",
        "optimizer.max_grad_norm=0",
        "data.validation_captions=5",
        "training.epochs=40",
        "training.early_stop_epochs=0",
        "training.save_total_limit=1",
        "training.keep_every_steps=8",
    ];
    let (run, ..) = stage.trained("run", &sets);
    let epochs: Vec<EpochRecord> = metrics::records(&run.path().join("epochs.csv")).unwrap();
    assert_eq!(epochs.len(), 40);
    let losses: Vec<f64> = epochs.iter().map(|epoch| epoch.validation_loss.unwrap()).collect();
    let best = epochs.iter().find(|epoch| epoch.validation_loss == Some(least(&losses))).unwrap();
    assert!(best.epoch < 40, "{losses:?}");
    assert_eq!(newest(&run).best, Some((least(&losses), best.step)));
    let found = checkpoints::find(&run.checkpoints(), CheckpointChoice::Best).unwrap();
    assert_eq!(found.position.step, best.step);
    let last = 40 * Stage::BATCHES_WITHOUT_HELD_OUT;
    let kept: BTreeSet<u64> = stage::kept_steps(&run);
    let expected = (1..last).filter(|step| step % 8 == 0 && step % 5 == 0);
    assert_eq!(kept, expected.chain([best.step, last]).collect(), "{losses:?}");

    // The loss is of the held-out captions: without dropout and update it is the same each time.
    let still = ["optimizer.learning_rate=0", "data.validation_captions=5", "training.epochs=2"];
    let (run, ..) = stage.trained("still", &still);
    let epochs: Vec<EpochRecord> = metrics::records(&run.path().join("epochs.csv")).unwrap();
    assert_eq!(epochs[0].validation_loss, epochs[1].validation_loss);
    assert_ne!(epochs[0].last_loss.to_bits(), epochs[1].last_loss.to_bits());
}

#[test]
fn what_goes_on_from_a_run_takes_the_checkpoint_that_it_captions_with() {
    let _alone = alone();
    let stage = Stage::new();
    let (run, ..) = stage.trained(
        "run",
        &[
            "optimizer.learning_rate=0.03",
            "optimizer.max_grad_norm=0",
            "data.validation_captions=5",
            "training.epochs=40",
            "training.early_stop_epochs=2",
            "training.early_stop_on=held-out",
            "training.keep_best_checkpoint=true",
            "training.save_total_limit=1",
        ],
    );
    let sha256 = |which| {
        let found = checkpoints::find(&run.checkpoints(), which).unwrap();
        Checkpoint::open(&found.path.join("model.safetensors")).unwrap().identity()
    };
    assert_ne!(sha256(CheckpointChoice::Best), sha256(CheckpointChoice::Newest));

    let exported = run.path().with_file_name("exported.safetensors");
    export(&run, Format::ClipCap, &exported).unwrap();
    let exported = Checkpoint::open(&exported).unwrap();
    let best = checkpoint::weights(
        &checkpoints::find(&run.checkpoints(), CheckpointChoice::Best).unwrap(),
    )
    .unwrap();
    for name in best.names() {
        let of = |file: &Checkpoint| file.tensor(name, Device::Cpu).unwrap();
        assert_eq!(of(&exported), of(&best), "{name}");
    }

    let model = format!("gpt2.model={}", run.path().display());
    let (next, ..) = stage.trained("next", &[model.as_str(), "training.epochs=1"]);
    let started_from = next.provenance().unwrap().gpt2_sha256;
    assert_eq!(started_from, Some(sha256(CheckpointChoice::Best)));
}

#[test]
fn a_run_stopped_before_an_epoch_is_measured_resumes_to_the_same_bits() {
    let _alone = alone();
    let stage = Stage::new();
    let sets = [
        "optimizer.learning_rate=1e-3",
        "data.validation_captions=10",
        "training.epochs=3",
        "training.early_stop_epochs=2",
    ];
    let epochs = |run: &RunFolder| -> Vec<EpochRecord> {
        metrics::records(&run.path().join("epochs.csv")).unwrap()
    };
    let (whole, _, records) = stage.trained("whole", &sets);
    let (run, config) = (stage.run("cut"), stage.config(&sets));
    let (model, stop) = (stage.gpt2(), AtomicBool::new(false));
    let mut watcher = Watcher::stopping(&stop, 4);
    let outcome =
        train(&run, &config, Some(&model), &TrainOptions::default(), &mut watcher, &stop).unwrap();
    assert_eq!(outcome, Outcome::Interrupted { steps: 4 });
    let Position { epoch, batch, last_loss, .. } = newest(&run);
    assert_eq!((epoch, batch, last_loss), (0, 4, Some(records[3].loss)));
    assert_eq!(epochs(&run), []);

    stop.store(false, Ordering::Relaxed);
    train(&run, &config, Some(&model), &resumed(), &mut Watcher::default(), &stop).unwrap();
    assert!(stage::newest_files(&run) == stage::newest_files(&whole));
    assert_eq!(epochs(&run), epochs(&whole));
}

/// Returns the number of occurrences of a text in the event files of a run.
fn in_events(run: &RunFolder, text: &str) -> usize {
    let entries = std::fs::read_dir(run.path()).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.to_str().unwrap().contains("tfevents"))
        .map(|path| std::fs::read(path).unwrap())
        .map(|bytes| bytes.windows(text.len()).filter(|part| *part == text.as_bytes()).count())
        .sum()
}

#[test]
fn scores_after_each_epoch_change_nothing_else_and_are_written_once() {
    let _alone = alone();
    let stage = Stage::new();
    let scores = |run: &RunFolder| -> Vec<EpochScores> {
        metrics::records(&run.path().join("epoch-scores.csv")).unwrap()
    };
    let model = stage.gpt2_with_dropout();
    let set = |pictures: usize| {
        [
            "optimizer.learning_rate=1e-2".to_owned(),
            "training.epochs=3".to_owned(),
            "training.early_stop_epochs=0".to_owned(),
            "data.validation_captions=10".to_owned(),
            format!("gpt2.model={}", model.display()),
            format!("training.scored_pictures={pictures}"),
        ]
    };
    let (without, ..) = stage.trained("without", &set(0));
    assert_eq!(scores(&without), []);
    let (run, ..) = stage.trained("scored", &set(2));
    assert!(stage::newest_files(&run) == stage::newest_files(&without), "training is the same");
    let whole = scores(&run);
    let steps: Vec<(u64, u64)> = whole.iter().map(|scores| (scores.epoch, scores.step)).collect();
    assert_eq!(steps, [(1, 4), (2, 8), (3, 12)]);
    for scores in &whole {
        assert_eq!((scores.split, scores.pictures), (ScoredSplit::Validation, 2));
        assert!(scores.bleu_1.is_finite() && scores.cider.is_finite());
    }
    assert!(whole.last().unwrap().bleu_1 > 0.1, "{whole:?}");
    assert_eq!(in_events(&run, "validation/captions"), 3, "a table of captions for each epoch");
    assert_eq!(in_events(&run, "validation pictures/"), 2, "each picture once");

    // Killed before an epoch's line was written, stopped within an epoch, and run again at the end.
    let run = stage.run("cut");
    let (config, stop) = (stage.config(&set(2)), AtomicBool::new(false));
    let mut watcher = Watcher::stopping(&stop, 8);
    train(&run, &config, Some(&model), &TrainOptions::default(), &mut watcher, &stop).unwrap();
    let path = run.path().join("epoch-scores.csv");
    let text = std::fs::read_to_string(&path).unwrap();
    let kept = text.lines().take(2).collect::<Vec<_>>().join("\n") + "\n";
    std::fs::write(&path, kept).unwrap();
    std::fs::remove_file(run.path().join("logs.json")).unwrap();
    stop.store(false, Ordering::Relaxed);
    let mut watcher = Watcher::stopping(&stop, 2);
    train(&run, &config, Some(&model), &resumed(), &mut watcher, &stop).unwrap();
    assert_eq!(scores(&run), whole[..2]);
    for _ in 0..2 {
        stop.store(false, Ordering::Relaxed);
        train(&run, &config, Some(&model), &resumed(), &mut Watcher::default(), &stop).unwrap();
        assert_eq!(scores(&run), whole);
    }

    // The test split stands in where nothing is held out, and something must be there.
    let (run, ..) = stage.trained("test", &["training.epochs=1", "training.scored_pictures=9"]);
    assert_eq!((scores(&run)[0].split, scores(&run)[0].pictures), (ScoredSplit::Test, 1));
    let (run, config) =
        (stage.run("none"), stage.config(&["data.test_captions=0", "training.scored_pictures=1"]));
    let error = train(
        &run,
        &config,
        Some(&model),
        &TrainOptions::default(),
        &mut Watcher::default(),
        &stop,
    );
    assert!(error.unwrap_err().to_string().contains("training.scored_pictures"), "named");
    assert!(!run.path().exists(), "nothing is left of a run that could not start");
}
