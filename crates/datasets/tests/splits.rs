//! Splits by position, by lists and by Karpathy.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::fmt::Write as _;
use std::fs;

use datasets::{Corpus, Layout, Split, SplitError, SplitKind, SplitSpec};
use tempfile::TempDir;

/// Makes images a to f with two captions each, in Kaggle's layout.
fn six_images() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("Images")).unwrap();
    let mut rows = String::from("image,caption\n");
    for name in ["a", "b", "c", "d", "e", "f"] {
        writeln!(rows, "{name}.jpg,One .\n{name}.jpg,Two .").unwrap();
        fs::write(folder.path().join(format!("Images/{name}.jpg")), b"").unwrap();
    }
    fs::write(folder.path().join("captions.txt"), rows).unwrap();
    folder
}

fn paper(test_captions: usize, validation_captions: usize) -> SplitSpec {
    SplitSpec { test_captions, validation_captions, ..SplitSpec::PAPER }
}

fn names(corpus: &Corpus, part: &[usize]) -> String {
    part.iter().map(|&index| corpus.images[index].file_name.trim_end_matches(".jpg")).collect()
}

fn parts(corpus: &Corpus, spec: &SplitSpec) -> [String; 3] {
    let split = Split::new(corpus, spec).unwrap();
    [&split.train, &split.validation, &split.test].map(|part| names(corpus, part))
}

#[test]
fn the_last_rows_are_the_test_set_and_those_before_it_the_validation_set() {
    let folder = six_images();
    let corpus = Corpus::load(folder.path(), None).unwrap();
    assert_eq!(parts(&corpus, &paper(2, 0)), ["abcde", "", "f"]);
    assert_eq!(parts(&corpus, &paper(4, 2)), ["abc", "d", "ef"]);
    assert_eq!(parts(&corpus, &paper(2, 6)), ["ab", "cde", "f"]);
    assert_eq!(parts(&corpus, &paper(0, 0)), ["abcdef", "", ""]);
}

#[test]
fn a_boundary_inside_an_image_is_refused_with_the_nearest_that_are_not() {
    let folder = six_images();
    let corpus = Corpus::load(folder.path(), None).unwrap();
    for spec in [paper(3, 0), paper(2, 1)] {
        match Split::new(&corpus, &spec) {
            Err(SplitError::InsideImage { rows: 3, image, below: 2, above: 4, dropped: 0 }) => {
                assert_eq!(image, "e.jpg");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn more_rows_than_there_are_and_no_rows_to_train_on_are_refused() {
    let folder = six_images();
    let corpus = Corpus::load(folder.path(), None).unwrap();
    for spec in [paper(14, 0), paper(8, 6), paper(usize::MAX, 1)] {
        let error = Split::new(&corpus, &spec).unwrap_err();
        assert!(matches!(error, SplitError::TooFewCaptions { have: 12, .. }), "{error}");
    }
    let error = Split::new(&corpus, &paper(10, 2)).unwrap_err();
    assert!(matches!(error, SplitError::NothingToTrain { kind: SplitKind::Paper, .. }), "{error}");
}

#[test]
fn position_means_kaggles_order_in_every_layout() {
    let folder = six_images();
    let mut rows = String::new();
    for name in ["f", "b", "e", "a", "d", "c"] {
        writeln!(rows, "{name}.jpg#0\tOne .\n{name}.jpg#1\tTwo .").unwrap();
    }
    fs::write(folder.path().join("Flickr8k.token.txt"), rows).unwrap();
    let original = Corpus::load(folder.path(), Some(Layout::Original)).unwrap();
    assert_eq!(original.images[0].file_name, "f.jpg");
    assert_eq!(parts(&original, &paper(4, 2)), ["abc", "d", "ef"]);
}

fn write_lists(folder: &TempDir, lists: [&str; 3]) {
    for (part, list) in ["train", "dev", "test"].iter().zip(lists) {
        fs::write(folder.path().join(format!("Flickr_8k.{part}Images.txt")), list).unwrap();
    }
}

#[test]
fn the_releases_lists_are_followed_in_their_order() {
    let folder = six_images();
    write_lists(&folder, ["d.jpg\r\na.jpg\r\n", "\u{feff}b.jpg\n\n", "f.jpg\nc.jpg"]);
    let corpus = Corpus::load(folder.path(), None).unwrap();
    assert_eq!(parts(&corpus, &SplitSpec::OFFICIAL), ["da", "b", "fc"]);
}

#[test]
fn lists_that_contradict_the_corpus_or_each_other_are_refused_by_file_and_line() {
    for (lists, file, complaint) in [
        (["a.jpg", "b.jpg", "c.jpg\na.jpg"], "testImages.txt:2", "trainImages.txt:1"),
        (["a.jpg\nb.jpg\na.jpg", "", ""], "trainImages.txt:3", "trainImages.txt:1"),
        (["a.jpg", "z.jpg", ""], "devImages.txt:1", "z.jpg"),
        (["a.jpg\n../b.jpg", "", ""], "trainImages.txt:2", "path"),
    ] {
        let folder = six_images();
        write_lists(&folder, lists);
        let corpus = Corpus::load(folder.path(), None).unwrap();
        let error = Split::new(&corpus, &SplitSpec::OFFICIAL).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains(complaint), "{error}");
    }
}

#[test]
fn a_missing_list_is_named() {
    let folder = six_images();
    let corpus = Corpus::load(folder.path(), None).unwrap();
    let none = Split::new(&corpus, &SplitSpec::OFFICIAL).unwrap_err().to_string();
    assert!(none.contains("Flickr_8k.{train,dev,test}Images.txt"), "{none}");
    write_lists(&folder, ["a.jpg", "", ""]);
    fs::remove_file(folder.path().join("Flickr_8k.devImages.txt")).unwrap();
    let one = Split::new(&corpus, &SplitSpec::OFFICIAL).unwrap_err().to_string();
    assert!(one.contains("devImages.txt is missing"), "{one}");
}

const KARPATHY: &str = r#"{"images": [
    {"filename": "f.jpg", "split": "train", "sentences": [{"raw": "F ."}]},
    {"filename": "a.jpg", "split": "restval", "sentences": [{"raw": "A ."}]},
    {"filename": "b.jpg", "split": "test", "sentences": [{"raw": "B ."}]},
    {"filename": "c.jpg", "split": "val", "sentences": [{"raw": "C ."}]}]}"#;

#[test]
fn karpathys_split_is_followed_in_his_layout_and_beside_another() {
    let folder = six_images();
    let kaggle = Corpus::load(folder.path(), None).unwrap();
    let none = Split::new(&kaggle, &SplitSpec::KARPATHY).unwrap_err().to_string();
    assert!(none.contains("dataset_flickr8k.json"), "{none}");
    fs::write(folder.path().join("dataset_flickr8k.json"), KARPATHY).unwrap();
    let karpathy = Corpus::load(folder.path(), Some(Layout::Karpathy)).unwrap();
    for corpus in [kaggle, karpathy] {
        assert_eq!(parts(&corpus, &SplitSpec::KARPATHY), ["fa", "c", "b"]);
        let spec = SplitSpec { kind: SplitKind::KarpathyNoRestVal, ..SplitSpec::KARPATHY };
        assert_eq!(parts(&corpus, &spec), ["f", "c", "b"]);
    }
}

#[test]
fn an_image_twice_in_karpathys_split_is_refused() {
    let folder = six_images();
    let twice = KARPATHY.replace("c.jpg", "f.jpg");
    fs::write(folder.path().join("dataset_flickr8k.json"), twice).unwrap();
    let corpus = Corpus::load(folder.path(), None).unwrap();
    let error = Split::new(&corpus, &SplitSpec::KARPATHY).unwrap_err();
    assert!(matches!(error, SplitError::ListedTwice { line: 4, first_line: 1, .. }), "{error}");
}

#[test]
fn names_of_kinds_and_layouts_are_what_is_written_and_read() {
    for kind in SplitKind::NAMED.into_iter().chain([SplitKind::Shares("80/10/10".parse().unwrap())])
    {
        assert_eq!(kind.to_string().parse(), Ok(kind));
        assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
    }
    for layout in Layout::ALL {
        assert_eq!(layout.to_string().parse(), Ok(layout));
        assert_eq!(serde_json::to_string(&layout).unwrap(), format!("\"{layout}\""));
    }
    let error = "offical".parse::<SplitKind>().unwrap_err();
    assert!(error.contains("official"), "{error}");
    let error = "80/20".parse::<SplitKind>().unwrap_err();
    assert!(error.contains("there must be three shares"), "{error}");
}
