//! Caption files as other programs and people write them.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod support;

use std::fs;
use std::path::Path;

use datasets::{Corpus, Layout, LoadError, Split, SplitSpec, WarningKind};
use support::load;
use tempfile::TempDir;

/// Makes a folder with a file, and empty image files.
fn data_set(file: &str, contents: &str, pictures: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(file), contents).unwrap();
    for picture in pictures {
        let path = folder.path().join(picture);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"").unwrap();
    }
    folder
}

fn names(corpus: &Corpus) -> Vec<&str> {
    corpus.images.iter().map(|image| image.file_name.as_str()).collect()
}

const COCO: &str = r#"{"images": [
    {"filepath": "train2014", "sentids": [1], "filename": "p0.jpg", "split": "train", "cocoid": 5,
     "score": NaN, "range": [-Infinity, Infinity], "note": "\ud83d NaN",
     "sentences": [{"tokens": ["one"], "raw": "One NaN .", "sentid": 1}]},
    {"filepath": "val2014", "filename": "p1.jpg", "split": "restval", "sentences": [{"raw": "Two ."}]},
    {"filepath": "val2014", "filename": "p2.jpg", "split": "val", "sentences": [{"raw": "Three ."}]},
    {"filepath": "val2014", "filename": "p3.jpg", "split": "test", "sentences": [{"raw": "Four ."}]}
], "dataset": "coco"}"#;

const COCO_PICTURES: [&str; 4] =
    ["train2014/p0.jpg", "val2014/p1.jpg", "val2014/p2.jpg", "val2014/p3.jpg"];

#[test]
fn cocos_pictures_are_found_in_their_two_folders_and_restval_is_trained_on() {
    for (file, folder) in
        [("dataset_coco.json", ""), ("dataset_coco.json", "images/"), ("karpathy.json", "")]
    {
        let pictures = COCO_PICTURES.map(|picture| format!("{folder}{picture}"));
        let set = data_set(file, COCO, &pictures.each_ref().map(String::as_str));
        let corpus = load(set.path(), None).unwrap();
        assert_eq!(corpus.warnings, []);
        assert_eq!(corpus.layout, Layout::Karpathy);
        assert_eq!(names(&corpus), ["p0.jpg", "p1.jpg", "p2.jpg", "p3.jpg"]);
        assert_eq!(corpus.images[0].captions, ["One NaN ."]);
        for (index, picture) in pictures.iter().enumerate() {
            assert_eq!(corpus.picture(index).path(), set.path().join(picture));
        }
        let split = Split::new(&corpus, &SplitSpec::KARPATHY).unwrap();
        assert_eq!((split.train, split.validation, split.test), (vec![0, 1], vec![2], vec![3]));
    }
    // All pictures in one folder, whatever the captions say.
    let flat = data_set("dataset_coco.json", COCO, &["Images/p0.jpg", "Images/p1.jpg"]);
    let corpus = load(flat.path(), None).unwrap();
    assert_eq!(corpus.picture(1).path(), flat.path().join("Images/p1.jpg"));
    assert_eq!(corpus.warnings.len(), 1, "two pictures are missing: {:?}", corpus.warnings);
}

#[test]
fn json_of_others_is_not_taken_for_karpathys_nor_is_one_of_two_chosen() {
    let annotations = r#"{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": []}"#;
    let set = data_set("instances_train2014.json", annotations, &["Images/a.jpg"]);
    assert!(matches!(load(set.path(), None), Err(LoadError::NotRecognised { .. })));
    let set = data_set("a.json", COCO, &COCO_PICTURES);
    fs::write(set.path().join("b.json"), COCO).unwrap();
    let error = load(set.path(), None).unwrap_err().to_string();
    assert!(error.contains("a.json, b.json"), "{error}");
}

#[test]
fn a_filepath_that_leads_out_of_the_set_is_refused() {
    for path in ["../elsewhere", "/etc", "a/../../b"] {
        let contents = COCO.replacen("val2014", path, 1);
        let set = data_set("dataset_coco.json", &contents, &COCO_PICTURES);
        let error = load(set.path(), None).unwrap_err().to_string();
        assert!(error.contains("image 2") && error.contains(path), "{error}");
    }
}

#[test]
fn a_caption_over_two_lines_is_kept_and_what_would_swallow_rows_is_not() {
    for end in ["\n", "\r\n"] {
        let contents = format!(
            "\u{feff}image,caption{end}a.jpg,\"A dog{end}runs , \"\"fast\"\" .\"{end}\
             \"b.jpg\",A cat .{end}b.jpg,\"One{end}{end}two\"{end}"
        );
        let set = data_set("captions.txt", &contents, &["Images/a.jpg", "Images/b.jpg"]);
        let corpus = load(set.path(), None).unwrap();
        assert_eq!(corpus.warnings, []);
        assert_eq!(corpus.images[0].captions, [format!("A dog{end}runs , \"fast\" .")]);
        assert_eq!(corpus.images[1].captions, ["A cat .".to_owned(), format!("One{end}{end}two")]);
    }
    for rows in [
        "a.jpg,\"A dog .\nb.jpg,A cat .\"\n",
        "a.jpg,\"A dog .\nb.jpg,A cat .\n",
        "a.jpg,\"A dog\n.\" and more\nb.jpg,A cat .\n",
    ] {
        let set = data_set("captions.txt", &format!("image,caption\n{rows}"), &["Images/a.jpg"]);
        let error = load(set.path(), None).unwrap_err().to_string();
        assert!(error.contains("captions.txt:2 ") && error.contains("quotation mark"), "{error}");
    }
}

#[test]
fn files_that_macos_puts_beside_pictures_are_none() {
    let set = data_set(
        "captions.txt",
        "image,caption\na.jpg,A dog .\n",
        &["Images/a.jpg", "Images/._a.jpg"],
    );
    assert_eq!(load(set.path(), None).unwrap().warnings, []);
}

#[test]
fn names_are_printed_on_one_line_without_escape_characters() {
    let rows = "image,caption\n\"a\u{1b}[2J\nb.jpg\",A dog .\na.jpg,A dog .\n";
    let set = data_set("captions.txt", rows, &["Images/a.jpg"]);
    let corpus = load(set.path(), None).unwrap();
    let warning = corpus.warnings[0].to_string();
    assert!(warning.ends_with(r"the first is a\u{1b}[2J\nb.jpg"), "{warning}");
    let error = corpus.picture(0).decode().unwrap_err().to_string();
    assert!(error.contains(r"a\u{1b}[2J\nb.jpg") && !error.contains(['\n', '\u{1b}']), "{error}");
}

#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_refused_without_waiting_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    assert!(std::process::Command::new("mkfifo").arg(path("pipe.jpg")).status().unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(path("socket.jpg")).unwrap();
    fs::create_dir(path("folder.jpg")).unwrap();
    for (name, device) in
        [("zero.jpg", "/dev/zero"), ("full.jpg", "/dev/full"), ("link.jpg", "pipe.jpg")]
    {
        std::os::unix::fs::symlink(device, path(name)).unwrap();
    }
    for name in ["pipe.jpg", "socket.jpg", "folder.jpg", "zero.jpg", "full.jpg", "link.jpg"] {
        let error = pictures::decode(&path(name)).unwrap_err().to_string();
        assert!(error.contains(name) && error.ends_with("is not a regular file"), "{error}");
    }
    let picture = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/fixtures/pictures/decodable/rgb.png"
    ));
    std::os::unix::fs::symlink(picture, path("real.png")).unwrap();
    pictures::decode(&path("real.png")).unwrap();

    let large = fs::File::create(path("large.jpg")).unwrap();
    large.set_len(pictures::MAX_BYTES + 1).unwrap();
    let error = pictures::decode(&path("large.jpg")).unwrap_err().to_string();
    assert!(error.contains("1073741825 bytes, more than the 1073741824"), "{error}");
}

#[test]
fn names_in_another_unicode_form_find_their_pictures() {
    let [composed, decomposed] = ["caf\u{e9}.jpg", "cafe\u{301}.jpg"];
    let set_of = |in_captions: &str, on_disk: &[&str]| {
        let text = format!("file_name,text\n{in_captions},A bar.\nb.jpg,A cat.\n");
        data_set("metadata.csv", &text, &[on_disk, &["b.jpg"]].concat())
    };
    for (in_captions, on_disk) in [(composed, decomposed), (decomposed, composed)] {
        let set = set_of(in_captions, &[on_disk]);
        let corpus = load(set.path(), None).unwrap();
        assert_eq!((corpus.layout, &corpus.warnings), (Layout::ImageFolder, &Vec::new()));
        assert_eq!(corpus.images[0].file_name, in_captions);
        assert_eq!(corpus.picture(0).path(), set.path().join(on_disk));
        assert_eq!(corpus.picture(1).path(), set.path().join("b.jpg"));
    }
    // The very same name comes first.
    let set = set_of(composed, &[composed, decomposed]);
    let corpus = load(set.path(), None).unwrap();
    assert_eq!(corpus.picture(0).path(), set.path().join(composed));
    let [warning] = &corpus.warnings[..] else { panic!("{:?}", corpus.warnings) };
    let expected = (WarningKind::PictureWithoutCaptions, 1, decomposed);
    assert_eq!((warning.kind, warning.count, warning.example.as_str()), expected);
}
