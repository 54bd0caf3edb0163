//! The program `caption-eval`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![cfg(feature = "cli")]

mod support;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use support::{json, scores};

fn caption_eval(arguments: &[&str], input: &[u8], folder: &Path) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_caption-eval"))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that fails early does not read its input.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// Splits the arguments of a command at spaces.
fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Returns a folder with `r.json`, `a.json` and `b.json`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, contents) in [
        ("r.json", r#"{"1": ["A dog runs .", "a Dog"], "2": ["two cats"], "3": ["a red car"]}"#),
        ("a.json", r#"{"1": "a dog runs", "2": "two cats", "3": "a car"}"#),
        (
            "b.json",
            r#"[{"image_id": 3, "caption": "dogs"}, {"image_id": 1, "caption": "b"}, {"image_id": 2, "caption": "x"}]"#,
        ),
        ("people.tsv", "1\t1#0\t4\t4\n1\t2#0\t1\t2\n2\t3#0\t1\t1\n3\t1#1\t2\t2\n2\t1#0\t1\t1\n"),
    ] {
        std::fs::write(folder.path().join(name), contents).unwrap();
    }
    folder
}

#[test]
fn a_limit_of_file_size_is_an_error_and_leaves_nothing() {
    let folder = folder();
    let output = Command::new("bash")
        .args(["-c", "ulimit -f 0; exec \"$@\"", "bash", env!("CARGO_BIN_EXE_caption-eval")])
        .args(["evaluate", "--references", "r.json", "--predictions", "a.json"])
        .args(["--metrics", "bleu", "--json", "out.json"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("out.json") && error.contains("too large"), "{error}");
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 4, "only what was there before");
}

#[test]
fn evaluate_prints_and_writes_what_the_library_computes() {
    let folder = folder();
    let arguments = words(
        "evaluate --references r.json --predictions a.json --metrics bleu,rouge,cider --json \
         out.json --per-image out.csv --bootstrap 50",
    );
    let output = caption_eval(&arguments, b"", folder.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    assert!(
        stdout.starts_with("3 images, tokenizer ptb (as COCOEvalCap)\nBLEU-1   0.8"),
        "{stdout}"
    );
    let out = json(&folder.path().join("out.json"));
    assert_eq!(out["n"], 3);
    assert_eq!(out["protocol"]["tokenizer"], "ptb");
    let names: Vec<&String> = out["corpus"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE_L", "CIDEr"]);
    // Seven words, all right, where the closest references have eight.
    let bleu = out["corpus"]["BLEU-1"].as_f64().unwrap();
    assert!((bleu - (1.0_f64 - 8.0 / 7.0).exp()).abs() < 1e-8, "{bleu}");
    let interval = &out["confidence"]["intervals"]["BLEU-1"];
    assert!(interval["low"].as_f64() < Some(bleu), "{interval}");
    let csv = std::fs::read_to_string(folder.path().join("out.csv")).unwrap();
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines[0], "image_id,BLEU-1,BLEU-2,BLEU-3,BLEU-4,ROUGE_L,CIDEr");
    assert!(lines.len() == 4 && lines[3].starts_with("3,"), "{csv}");
    let cell: f64 = lines[3].split(',').nth(5).unwrap().parse().unwrap();
    assert_eq!(Some(cell), out["per_image"]["3"]["ROUGE_L"].as_f64());
}

#[test]
fn compare_tells_systems_apart_and_finds_none_between_one_and_itself() {
    let folder = folder();
    let compare = |b: &str| {
        let line = format!(
            "evaluate compare a.json {b} --references r.json --metrics bleu,rouge --resamples 99 \
             --json c.json"
        );
        let output = caption_eval(&words(&line), b"", folder.path());
        assert!(output.status.success(), "{}", text(&output.stderr));
        json(&folder.path().join("c.json"))["differences"][4].clone()
    };
    let other = compare("b.json");
    assert_eq!(other["metric"], "ROUGE_L");
    assert!(
        other["difference"].as_f64().unwrap() < -0.3 && other["high"].as_f64().unwrap() < 0.0,
        "{other}"
    );
    // Of the 8 ways to exchange three images' predictions two have so large a difference.
    let p = other["p"].as_f64().unwrap();
    assert!((0.1..0.45).contains(&p), "{p}");
    let same = compare("a.json");
    assert_eq!((same["difference"].as_f64(), same["p"].as_f64()), (Some(0.0), Some(1.0)));
}

#[test]
fn correlate_leaves_own_captions_out_and_counts_every_rating() {
    let folder = folder();
    let arguments = words(
        "evaluate correlate --references r.json --ratings people.tsv --rating-columns 3,4 \
         --metrics rouge --json t.json",
    );
    let output = caption_eval(&arguments, b"", folder.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let found = json(&folder.path().join("t.json"));
    assert_eq!((found["pairs"].as_u64(), found["points"].as_u64()), (Some(4), Some(8)));
    assert_eq!(found["own_captions"], 1);
    // Pairs 2, 3 and 5 score 0 and were rated 1 2 1 1 1 1, pair 4 scores more and was rated 2 2:
    // 10 pairs of points agree, none disagrees, two values on either side.
    scores::assert_close(
        found["tau_c"]["ROUGE_L"].as_f64().unwrap(),
        &(2.0 * 10.0 / (64.0 / 2.0)).into(),
        "tau-c",
    );
}

#[test]
fn tokenize_takes_and_gives_lines_or_json_strings() {
    let folder = tempfile::tempdir().unwrap();
    let plain = caption_eval(&["tokenize"], b"plan b.\nThe dog's ball.\n\n'12", folder.path());
    assert_eq!(text(&plain.stdout), "plan b\nthe dog 's ball\n\n12\n");
    let lines = caption_eval(
        &["tokenize", "--json"],
        b"\"a\\r\\nb \\\"c\\\"\"\n\"\\u00e9\"\n",
        folder.path(),
    );
    assert_eq!(text(&lines.stdout), "\"a b c\"\n\"\u{e9}\"\n");
    for (arguments, input, expected) in [
        (["tokenize"].as_slice(), b"a\n\xff\n".as_slice(), "line 2: byte 1 is not UTF-8"),
        (&["tokenize", "--json"], b"\"a\"\n7\n", "line 2: expected a JSON string"),
    ] {
        let output = caption_eval(arguments, input, folder.path());
        assert!(!output.status.success() && text(&output.stderr).contains(expected));
    }
}

#[test]
fn failures_say_what_to_do_and_write_nothing() {
    let folder = folder();
    std::fs::write(folder.path().join("short.json"), r#"{"1": "a"}"#).unwrap();
    let empty = folder.path().join("nothing here");
    for (arguments, expected) in [
        (words("evaluate --references r.json --predictions short.json"), "2 of the images"),
        (words("evaluate --references r.json"), "--predictions"),
        (
            words("evaluate --references r.json --predictions a.json --bootstrap 1000000000000"),
            "1000000000000 is not in 1..=1000000",
        ),
        (
            words("evaluate compare a.json b.json --references r.json --resamples 0"),
            "0 is not in 1..=1000000",
        ),
        (words("evaluate --references r.json --predictions a.json --metrics bleu,spice"), "spice"),
        (
            words("evaluate --references r.json --predictions a.json --metrics meteor"),
            "fetch meteor",
        ),
        (
            words("evaluate compare a.json b.json --references r.json --metrics diversity"),
            "name another metric",
        ),
        (words("fetch meteor --from r.json"), "not a zip archive"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_caption-eval"))
            .args(&arguments)
            .args(if arguments[0] == "evaluate" { &["--json", "out.json"][..] } else { &[] })
            .env("CAPSMITH_DATA", &empty)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let stderr = text(&output.stderr);
        assert!(!output.status.success() && stderr.contains(expected), "{arguments:?}: {stderr}");
        assert!(!folder.path().join("out.json").exists(), "{arguments:?}");
    }
}

#[test]
fn predictions_without_words_are_counted() {
    let folder = folder();
    let empty = r#"{"1": "a dog", "2": "", "3": " \n "}"#;
    std::fs::write(folder.path().join("empty.json"), empty).unwrap();
    let line = "evaluate --references r.json --predictions empty.json --metrics bleu";
    let output = caption_eval(&words(line), b"", folder.path());
    let stderr = text(&output.stderr);
    assert!(output.status.success() && stderr.contains("predictions without words: 2"), "{stderr}");
}

#[test]
fn a_subset_says_how_many_images_are_left_out() {
    let folder = folder();
    std::fs::write(folder.path().join("short.json"), r#"[{"image_id": 1, "caption": "a dog"}]"#)
        .unwrap();
    let arguments = words(
        "evaluate --references r.json --predictions short.json --subset predictions --tokenizer \
         none --metrics rouge --json out.json",
    );
    let output = caption_eval(&arguments, b"", folder.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    let first =
        "1 images, tokenizer none (captions as they stand); references of 2 images left out";
    assert_eq!(stdout.lines().next(), Some(first));
    assert_eq!(json(&folder.path().join("out.json"))["protocol"]["references_left_out"], 2);
}

#[test]
fn keys_may_be_those_of_pycocoevalcap() {
    let folder = folder();
    let arguments = "evaluate --references r.json --predictions a.json --metrics bleu,rouge \
                     --key-style pycocoevalcap --bootstrap 9 --json out.json --per-image out.csv";
    let output =
        caption_eval(&arguments.split_whitespace().collect::<Vec<_>>(), b"", folder.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let out = json(&folder.path().join("out.json"));
    let keys: Vec<&String> = out["eval"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "ROUGE_L"]);
    let last = out["evalImgs"][2].as_object().unwrap();
    assert_eq!(last["image_id"], 3);
    let keys: Vec<&String> = last.keys().collect();
    assert_eq!(keys, ["image_id", "Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "ROUGE_L"]);
    assert!(out["confidence"]["intervals"]["Bleu_4"]["low"].is_number());
    let csv = std::fs::read_to_string(folder.path().join("out.csv")).unwrap();
    assert!(csv.starts_with("image_id,Bleu_1,Bleu_2,Bleu_3,Bleu_4,ROUGE_L\n1,"), "{csv}");
}

#[test]
fn stored_document_frequencies_score_an_image_as_among_all() {
    let folder = folder();
    std::fs::write(folder.path().join("one.json"), r#"{"1": "a dog runs"}"#).unwrap();
    let run = |arguments: &str| {
        caption_eval(&arguments.split_whitespace().collect::<Vec<_>>(), b"", folder.path())
    };
    let counted = run("df r.json --out df.json");
    assert!(counted.status.success(), "{}", text(&counted.stderr));
    let expected = "df.json: 14 n-grams of 3 images, tokenizer ptb\n";
    assert_eq!(text(&counted.stdout), expected);
    assert_eq!(json(&folder.path().join("df.json"))["document_frequencies"]["a"], 2);
    let scores = |predictions: &str, options: &str| {
        let output = run(&format!(
            "evaluate --references r.json --predictions {predictions} --metrics cider --json o.json \
             {options}"
        ));
        assert!(output.status.success(), "{}", text(&output.stderr));
        (json(&folder.path().join("o.json")), text(&output.stdout))
    };
    let (all, _) = scores("a.json", "");
    let (with, _) = scores("a.json", "--cider-df df.json");
    assert_eq!(with["per_image"], all["per_image"]);
    let (one, printed) = scores("one.json", "--subset predictions --cider-df df.json");
    assert_eq!(one["per_image"]["1"], all["per_image"]["1"]);
    assert_eq!(one["protocol"]["cider_images"], 3);
    assert!(printed.contains("CIDEr with stored document frequencies of 3 images"), "{printed}");
    let (alone, _) = scores("one.json", "--subset predictions");
    assert_eq!(alone["corpus"]["CIDEr"], 0.0);

    let refused = |file: &str, options: &str, expected: &str| {
        let output = run(&format!(
            "evaluate --references r.json --predictions a.json --cider-df {file} {options}"
        ));
        let error = text(&output.stderr);
        assert!(!output.status.success() && error.contains(expected), "{error}");
    };
    refused("df.json", "--tokenizer none", "counted with tokenizer ptb");
    refused("r.json", "", "as `caption-eval df` writes them");
    let wrong = r#"{"tokenizer": "ptb", "images": 1, "document_frequencies": {"a": 2}}"#;
    std::fs::write(folder.path().join("wrong.json"), wrong).unwrap();
    refused("wrong.json", "", "cannot be");
}

/// A shell's `<(…)` is a pipe.
#[test]
fn captions_may_come_from_pipes() {
    let folder = folder();
    let script = format!(
        "{} evaluate --references <(cat r.json) --predictions /dev/stdin --metrics rouge < a.json",
        env!("CARGO_BIN_EXE_caption-eval")
    );
    let output =
        Command::new("bash").args(["-c", &script]).current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// A bootstrap of many minutes ends at once when it is told to.
#[test]
fn a_stop_is_heeded_while_scoring() {
    let folder = folder();
    let images = |caption: &dyn Fn(usize) -> String| {
        let all: Vec<String> = (0..2000).map(|n| format!("\"{n}\": {}", caption(n))).collect();
        format!("{{{}}}", all.join(","))
    };
    let references = images(&|n| format!("[\"a dog runs near {n} cats\"]"));
    std::fs::write(folder.path().join("r.json"), references).unwrap();
    std::fs::write(folder.path().join("a.json"), images(&|n| format!("\"{n} dogs\""))).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_caption-eval"))
        .args(["evaluate", "--references", "r.json", "--predictions", "a.json"])
        .args(["--metrics", "bleu", "--bootstrap", "1000000", "--json", "out.json"])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid = child.id().to_string();
    let threads = format!("/proc/{pid}/task");
    test_support::wait_for("threads that score", || {
        std::fs::read_dir(&threads).unwrap().count() > 1
    });
    let told = std::time::Instant::now();
    // A shell's background jobs ignore SIGINT.
    assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().unwrap().success());
    assert!(!child.wait().unwrap().success());
    assert!(told.elapsed() < std::time::Duration::from_secs(10), "{:?}", told.elapsed());
    assert!(!folder.path().join("out.json").exists());
}
