//! Splits by shares and by lists of one's own.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use datasets::{Corpus, Shares, Split, SplitError, SplitKind, SplitSpec, audit};
use tempfile::TempDir;

/// Makes images `0.jpg`, `1.jpg` and so on with so many captions each.
fn images(count: usize, captions: impl Fn(usize) -> usize) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut rows = String::from("file_name,text\n");
    for image in 0..count {
        for caption in 0..captions(image) {
            writeln!(rows, "{image}.jpg,Caption {caption}.").unwrap();
        }
        fs::write(folder.path().join(format!("{image}.jpg")), b"").unwrap();
    }
    fs::write(folder.path().join("metadata.csv"), rows).unwrap();
    folder
}

fn load(folder: &TempDir) -> Corpus {
    Corpus::load(folder.path(), None).unwrap()
}

fn spec(shares: &str, seed: u64) -> SplitSpec {
    SplitSpec::shares(shares.parse::<Shares>().unwrap(), seed)
}

#[test]
fn ten_pictures_are_divided_by_the_digests_of_their_names() {
    // Python: sorted(names, key=lambda n: sha256(seed.to_bytes(8, "little") + n.encode()).digest())
    let corpus = load(&images(10, |_| 1));
    for (seed, train, validation, test) in
        [(42, [0, 1, 2, 3, 5, 6, 7, 8], 9, 4), (7, [0, 1, 2, 3, 4, 5, 7, 9], 6, 8)]
    {
        let split = Split::new(&corpus, &spec("80/10/10", seed)).unwrap();
        assert_eq!(split.train, train);
        assert_eq!((&split.validation[..], &split.test[..]), (&[validation][..], &[test][..]));
    }
}

#[test]
fn captions_and_the_order_of_rows_do_not_move_a_picture() {
    let parts = |corpus: &Corpus| {
        let split = Split::new(corpus, &spec("70/10/20", 1)).unwrap();
        [split.train, split.validation, split.test].map(|part| {
            let names = part.iter().map(|&index| corpus.images[index].file_name.clone());
            names.collect::<BTreeSet<String>>()
        })
    };
    let folder = images(50, |_| 1);
    let first = parts(&load(&folder));
    assert_eq!(first.each_ref().map(BTreeSet::len), [35, 5, 10]);
    let more = parts(&load(&images(50, |image| 1 + image % 3)));
    assert_eq!(first, more);
    let table = folder.path().join("metadata.csv");
    let text = fs::read_to_string(&table).unwrap();
    let (header, rows) = text.split_once('\n').unwrap();
    let reversed: Vec<&str> = rows.lines().rev().collect();
    fs::write(&table, format!("{header}\n{}\n", reversed.join("\n"))).unwrap();
    assert_eq!(first, parts(&load(&folder)));
    let all: BTreeSet<&String> = first.iter().flatten().collect();
    assert_eq!(all.len(), 50);
}

#[test]
fn too_few_pictures_name_the_key_and_a_value_that_fits() {
    for (count, fits) in [(2, "50/0/50"), (1, "100/0/0")] {
        let corpus = load(&images(count, |_| 3));
        let error = Split::new(&corpus, &spec("80/10/10", 0)).unwrap_err();
        assert!(matches!(error, SplitError::TooFewImages { .. }));
        let error = error.to_string();
        assert!(error.contains(&format!("hint: set split to \"{fits}\"")), "{error}");
        Split::new(&corpus, &spec(fits, 0)).unwrap();
    }
    let corpus = load(&images(10, |_| 2));
    let error = Split::new(&corpus, &SplitSpec::PAPER).unwrap_err().to_string();
    assert!(error.contains("5000 captions") && error.contains("only 20"), "{error}");
    assert!(error.contains("set split to \"80/10/10\""), "{error}");
    let all = SplitSpec { test_captions: 20, ..SplitSpec::PAPER };
    let error = Split::new(&corpus, &all).unwrap_err().to_string();
    assert!(error.contains("no image to train on\nhint: set split"), "{error}");
}

#[test]
fn a_set_that_no_split_applies_to_is_not_called_usable() {
    let folder = images(10, |_| 1);
    let picture =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/pictures/turned/6.jpg");
    for image in 0..10 {
        fs::copy(Path::new(picture), folder.path().join(format!("{image}.jpg"))).unwrap();
    }
    let corpus = load(&folder);
    let report = audit(&corpus, &[SplitSpec::PAPER, SplitSpec::OFFICIAL], |_| {});
    assert!(!report.is_broken() && !report.has_split());
    let shown = report.to_string();
    assert!(shown.contains("verdict      no split applies: 0 missing"), "{shown}");
    assert!(shown.contains("hint         set split to \"80/10/10\""), "{shown}");
    assert!(!shown.contains("usable"), "{shown}");
    assert!(shown.contains("(imagefolder layout)\ncaptions in  "), "{shown}");
    assert!(
        shown.contains("10 pictures lie on a side by EXIF; `precompute` turns them"),
        "{shown}"
    );
    let shown = audit(&corpus, &[spec("80/10/10", 42)], |_| {}).to_string();
    assert!(shown.contains("split        80/10/10  train 8, validation 1, test 1"), "{shown}");
    assert!(shown.contains("verdict      usable"), "{shown}");
}

#[test]
fn lists_of_names_divide_a_set() {
    let folder = images(4, |_| 1);
    let corpus = load(&folder);
    let lists = SplitSpec { kind: SplitKind::Lists, ..SplitSpec::PAPER };
    let error = Split::new(&corpus, &lists).unwrap_err().to_string();
    assert!(error.contains("{train,validation,test}.txt"), "{error}");
    fs::write(folder.path().join("train.txt"), "3.jpg\n\n0.jpg\n").unwrap();
    fs::write(folder.path().join("test.txt"), "1.jpg\n").unwrap();
    let split = Split::new(&corpus, &lists).unwrap();
    assert_eq!((split.train, split.validation, split.test), (vec![3, 0], vec![], vec![1]));
    fs::write(folder.path().join("test.txt"), "1.jpg\n9.jpg\n").unwrap();
    let error = Split::new(&corpus, &lists).unwrap_err().to_string();
    assert!(error.contains("test.txt:2 lists 9.jpg"), "{error}");
}
