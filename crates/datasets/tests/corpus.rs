//! The layouts of Flickr8k and Flickr30k, and errors and warnings for bad input.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod support;

use std::fs;
use std::path::Path;

use datasets::{Corpus, Image, Layout, LoadError, Location, Part, WarningKind};
use support::load;
use tempfile::TempDir;

/// Makes a folder with `contents` in `file`, and an empty image file for each name.
fn data_set(file: &str, contents: impl AsRef<[u8]>, pictures: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, contents).unwrap();
    add_pictures(folder.path(), "Images", pictures);
    folder
}

fn add_pictures(root: &Path, folder: &str, names: &[&str]) {
    fs::create_dir_all(root.join(folder)).unwrap();
    for name in names {
        fs::write(root.join(folder).join(name), b"").unwrap();
    }
}

fn image(name: &str, captions: &[&str]) -> Image {
    Image {
        file_name: name.to_owned(),
        captions: captions.iter().map(|&caption| caption.to_owned()).collect(),
        words: Vec::new(),
        part: None,
    }
}

/// Loads a set that must load without warnings.
fn clean(folder: &TempDir) -> Corpus {
    let corpus = load(folder.path(), None).unwrap();
    assert_eq!(corpus.warnings, []);
    corpus
}

/// Loads what must load, with exactly one warning.
fn warned(folder: &TempDir) -> (Corpus, WarningKind, usize, Option<Location>) {
    let mut corpus = load(folder.path(), None).unwrap();
    assert_eq!(corpus.warnings.len(), 1, "{:?}", corpus.warnings);
    let warning = corpus.warnings.remove(0);
    (corpus, warning.kind, warning.count, warning.first)
}

/// Returns the error of a set that must not load; it names the line.
fn refused_at(folder: &TempDir, line: usize) -> String {
    match load(folder.path(), None) {
        Err(error @ LoadError::Malformed { location: Location::Line(at), .. }) => {
            assert_eq!(at, line, "{error}");
            assert!(error.to_string().contains(&format!(":{line} ")), "{error}");
            error.to_string()
        }
        other => panic!("not refused at a line: {other:?}"),
    }
}

#[test]
fn flickr8k_as_kaggle_has_it_is_read_with_quotes_and_commas() {
    let folder = data_set(
        "captions.txt",
        "image,caption\n\
         a.jpg,A dog runs .\n\
         a.jpg,\"A dog , running , on sand .\"\n\
         b.jpg,\"A sign says \"\" stop \"\" .\"\n\
         b.jpg, A leading blank stays \n",
        &["a.jpg", "b.jpg"],
    );
    let corpus = clean(&folder);
    assert_eq!(corpus.layout, Layout::Kaggle);
    assert_eq!(
        corpus.images,
        [
            image("a.jpg", &["A dog runs .", "A dog , running , on sand ."]),
            image("b.jpg", &["A sign says \" stop \" .", " A leading blank stays "]),
        ]
    );
    assert_eq!(corpus.caption_count(), 4);
    assert_eq!(corpus.picture(1).path(), folder.path().join("Images/b.jpg"));
}

#[test]
fn flickr30k_as_kaggle_has_it_is_read_with_commas_and_with_bars() {
    let with_commas = data_set(
        "captions.txt",
        "image_name,comment_number,comment\n\
         a.jpg,0,Two dogs .\n\
         a.jpg,1,\" A dog , and another .\"\n",
        &[],
    );
    add_pictures(with_commas.path(), "flickr30k_images", &["a.jpg"]);
    let with_bars = data_set(
        "results.csv",
        "image_name| comment_number| comment\n\
         a.jpg| 0| Two dogs .\n\
         a.jpg| 1| A dog , and another .\n",
        &[],
    );
    add_pictures(with_bars.path(), "flickr30k_images", &["a.jpg"]);
    let corpora = [clean(&with_commas), clean(&with_bars)];
    for corpus in &corpora {
        assert_eq!(corpus.images, [image("a.jpg", &["Two dogs .", "A dog , and another ."])]);
        assert!(corpus.locations.folder.ends_with("flickr30k_images"));
    }
    assert_eq!(corpora[0].fingerprint(), corpora[1].fingerprint());
}

#[test]
fn quotation_marks_are_plain_characters_between_bars() {
    let folder = data_set(
        "results.csv",
        "image_name| comment_number| comment\na.jpg| 0|\"Hi\" says \"a man .\n",
        &["a.jpg"],
    );
    assert_eq!(clean(&folder).images, [image("a.jpg", &["\"Hi\" says \"a man ."])]);
}

#[test]
fn the_row_of_flickr30k_with_its_number_in_the_caption_is_repaired_and_counted() {
    for (file, contents) in [
        (
            "results.csv",
            "image_name| comment_number| comment\na.jpg| 3| One .\na.jpg| 4   A dog runs .\n",
        ),
        (
            "captions.txt",
            "image_name,comment_number,comment\na.jpg,3,One .\na.jpg, 4   A dog runs .,\n",
        ),
    ] {
        let folder = data_set(file, contents, &["a.jpg"]);
        let (corpus, kind, count, first) = warned(&folder);
        assert_eq!(
            (kind, count, first),
            (WarningKind::NumberInCaption, 1, Some(Location::Line(3))),
            "{file}"
        );
        assert_eq!(corpus.images, [image("a.jpg", &["One .", "A dog runs ."])]);
    }
}

#[test]
fn the_original_releases_are_read() {
    for file in ["Flickr8k.token.txt", "Flickr8k_text/Flickr8k.token.txt", "results_20130124.token"]
    {
        let folder = data_set(
            file,
            "b.jpg#0\tA \"quoted , thing\" .\nb.jpg#1\tTwo\ttabs .\na.jpg#0\tA cat .\n",
            &["a.jpg", "b.jpg"],
        );
        let corpus = clean(&folder);
        assert_eq!(corpus.layout, Layout::Original);
        assert_eq!(
            corpus.images,
            [
                image("b.jpg", &["A \"quoted , thing\" .", "Two\ttabs ."]),
                image("a.jpg", &["A cat ."])
            ]
        );
    }
}

const KARPATHY: &str = r#"{"dataset": "flickr8k", "images": [
  {"imgid": 0, "filename": "b.jpg", "split": "train", "sentids": [0, 1], "sentences": [
    {"tokens": ["a", "dog"], "raw": "A dog \"here\" .", "imgid": 0, "sentid": 0},
    {"tokens": ["caf\u00e9"], "raw": "Caf\u00e9 .", "imgid": 0, "sentid": 1}]},
  {"filename": "a.jpg", "split": "val", "sentences": [{"raw": "Val ."}]},
  {"filename": "d.jpg", "split": "restval", "sentences": [{"raw": "Rest ."}]},
  {"filename": "c.jpg", "split": "test", "sentences": [{"raw": "Test ."}]}]}"#;

#[test]
fn karpathys_json_is_read_with_its_split() {
    let folder = data_set("dataset_flickr8k.json", KARPATHY, &["a.jpg", "b.jpg", "c.jpg", "d.jpg"]);
    let corpus = clean(&folder);
    assert_eq!(corpus.layout, Layout::Karpathy);
    let names: Vec<_> = corpus.images.iter().map(|image| image.file_name.as_str()).collect();
    assert_eq!(names, ["b.jpg", "a.jpg", "d.jpg", "c.jpg"]);
    assert_eq!(corpus.images[0].captions, ["A dog \"here\" .", "Café ."]);
    let words = |image: usize| &corpus.images[image].words[..];
    assert_eq!(words(0), [Some("a dog".to_owned()), Some("caf\u{e9}".to_owned())]);
    assert_eq!(words(1), []);
    let parts: Vec<_> = corpus.images.iter().filter_map(|image| image.part).collect();
    let expected = [Part::Train, Part::Val, Part::RestVal, Part::Test];
    assert_eq!(parts, expected);
}

#[test]
fn listed_words_stay_with_their_captions() {
    let contents = r#"{"images": [{"filename": "a.jpg", "split": "train", "sentences": [
        {"raw": "One ."}, {"raw": " ", "tokens": ["blank"]}, {"raw": "Two .", "tokens": ["2"]},
        {"raw": "...", "tokens": []}, {"raw": "Three .", "tokens": null}]}]}"#;
    let corpus =
        load(data_set("dataset_flickr8k.json", contents, &["a.jpg"]).path(), None).unwrap();
    assert_eq!(corpus.images[0].captions, ["One .", "Two .", "...", "Three ."]);
    assert_eq!(corpus.images[0].words, [None, Some("2".to_owned()), Some(String::new())]);
}

#[test]
fn an_image_twice_in_karpathys_json_is_refused_by_its_place() {
    let contents = KARPATHY.replace("c.jpg", "b.jpg");
    let folder = data_set("dataset_flickr8k.json", contents, &["b.jpg"]);
    let error = load(folder.path(), None).unwrap_err().to_string();
    assert!(error.contains("dataset_flickr8k.json, image 4, lists b.jpg a second time"), "{error}");
}

#[test]
fn json_that_is_not_karpathys_is_refused_with_line_and_column() {
    for contents in
        ["{", "[]", &KARPATHY.replace("restval", "holdout"), &KARPATHY.replace("raw", "text")]
    {
        let folder = data_set("dataset_flickr8k.json", contents, &["b.jpg"]);
        let error = load(folder.path(), None).unwrap_err();
        assert!(matches!(error, LoadError::Json { .. }), "{error}");
        assert!(error.to_string().contains("line"), "{error}");
    }
}

#[test]
fn an_image_without_sentences_is_dropped_and_counted() {
    let contents = KARPATHY.replace(r#"[{"raw": "Rest ."}]"#, "[]");
    let folder = data_set("dataset_flickr8k.json", contents, &["a.jpg", "b.jpg", "c.jpg", "d.jpg"]);
    let (corpus, kind, count, first) = warned(&folder);
    assert_eq!((kind, count), (WarningKind::ImageWithoutCaptions, 1));
    assert_eq!(first, Some(Location::Record(3)));
    assert_eq!(corpus.images.len(), 3);
}

#[test]
fn a_folder_with_several_layouts_is_kaggles_unless_another_is_named() {
    let folder = data_set("captions.txt", "image,caption\na.jpg,Kaggle .\n", &["a.jpg"]);
    fs::write(folder.path().join("Flickr8k.token.txt"), "a.jpg#0\tOriginal .\n").unwrap();
    assert_eq!(clean(&folder).images[0].captions, ["Kaggle ."]);
    let named = load(folder.path(), Some("original".parse().unwrap())).unwrap();
    assert_eq!(named.images[0].captions, ["Original ."]);
    let missing = load(folder.path(), Some(Layout::Karpathy)).unwrap_err();
    assert!(missing.to_string().contains("dataset_flickr8k.json"), "{missing}");
    assert!(!missing.to_string().contains("captions.txt"), "{missing}");
}

#[test]
fn a_data_set_is_absent_until_there_is_more_than_remains_of_a_download() {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("set.tar");
    for name in [".fetch.lock", "a.zip.incomplete"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    assert!(datasets::is_absent(&archive) && datasets::is_absent(folder.path()));
    fs::write(&archive, "").unwrap();
    assert!(!datasets::is_absent(&archive) && !datasets::is_absent(folder.path()));
}

#[test]
fn a_folder_without_captions_is_refused_with_what_was_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let error = load(folder.path(), None).unwrap_err().to_string();
    for file in ["captions.txt", "results.csv", "Flickr8k.token.txt", "dataset_flickr30k.json"] {
        assert!(error.contains(file), "{error}");
    }
    let gone = load(&folder.path().join("gone"), None).unwrap_err();
    assert!(matches!(gone, LoadError::NoFolder(_)));
    let file = folder.path().join("mine.csv");
    fs::write(&file, "image,caption\n").unwrap();
    let error = load(&file, None).unwrap_err().to_string();
    assert!(error.contains("is a file") && error.contains("--captions"), "{error}");
    let error = load(folder.path(), None).unwrap_err().to_string();
    let named = format!("such as {}, with --captions", file.display());
    assert!(error.contains("no captions that are known") && error.contains(&named), "{error}");
}

#[test]
fn a_set_without_its_pictures_is_refused_with_the_folders_that_were_tried() {
    let folder = data_set("captions.txt", "image,caption\na.jpg,A dog .\n", &["other.jpg"]);
    let error = load(folder.path(), None).unwrap_err();
    assert!(matches!(error, LoadError::NoPictures { images: 1, .. }), "{error}");
    assert!(error.to_string().contains("Flicker8k_Dataset"), "{error}");
}

#[test]
fn every_usual_picture_folder_is_found() {
    for pictures in ["images", "Flicker8k_Dataset", "Flickr8k_Dataset", "flickr30k-images", "."] {
        let folder = data_set("captions.txt", "image,caption\na.jpg,A dog .\n", &[]);
        add_pictures(folder.path(), pictures, &["a.jpg"]);
        assert_eq!(clean(&folder).picture(0).path(), folder.path().join(pictures).join("a.jpg"));
    }
}

#[test]
fn captions_of_pictures_that_never_were_are_dropped_and_counted() {
    let folder = data_set(
        "Flickr8k.token.txt",
        "a.jpg#0\tOne .\n\
         2258277193_586949ec62.jpg.1#0\tGone .\n\
         2258277193_586949ec62.jpg#1\tGone .\n\
         2258277193_586949ec62.jpg#2\tGone .\n",
        &["a.jpg"],
    );
    let (corpus, kind, count, first) = warned(&folder);
    assert_eq!((kind, count, first), (WarningKind::NoSuchPicture, 3, Some(Location::Line(2))));
    assert_eq!(corpus.images, [image("a.jpg", &["One ."])]);
}

#[test]
fn an_image_whose_picture_is_missing_stays_and_is_counted() {
    let folder =
        data_set("captions.txt", "image,caption\na.jpg,A .\nb.jpg,B .\nc.jpg,C .\n", &["b.jpg"]);
    let (corpus, kind, count, first) = warned(&folder);
    assert_eq!((kind, count, first), (WarningKind::MissingPicture, 2, Some(Location::Line(2))));
    assert_eq!(corpus.images.len(), 3);
}

#[test]
fn pictures_without_captions_are_counted() {
    let pictures = ["a.jpg", "z.jpg", "y.JPG", "Thumbs.db"];
    let folder = data_set("captions.txt", "image,caption\na.jpg,A .\n", &pictures);
    let mut corpus = load(folder.path(), None).unwrap();
    let warning = corpus.warnings.remove(0);
    assert_eq!(warning.kind, WarningKind::PictureWithoutCaptions);
    assert_eq!((warning.count, warning.example.as_str()), (2, "y.JPG"));
    assert!(warning.file.ends_with("Images"));
}

#[test]
fn rows_with_too_few_fields_are_refused_by_line() {
    for (file, contents) in [
        ("captions.txt", "image,caption\na.jpg,A .\na.jpg\n"),
        ("captions.txt", "image_name,comment_number,comment\na.jpg,0,A .\na.jpg,1\n"),
        ("results.csv", "image_name| comment_number| comment\na.jpg| 0| A .\na.jpg| B .\n"),
        ("Flickr8k.token.txt", "a.jpg#0\tA .\na.jpg#1\tB .\na.jpg#2 C .\n"),
        ("Flickr8k.token.txt", "a.jpg#0\tA .\n\na.jpg\tC .\n"),
    ] {
        let folder = data_set(file, contents, &["a.jpg"]);
        let error = refused_at(&folder, 3);
        assert!(error.contains(file), "{error}");
    }
}

#[test]
fn a_row_with_unquoted_commas_is_put_together_and_counted() {
    let folder =
        data_set("captions.txt", "image,caption\na.jpg,A dog , and , a cat .\n", &["a.jpg"]);
    let (corpus, kind, count, first) = warned(&folder);
    assert_eq!((kind, count, first), (WarningKind::UnquotedSeparator, 1, Some(Location::Line(2))));
    assert_eq!(corpus.images[0].captions, ["A dog , and , a cat ."]);
}

#[test]
fn stray_quotation_marks_are_read_as_python_reads_them_and_counted() {
    // Results of csv.reader of Python 3.11.
    for (row, caption) in [
        ("a.jpg,\"A sign \"Stop\" here .\"", "A sign Stop\" here .\""),
        ("a.jpg,\"Stop\" here .", "Stop here ."),
    ] {
        let contents = format!("image,caption\na.jpg,First .\n{row}\n");
        let folder = data_set("captions.txt", contents, &["a.jpg"]);
        let (corpus, kind, count, first) = warned(&folder);
        assert_eq!((kind, count, first), (WarningKind::StrayQuote, 1, Some(Location::Line(3))));
        assert_eq!(corpus.images[0].captions, ["First .", caption]);
    }
    let within = data_set("captions.txt", "image,caption\na.jpg,A \"sign\" .\n", &["a.jpg"]);
    assert_eq!(clean(&within).images[0].captions, ["A \"sign\" ."]);
}

#[test]
fn a_quotation_mark_that_would_swallow_rows_is_refused_where_it_opens() {
    for end in ["", "b.jpg,\"C .\"\n"] {
        let contents = format!("image,caption\na.jpg,A .\na.jpg,\"B .\nb.jpg,C .\n{end}");
        let folder = data_set("captions.txt", contents, &["a.jpg", "b.jpg"]);
        refused_at(&folder, 3);
    }
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_change_nothing() {
    for (file, contents) in [
        ("captions.txt", "image,caption\na.jpg,A dog .\na.jpg,\"B , C .\"\n"),
        ("results.csv", "image_name| comment_number| comment\na.jpg| 0| A dog .\na.jpg| 1| B .\n"),
        ("Flickr8k.token.txt", "a.jpg#0\tA dog .\na.jpg#1\tB .\n"),
        ("dataset_flickr8k.json", KARPATHY),
    ] {
        let pictures = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"];
        let plain = load(data_set(file, contents, &pictures).path(), None).unwrap();
        let windows = format!("\u{feff}{}", contents.replace('\n', "\r\n"));
        let marked = load(data_set(file, windows, &pictures).path(), None).unwrap();
        assert_eq!(plain.images, marked.images, "{file}");
        assert_eq!(plain.fingerprint(), marked.fingerprint());
    }
}

#[test]
fn bytes_that_are_not_utf8_are_refused_by_line() {
    for (file, start) in [
        ("captions.txt", "image,caption\na.jpg,A .\n"),
        ("Flickr8k.token.txt", "a.jpg#0\tA .\na.jpg#1\tB .\n"),
    ] {
        let contents = [start.as_bytes(), b"a.jpg,caf\xe9 .\na.jpg,D .\n"].concat();
        let error = refused_at(&data_set(file, contents, &["a.jpg"]), 3);
        assert!(error.contains("UTF-8"), "{error}");
    }
}

#[test]
fn empty_captions_are_dropped_and_counted() {
    for (file, contents) in [
        ("captions.txt", "image,caption\na.jpg,A .\na.jpg,\na.jpg,\"  \"\n"),
        ("results.csv", "image_name| comment_number| comment\na.jpg|0|A .\na.jpg|1|\na.jpg|2| \n"),
        ("Flickr8k.token.txt", "\na.jpg#0\tA .\na.jpg#1\t\na.jpg#2\t \n"),
    ] {
        let folder = data_set(file, contents, &["a.jpg"]);
        let (corpus, kind, count, first) = warned(&folder);
        assert_eq!((kind, count, first), (WarningKind::EmptyCaption, 2, Some(Location::Line(3))));
        assert_eq!(corpus.images, [image("a.jpg", &["A ."])]);
    }
}

#[test]
fn names_that_lead_out_of_the_folder_are_refused() {
    for name in ["../a.jpg", "/etc/a.jpg", "x/a.jpg", "..", "x\\a.jpg", ""] {
        let contents = format!("image,caption\na.jpg,A .\n{name},B .\n");
        refused_at(&data_set("captions.txt", contents, &["a.jpg"]), 3);
        let contents = format!("a.jpg#0\tA .\n{name}#0\tB .\n");
        refused_at(&data_set("Flickr8k.token.txt", contents, &["a.jpg"]), 2);
    }
    let contents = KARPATHY.replace("c.jpg", "../c.jpg");
    let folder = data_set("dataset_flickr8k.json", contents, &["a.jpg"]);
    let error = load(folder.path(), None).unwrap_err();
    assert!(matches!(error, LoadError::Malformed { location: Location::Record(4), .. }), "{error}");
}

#[test]
fn scattered_rows_are_gathered_at_the_first_and_counted() {
    let contents = "image,caption\nb.jpg,One .\na.jpg,Two .\nb.jpg,Three .\n";
    let folder = data_set("captions.txt", contents, &["a.jpg", "b.jpg"]);
    let (corpus, kind, count, first) = warned(&folder);
    assert_eq!((kind, count, first), (WarningKind::ScatteredRows, 1, Some(Location::Line(4))));
    assert_eq!(corpus.images, [image("b.jpg", &["One .", "Three ."]), image("a.jpg", &["Two ."])]);
}

#[test]
fn an_unknown_header_and_a_file_without_rows_are_refused() {
    let unknown = data_set("captions.txt", "file;text\na.jpg;A .\n", &["a.jpg"]);
    let error = refused_at(&unknown, 1);
    assert!(error.contains("image,caption"), "{error}");
    for contents in ["image,caption\n", "image,caption"] {
        let empty = data_set("captions.txt", contents, &["a.jpg"]);
        let error = load(empty.path(), None).unwrap_err();
        assert!(matches!(error, LoadError::NoCaptions(_)), "{error}");
    }
    refused_at(&data_set("captions.txt", "", &["a.jpg"]), 1);
}

#[test]
fn the_fingerprint_tells_apart_names_captions_and_their_order() {
    let of = |rows: &str| {
        let pictures = ["a.jpg", "b.jpg", "a.jpgb.jpg"];
        let folder = data_set("captions.txt", format!("image,caption\n{rows}"), &pictures);
        load(folder.path(), None).unwrap().fingerprint()
    };
    let fingerprints = [
        of("a.jpg,A .\nb.jpg,B .\n"),
        of("b.jpg,B .\na.jpg,A .\n"),
        of("a.jpg,A .\nb.jpg,C .\n"),
        of("a.jpg,A .\na.jpg,B .\n"),
        of("a.jpg,A .B .\n"),
        of("a.jpg,A .\nb.jpg,B .\nb.jpg,B .\n"),
    ];
    let distinct: std::collections::HashSet<_> = fingerprints.iter().collect();
    assert_eq!(distinct.len(), fingerprints.len());
    assert_eq!(fingerprints[0].len(), 64);
    assert_eq!(fingerprints[0], of("a.jpg,\"A .\"\nb.jpg,B .\n"));
}
