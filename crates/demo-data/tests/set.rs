//! Checks a drawn set on disk.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use datasets::{Corpus, Layout, SplitSpec};
use demo_data::{Error, Options, Summary, draw};

const SMALL: Options = Options { count: 12, seed: 5, size: 64, alt_texts: 0 };

/// Returns every file under `folder` with its bytes.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(name, fs::read(path).unwrap());
        }
    }
    found
}

#[test]
fn a_seed_gives_the_same_bytes_and_another_seed_others() {
    let folder = tempfile::tempdir().unwrap();
    let drawn = |name: &str, options: Options| {
        let out = folder.path().join(name);
        draw(&out, &options, |_| {}).unwrap();
        files(&out)
    };
    let first = drawn("first", SMALL);
    assert_eq!(first.len(), 12 + 2);
    assert_eq!(first, drawn("second", SMALL));
    let other = drawn("other", Options { seed: 6, ..SMALL });
    assert_ne!(first["captions.txt"], other["captions.txt"]);
    assert!((0..12).all(|i| {
        let name = format!("scene-{i:05}.jpg");
        first[&name] != other[&name]
    }));
    let longer = drawn("longer", Options { count: 15, ..SMALL });
    assert!(longer["captions.txt"].starts_with(&first["captions.txt"]));
    assert_eq!(first["scene-00007.jpg"], longer["scene-00007.jpg"]);
}

#[test]
fn the_set_is_read_as_flickr8k_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let summary = draw(folder.path(), &SMALL, |_| {}).unwrap();
    assert_eq!(summary, Summary { pictures: 12, captions: 60, was_there: false });
    let corpus = Corpus::load(folder.path(), None).unwrap();
    assert_eq!((corpus.layout, corpus.images.len()), (Layout::Kaggle, 12));
    assert_eq!(corpus.warnings, []);
    assert!(corpus.images.iter().all(|image| image.captions.len() == 5));
    assert!(corpus.images.is_sorted_by_key(|image| &image.file_name));
    let spec = SplitSpec { test_captions: 10, validation_captions: 5, ..SplitSpec::PAPER };
    assert!(!datasets::audit(&corpus, &[spec], |_| {}).is_broken());
    let picture = corpus.picture(3).decode().unwrap();
    assert_eq!((picture.width, picture.height), (64, 64));
}

#[test]
fn progress_counts_every_picture_once() {
    let folder = tempfile::tempdir().unwrap();
    let sum = AtomicUsize::new(0);
    draw(folder.path(), &SMALL, |done| {
        sum.fetch_add(done, Ordering::Relaxed);
    })
    .unwrap();
    assert_eq!(sum.into_inner(), (1..=12).sum::<usize>());
}

#[test]
fn a_whole_set_is_left_alone_and_an_interrupted_one_drawn_again() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    draw(out, &SMALL, |_| {}).unwrap();
    let whole = files(out);
    let picture = out.join("Images/scene-00003.jpg");
    let written = fs::metadata(&picture).unwrap().modified().unwrap();
    assert!(draw(out, &SMALL, |_| {}).unwrap().was_there);
    assert_eq!(fs::metadata(&picture).unwrap().modified().unwrap(), written);

    // Simulates a kill before the last image, and one before the captions.
    let unfinished = String::from_utf8(whole["scenes.txt"].clone()).unwrap();
    let unfinished = unfinished.replace("finished", "unfinished");
    for lost in ["Images/scene-00011.jpg", "captions.txt"] {
        fs::write(out.join("scenes.txt"), &unfinished).unwrap();
        fs::remove_file(out.join(lost)).unwrap();
        assert!(!draw(out, &SMALL, |_| {}).unwrap().was_there);
        assert_eq!(files(out), whole);
    }

    fs::remove_file(&picture).unwrap();
    assert!(!draw(out, &SMALL, |_| {}).unwrap().was_there);
    assert_eq!(files(out), whole);
}

#[test]
fn a_folder_with_another_set_or_with_somebodys_captions_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    draw(folder.path(), &SMALL, |_| {}).unwrap();
    let before = files(folder.path());
    for options in [
        Options { seed: 6, ..SMALL },
        Options { count: 11, ..SMALL },
        Options { size: 65, ..SMALL },
    ] {
        let error = draw(folder.path(), &options, |_| {}).unwrap_err();
        assert!(matches!(error, Error::Occupied { .. }), "{error}");
        assert!(error.to_string().contains("count 12, seed 5, size 64"), "{error}");
    }
    assert_eq!(files(folder.path()), before);

    let theirs = tempfile::tempdir().unwrap();
    fs::write(theirs.path().join("captions.txt"), "image,caption\n").unwrap();
    let error = draw(theirs.path(), &SMALL, |_| {}).unwrap_err();
    assert!(error.to_string().contains("captions.txt"), "{error}");
    assert_eq!(files(theirs.path()).len(), 1);
}

#[test]
fn options_out_of_bounds_and_a_file_in_the_way_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for (options, name) in [
        (Options { count: 0, ..SMALL }, "count"),
        (Options { count: 100_001, ..SMALL }, "count"),
        (Options { size: 31, ..SMALL }, "size"),
        (Options { size: 1025, ..SMALL }, "size"),
    ] {
        let error = draw(folder.path(), &options, |_| {}).unwrap_err().to_string();
        assert!(error.starts_with(name), "{error}");
    }
    let file = folder.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = draw(&file, &SMALL, |_| {}).unwrap_err().to_string();
    assert!(error.contains("file"), "{error}");
}

#[test]
fn alt_texts_come_behind_the_captions_and_change_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (plain, more) = (folder.path().join("plain"), folder.path().join("more"));
    draw(&plain, &SMALL, |_| {}).unwrap();
    let summary = draw(&more, &Options { alt_texts: 3, ..SMALL }, |_| {}).unwrap();
    assert_eq!(summary.captions, 12 * 8);
    let lines = |set: &Path| -> Vec<String> {
        let text = fs::read_to_string(set.join("captions.txt")).unwrap();
        text.lines().skip(1).map(str::to_owned).collect()
    };
    let (plain_lines, more_lines) = (lines(&plain), lines(&more));
    for (five, eight) in plain_lines.chunks(5).zip(more_lines.chunks(8)) {
        assert_eq!(five, &eight[..5]);
        assert!(eight[5..].iter().all(|text| !text.ends_with(" .")), "{eight:?}");
    }
    let picture = "Images/scene-00011.jpg";
    assert_eq!(fs::read(plain.join(picture)).unwrap(), fs::read(more.join(picture)).unwrap());
    draw(&more, &SMALL, |_| {}).unwrap_err();
}
