//! SBG and Merge-RNN from captions to scores, and input that they refuse.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use durable::sealed;
use networks::gpt2::Gpt2Config;
use progress::Progress;
use runs::RunFolder;
use tch::{Device, Kind, Tensor};
use training::captioner::Captioner;
use training::captions::{ImageInputs, best};

use super::stage::{
    capsmith, failure, init_clip, newest_checkpoint, success, wait_while_running, without_dropout,
};
use super::workspace::{Workspace, fixture, read_json};

fn losses(run: &str) -> Vec<f64> {
    let metrics = std::fs::read_to_string(Path::new(run).join("metrics.csv")).unwrap();
    metrics.lines().skip(1).map(|line| line.split(',').nth(2).unwrap().parse().unwrap()).collect()
}

#[test]
fn sbg_goes_from_captions_to_scores_of_one_two_and_five_captions() {
    let place = Workspace::with_keywords();
    let run = place.of("run");
    success(&place.train("sbg", "run", &[]));
    let losses = losses(&run);
    assert!(losses.last().unwrap() + 0.5 < losses[0], "the loss does not fall: {losses:?}");

    let scores = success(&["evaluate", "--run", &run]);
    let scores = String::from_utf8(scores.stdout).unwrap();
    for best_of in ["best-of-1", "best-of-2", "best-of-5"] {
        assert!(scores.contains(best_of), "{scores}");
        let file = Path::new(&run).join(format!("evaluation/test-{best_of}/scores.json"));
        assert_eq!(read_json(&file)["n"], 10);
    }

    // A picture's file gets the keywords, the draws and the choice that evaluation gave it.
    let picture = place.captioned_alike(&run, "test-best-of-5");
    let all = success(&["caption", "--run", &run, "--all", &picture]);
    assert_eq!(String::from_utf8(all.stdout).unwrap().lines().count(), 5);

    // Killed on the way and resumed, it ends with the same bytes.
    let mut words = place.train("sbg", "cut", &["--set", "training.checkpoint_every_steps=2"]);
    words.push("--resume".to_owned());
    let mut child = capsmith(&words).stderr(Stdio::null()).spawn().unwrap();
    let checkpoints = place.folder.path().join("cut/checkpoints");
    wait_while_running(&mut child, "a checkpoint", || checkpoints.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    success(&words);
    let model = |run: &str| newest_checkpoint(Path::new(&place.of(run))).join("model.safetensors");
    assert!(std::fs::read(model("run")).unwrap() == std::fs::read(model("cut")).unwrap());
}

/// Returns captions of pictures with these embeddings and keywords, and the notes.
///
/// The captions of a picture are in the order of their draws.
fn written(
    captioner: &Captioner,
    embeddings: &Tensor,
    keywords: &[Vec<String>],
) -> (Vec<Vec<training::captions::Caption>>, Vec<String>) {
    let pictures = ImageInputs {
        embeddings: embeddings.shallow_clone(),
        keywords: Some(keywords.to_vec()),
        numbers: (0..keywords.len() as u64).collect(),
    };
    let mut notes = Notes::default();
    let captions = captioner.caption(&pictures, &mut notes);
    (captions.unwrap(), notes.0)
}

/// Keeps the notes of progress.
#[derive(Default)]
struct Notes(Vec<String>);

impl Progress for Notes {
    fn note(&mut self, message: &str) {
        self.0.push(message.to_owned());
    }
}

#[test]
fn sbgs_language_model_sees_keywords_alone() {
    let place = Workspace::with_keywords();
    success(&place.train("sbg", "run", &["--set", "training.epochs=1"]));
    let folder = RunFolder::open(Path::new(&place.of("run"))).unwrap();
    let texts = Some(place.text_encoder());
    let captioner = Captioner::load(&folder, Device::Cpu, None, &[], texts).unwrap();
    tch::manual_seed(3);
    let drawn = || {
        let rows =
            Tensor::randn([4, captioner.provenance.clip_dim as i64], (Kind::Float, Device::Cpu));
        networks::normalized(&rows).unwrap()
    };
    let words = |texts: &[&str]| -> Vec<String> { texts.iter().map(ToString::to_string).collect() };
    let keywords = [
        words(&["red", "circle"]),
        words(&["blue", "square", "grass"]),
        words(&["green", "star"]),
        words(&[]),
    ];
    let (first, _) = written(&captioner, &drawn(), &keywords);
    let (second, _) = written(&captioner, &drawn(), &keywords);
    let texts = |captions: &[Vec<training::captions::Caption>]| -> Vec<Vec<String>> {
        captions.iter().map(|all| all.iter().map(|one| one.text.clone()).collect()).collect()
    };
    // Other pictures with the same keywords: the same captions, only compared with another result.
    assert_eq!(texts(&first), texts(&second));
    assert!(first != second, "captions are compared with the picture");
    // Other keywords of the same pictures: other captions.
    let mut others = keywords.clone();
    others[1] = words(&["yellow", "house"]);
    let (third, _) = written(&captioner, &drawn(), &others);
    assert_ne!(texts(&first)[1], texts(&third)[1]);
    assert_eq!(texts(&first)[0], texts(&third)[0]);

    // Among more captions the best is never further from the picture.
    for captions in &first {
        let scores: Vec<f64> =
            [1, 2, 5].iter().map(|among| best(captions, *among).unwrap().score).collect();
        assert!(scores.is_sorted(), "{scores:?}");
    }

    // Keywords that leave no room are cut and counted.
    let positions = Gpt2Config::open(&folder.gpt2()).unwrap().n_positions as usize;
    let many = vec![vec!["grass".to_owned(); positions]; 2];
    let (captions, notes) = written(&captioner, &drawn().narrow(0, 0, 2), &many);
    assert_eq!(captions.len(), 2);
    assert!(notes.len() == 1 && notes[0].contains("2 pictures"), "{notes:?}");
}

#[test]
fn keywords_of_other_inputs_are_refused_and_nothing_is_left() {
    let place = Workspace::with_keywords();
    let refused = |words: &[String], expected: &str| {
        let error = failure(words);
        assert!(error.contains(expected), "{expected} not in: {error}");
    };
    let keywords = place.folder.path().join("keywords");

    // An encyclopedia that lacks a category, and an empty list of labels.
    let mut tree = read_json(&keywords.join("encyclopedia.json"))["encyclopedia"].take();
    tree.as_object_mut().unwrap().remove("weather");
    let lacking = place.of("lacking.json");
    std::fs::write(&lacking, tree.to_string()).unwrap();
    let folder = keywords.display().to_string();
    let with = ["--keywords", &folder, "--encyclopedia", &lacking];
    refused(&place.select(&with, "other.jsonl"), "lacks the category weather");
    let empty = place.of("empty.json");
    std::fs::write(&empty, "[]").unwrap();
    refused(
        &place.select(&["--keywords", &folder, "--labels", &empty], "other.jsonl"),
        "no labels",
    );
    assert!(!place.folder.path().join("other.jsonl").exists());

    // A CLIP of another dimension, and one of other weights.
    let clip = place.of("clip");
    init_clip(&clip, "16");
    let mut words = place.select(&["--keywords", &folder], "other.jsonl");
    words[5].clone_from(&clip);
    refused(&words, "embeddings of 24 values");
    let same_size = place.of("same-size");
    init_clip(&same_size, "24");
    let weights = Path::new(&same_size).join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    words[5].clone_from(&same_size);
    refused(&words, "another CLIP");

    // Another data set.
    let other = place.of("set");
    success(&["dataset", "draw", "--out", &other, "--count", "50", "--size", "64", "--seed", "9"]);
    let mut words = place.select(&["--keywords", &folder], "other.jsonl");
    words[3].clone_from(&other);
    refused(&words, "other captions or pictures");

    // A file of keywords that lacks a picture, or was selected from other labels.
    let selected = sealed::unseal(&std::fs::read(place.of("selected.jsonl")).unwrap()).unwrap();
    let mut lines: Vec<&str> = selected.lines().collect();
    lines.remove(5);
    std::fs::write(place.of("gap.jsonl"), sealed::seal(&lines.join("\n"))).unwrap();
    let gap = format!("keywords.selected={}", place.of("gap.jsonl"));
    refused(&place.train("sbg", "run", &["--set", &gap]), "has no keywords");
    std::fs::write(place.of("short.json"), r#"[["dog", "NOUN", 1]]"#).unwrap();
    let short = format!("keywords.labels={}", place.of("short.json"));
    refused(&place.train("sbg", "run", &["--set", &short]), "short.json");
    // A block that is longer than GPT-2's positions.
    refused(&place.train("sbg", "run", &["--set", "text.block_size=999"]), "text.block_size");
    assert!(!place.folder.path().join("run").exists());

    // A run whose CLIP has been replaced.
    success(&place.train("sbg", "run", &["--set", "training.epochs=1"]));
    refused(
        &["evaluate", "--run", &place.of("run"), "--clip", &same_size].map(str::to_owned),
        "another SHA-256",
    );
}

#[test]
fn files_are_rebuilt_only_when_their_inputs_change() {
    let place = Workspace::with_keywords();
    let (pictures, clip, out) = (place.stage.pictures(), place.stage.clip(), place.of("keywords"));
    let build = |more: &[&str]| {
        let words = ["keywords", "build", "--dataset", &pictures, "--out", &out];
        let output = success(&[&words[..], more].concat());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(build(&["--clip", &clip]).contains("up to date"));
    let by_wordnet = build(&["--categories", "wordnet"]);
    assert!(
        by_wordnet.contains("encyclopedia.json") && !by_wordnet.contains("labels.json:"),
        "{by_wordnet}"
    );
    // The small random sentence encoder of the networks' own tests keeps some words.
    let bert = fixture("bert");
    let sentence = ["--synonyms", "sentence", "--sentence-model", &bert];
    let by_sentence = build(&[&["--categories", "wordnet"][..], &sentence].concat());
    assert!(
        by_sentence.contains("labels.json:") && !by_sentence.contains("all-labels"),
        "{by_sentence}"
    );
    let unfiltered = build(&["--categories", "wordnet", "--synonyms", "none"]);
    assert!(
        unfiltered.contains("labels.json:") && !unfiltered.contains("all-labels"),
        "{unfiltered}"
    );
    // The small random BART of the networks' own tests chooses some categories.
    let bart = fixture("bart");
    let by_nli = build(&["--categories", "nli", "--nli", &bart, "--synonyms", "none"]);
    assert!(by_nli.contains("encyclopedia.json") && !by_nli.contains("labels.json:"), "{by_nli}");
    std::fs::write(place.of("keywords/labels.json"), "[[\"mine\", \"NOUN\", 1]]").unwrap();
    let words =
        ["keywords", "build", "--dataset", &pictures, "--out", &out, "--categories", "wordnet"];
    assert!(failure(&words).contains("no digest"));
}

/// Flips one bit of a file at several places; `commands` must name the file and its digest.
fn refused_with_a_flipped_bit(file: &str, commands: &[&[String]]) {
    let whole = std::fs::read(file).unwrap();
    for (byte, bit) in [(0, 5), (30, 0), (whole.len() / 3, 2), (whole.len() - 3, 1)] {
        let mut bytes = whole.clone();
        bytes[byte] ^= 1 << bit;
        std::fs::write(file, bytes).unwrap();
        for command in commands {
            let error = failure(command);
            let name = Path::new(file).file_name().unwrap().to_str().unwrap();
            let is_told =
                ["digest", "SHA-256", "not valid JSON"].iter().any(|word| error.contains(word));
            assert!(error.contains(name) && is_told, "byte {byte}, {command:?}: {error}");
        }
    }
    std::fs::write(file, whole).unwrap();
}

#[test]
fn one_flipped_bit_of_a_keyword_file_is_noticed_by_each_command_that_reads_it() {
    let place = Workspace::with_keywords();
    let (pictures, clip, keywords) =
        (place.stage.pictures(), place.stage.clip(), place.of("keywords"));
    let owned = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<String>>();
    let build =
        owned(&["keywords", "build", "--dataset", &pictures, "--clip", &clip, "--out", &keywords]);
    let select = place.select(&["--keywords", &keywords], "other.jsonl");
    let again = place.select(&["--keywords", &keywords], "selected.jsonl");
    let train = place.train("sbg", "other", &[]);
    for file in ["labels.json", "encyclopedia.json"] {
        let named = place.of(&format!("keywords/{file}"));
        let option = format!("--{}", file.strip_suffix(".json").unwrap());
        let select_named = place.select(&["--keywords", &keywords, &option, &named], "other.jsonl");
        refused_with_a_flipped_bit(&named, &[&build, &select, &select_named, &train]);
    }
    refused_with_a_flipped_bit(&place.of("keywords/all-labels.json"), &[&build]);

    let short = ["--set", "training.epochs=1", "--set", "training.scored_pictures=0"];
    success(&place.train("sbg", "run", &short));
    let run = place.of("run");
    let resume = place.train("sbg", "run", &[&short[..], &["--resume"]].concat());
    let evaluate = owned(&["evaluate", "--run", &run]);
    refused_with_a_flipped_bit(&place.of("selected.jsonl"), &[&again, &train, &resume, &evaluate]);
    let picture = format!("{pictures}/Images/{}", first_picture(&pictures));
    let caption = owned(&["caption", "--run", &run, &picture]);
    for file in ["labels.json", "encyclopedia.json"] {
        refused_with_a_flipped_bit(&format!("{run}/keywords/{file}"), &[&caption]);
    }
    success(&caption);

    // Files of another run, and one that is missing, would select other keywords unnoticed.
    let fewer = place.select(&["--keywords", &keywords, "--no-hierarchy"], "fewer.jsonl");
    success(&fewer);
    let selected = format!("keywords.selected={}", place.of("fewer.jsonl"));
    success(&place.train("sbg", "other", &[&short[..], &["--set", &selected]].concat()));
    success(&owned(&["caption", "--run", &place.of("other"), &picture]));
    let (own, others) = (format!("{run}/keywords"), place.of("other/keywords/labels.json"));
    let kept = std::fs::read(format!("{own}/labels.json")).unwrap();
    std::fs::copy(&others, format!("{own}/labels.json")).unwrap();
    let error = failure(&caption);
    assert!(error.contains("labels.json") && error.contains("not the one in run.json"), "{error}");
    std::fs::write(format!("{own}/labels.json"), kept).unwrap();
    let tree = std::fs::read(format!("{own}/encyclopedia.json")).unwrap();
    std::fs::remove_file(format!("{own}/encyclopedia.json")).unwrap();
    assert!(failure(&caption).contains("encyclopedia.json"));
    std::fs::write(format!("{own}/encyclopedia.json"), tree).unwrap();

    // Keywords that were selected again from other labels are not those of the run.
    std::fs::copy(place.of("fewer.jsonl"), place.of("selected.jsonl")).unwrap();
    assert!(failure(&evaluate).contains("not the keywords file that the run was trained with"));
}

fn first_picture(pictures: &str) -> String {
    let names = std::fs::read_dir(format!("{pictures}/Images")).unwrap();
    names.map(|name| name.unwrap().file_name().into_string().unwrap()).min().unwrap()
}

#[test]
fn blocks_of_keywords_alone_do_not_count_where_the_loss_is_of_captions() {
    let place = Workspace::with_keywords();
    let gpt2 = without_dropout(place.folder.path());
    let train = |run: &str, more: &[&str]| {
        let short = ["training.epochs=1", "training.scored_pictures=0"];
        // Last digits would grow over many steps.
        let text = ["text.loss=caption", "text.block_size=8", "optimizer.learning_rate=1e-5"];
        let sets = [&[&gpt2[..]][..], &text, &short].concat();
        let sets: Vec<&str> = sets.iter().chain(more).flat_map(|set| ["--set", *set]).collect();
        success(&place.train("sbg", run, &sets));
        losses(&place.of(run))
    };
    let whole = train("whole", &[]);
    for (run, sets) in [
        ("parts", &["training.gradient_accumulation_steps=8"][..]),
        (
            "again",
            &["training.gradient_accumulation_steps=8", "training.gradient_checkpointing=true"],
        ),
    ] {
        let parts = train(run, sets);
        assert_eq!(parts.len(), whole.len());
        for (ours, theirs) in parts.iter().zip(&whole) {
            assert!((ours - theirs).abs() <= 1e-4 * theirs, "{run}: {ours} {theirs}");
        }
    }
    let alone = train("alone", &["training.batch_size=1"]);
    assert!(alone.iter().all(|loss| loss.is_finite()));
    assert!(alone.iter().any(|loss| *loss < 1e-12), "no block is of keywords alone");
}

#[test]
fn merge_rnn_trains_until_held_out_captions_say_so_and_captions_with_its_best() {
    let place = Workspace::new();
    let run = place.of("run");
    // Features of a narrow VGG-16 with random weights.
    let (features, vgg) = (place.of("vgg.safetensors"), fixture("vgg/torchvision.safetensors"));
    let words =
        ["precompute", "--dataset", &place.stage.pictures(), "--vgg", &vgg, "--out", &features];
    success(&words);
    let features = format!("data.embeddings={features}");
    let more = [
        "--set",
        &features,
        "--set",
        "training.epochs=30",
        "--set",
        "network.layer_size=16",
        "--set",
        "optimizer.learning_rate=0.02",
    ];
    let output = success(&place.train("merge-rnn", "run", &more));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("stopped early"), "{said}");
    let losses = losses(&run);
    assert!(losses.last().unwrap() + 0.5 < losses[0], "{losses:?}");
    let best = success(&["evaluate", "--run", &run]).stdout;
    let same =
        success(&["evaluate", "--run", &run, "--tokenizer", "ptb", "--checkpoint", "best"]).stdout;
    assert_eq!(best, same);
    let references =
        std::fs::read_to_string(place.of("run/evaluation/test/references.json")).unwrap();
    let references: BTreeMap<String, Vec<String>> = serde_json::from_str(&references).unwrap();
    for reference in references.values().flatten() {
        assert_eq!(reference, &words::karpathy_tokens(reference).join(" "));
    }
    let _ = place.captioned_alike(&run, "test");

    // Words of capsmith 0.1.0, which cut captions otherwise.
    let words = place.of("run/words.json");
    let known = std::fs::read_to_string(&words).unwrap();
    std::fs::write(&words, known.replacen("\"a\"", "\"tshirt\"", 1)).unwrap();
    let record = place.of("run/run.json");
    let sealed = std::fs::read_to_string(&record).unwrap();
    let mut without_digests = read_json(Path::new(&record));
    without_digests.as_object_mut().unwrap().retain(|key, _| key != "sha256" && key != "files");
    std::fs::write(&record, without_digests.to_string()).unwrap();
    let resumed = place.train("merge-rnn", "run", &[&more[..], &["--resume"]].concat());
    let error = failure(&resumed);
    assert!(error.contains("words.json") && error.contains("start a new run"), "{error}");
    let rarer = ["--set", "vocabulary.min_frequency=1", "--resume"];
    let error = failure(&place.train("merge-rnn", "run", &[&more[..], &rarer].concat()));
    assert!(error.contains("min_frequency"), "{error}");
    std::fs::write(&words, known).unwrap();
    std::fs::write(&record, sealed).unwrap();

    let none_held_out = place.train("merge-rnn", "other", &["--set", "data.validation_captions=0"]);
    assert!(failure(&none_held_out).contains("no captions are held out"));
    let greedy =
        place.train("merge-rnn", "other", &["--set", "decoding.strategy={ kind = \"greedy\" }"]);
    assert!(failure(&greedy).contains("captions by beam search"));
    // Only CLIP-prefix runs are exported.
    let out = place.of("exported");
    let error = failure(&["export", "--run", &run, "--format", "huggingface", "--out", &out]);
    assert!(error.contains("clip-prefix"), "{error}");
}
