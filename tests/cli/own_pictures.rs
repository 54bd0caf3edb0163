//! `capsmith caption` on a person's own pictures: folders and lists in, files of captions out.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use training::captions::for_people;

use super::stage::{Stage, capsmith, failure, success};

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Run that learned from drawn pictures, and a folder with three of them and a file that is none.
struct Photos {
    folder: tempfile::TempDir,
    run: String,
}

impl Photos {
    fn new() -> Self {
        let stage = Stage::get();
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        success(&stage.train(&run, &["--set", "training.epochs=1"]));
        fs::create_dir_all(folder.path().join("photos/sub")).unwrap();
        for (number, name) in ["a.jpg", "b.JPG", "sub/c.jpg"].iter().enumerate() {
            let from = format!("{}/Images/scene-{number:05}.jpg", stage.pictures());
            fs::copy(from, folder.path().join("photos").join(name)).unwrap();
        }
        fs::write(folder.path().join("photos/broken.png"), "no picture").unwrap();
        Self { run: text(&run), folder }
    }

    fn at(&self, name: &str) -> String {
        text(&self.folder.path().join(name))
    }

    /// Returns the captions of the three pictures, as the run writes them.
    fn raw(&self) -> Vec<String> {
        let [a, b, c] =
            ["photos/a.jpg", "photos/b.JPG", "photos/sub/c.jpg"].map(|name| self.at(name));
        let lines = success(&["caption", "--raw", &self.run, &a, &b, &c]).stdout;
        let lines = String::from_utf8(lines).unwrap();
        let captions: Vec<String> =
            lines.lines().map(|line| line.split_once('\t').unwrap().1.to_owned()).collect();
        assert_eq!(captions.len(), 3);
        assert!(captions.iter().all(|caption| caption.ends_with(" .")), "{captions:?}");
        captions
    }
}

#[test]
fn captions_of_a_folder_go_to_a_file_that_resumes() {
    let photos = Photos::new();
    let folder = photos.at("photos");
    let out = photos.at("captions.jsonl");
    let words = ["caption", &photos.run, &folder, "--recursive", "--out", &out];
    let error = failure(&words);
    assert!(error.contains("photos/broken.png") && error.contains("1 of 4 pictures"), "{error}");
    assert!(error.contains("demo that learned from drawn pictures"), "{error}");
    let rows = || -> Vec<[String; 2]> {
        let row = |line: &str| {
            let row: Value = serde_json::from_str(line).unwrap();
            assert!(row["score"].as_f64().unwrap() < 0.0, "{row}");
            ["file_name", "text"].map(|key| row[key].as_str().unwrap().to_owned())
        };
        fs::read_to_string(&out).unwrap().lines().map(row).collect()
    };
    let raw = photos.raw();
    let expected: Vec<[String; 2]> = ["photos/a.jpg", "photos/b.JPG", "photos/sub/c.jpg"]
        .into_iter()
        .zip(&raw)
        .map(|(name, caption)| [photos.at(name), for_people(caption)])
        .collect();
    assert_eq!(rows(), expected);

    // Rows that are there stay, and pictures without one are captioned.
    let file = fs::read_to_string(&out).unwrap();
    let first = file.lines().next().unwrap();
    let mine = first.replace(&expected[0][1], "Mine.");
    fs::write(&out, mine + "\n").unwrap();
    let resumed = capsmith(&words).arg("--skip-corrupt").output().unwrap();
    assert!(resumed.status.success(), "{resumed:?}");
    let said = String::from_utf8_lossy(&resumed.stderr).into_owned();
    assert!(said.contains("1 of 4 pictures have their captions already"), "{said}");
    let mut expected = expected;
    expected[0][1] = "Mine.".to_owned();
    assert_eq!(rows(), expected);

    let csv = photos.at("captions.csv");
    let pictures = [photos.at("photos/a.jpg"), photos.at("photos/b.JPG")];
    let raw_to = ["caption", "--raw", &photos.run, &pictures[0], &pictures[1], "--out", &csv];
    success(&raw_to);
    let table = fs::read_to_string(&csv).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!((lines[0], lines.len()), ("file_name,text,score", 3));
    let caption = lines[1].strip_prefix(&format!("{},", pictures[0])).unwrap();
    assert!(caption.trim_start_matches('"').starts_with(&raw[0]), "{caption}");
    success(&raw_to);
    assert_eq!(fs::read_to_string(&csv).unwrap(), table);

    let error = failure(&["caption", &photos.run, &folder, "--out", &photos.at("captions.xlsx")]);
    assert!(error.contains(".csv, .jsonl or .json"), "{error}");
    let error = failure(&["caption", &photos.run, &photos.run]);
    assert!(error.contains("run has no pictures") && error.contains("--recursive"), "{error}");
}

#[test]
fn a_list_on_standard_input_gets_text_files_beside_its_pictures() {
    let photos = Photos::new();
    let raw = photos.raw();
    let (a, b) = (photos.at("photos/a.jpg"), photos.at("photos/b.JPG"));
    let caption = |more: &[&str]| {
        let start = ["caption", &photos.run, "-", "--write", "txt", "--template", "sks, {caption}"];
        let mut command = capsmith(&[&start, more].concat());
        let command = command.stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        write!(child.stdin.take().unwrap(), "{a}\n\n{b}\r\n").unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        ["photos/a.txt", "photos/b.txt"].map(|name| fs::read_to_string(photos.at(name)).unwrap())
    };
    fs::write(photos.at("photos/a.txt"), "mine").unwrap();
    let [one, two] = [&raw[0], &raw[1]].map(|caption| format!("sks, {}\n", for_people(caption)));
    assert_eq!(caption(&[]), ["mine".to_owned(), two.clone()]);
    assert_eq!(caption(&["--existing", "append"]), [format!("mine\n{one}"), two.clone()]);
    assert_eq!(caption(&["--existing", "append"]), [format!("mine\n{one}"), two.clone()]);
    let raw_one = format!("sks, {}\n", raw[0]);
    assert_eq!(caption(&["--existing", "overwrite", "--raw"])[0], raw_one);

    fs::copy(&a, photos.at("photos/a.jpeg")).unwrap();
    let error = failure(&["caption", &photos.run, &photos.at("photos"), "--write", "txt"]);
    assert!(!error.contains("would both"), "{error}");
    let words = ["--write", "txt", "--existing", "append"];
    let error = failure(&[&["caption", &photos.run, &photos.at("photos")][..], &words].concat());
    assert!(error.contains("a.jpeg and") && error.contains("would both"), "{error}");
    let refused = capsmith(&["caption", &photos.run, &a, "--template", "sks"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("{caption}"), "{refused:?}");
}

#[test]
fn decoding_keeps_its_constraints_and_shows_different_captions_only() {
    let photos = Photos::new();
    let picture = photos.at("photos/a.jpg");
    let lines = |sets: &[&str]| -> Vec<String> {
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        let words: Vec<&str> =
            ["caption", "--all", "--raw", &photos.run, &picture].into_iter().chain(sets).collect();
        let output = String::from_utf8(success(&words).stdout).unwrap();
        output.lines().map(|line| line.rsplit('\t').next().unwrap().to_owned()).collect()
    };
    let beams = lines(&["decoding.strategy.kind=beam"]);
    let mut different = beams.clone();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), beams.len(), "{beams:?}");
    assert!((1..=5).contains(&beams.len()), "five beams by default: {beams:?}");
    let once = &lines(&["decoding.no_repeat_ngram_size=1", "decoding.min_new_tokens=12"])[0];
    assert!(once.len() >= 12, "{once}");
    let error = failure(&["caption", &photos.run, &picture, "--set", "decoding.length_penalty=2"]);
    assert!(error.contains("decoding.length_penalty") && error.contains("beam"), "{error}");
}
