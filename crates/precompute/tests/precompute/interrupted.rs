//! Stops and damage: the same call resumes to the same bytes. Kills are in `tests/killed`.

use std::fs;
use std::path::{Path, PathBuf};

use launchers::ProcessRank;
use precompute::{Dtype, Error, Plan, run};

use crate::BATCHES;
use crate::support::{BATCH, DataSet, PICTURES, Random, Watcher, encode, run_plain, run_until};

fn partial(output: &Path, file: &str) -> PathBuf {
    output.with_extension("safetensors.partial").join(file)
}

/// Returns the file of the only piece.
fn piece(output: &Path) -> PathBuf {
    partial(output, "piece-00000.safetensors")
}

#[test]
fn a_stopped_run_goes_on_where_it_stopped_and_ends_with_the_same_bytes() {
    let data = DataSet::new();
    let expected = data.uninterrupted(false);
    let output = data.path("out.safetensors");
    for batches in [0, 1, 5, 10, 11] {
        let plan = data.plan(&output);
        let (stopped, calls) = run_until(&plan, batches);
        assert_eq!(calls, batches);
        if batches < BATCHES {
            let Err(Error::Interrupted { done, total, .. }) = stopped else {
                panic!("not interrupted: {stopped:?}")
            };
            assert_eq!((done, total), (batches * BATCH, PICTURES));
            assert!(!output.exists());
            let (summary, calls) = run_until(&plan, usize::MAX / BATCH);
            let summary = summary.unwrap();
            assert_eq!(calls, BATCHES - batches, "finished batches are not encoded again");
            assert_eq!(summary.resumed, batches * BATCH);
            assert_eq!(summary.encoded, PICTURES - batches * BATCH);
        }
        assert_eq!(fs::read(&output).unwrap(), expected);
        assert!(!partial(&output, "").exists());
        fs::remove_file(&output).unwrap();
    }
}

#[test]
fn a_piece_cut_anywhere_costs_work_but_no_bytes() {
    let data = DataSet::new();
    fs::write(data.path("picture 05.png"), "no picture").unwrap();
    let expected = data.uninterrupted(true);
    let output = data.path("out.safetensors");
    let mut random = Random(1);
    for _ in 0..50 {
        let plan = Plan { skip_corrupt: true, ..data.plan(&output) };
        let stop_at = 1 + random.below(BATCHES as u64 - 1) as usize;
        run_until(&plan, stop_at).0.unwrap_err();
        let path = piece(&output);
        let length = fs::metadata(&path).unwrap().len();
        let kept = if random.below(3) == 0 { length } else { random.below(length + 1) };
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(kept).unwrap();
        let summary = run_plain(&plan).unwrap();
        assert_eq!(summary.encoded + summary.resumed, PICTURES - 1);
        assert_eq!(fs::read(&output).unwrap(), expected);
        fs::remove_file(&output).unwrap();
    }
}

#[test]
fn a_flipped_bit_in_a_piece_costs_work_but_no_bytes() {
    let data = DataSet::new();
    fs::write(data.path("picture 05.png"), "no picture").unwrap();
    let expected = data.uninterrupted(true);
    let output = data.path("out.safetensors");
    let mut random = Random(2);
    for _ in 0..50 {
        let plan = Plan { skip_corrupt: true, ..data.plan(&output) };
        run_until(&plan, BATCHES - 1).0.unwrap_err();
        let path = piece(&output);
        let mut bytes = fs::read(&path).unwrap();
        let at = random.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << random.below(8);
        fs::write(&path, bytes).unwrap();
        let summary = run_plain(&plan).unwrap();
        assert!(summary.resumed <= (BATCHES - 2) * BATCH, "bit of byte {at} went unnoticed");
        assert_eq!(fs::read(&output).unwrap(), expected);
        fs::remove_file(&output).unwrap();
    }
}

#[test]
fn what_a_killed_process_half_wrote_costs_nothing() {
    let data = DataSet::new();
    let expected = data.uninterrupted(false);
    let output = data.path("out.safetensors");
    let plan = data.plan(&output);
    run_until(&plan, 3).0.unwrap_err();
    for file in ["piece-00000.safetensors.partial", "finished.partial", "finished"] {
        fs::write(partial(&output, file), "half").unwrap();
    }
    let summary = run_plain(&plan).unwrap();
    assert_eq!(summary.resumed, 3 * BATCH);
    assert_eq!(fs::read(&output).unwrap(), expected);
    assert!(!partial(&output, "").exists());
}

#[test]
fn a_run_with_other_settings_is_refused_and_says_which() {
    type Change = fn(&mut Plan);
    let data = DataSet::new();
    let output = data.path("out.safetensors");
    run_until(&data.plan(&output), 2).0.unwrap_err();
    let changes: [(&str, Change); 9] = [
        ("batch size: 4 there, 8 here", |plan| plan.batch_size = 8),
        ("pictures: 43 there, 42 here", |plan| drop(plan.names.pop())),
        ("picture names (sha256)", |plan| plan.names.swap(0, 1)),
        ("model weights", |plan| plan.identity.model_sha256 = "9".to_owned()),
        ("size 4, crop 4", |plan| {
            plan.identity.preprocessing = Some(pictures::Preprocessing::clip(5));
        }),
        ("normalize: false there, true here", |plan| plan.identity.normalize = true),
        ("dtype: f32 there, bf16 here", |plan| plan.identity.dtype = Dtype::Bf16),
        ("fingerprint: 5678 there", |plan| plan.identity.dataset_fingerprint = "0".to_owned()),
        ("dimension: 5 there, 6 here", |plan| plan.identity.dimension = 6),
    ];
    for (words, change) in changes {
        let mut plan = data.plan(&output);
        change(&mut plan);
        let error = run_plain(&plan).unwrap_err();
        let Error::File(durable::Error::OtherKey { .. }) = error else { panic!("{error}") };
        let error = error.to_string();
        assert!(error.contains(words) && error.contains("remove the folder"), "{error}");
    }
    let mut moved = data.plan(&output);
    moved.identity.model = "elsewhere".to_owned();
    assert_eq!(run_plain(&moved).unwrap().resumed, 2 * BATCH, "where a model lies is no setting");
}

#[test]
fn a_damaged_key_and_an_unfinished_run_of_version_0_1_0_are_refused() {
    let data = DataSet::new();
    let output = data.path("out.safetensors");
    run_until(&data.plan(&output), 2).0.unwrap_err();
    for (file, text) in [("key.json", "{\"sha256\":"), ("run.json", "{\"version\":3}")] {
        fs::write(partial(&output, file), text).unwrap();
        let error = run_plain(&data.plan(&output)).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains("start over"), "{error}");
    }
}

#[test]
fn a_second_run_at_the_same_output_is_refused_while_the_first_works() {
    let data = DataSet::new();
    let output = data.path("out.safetensors");
    let plan = data.plan(&output);
    let mut refused = 0;
    let mut watcher = Watcher::calling(|_| {
        let error = run_plain(&data.plan(&output)).unwrap_err();
        assert!(matches!(error, Error::File(durable::Error::Locked(_))), "{error}");
        refused += 1;
    });
    run(&plan, encode, &mut watcher, &false.into()).unwrap();
    drop(watcher);
    assert_eq!(refused, BATCHES + 1);
}

#[test]
fn a_folder_left_behind_a_finished_output_is_removed() {
    let data = DataSet::new();
    let output = data.path("out.safetensors");
    run_plain(&data.plan(&output)).unwrap();
    fs::rename(&output, data.path("finished")).unwrap();
    run_until(&data.plan(&output), 4).0.unwrap_err();
    fs::rename(data.path("finished"), &output).unwrap();
    assert!(run_plain(&data.plan(&output)).unwrap().already_finished);
    assert!(!partial(&output, "").exists());
}

#[test]
fn several_processes_share_a_run_and_any_number_goes_on_with_it() {
    // In batches of one picture there are two pieces.
    let data = DataSet::new();
    let alone = data.path("alone.safetensors");
    run_plain(&Plan { batch_size: 1, ..data.plan(&alone) }).unwrap();
    let expected = fs::read(alone).unwrap();
    let output = data.path("out.safetensors");
    let process = |rank, world_size| ProcessRank { rank, world_size, local_rank: 0 };
    let plan = |process| Plan { batch_size: 1, process, ..data.plan(&output) };
    // Of three processes the last has nothing; the first is stopped in its piece.
    let (stopped, _) = run_until(&plan(process(0, 3)), 5);
    assert!(matches!(stopped, Err(Error::Interrupted { done: 5, total: 32, .. })), "{stopped:?}");
    let nothing = run_plain(&plan(process(2, 3))).unwrap();
    assert_eq!((nothing.encoded, nothing.left), (0, PICTURES - 5));
    let second = run_plain(&plan(process(1, 3))).unwrap();
    assert_eq!((second.encoded, second.left), (PICTURES - 32, 32 - 5));
    assert!(!output.exists());
    // Two of the processes resume.
    let idle = run_plain(&plan(process(1, 2))).unwrap();
    assert_eq!((idle.encoded, idle.resumed, idle.left), (0, PICTURES - 32, 32 - 5));
    let last = run_plain(&plan(process(0, 2))).unwrap();
    assert_eq!((last.encoded, last.resumed, last.left), (32 - 5, 5, 0));
    assert_eq!(fs::read(&output).unwrap(), expected);
    assert!(!partial(&output, "").exists());
    assert!(run_plain(&plan(process(1, 2))).unwrap().already_finished);
}
