//! Layouts of data sets of one's own, and errors and warnings for bad input.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod support;

use std::fs;
use std::path::Path;

use datasets::{
    Columns, Corpus, Layout, LoadError, Part, Source, Split, SplitError, SplitKind, SplitSpec,
    WarningKind,
};
use support::load;
use tempfile::TempDir;

/// Makes a folder with text files, and empty pictures.
fn data_set(texts: &[(&str, &str)], pictures: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for (name, text) in texts {
        write(name, text);
    }
    for name in pictures {
        write(name, "");
    }
    folder
}

fn captioned(corpus: &Corpus) -> Vec<(&str, Vec<&str>)> {
    corpus
        .images
        .iter()
        .map(|image| {
            (image.file_name.as_str(), image.captions.iter().map(String::as_str).collect())
        })
        .collect()
}

/// Loads a set that must load without warnings, in the detected layout.
fn clean(folder: &TempDir, layout: Layout) -> Corpus {
    let corpus = load(folder.path(), None).unwrap();
    assert_eq!((corpus.layout, &corpus.warnings), (layout, &Vec::new()));
    corpus
}

/// Returns a source with a captions file of the folder.
fn table(folder: &TempDir, file: &str, columns: [&str; 2]) -> Source {
    let column = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
    Source {
        captions: Some(folder.path().join(file)),
        columns: Columns { image: column(columns[0]), caption: column(columns[1]) },
        ..Source::new(folder.path(), None)
    }
}

fn message(result: Result<Corpus, LoadError>) -> String {
    result.unwrap_err().to_string()
}

fn warnings(corpus: &Corpus) -> Vec<(WarningKind, usize, &str)> {
    corpus.warnings.iter().map(|w| (w.kind, w.count, w.example.as_str())).collect()
}

fn sizes(corpus: &Corpus, spec: &SplitSpec) -> [usize; 3] {
    let split = Split::new(corpus, spec).unwrap();
    [split.train.len(), split.validation.len(), split.test.len()]
}

fn given() -> SplitSpec {
    SplitSpec { kind: SplitKind::Given, ..SplitSpec::PAPER }
}

#[test]
fn imagefolders_metadata_are_read_as_csv_and_as_json_lines() {
    let csv = "file_name,text\na.jpg,A dog.\nsub/b.jpg,\"A cat, asleep.\"\na.jpg,Another dog.\n";
    let json = "{\"file_name\": \"a.jpg\", \"text\": [\"A dog.\", \"Another dog.\"]}\n\n\
                {\"text\": \"A cat, asleep.\", \"file_name\": \"sub/b.jpg\", \"width\": 3}\n";
    for (file, text) in [("metadata.csv", csv), ("metadata.jsonl", json)] {
        for folder in ["", "images/"] {
            let [a, b] = ["a.jpg", "sub/b.jpg"].map(|name| format!("{folder}{name}"));
            let set = data_set(&[(file, text)], &[&a, &b]);
            let corpus = clean(&set, Layout::ImageFolder);
            assert_eq!(corpus.caption_files, [set.path().join(file)]);
            let expected =
                [("a.jpg", vec!["A dog.", "Another dog."]), ("sub/b.jpg", vec!["A cat, asleep."])];
            assert_eq!(captioned(&corpus), expected);
            assert_eq!(corpus.picture(1).path(), set.path().join(b));
        }
    }
}

#[test]
fn an_imagefolder_may_have_folders_of_parts() {
    let rows = |name: &str| format!("file_name,caption\n{name},A thing.\n");
    let set = data_set(
        &[
            ("train/metadata.csv", &format!("{}b.jpg,More.\n", rows("a.jpg"))),
            ("validation/metadata.csv", &rows("a.jpg")),
            ("test/metadata.jsonl", "{\"file_name\": \"x/c.png\", \"caption\": \"Last.\"}"),
        ],
        &["train/a.jpg", "train/b.jpg", "validation/a.jpg", "test/x/c.png"],
    );
    let corpus = clean(&set, Layout::ImageFolder);
    let names: Vec<&str> = corpus.images.iter().map(|image| image.file_name.as_str()).collect();
    assert_eq!(names, ["train/a.jpg", "train/b.jpg", "validation/a.jpg", "test/x/c.png"]);
    assert_eq!(corpus.picture(3).path(), set.path().join("test/x/c.png"));
    assert_eq!(sizes(&corpus, &given()), [2, 1, 1]);
    assert_eq!(corpus.caption_files.len(), 3);
}

#[test]
fn tables_have_any_name_separator_and_columns() {
    for (file, text) in [
        (
            "mine.csv",
            "id,photo,said,by\n1,a.jpg,\"A dog, running.\",me\n2,b.jpg,\"A \"\"cat\"\".\",you\n",
        ),
        ("mine.csv", "photo;said\r\na.jpg;A dog, running.\r\nb.jpg;\"A \"\"cat\"\".\"\r\n"),
        (
            "mine.txt",
            "\u{feff}photo\tsaid\na.jpg\tA dog, running.\n\n./b.jpg\t\"A \"\"cat\"\".\"\n",
        ),
        ("mine.tsv", "photo\tsaid\na.jpg\tA dog, running. \nb.jpg\t\"A \"\"cat\"\".\""),
        ("mine.csv", "said|photo\nA dog, running.|a.jpg\n\"A \"\"cat\"\".\"|b.jpg\n"),
        (
            "mine.jsonl",
            "{\"photo\": \"a.jpg\", \"said\": \"A dog, running.\", \"score\": NaN}\n\
             {\"photo\": \"b.jpg\", \"said\": \"A \\\"cat\\\".\"}\n",
        ),
    ] {
        let set = data_set(&[(file, text)], &["a.jpg", "b.jpg"]);
        let corpus = table(&set, file, ["photo", "said"]).load().unwrap();
        assert_eq!(corpus.layout, Layout::Table);
        assert_eq!(corpus.warnings, [], "{text}");
        let expected = [("a.jpg", vec!["A dog, running."]), ("b.jpg", vec!["A \"cat\"."])];
        assert_eq!(captioned(&corpus), expected, "{text}");
        let files = table(&set, file, ["photo", "said"]).image_files().unwrap();
        assert_eq!((files.fingerprint, files.layout), (corpus.fingerprint(), Layout::Table));
    }
}

#[test]
fn pictures_of_a_table_may_lie_in_a_folder_of_their_own() {
    let text = "Image,Caption\nsub/a.jpg,A dog.\nb.jpg,A cat.\n";
    let set = data_set(&[("texts/c.csv", text)], &["photos/sub/a.jpg", "photos/b.jpg"]);
    let source = Source {
        captions: Some(set.path().join("texts/c.csv")),
        images: Some(set.path().join("photos")),
        ..Source::new(Path::new("nowhere"), None)
    };
    let corpus = source.load().unwrap();
    assert_eq!(corpus.warnings, []);
    assert_eq!(corpus.picture(0).path(), set.path().join("photos/sub/a.jpg"));
    assert_eq!(corpus.locations.folder, set.path().join("photos"));
    let elsewhere = Source { images: Some(set.path().join("texts")), ..source.clone() };
    let error = message(elsewhere.load());
    assert!(error.contains("none of the 2 pictures") && error.contains("texts"), "{error}");
    let nowhere = Source { images: None, ..source.clone() };
    assert!(matches!(nowhere.load(), Err(LoadError::NoFolder(_))));
    let no_pictures = Source { images: Some(set.path().join("gone")), ..source.clone() };
    let error = message(no_pictures.load());
    assert!(error.contains("there is no folder") && error.contains("gone"), "{error}");
    let missing = Source { captions: Some("no.csv".into()), ..source };
    assert!(matches!(missing.load(), Err(LoadError::Missing { .. })));
}

#[test]
fn a_missing_or_misspelt_column_names_the_columns_there_are() {
    let set = data_set(&[("c.csv", "photo,said\na.jpg,A dog.\n")], &["a.jpg"]);
    let error = message(table(&set, "c.csv", ["", "said"]).load());
    assert!(
        error.contains("no image column of a usual name; its columns are photo, said"),
        "{error}"
    );
    assert!(error.contains("hint: name one with --image-column, in a config data.image_column"));
    let error = message(table(&set, "c.csv", ["photo", ""]).load());
    assert!(error.contains("--caption-column"), "{error}");
    let error = message(table(&set, "c.csv", ["photos", "said"]).load());
    assert!(
        error.contains("no column photos; did you mean photo? Its columns are photo, said"),
        "{error}"
    );
    let error = message(table(&set, "c.csv", ["photo", "xyz"]).load());
    assert!(error.contains("no column xyz; its columns are photo, said"), "{error}");
    let set = data_set(&[("c.jsonl", "{\"image\": \"a.jpg\", \"txt\": \"A\"}")], &["a.jpg"]);
    let error = message(table(&set, "c.jsonl", ["", "text"]).load());
    assert!(error.contains("did you mean txt"), "{error}");
}

#[test]
fn malformed_rows_are_refused_with_their_line() {
    let table_of = |file: &str, text: &str| {
        let set = data_set(&[(file, text)], &["a.jpg"]);
        message(table(&set, file, ["", ""]).load())
    };
    for (text, expected) in [
        ("image,text\na.jpg,A dog, running.\n", "c.csv:2 has 3 fields, but the header has 2"),
        ("image,text\na.jpg,A\nb.jpg\n", "c.csv:3 has 1 fields, but the header has 2"),
        ("image,text\n../a.jpg,A\n", "c.csv:2 has an image name that is not a path within"),
        ("image,text\n/tmp/a.jpg,A\n", "c.csv:2 has an image name that is not a path within"),
        ("image,text\n,A\n", "c.csv:2 has no image name"),
        ("image,text\na.jpg,\"A\nb.jpg,B\n", "c.csv:2 opens a quotation mark"),
        ("", "c.csv has no captions"),
        ("image,text\n", "c.csv has no captions"),
        ("image,text\na.jpg, \n", "c.csv has no captions"),
    ] {
        let error = table_of("c.csv", text);
        assert!(error.contains(expected), "{text:?}: {error}");
    }
    for (text, expected) in [
        ("{\"image\": \"a.jpg\", \"text\": \"A\"}\n{\"image\"", "c.jsonl:2 is not a JSON object"),
        ("[1]", "c.jsonl:1 is not a JSON object"),
        ("{\"image\": 3, \"text\": \"A\"}", "c.jsonl:1 has no text in the column image"),
        ("{\"image\": \"a.jpg\", \"text\": 3}", "column text: captions must be a text"),
    ] {
        let error = table_of("c.jsonl", text);
        assert!(error.contains(expected), "{text:?}: {error}");
    }
}

#[test]
fn missing_pictures_and_empty_and_repeated_captions_are_counted() {
    let text = "image,text\na.jpg,A dog.\nb.jpg,A cat.\na.jpg,A dog.\na.jpg,\ngone.jpg,Gone.\n";
    let set = data_set(&[("c.csv", text)], &["a.jpg", "b.jpg", "more.heic"]);
    let source = table(&set, "c.csv", ["", ""]);
    let corpus = source.load().unwrap();
    let expected =
        [("a.jpg", vec!["A dog."]), ("b.jpg", vec!["A cat."]), ("gone.jpg", vec!["Gone."])];
    assert_eq!(captioned(&corpus), expected);
    assert_eq!(
        warnings(&corpus),
        [
            (WarningKind::RepeatedCaption, 1, "a.jpg"),
            (WarningKind::EmptyCaption, 1, "a.jpg"),
            (WarningKind::MissingPicture, 1, "gone.jpg"),
            (WarningKind::PictureWithoutCaptions, 1, "more.heic"),
        ]
    );
    let shown: Vec<String> = corpus.warnings.iter().map(ToString::to_string).collect();
    assert!(shown[0].contains("c.csv:4: 1 captions given twice"), "{}", shown[0]);
    assert_eq!(source.image_files().unwrap().fingerprint, corpus.fingerprint());
    // A row without a caption is an image without captions.
    let row = "{\"image\": \"b.jpg\", \"text\": \"B\"}\n";
    for json in [
        format!("{{\"image\": \"a.jpg\", \"text\": null}}\n{row}"),
        format!("{row}{{\"image\": \"a.jpg\"}}\n"),
    ] {
        let set = data_set(&[("c.jsonl", &json)], &["a.jpg", "b.jpg"]);
        let corpus = table(&set, "c.jsonl", ["", ""]).load().unwrap();
        assert_eq!(captioned(&corpus), [("b.jpg", vec!["B"])]);
        let expected = [
            (WarningKind::EmptyCaption, 1, "a.jpg"),
            (WarningKind::ImageWithoutCaptions, 1, "a.jpg"),
        ];
        assert_eq!(warnings(&corpus), expected);
    }
}

#[test]
fn a_text_file_beside_each_picture_holds_its_captions() {
    // Folders as kohya's scripts have them, and a readme that is of no picture.
    let set = data_set(
        &[
            ("10_dog/a.txt", "\u{feff}A dog, running.\r\n"),
            ("10_dog/b.v2.txt", "First.\n\n  Second.  \n"),
            ("cat.caption", "A cat."),
            ("readme.txt", "Notes."),
            (".hidden/c.txt", "Hidden."),
        ],
        &["10_dog/a.jpg", "10_dog/b.v2.png", "cat.webp", ".hidden/c.jpg"],
    );
    let corpus = clean(&set, Layout::TextFiles);
    let expected = [
        ("10_dog/a.jpg", vec!["A dog, running."]),
        ("10_dog/b.v2.png", vec!["First.", "Second."]),
        ("cat.webp", vec!["A cat."]),
    ];
    assert_eq!(captioned(&corpus), expected);
    assert_eq!(corpus.picture(1).path(), set.path().join("10_dog/b.v2.png"));
    assert_eq!(corpus.caption_files, [set.path()]);

    let set = data_set(
        &[("a.txt", "A."), ("b.txt", " \n"), ("d.txt", "D.")],
        &["a.jpg", "b.jpg", "c.jpg", "d.heic"],
    );
    let corpus = load(set.path(), None).unwrap();
    assert_eq!(captioned(&corpus), [("a.jpg", vec!["A."]), ("d.heic", vec!["D."])]);
    let expected = [
        (WarningKind::ImageWithoutCaptions, 1, "b.jpg"),
        (WarningKind::PictureWithoutCaptions, 1, "c.jpg"),
    ];
    assert_eq!(warnings(&corpus), expected);
    assert!(corpus.warnings[0].to_string().contains("b.txt:1"), "{}", corpus.warnings[0]);
    fs::write(set.path().join("a.txt"), b"\xff\xfe").unwrap();
    let error = message(load(set.path(), None));
    assert!(error.contains("a.txt:1 is not UTF-8"), "{error}");
}

#[test]
fn img2datasets_folders_are_read_without_its_tables() {
    let json = |caption: &str| {
        format!("{{\"caption\": {caption}, \"url\": \"u\", \"status\": \"success\"}}")
    };
    let set = data_set(
        &[
            ("00000/000000000.txt", "A dog."),
            ("00000/000000000.json", &json("\"From JSON.\"")),
            ("00001/000010000.json", &json("\"A cat.\"")),
            ("00001/000010001.json", &json("null")),
            ("00000.parquet", "PAR1"),
            ("00000_stats.json", "{\"count\": 1}"),
        ],
        &["00000/000000000.jpg", "00001/000010000.jpg", "00001/000010001.jpg"],
    );
    let corpus = load(set.path(), None).unwrap();
    let expected =
        [("00000/000000000.jpg", vec!["A dog."]), ("00001/000010000.jpg", vec!["A cat."])];
    assert_eq!(captioned(&corpus), expected);
    assert_eq!(warnings(&corpus), [(WarningKind::ImageWithoutCaptions, 1, "00001/000010001.jpg")]);
    // Annotations of another program are no captions.
    let set = data_set(&[("a.json", "{\"shapes\": []}")], &["a.jpg"]);
    assert!(matches!(load(set.path(), None), Err(LoadError::NotRecognised { .. })));
}

const COCO: &str = r#"{"info": {}, "licenses": [], "images": [
    {"license": 1, "file_name": "000000000009.jpg", "height": 4, "width": 4, "id": 9},
    {"license": 1, "file_name": "000000000025.jpg", "height": 4, "width": 4, "id": 25}],
  "annotations": [
    {"image_id": 25, "id": 661611, "caption": "A giraffe.\n"},
    {"image_id": 9, "id": 661977, "caption": "Closeup of bins of food."},
    {"image_id": 25, "id": 662153, "caption": "A zebra."}]}"#;

#[test]
fn cocos_annotations_are_read_with_their_folders_of_pictures() {
    let val = COCO.replace("0009.jpg", "0010.jpg").replace("0025.jpg", "0026.jpg");
    for (annotations, folder) in [("annotations/", ""), ("", "images/")] {
        let [train, validation] =
            ["train2017", "val2017"].map(|part| format!("{annotations}captions_{part}.json"));
        let pictures = [
            "train2017/000000000009.jpg",
            "train2017/000000000025.jpg",
            "val2017/000000000010.jpg",
            "val2017/000000000026.jpg",
        ]
        .map(|picture| format!("{folder}{picture}"));
        let set = data_set(
            &[(&train, COCO), (&validation, &val)],
            &pictures.each_ref().map(String::as_str),
        );
        let corpus = clean(&set, Layout::Coco);
        assert_eq!(corpus.caption_files, [set.path().join(train), set.path().join(validation)]);
        let first = [
            ("000000000009.jpg", vec!["Closeup of bins of food."]),
            ("000000000025.jpg", vec!["A giraffe.\n", "A zebra."]),
        ];
        assert_eq!(captioned(&corpus)[..2], first);
        for (index, picture) in pictures.iter().enumerate() {
            assert_eq!(corpus.picture(index).path(), set.path().join(picture));
        }
        let parts: Vec<_> = corpus.images.iter().filter_map(|image| image.part).collect();
        assert_eq!(parts, [Part::Train, Part::Train, Part::Val, Part::Val]);
        assert_eq!(sizes(&corpus, &given()), [2, 2, 0]);
    }
    // A file of one's own, named by the user, with all pictures in one folder.
    let set = data_set(&[("my.json", COCO)], &["p/000000000009.jpg", "p/000000000025.jpg"]);
    let source = Source {
        captions: Some(set.path().join("my.json")),
        images: Some(set.path().join("p")),
        ..Source::new(set.path(), None)
    };
    let corpus = source.load().unwrap();
    assert_eq!((corpus.layout, corpus.images.len()), (Layout::Coco, 2));
    assert!(matches!(Split::new(&corpus, &given()), Err(SplitError::NoLists { .. })));
}

#[test]
fn faults_of_cocos_files_are_named() {
    let refused = |from: &str, to: &str| {
        let set = data_set(&[("captions_x.json", &COCO.replace(from, to))], &["000000000009.jpg"]);
        message(load(set.path(), None))
    };
    let error = refused("\"image_id\": 9,", "\"image_id\": 7,");
    assert!(error.contains("captions_x.json, annotation 2, is of image 7, which"), "{error}");
    let error = refused("000000000025.jpg", "000000000009.jpg");
    assert!(error.contains("image 2, lists 000000000009.jpg a second time"), "{error}");
    let error = refused("\"caption\": \"A z", "\"segmentation\": \"");
    assert!(
        error.contains("is not a data set in COCO's format: missing field `caption`"),
        "{error}"
    );
    let error = refused("000000000009.jpg", "../9.jpg");
    assert!(error.contains("not a path within"), "{error}");
    let set = data_set(&[("captions_x.json", COCO)], &["000000000025.jpg"]);
    let corpus = load(set.path(), None).unwrap();
    assert_eq!(warnings(&corpus), [(WarningKind::MissingPicture, 1, "000000000009.jpg")]);
}

#[test]
fn archives_are_named_by_a_pattern() {
    let tar = |name: &str| {
        let mut archive = tar::Builder::new(Vec::new());
        for (extension, contents) in [("jpg", &b""[..]), ("txt", b"A thing.")] {
            let mut header = tar::Header::new_gnu();
            header.set_size(contents.len() as u64);
            archive.append_data(&mut header, format!("{name}.{extension}"), contents).unwrap();
        }
        archive.into_inner().unwrap()
    };
    let set = tempfile::tempdir().unwrap();
    for number in 8..12 {
        let path = set.path().join(format!("s-{number:03}.tar"));
        fs::write(path, tar(&number.to_string())).unwrap();
    }
    fs::write(set.path().join("s-008.parquet"), "PAR1").unwrap();
    let names = |pattern: &str| {
        let corpus = load(&set.path().join(pattern), None).unwrap();
        assert_eq!(corpus.layout, Layout::WebDataset);
        assert_eq!(corpus.root, set.path());
        corpus.images.into_iter().map(|image| image.file_name).collect::<Vec<_>>()
    };
    assert_eq!(names("s-{009..010}.tar"), ["9.jpg", "10.jpg"]);
    assert_eq!(names("s-{011,008}.tar"), ["11.jpg", "8.jpg"]);
    assert_eq!(names("s-01*.tar"), ["10.jpg", "11.jpg"]);
    assert_eq!(names("s-0?8.tar"), ["8.jpg"]);
    assert_eq!(names("s-008.tar"), ["8.jpg"]);
    for (pattern, expected) in [
        ("s-{008..012}.tar", "s-012.tar is missing"),
        ("t-*.tar", "matches no file"),
        ("s-{008..}.tar", "has no numbers around `..`"),
        ("s-{008.tar", "has a `{` without `}`"),
    ] {
        let error = message(load(&set.path().join(pattern), None));
        assert!(error.contains(expected), "{pattern}: {error}");
    }
}

#[test]
fn two_layouts_that_both_fit_are_an_error_that_names_both() {
    let set = data_set(
        &[("metadata.csv", "file_name,text\na.jpg,From the table.\n"), ("a.txt", "From the file.")],
        &["a.jpg"],
    );
    let error = message(load(set.path(), None));
    for part in [
        "imagefolder (",
        "metadata.csv)",
        "text-files (",
        "a.txt)",
        "hint: choose one with --layout",
    ] {
        assert!(error.contains(part), "{error}");
    }
    let chosen = |layout| {
        let corpus = load(set.path(), Some(layout)).unwrap();
        corpus.images[0].captions.concat()
    };
    assert_eq!(chosen(Layout::ImageFolder), "From the table.");
    assert_eq!(chosen(Layout::TextFiles), "From the file.");
    fs::write(set.path().join("captions.txt"), "image,caption\na.jpg,Kaggle's.\n").unwrap();
    let error = message(load(set.path(), None));
    assert!(error.contains("kaggle (") && error.contains("imagefolder ("), "{error}");
    let two = data_set(&[("metadata.csv", ""), ("metadata.jsonl", "")], &[]);
    let error = message(load(two.path(), None));
    assert!(error.contains("metadata.csv, metadata.jsonl"), "{error}");
}

#[test]
fn options_without_a_use_are_refused() {
    let set =
        data_set(&[("captions.txt", "image,caption\na.jpg,A.\n"), ("a.txt", "A.")], &["a.jpg"]);
    let source = |layout| Source::new(set.path(), Some(layout));
    let columns = Columns { image: Some("image".into()), caption: None };
    let captions = Some(set.path().join("captions.txt"));
    for (source, option) in [
        (Source { columns: columns.clone(), ..source(Layout::Kaggle) }, "image_column"),
        (Source { captions, ..source(Layout::TextFiles) }, "captions"),
    ] {
        let error = message(source.load());
        assert!(error.contains(option) && error.contains("has no use for it"), "{error}");
    }
    let error = message(source(Layout::Table).load());
    assert!(error.contains("a table named with --captions"), "{error}");
}
