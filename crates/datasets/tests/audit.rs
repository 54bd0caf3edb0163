//! The audit of a small set with one good and three bad pictures.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use datasets::{Corpus, SplitOutcome, SplitSpec, audit};

fn fixture(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/pictures");
    fs::read(Path::new(folder).join(name)).unwrap()
}

fn paper(test_captions: usize) -> SplitSpec {
    SplitSpec { test_captions, ..SplitSpec::PAPER }
}

#[test]
fn a_whole_set_is_usable_and_a_broken_one_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir(root.join("Images")).unwrap();
    fs::write(root.join("Images/a.jpg"), fixture("decodable/baseline.jpg")).unwrap();
    fs::write(root.join("Images/b.jpg"), fixture("decodable/progressive.jpg")).unwrap();
    let rows = "image,caption\na.jpg,One two three .\na.jpg,One .\nb.jpg,One two .\n";
    fs::write(root.join("captions.txt"), rows).unwrap();

    let corpus = Corpus::load(root, None).unwrap();
    let seen = Mutex::new(Vec::new());
    let whole = audit(&corpus, &[paper(1)], |done| seen.lock().unwrap().push(done));
    let mut seen = seen.into_inner().unwrap();
    seen.sort_unstable();
    assert_eq!(seen, [1, 2]);
    assert!(!whole.is_broken(), "{whole}");
    assert_eq!((whole.images, whole.captions), (2, 3));
    assert_eq!(whole.splits[0].outcome, SplitOutcome::Made { train: 1, validation: 0, test: 1 });
    assert_eq!(whole.images_by_captions, [(1, 1), (2, 1)].into());
    assert_eq!(whole.words.captions_by_words, [(2, 1), (3, 1), (4, 1)].into());
    assert!((whole.words.mean - 3.0).abs() < 1e-12);
    assert_eq!((whole.words.quantile(0.0), whole.words.quantile(0.5)), (2, 3));
    assert_eq!(whole.words.quantile(1.0), 4);

    let inapplicable = audit(&corpus, &[paper(2), SplitSpec::OFFICIAL], |_| {});
    assert!(!inapplicable.is_broken());
    let shown = inapplicable.to_string();
    assert!(shown.contains("begin inside image a.jpg"), "{shown}");
    assert!(shown.contains("needs Flickr_8k."), "{shown}");
    for (part, list) in [("train", "a.jpg"), ("dev", "b.jpg"), ("test", "a.jpg")] {
        fs::write(root.join(format!("Flickr_8k.{part}Images.txt")), list).unwrap();
    }
    let contradictory = audit(&corpus, &[SplitSpec::OFFICIAL], |_| {});
    assert!(contradictory.is_broken() && contradictory.unreadable.is_empty());
    assert!(contradictory.to_string().contains("testImages.txt:1"), "{contradictory}");

    fs::write(root.join("captions.txt"), format!("{rows}c.jpg,C .\nd.jpg,D .\n")).unwrap();
    fs::write(root.join("Images/b.jpg"), fixture("refused/cut.jpg")).unwrap();
    fs::write(root.join("Images/d.jpg"), b"").unwrap();
    let corpus = Corpus::load(root, None).unwrap();
    let broken = audit(&corpus, &[paper(1)], |_| {});
    assert!(broken.is_broken());
    let names: Vec<_> = broken.unreadable.iter().map(|picture| &picture.file_name).collect();
    assert_eq!(names, ["b.jpg", "c.jpg", "d.jpg"]);
    let shown = broken.to_string();
    for part in
        ["b.jpg: is cut short", "c.jpg: cannot be read", "d.jpg: the file is empty", "broken"]
    {
        assert!(shown.contains(part), "{shown}");
    }
    let json = serde_json::to_value(&broken).unwrap();
    assert_eq!(json["unreadable"][0]["file_name"], "b.jpg");
    assert_eq!(json["layout"], "kaggle");
}
