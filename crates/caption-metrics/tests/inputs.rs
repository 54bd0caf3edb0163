//! Input files: accepted forms, and errors for all others.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::path::PathBuf;

use caption_metrics::{Error, Metric, Options, Predictions, References, evaluate};
use support::scores::to_json;
use tempfile::TempDir;

/// Writes a file into a temporary folder, and returns both.
fn file(name: &str, contents: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, contents).unwrap();
    (folder, path)
}

fn references(name: &str, contents: &str) -> Result<References, Error> {
    let (_folder, path) = file(name, contents);
    References::read(path)
}

fn predictions(name: &str, contents: &str) -> Result<Predictions, Error> {
    let (_folder, path) = file(name, contents);
    Predictions::read(path)
}

#[test]
fn every_format_of_references_gives_the_same() {
    let expected =
        References::new([("7", vec!["a dog", "the dog"]), ("b", vec!["a cat"])]).unwrap();
    for (name, contents) in [
        ("a.json", r#"{"7": ["a dog", "the dog"], "b": ["a cat"]}"#),
        ("a.json", "\u{feff}{\"7\": [\"a dog\", \"the dog\"], \"b\": [\"a cat\"]}"),
        (
            "a.json",
            r#"{"info": {"year": 2014}, "images": [{"id": 7, "file_name": "x"}, {"id": "b"}],
                "annotations": [{"image_id": "b", "id": 1, "caption": "a cat"},
                {"image_id": 7, "id": 2, "caption": "a dog"},
                {"image_id": "7", "id": 3, "caption": "the dog"}]}"#,
        ),
        (
            "a.json",
            r#"[{"image_id": 7, "caption": "a dog"}, {"image_id": "b", "caption": "a cat"},
                {"image_id": 7, "caption": "the dog"}]"#,
        ),
        (
            "a.jsonl",
            "{\"image_id\": 7, \"captions\": [\"a dog\", \"the dog\"]}\r\n\n{\"image_id\": \"b\", \"caption\": \"a cat\", \"x\": null}\n",
        ),
        ("a.csv", "x,image_id,caption\n1,7,a dog\n2,b,\"a cat\"\n3,7,the dog\n"),
        ("captions.txt", "image,caption\n7,a dog\n7,the dog\nb,a cat\n"),
        ("Flickr8k.token.txt", "7#0\ta dog\n7#1\tthe dog\r\nb#0\ta cat\n"),
        (
            "results.csv",
            "image_name| comment_number| comment\n7| 0| a dog\n7| 1   the dog\n\nb| 0| a cat",
        ),
    ] {
        let read = references(name, contents).unwrap();
        assert_eq!(read, expected, "{name}: {contents}");
    }
}

#[test]
fn every_format_of_predictions_gives_the_same() {
    let expected = Predictions::new([("7", "a dog"), ("b", "")]).unwrap();
    for (name, contents) in [
        ("a.json", r#"{"7": "a dog", "b": ""}"#),
        ("a.json", r#"{"7": ["a dog"], "b": [""]}"#),
        ("a.json", r#"[{"image_id": 7, "caption": "a dog"}, {"image_id": "b", "caption": ""}]"#),
        (
            "a.jsonl",
            "{\"image_id\": 7, \"caption\": \"a dog\"}\n{\"image_id\": \"b\", \"caption\": \"\"}",
        ),
        // The columns of `capsmith caption --out`, which are Hugging Face's imagefolder's.
        ("a.csv", "file_name,text,score\n7,a dog,-0.5\nb,\"\",\n"),
        (
            "a.jsonl",
            "{\"image\": 7, \"text\": \"a dog\"}\n{\"file_name\": \"b\", \"text\": \"\", \"score\": 1}",
        ),
        (
            "a.json",
            r#"[{"image_id": 7, "file_name": "x", "caption": "a dog", "text": "other"},
                {"image": "b", "file_name": "y", "caption": ""}]"#,
        ),
        ("a.csv", "caption,image_id\na dog,7\n\"\",b\n"),
        ("a.csv", "caption,image_id\r\na dog,7.0\r\n\"\",b"),
        ("a.tsv", "image\tcaption\n7\ta dog\nb\t\n"),
        // Spreadsheets write semicolons where the comma is a decimal mark.
        ("a.csv", "Image_ID;Caption;A,B\r\n7;a dog;x\r\nb;\"\";\r\n"),
        ("a.csv", "image,caption,x\n7,a dog,1\n,,\nb,,2\n,,\n , ,\n"),
        ("a.txt", "image\tcaption, in English\ttext\n7\t\ta dog\nb\t\t\n"),
        ("a.tsv", "image,caption\n7,a dog\nb,\n"),
        (
            "a.json",
            r#"{"images": [{"id": 7}, {"id": 8}], "info": {}, "annotations": [
                {"image_id": 7, "caption": "a dog"}, {"image_id": "b", "caption": ""}]}"#,
        ),
    ] {
        assert_eq!(predictions(name, contents).unwrap(), expected, "{name}: {contents}");
    }
}

#[test]
fn bad_files_are_named_with_the_place_and_the_remedy() {
    let cases = [
        ("a.json", r#"{"7": ["a"], "7": ["b"]}"#, "image \"7\" is given twice"),
        ("a.json", r#"{"7": []}"#, "image \"7\" has no reference captions"),
        ("a.json", r#"{"7": "a dog"}"#, "image \"7\": expected a list"),
        ("a.json", r#"{"7": ["a", 3]}"#, "line 1 column"),
        ("a.json", r#"{"7": [{"image_id": 7}]}"#, "image \"7\": expected a list"),
        ("a.json", r#"{"7": ["x \ud83d"]}"#, "half of a character"),
        ("a.json", r#"[{"image_id": 1, "caption": "a\udc00"}]"#, "half of a character"),
        ("a.json", r#"[{"image_id": NaN, "caption": "a"}]"#, "no \"image_id\""),
        ("a.json", r#"[{"image_id": 1e999, "caption": "a"}]"#, "line 1 column"),
        ("a.json", r#"[{"image_id": true, "caption": "a"}]"#, "image identifier"),
        ("a.json", r#"[{"image_id": 1, "caption": 1e30}]"#, "expected a string"),
        ("a.json", r#"{"image_id": 5, "caption": "a"}"#, "image \"image_id\": expected a list"),
        ("a.json", r#"{"7": [{"caption": "a"}], "7": [{"caption": "b"}]}"#, "\"7\" is given twice"),
        ("a.json", r#"{"7": ["a", {"caption": "b"}]}"#, "mixes"),
        ("a.json", r#"{"7": [["a"]]}"#, "image \"7\": expected a list"),
        ("a.json", r#"[["a"], "b"]"#, "mixes"),
        ("a.json", "[[\"a\"], []]", "image \"1\" has no reference captions"),
        ("a.json", "{\"image_id\": 1}\n{\"image_id\": 2}\n", ".jsonl"),
        (
            "a.json",
            r#"{"images": [{"filename": "x.jpg", "split": "test", "sentences": []}], "dataset": "coco"}"#,
            "COCO's \"annotations\"",
        ),
        ("a.json", r#"[{"caption": "a"}]"#, "no \"image_id\""),
        ("a.json", r#"[{"image_id": 1}]"#, "image \"1\" has no \"caption\""),
        ("a.json", r#"["a"]"#, "list of objects"),
        ("a.json", "3", "expected an object"),
        ("a.json", "{", "EOF"),
        (
            "a.json",
            r#"{"images": [{"id": 1}], "annotations": [{"image_id": 2, "caption": "a"}]}"#,
            "image \"1\" has no reference captions",
        ),
        ("a.jsonl", "{\"image_id\": 1, \"caption\": \"a\"}\n{\"image_id\": 1", "line 2"),
        (
            "a.jsonl",
            "{\"image_id\": 1, \"captions\": [\"a\"]}\n{\"image_id\": 1, \"captions\": [\"b\"]}",
            "image \"1\" is given twice",
        ),
        (
            "a.jsonl",
            "{\"image_id\": 1, \"caption\": \"a\", \"captions\": []}",
            "line 1: image \"1\" has both",
        ),
        (
            "a.csv",
            "image_id,words\n1,a\n",
            "no column named caption or text; its columns are \"image_id\", \"words\"",
        ),
        (
            "a.csv",
            "image_id,caption\n1,a,b\n",
            "line 2: expected 2 cells as in the header, found 3",
        ),
        (
            "a.csv",
            "image_id,caption\n1,a\n2\n",
            "line 3: expected 2 cells as in the header, found 1",
        ),
        ("a.csv", "image_id,caption\n\0\n1,a\n", "line 2: expected 2 cells"),
        ("a.token", "7#0\ta\n8 b\n", "line 2: expected `image#number`, a tab and a caption"),
        (
            "results.csv",
            "image_name| comment_number| comment\n7, 0, a",
            "line 2: expected `image| number| caption`",
        ),
        ("a.csv", "image_id,caption\n1,a\n2,\"b\n3,c\n", "line 3: a quotation mark opens"),
        ("a.csv", "image_id,caption\n1,a\n\"2,b\n3,c", "line 3: a quotation mark opens"),
    ];
    for (name, contents, expected) in cases {
        let error = references(name, contents).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(expected), "{contents}: {error}");
    }
    for (contents, expected) in [
        (r#"{"7": "a", "7": "b"}"#, "image \"7\" is given twice"),
        (r#"{"7": ["a", "b"]}"#, "image \"7\" has more than one caption"),
        (r#"{"7": [{"caption": "a"}, {"caption": "b"}]}"#, "image \"7\" has more than one caption"),
        (r#"{"7": []}"#, "image \"7\" has no caption"),
        (r#"{"7": [{"captions": ["a"]}]}"#, "image \"7\": expected one predicted caption"),
        (r#"{"7": NaN}"#, "image \"7\": expected one predicted caption"),
        (r#"{"image_id": 5, "caption": "a"}"#, "image \"image_id\": expected one"),
        (r#"[{"image_id": 1, "caption": NaN}]"#, "image \"1\" has no \"caption\""),
        (r#"[{"image_id": 1, "caption": "a"}, {"image_id": 1.0, "caption": "a"}]"#, "given twice"),
        (r#"["a", ["b"]]"#, "mixes"),
        (r#"{"7": null}"#, "image \"7\": expected one predicted caption"),
        (r#"[{"image_id": 7, "caption": "a"}, {"image_id": "7", "caption": "a"}]"#, "given twice"),
    ] {
        let error = predictions("p.json", contents).unwrap_err().to_string();
        assert!(error.contains("p.json") && error.contains(expected), "{contents}: {error}");
    }
    let error = References::read("/nowhere/a.json").unwrap_err().to_string();
    assert!(error.contains("/nowhere/a.json"), "{error}");
}

#[test]
fn bytes_that_are_not_utf8_are_placed() {
    for name in ["a.json", "a.jsonl", "a.csv"] {
        let (_folder, path) = file(name, b"{\n \"7\": \"a \xff\"}");
        let error = Predictions::read(path).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("line 2, byte 10"), "{error}");
    }
}

#[test]
fn what_is_no_text_file_is_refused_in_plain_words() {
    let utf16: Vec<u8> = "{\"7\": \"a\"}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let marked = [&[0xff, 0xfe], &utf16[..]].concat();
    for (contents, expected) in [
        (&utf16[..], "is UTF-16"),
        (&marked, "is UTF-16"),
        (b"\0\0\0\0", "binary"),
        (b"\x1f\x8b\x08\0", "gunzip"),
        (b"", "a.json: it is empty"),
        (b" \n", "EOF"),
        (b"{\"7\": \"a\0b\"}", "control character"),
    ] {
        let (_folder, path) = file("a.json", contents);
        let error = Predictions::read(path).unwrap_err().to_string();
        assert!(error.contains("a.json") && error.contains(expected), "{error}");
    }
    let deep = format!("{{\"7\": {}", "[".repeat(1 << 20));
    assert!(predictions("a.json", &deep).unwrap_err().to_string().contains("line 1 column"));
    let ignored = format!(
        "[{{\"image_id\": 7, \"caption\": \"a\", \"x\": {}1{}}}]",
        "[".repeat(1 << 20),
        "]".repeat(1 << 20)
    );
    assert_eq!(predictions("a.json", &ignored).unwrap().get("7").as_deref(), Some("a"));
    let (folder, _) = file("a.json", "{}");
    let pipe = folder.path().join("pipe.json");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [folder.path().to_owned(), "/dev/zero".into(), "/dev/null".into(), pipe] {
        let error = References::read(&path).unwrap_err().to_string();
        assert!(error.contains("is not a regular file"), "{error}");
    }
}

#[test]
fn names_of_files_and_images_cannot_move_the_cursor() {
    let (_folder, path) = file("a\u{1b}[2J\nb.json", "{\"\u{9b}\\n7\": 5}");
    let error = Predictions::read(path).unwrap_err().to_string();
    assert!(!error.contains(char::is_control), "{error}");
    assert!(error.contains(r"a\u{1b}[2J\nb.json") && error.contains(r"\u{9b}\n7"), "{error}");
}

#[test]
fn captions_of_csv_may_go_over_lines() {
    let csv = "image_id,caption\r\n1,\"a dog\nruns\"\r\n\"2\",\"say \"\"a\"\"\r\n, b\"\r\n";
    let read = predictions("a.csv", csv).unwrap();
    let expected = [("1", "a dog\nruns"), ("2", "say \"a\"\r\n, b")];
    assert_eq!(read, Predictions::new(expected).unwrap());
}

#[test]
fn both_sides_must_name_the_same_images() {
    let r = References::new([("1", ["a"]), ("2", ["b"]), ("3", ["c"])]).unwrap();
    let options = Options::default();
    let evaluate = |p: &[(&str, &str)]| {
        evaluate(&r, &Predictions::new(p.iter().copied()).unwrap(), &options).unwrap_err()
    };
    let error = evaluate(&[("2", "b")]);
    assert!(matches!(error, Error::MissingPredictions { count: 2, .. }), "{error}");
    assert!(error.to_string().contains("\"1\", \"3\""), "{error}");
    let error = evaluate(&[("1", "a"), ("2", "b"), ("3", "c"), ("4", "d")]);
    assert!(matches!(error, Error::ExtraPredictions { count: 1, .. }), "{error}");
    assert!(error.to_string().contains("\"4\""), "{error}");
    let error = evaluate(&[("2.jpg", "b"), ("3.jpg", "c")]);
    assert!(matches!(error, Error::NoCommonImages { .. }), "{error}");
    assert!(error.to_string().contains("\"1\", predictions \"2.jpg\""), "{error}");
}

#[test]
fn nothing_to_score_and_no_words_to_weigh_are_errors() {
    let none = References::new(Vec::<(String, Vec<String>)>::new()).unwrap();
    let nobody = Predictions::new(Vec::<(String, String)>::new()).unwrap();
    let options = Options::default();
    assert!(matches!(evaluate(&none, &nobody, &options), Err(Error::NoImages)));
    let blank = References::new([("1", [" ", ""])]).unwrap();
    let p = Predictions::new([("1", "a")]).unwrap();
    assert!(matches!(evaluate(&blank, &p, &options), Err(Error::NoReferenceWords)));
    let without_cider = Options { metrics: vec![Metric::Bleu, Metric::Rouge], ..options };
    let scores = evaluate(&blank, &p, &without_cider).unwrap().summary.corpus;
    assert_eq!(scores.get("ROUGE_L"), Some(0.0));
    assert_eq!(scores.get("CIDEr"), None);
}

#[test]
fn meteor_without_its_resources_says_what_to_run() {
    let r = References::new([("1", ["a"])]).unwrap();
    let p = Predictions::new([("1", "a")]).unwrap();
    let options = Options { metrics: vec![Metric::Meteor], ..Options::default() };
    let error = evaluate(&r, &p, &options).unwrap_err().to_string();
    assert!(error.contains("caption-eval fetch meteor"), "{error}");
}

#[test]
fn the_order_of_predictions_does_not_matter_and_that_of_references_is_kept() {
    let r = References::new([("2", ["plan b."]), ("1", ["The dog"]), ("3", ["a cat"])]).unwrap();
    let captions = [("1", "The dog runs"), ("2", "plan b."), ("3", "cats")];
    let options = Options { tokenizer: caption_metrics::Tokenizer::Ptb, ..Options::default() };
    let results: Vec<String> = [captions, [captions[2], captions[1], captions[0]]]
        .into_iter()
        .map(|p| evaluate(&r, &Predictions::new(p).unwrap(), &options).unwrap())
        .map(|evaluation| to_json(&evaluation))
        .collect();
    assert_eq!(results[0], results[1]);
    let places = ["\"2\": {", "\"1\": {", "\"3\": {"].map(|id| results[0].find(id).unwrap());
    assert!(places.is_sorted(), "{places:?}");
}
