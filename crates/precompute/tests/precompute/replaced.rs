//! Images that are replaced, touched, repaired or removed after they were encoded.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use launchers::ProcessRank;
use precompute::{Embeddings, Error, Plan, Summary};

use crate::BATCHES;
use crate::support::{BATCH, DataSet, PICTURES, name, run_plain, run_until};

const ALL_BATCHES: usize = usize::MAX / BATCH;

/// Replaces image `index` with another one of as many bytes.
fn replace(data: &DataSet, index: usize) {
    let path = data.path(&name(index));
    let old = fs::read(&path).unwrap();
    for colour in 0..255u8 {
        let picture = image::RgbImage::from_fn(7, 5, |x, y| {
            image::Rgb([colour, (x * 37 + u32::from(colour)) as u8, (y * 51) as u8])
        });
        picture.save(&path).unwrap();
        let length = fs::metadata(&path).unwrap().len() as usize;
        // Bytes behind the end of a PNG are no part of the picture.
        if length <= old.len() {
            let mut bytes = fs::read(&path).unwrap();
            bytes.resize(old.len(), 0);
            assert_ne!(bytes, old);
            fs::write(&path, bytes).unwrap();
            return;
        }
    }
    panic!("no picture is as small as {}", old.len());
}

/// Changes only the modification time of an image's file.
fn touch(data: &DataSet, index: usize) {
    let file = File::options().write(true).open(data.path(&name(index))).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_hours(1)).unwrap();
}

/// Returns the bytes of a new run.
fn fresh(data: &DataSet, skip_corrupt: bool) -> Vec<u8> {
    let _ = fs::remove_file(data.path("uninterrupted.safetensors"));
    data.uninterrupted(skip_corrupt)
}

fn finish(plan: &Plan) -> (Summary, usize) {
    let (summary, calls) = run_until(plan, ALL_BATCHES);
    (summary.unwrap(), calls)
}

#[test]
fn a_replaced_picture_is_embedded_again_with_its_batch_and_nothing_else_is() {
    let data = DataSet::new();
    let output = data.path("out.safetensors");
    let plan = data.plan(&output);
    run_plain(&plan).unwrap();
    let before = fs::read(&output).unwrap();
    replace(&data, 3);
    replace(&data, 41);
    let (summary, calls) = finish(&plan);
    assert_eq!((summary.changed, calls), (vec![3, 41], 2));
    assert_eq!((summary.encoded, summary.resumed), (BATCH + 3, PICTURES - BATCH - 3));
    assert!(!summary.already_finished);
    let after = fs::read(&output).unwrap();
    assert_ne!(after, before);
    assert_eq!(after, fresh(&data, false));
    assert!(!data.path("out.safetensors.partial").exists());
    let (again, calls) = finish(&plan);
    assert!(again.already_finished && calls == 0);
}

#[test]
fn a_touched_picture_costs_no_work_and_its_new_time_is_kept() {
    let data = DataSet::new();
    let output = data.path("out.safetensors");
    let plan = data.plan(&output);
    run_plain(&plan).unwrap();
    let digest = Embeddings::open(&output).unwrap().sha256().to_owned();
    touch(&data, 5);
    for expected in [vec![(0, 1), (1, 1)], vec![]] {
        let stop = false.into();
        let mut watcher = crate::support::Watcher::default();
        let encode = crate::support::encode;
        let summary = precompute::run(&plan, encode, &mut watcher, &stop).unwrap();
        assert!(summary.already_finished && summary.changed.is_empty());
        assert_eq!(watcher.seen, expected);
    }
    assert_eq!(fs::read(&output).unwrap(), fresh(&data, false));
    assert_eq!(Embeddings::open(&output).unwrap().sha256(), digest);
}

#[test]
fn a_resumed_run_does_not_mix_old_and_new_pictures() {
    let data = DataSet::new();
    let output = data.path("out.safetensors");
    let plan = data.plan(&output);
    run_until(&plan, 6).0.unwrap_err();
    replace(&data, 1);
    touch(&data, 2);
    touch(&data, 9);
    replace(&data, 40);
    let (summary, calls) = finish(&plan);
    assert_eq!((summary.changed, calls), (vec![1], BATCHES - 5));
    assert_eq!((summary.encoded, summary.resumed), (PICTURES - 5 * BATCH, 5 * BATCH));
    assert_eq!(fs::read(&output).unwrap(), fresh(&data, false));
}

#[test]
fn a_stopped_update_is_resumed_and_the_old_file_stays_until_then() {
    let data = DataSet::new();
    let output = data.path("out.safetensors");
    let plan = data.plan(&output);
    run_plain(&plan).unwrap();
    let before = fs::read(&output).unwrap();
    for index in [0, 10, 20, 30] {
        replace(&data, index);
    }
    let (stopped, _) = run_until(&plan, BATCHES - 4 + 1);
    assert!(matches!(stopped, Err(Error::Interrupted { .. })), "{stopped:?}");
    assert_eq!(fs::read(&output).unwrap(), before);
    replace(&data, 1);
    let (summary, calls) = finish(&plan);
    assert_eq!(calls, 3);
    assert_eq!(summary.resumed + summary.encoded, PICTURES);
    assert_eq!(fs::read(&output).unwrap(), fresh(&data, false));
}

#[test]
fn several_processes_share_an_update() {
    // In batches of one picture there are two pieces.
    let data = DataSet::new();
    let output = data.path("out.safetensors");
    let plan = |rank| Plan {
        batch_size: 1,
        process: ProcessRank { rank, world_size: 2, local_rank: 0 },
        ..data.plan(&output)
    };
    run_plain(&Plan { process: ProcessRank::SINGLE, ..plan(0) }).unwrap();
    replace(&data, 2);
    replace(&data, 40);
    let (first, calls) = finish(&plan(0));
    assert_eq!((first.left, calls), (PICTURES - 32, 1));
    let (second, calls) = finish(&plan(1));
    assert_eq!((second.left, calls), (0, 1));
    let alone = data.path("alone.safetensors");
    run_plain(&Plan { batch_size: 1, ..data.plan(&alone) }).unwrap();
    assert_eq!(fs::read(&output).unwrap(), fs::read(&alone).unwrap());
    assert!(finish(&plan(0)).0.already_finished);
}

#[test]
fn a_repaired_picture_is_no_longer_left_out_and_a_broken_one_is_named() {
    let data = DataSet::new();
    let whole = fs::read(data.path(&name(7))).unwrap();
    fs::write(data.path(&name(7)), "no picture").unwrap();
    let output = data.path("out.safetensors");
    let skipping = Plan { skip_corrupt: true, ..data.plan(&output) };
    assert_eq!(run_plain(&skipping).unwrap().skipped.len(), 1);
    fs::write(data.path(&name(7)), whole).unwrap();
    let (summary, calls) = finish(&data.plan(&output));
    assert_eq!((summary.changed, summary.skipped.len(), calls), (vec![7], 0, 1));
    assert_eq!(fs::read(&output).unwrap(), fresh(&data, false));

    fs::write(data.path(&name(8)), "no picture").unwrap();
    let error = run_plain(&data.plan(&output)).unwrap_err();
    assert!(matches!(&error, Error::Pictures(bad) if bad[0].name == name(8)), "{error}");
    let (summary, _) = finish(&skipping);
    assert_eq!((summary.changed, summary.skipped.len()), (vec![8], 1));
    assert_eq!(fs::read(&output).unwrap(), fresh(&data, true));
}

#[test]
fn a_removed_picture_keeps_its_embedding() {
    let data = DataSet::new();
    let output = data.path("out.safetensors");
    run_plain(&data.plan(&output)).unwrap();
    fs::remove_file(data.path(&name(6))).unwrap();
    assert!(run_plain(&data.plan(&output)).unwrap().already_finished);
}

#[test]
fn a_file_without_records_is_taken_as_it_is_and_said_to_be_so() {
    let data = DataSet::new();
    let output = data.path("out.safetensors");
    let plan = data.plan(&output);
    let names: Vec<&str> = plan.names.iter().map(String::as_str).collect();
    Embeddings::save(&output, &plan.identity, &names, &[], &[0.5; PICTURES * 5]).unwrap();
    replace(&data, 3);
    let summary = run_plain(&plan).unwrap();
    assert!(summary.already_finished && summary.unrecorded);
    check(&data, &output).unwrap();
}

fn check(data: &DataSet, output: &Path) -> Result<(), Error> {
    let names: Vec<_> = (0..PICTURES).map(name).collect();
    let find = |index| data.path(&name(index)).into();
    Embeddings::open(output)?.check_pictures(names.iter().map(String::as_str), find)
}

#[test]
fn who_uses_embeddings_is_told_of_pictures_that_changed_since() {
    let data = DataSet::new();
    let output = data.path("out.safetensors");
    run_plain(&data.plan(&output)).unwrap();
    touch(&data, 4);
    fs::remove_file(data.path(&name(11))).unwrap();
    check(&data, &output).unwrap();
    replace(&data, 12);
    fs::write(data.path(&name(13)), "longer or shorter").unwrap();
    let error = check(&data, &output).unwrap_err().to_string();
    for words in ["out.safetensors", "picture 12.png, picture 13.png", "hint: put the old"] {
        assert!(error.contains(words), "{error}");
    }
}
