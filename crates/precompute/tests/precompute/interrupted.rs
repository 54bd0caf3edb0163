//! Stops and damage: the same call resumes to the same bytes. Kills are in `tests/killed`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use launchers::Place;
use precompute::{Dtype, Error, Plan, run};

use crate::BATCHES;
use crate::support::{BATCH, DataSet, PICTURES, Random, encode, run_plain, run_until};

fn partial(output: &Path, file: &str) -> PathBuf {
    output.with_extension("safetensors.partial").join(file)
}

/// Returns the file of the only piece.
fn piece(output: &Path, file: &str) -> PathBuf {
    partial(output, "piece-00000").join(file)
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
fn rows_and_journal_cut_anywhere_cost_work_but_no_bytes() {
    let data = DataSet::new();
    fs::write(data.path("picture 05.png"), "no picture").unwrap();
    let expected = data.uninterrupted(true);
    let output = data.path("out.safetensors");
    let mut random = Random(1);
    for _ in 0..50 {
        let plan = Plan { skip_corrupt: true, ..data.plan(&output) };
        let stop_at = 1 + random.below(BATCHES as u64 - 1) as usize;
        run_until(&plan, stop_at).0.unwrap_err();
        for file in ["rows", "journal"] {
            let path = piece(&output, file);
            let length = fs::metadata(&path).unwrap().len();
            let kept = if random.below(3) == 0 { length } else { random.below(length + 1) };
            fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(kept).unwrap();
        }
        let summary = run_plain(&plan).unwrap();
        assert_eq!(summary.encoded + summary.resumed, PICTURES - 1);
        assert_eq!(fs::read(&output).unwrap(), expected);
        fs::remove_file(&output).unwrap();
    }
}

#[test]
fn a_flipped_bit_in_rows_or_journal_costs_work_but_no_bytes() {
    let data = DataSet::new();
    fs::write(data.path("picture 05.png"), "no picture").unwrap();
    let expected = data.uninterrupted(true);
    let output = data.path("out.safetensors");
    let mut random = Random(2);
    for turn in 0..50 {
        let plan = Plan { skip_corrupt: true, ..data.plan(&output) };
        run_until(&plan, BATCHES - 1).0.unwrap_err();
        let path = piece(&output, if turn % 2 == 0 { "rows" } else { "journal" });
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
fn half_written_tails_are_cut_off() {
    let data = DataSet::new();
    let expected = data.uninterrupted(false);
    let output = data.path("out.safetensors");
    let plan = data.plan(&output);
    run_until(&plan, 3).0.unwrap_err();
    for (file, tail) in [("rows", &b"\x00\x00\x80"[..]), ("journal", b"{\"entry\":{\"batch\":3,")] {
        let mut file = fs::OpenOptions::new().append(true).open(piece(&output, file)).unwrap();
        file.write_all(tail).unwrap();
    }
    let summary = run_plain(&plan).unwrap();
    assert_eq!(summary.resumed, 3 * BATCH);
    assert_eq!(fs::read(&output).unwrap(), expected);
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
        ("pictures: other names", |plan| plan.names.swap(0, 1)),
        ("model weights", |plan| plan.identity.model_sha256 = "9".to_owned()),
        ("size 4, crop 4", |plan| plan.identity.preprocessing = flickr::Preprocessing::clip(5)),
        ("normalize: false there, true here", |plan| plan.identity.normalize = true),
        ("dtype: f32 there, bf16 here", |plan| plan.identity.dtype = Dtype::Bf16),
        ("fingerprint: 5678 there", |plan| plan.identity.dataset_fingerprint = "0".to_owned()),
        ("dimension: 5 there, 6 here", |plan| plan.identity.dimension = 6),
    ];
    for (words, change) in changes {
        let mut plan = data.plan(&output);
        change(&mut plan);
        let error = run_plain(&plan).unwrap_err();
        assert!(matches!(error, Error::OtherRun { .. }), "{error}");
        let error = error.to_string();
        assert!(error.contains(words) && error.contains("remove the folder"), "{error}");
    }
    let mut moved = data.plan(&output);
    moved.identity.model = "elsewhere".to_owned();
    assert_eq!(run_plain(&moved).unwrap().resumed, 2 * BATCH, "where a model lies is no setting");
}

#[test]
fn a_damaged_description_of_the_run_is_refused() {
    let data = DataSet::new();
    let output = data.path("out.safetensors");
    run_until(&data.plan(&output), 2).0.unwrap_err();
    fs::write(partial(&output, "run.json"), "{\"version\":").unwrap();
    let error = run_plain(&data.plan(&output)).unwrap_err().to_string();
    assert!(error.contains("run.json") && error.contains("start over"), "{error}");
}

#[test]
fn a_second_run_at_the_same_output_is_refused_while_the_first_works() {
    let data = DataSet::new();
    let output = data.path("out.safetensors");
    let plan = data.plan(&output);
    let mut refused = 0;
    let watch = |_| {
        let error = run_plain(&data.plan(&output)).unwrap_err();
        assert!(matches!(error, Error::File(durable::Error::Locked(_))), "{error}");
        refused += 1;
    };
    run(&plan, encode, watch, &false.into()).unwrap();
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
    let place = |rank, world_size| Place { rank, world_size, local_rank: 0 };
    let plan = |place| Plan { batch_size: 1, place, ..data.plan(&output) };
    // Of three processes the last has nothing; the first is stopped in its piece.
    let (stopped, _) = run_until(&plan(place(0, 3)), 5);
    assert!(matches!(stopped, Err(Error::Interrupted { done: 5, total: 32, .. })), "{stopped:?}");
    let nothing = run_plain(&plan(place(2, 3))).unwrap();
    assert_eq!((nothing.encoded, nothing.left), (0, PICTURES - 5));
    let second = run_plain(&plan(place(1, 3))).unwrap();
    assert_eq!((second.encoded, second.left), (PICTURES - 32, 32 - 5));
    assert!(!output.exists());
    // Two go on.
    let idle = run_plain(&plan(place(1, 2))).unwrap();
    assert_eq!((idle.encoded, idle.resumed, idle.left), (0, PICTURES - 32, 32 - 5));
    let last = run_plain(&plan(place(0, 2))).unwrap();
    assert_eq!((last.encoded, last.resumed, last.left), (32 - 5, 5, 0));
    assert_eq!(fs::read(&output).unwrap(), expected);
    assert!(!partial(&output, "").exists());
    assert!(run_plain(&plan(place(1, 2))).unwrap().already_finished);
}
