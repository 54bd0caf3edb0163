//! Fetched files, their sources and their locations.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use hub::{Error, HubReference, ModelFiles, copy_model};

use crate::server::{COMMIT, git_id, sha256};
use crate::{Machine, names, weights};

#[test]
fn a_model_is_fetched_once_and_lies_as_python_would_have_put_it() {
    let mut machine = Machine::with_models();
    let folder = machine.resolve("hf:a/lm", ModelFiles::LanguageModel).unwrap();
    assert_eq!(folder, machine.repository("a/lm").join("snapshots").join(COMMIT));
    assert_eq!(
        names(&folder),
        ["config.json", "merges.txt", "model.safetensors", "tokenizer_config.json", "vocab.json"]
    );
    assert_eq!(fs::read(folder.join("model.safetensors")).unwrap(), weights());
    let link = fs::read_link(folder.join("model.safetensors")).unwrap();
    assert_eq!(link.to_str().unwrap(), format!("../../blobs/{}", sha256(&weights())));
    let link = fs::read_link(folder.join("config.json")).unwrap();
    assert_eq!(link.to_str().unwrap(), format!("../../blobs/{}", git_id(b"{}")));
    let reference = machine.repository("a/lm").join("refs/main");
    assert_eq!(fs::read_to_string(reference).unwrap(), COMMIT);

    machine.server.requests();
    assert_eq!(machine.resolve("hf:a/lm", ModelFiles::LanguageModel).unwrap(), folder);
    let by_commit = format!("hf:a/lm@{COMMIT}");
    assert_eq!(machine.resolve(&by_commit, ModelFiles::LanguageModel).unwrap(), folder);
    assert!(machine.server.requests().is_empty());
}

/// The fixture is the cache that `huggingface_hub` 0.36.2 made: `tests/reference/hub_cache.py`.
#[test]
fn the_cache_is_file_by_file_what_huggingface_hub_makes() {
    let mut machine = Machine::with_models();
    machine.resolve("hf:a/lm", ModelFiles::LanguageModel).unwrap();
    let mut ours = String::new();
    describe(&machine.options.cache, &machine.options.cache, &mut ours);
    assert_eq!(ours, include_str!("../../../../tests/fixtures/hub/cache.txt"));
}

fn describe(folder: &Path, root: &Path, text: &mut String) {
    for name in names(folder) {
        let path = folder.join(name);
        let shown = path.strip_prefix(root).unwrap().to_str().unwrap();
        if let Ok(target) = fs::read_link(&path) {
            writeln!(text, "{shown} -> {}", target.display()).unwrap();
        } else if path.is_dir() {
            describe(&path, root, text);
        } else if shown.contains("/refs/") {
            writeln!(text, "{shown}: {}", fs::read_to_string(&path).unwrap()).unwrap();
        } else {
            writeln!(text, "{shown} {}", fs::metadata(&path).unwrap().len()).unwrap();
        }
    }
}

#[test]
fn clip_comes_with_its_preprocessing_or_not_at_all() {
    let mut machine = Machine::with_models();
    let folder = machine.resolve("hf:a/clip", ModelFiles::Clip).unwrap();
    assert!(folder.join("preprocessor_config.json").is_file());
    let error = machine.resolve("hf:a/lm", ModelFiles::Clip).unwrap_err().to_string();
    assert!(
        error.contains("a/lm at revision") && error.contains("preprocessor_config.json"),
        "{error}"
    );
}

#[test]
fn weights_in_shards_are_fetched_by_their_index() {
    let mut machine = Machine::new();
    for (name, text) in [("config.json", "{}"), ("tokenizer.json", "{}")] {
        machine.server.file("a/big", name, text);
    }
    let index = r#"{"metadata": {"total_size": 9}, "weight_map": {"x": "model-1.safetensors", "y": "parts/model-2.safetensors", "z": "model-1.safetensors"}}"#;
    machine.server.file("a/big", "model.safetensors.index.json", index);
    machine.server.file("a/big", "model-1.safetensors", vec![1; 2000]);
    let error = machine.resolve("hf:a/big", ModelFiles::LanguageModel).unwrap_err().to_string();
    assert!(error.contains("no parts/model-2.safetensors, which"), "{error}");
    machine.server.file("a/big", "parts/model-2.safetensors", vec![2; 2000]);
    let folder = machine.resolve("hf:a/big", ModelFiles::LanguageModel).unwrap();
    assert_eq!(fs::read(folder.join("model-1.safetensors")).unwrap(), vec![1; 2000]);
    assert_eq!(fs::read(folder.join("parts/model-2.safetensors")).unwrap(), vec![2; 2000]);
    let link = fs::read_link(folder.join("parts/model-2.safetensors")).unwrap();
    assert!(link.starts_with("../../../blobs"), "{}", link.display());
    machine.server.requests();
    machine.resolve("hf:a/big", ModelFiles::LanguageModel).unwrap();
    assert!(machine.server.requests().is_empty());
}

#[test]
fn a_bert_may_have_its_vocabulary_alone() {
    let mut machine = Machine::new();
    for (name, text) in [("config.json", "{}"), ("vocab.txt", "[PAD]\n")] {
        machine.server.file("a/bert", name, text);
    }
    machine.server.file("a/bert", "model.safetensors", weights());
    let folder = machine.resolve("hf:a/bert", ModelFiles::LanguageModel).unwrap();
    assert_eq!(names(&folder), ["config.json", "model.safetensors", "vocab.txt"]);
}

#[test]
fn one_file_is_fetched_alone_at_its_revision() {
    let mut machine = Machine::with_models();
    machine.server.file("a/prefix", "deep/x.pt", weights());
    let path = machine.resolve("hf:a/prefix/deep/x.pt@v1/beta", ModelFiles::File).unwrap();
    assert_eq!(fs::read(&path).unwrap(), weights());
    let paths: Vec<String> =
        machine.server.requests().into_iter().map(|request| request.path).collect();
    assert!(paths.contains(&"/a/prefix/resolve/v1%2Fbeta/deep/x.pt".to_owned()), "{paths:?}");
    machine.resolve("hf:a/prefix/deep/x.pt@v1/beta", ModelFiles::File).unwrap();
    assert!(machine.server.requests().is_empty());
    let error = machine.resolve("hf:a/prefix", ModelFiles::File).unwrap_err();
    assert!(matches!(error, Error::NoFile(_)), "{error}");
}

#[test]
fn weights_of_pytorch_are_fetched_where_there_are_no_safetensors() {
    let mut machine = Machine::with_models();
    let folder = machine.resolve("hf:a/lm", ModelFiles::LanguageModel).unwrap();
    assert!(!folder.join("pytorch_model.bin").exists());
    for (name, text) in
        [("config.json", "{}"), ("tokenizer.json", "{}"), ("added_tokens.json", "{}")]
    {
        machine.server.file("a/old", name, text);
        machine.server.file("a/parts", name, text);
    }
    machine.server.file("a/old", "pytorch_model.bin", weights());
    let folder = machine.resolve("hf:a/old", ModelFiles::LanguageModel).unwrap();
    let files = ["added_tokens.json", "config.json", "pytorch_model.bin", "tokenizer.json"];
    assert_eq!(names(&folder), files);
    let out = machine.folder.path().join("out");
    assert_eq!(copy_model(&folder, &out).unwrap().len(), 4);
    let index = r#"{"weight_map": {"x": "pytorch_model-1.bin", "y": "pytorch_model-2.bin"}}"#;
    machine.server.file("a/parts", "pytorch_model.bin.index.json", index);
    for part in ["pytorch_model-1.bin", "pytorch_model-2.bin"] {
        machine.server.file("a/parts", part, part.as_bytes().to_vec());
    }
    let folder = machine.resolve("hf:a/parts", ModelFiles::LanguageModel).unwrap();
    assert_eq!(fs::read(folder.join("pytorch_model-2.bin")).unwrap(), b"pytorch_model-2.bin");
    machine.server.requests();
    machine.resolve("hf:a/parts", ModelFiles::LanguageModel).unwrap();
    assert!(machine.server.requests().is_empty());
}

/// Writes the named files of a model into a cache, in Python's layout.
fn fill(repository: &Path, commit: &str, files: &[&str]) -> std::path::PathBuf {
    let snapshot = repository.join("snapshots").join(commit);
    fs::create_dir_all(&snapshot).unwrap();
    for name in files {
        fs::write(snapshot.join(name), "x").unwrap();
    }
    snapshot
}

const MODEL: [&str; 3] = ["config.json", "tokenizer.json", "model.safetensors"];
const PINNED: &str = "607a30d783dfa663caf39e06633721c8d4cfcd7e";

#[test]
fn a_cache_under_a_models_other_name_is_used() {
    for (folder, reference) in [
        ("models--gpt2", "gpt2"),
        ("models--gpt2", "openai-community/gpt2"),
        ("models--openai-community--gpt2", "hf:gpt2"),
    ] {
        let mut machine = Machine::new();
        machine.options.offline = true;
        let snapshot = fill(&machine.options.cache.join(folder), PINNED, &MODEL);
        assert_eq!(machine.resolve(reference, ModelFiles::LanguageModel).unwrap(), snapshot);
    }
    for (folder, reference) in [
        ("models--distilgpt2", "distilbert/distilgpt2"),
        ("models--distilbert--distilgpt2", "distilgpt2"),
    ] {
        let mut machine = Machine::new();
        machine.options.offline = true;
        let snapshot = fill(&machine.options.cache.join(folder), COMMIT, &MODEL);
        fs::create_dir_all(machine.options.cache.join(folder).join("refs")).unwrap();
        fs::write(machine.options.cache.join(folder).join("refs/main"), COMMIT).unwrap();
        assert_eq!(machine.resolve(reference, ModelFiles::LanguageModel).unwrap(), snapshot);
    }
}

#[test]
fn other_caches_are_looked_in_and_not_written() {
    let mut machine = Machine::with_models();
    let other = machine.folder.path().join("other");
    machine.options.other_caches = vec![other.clone()];
    let snapshot = fill(&other.join("models--a--lm"), COMMIT, &["config.json"]);
    let by_commit = format!("hf:a/lm@{COMMIT}");
    // A partial model does not suffice, and no files are added to it.
    let fetched = machine.resolve(&by_commit, ModelFiles::LanguageModel).unwrap();
    assert!(fetched.starts_with(&machine.options.cache));
    assert_eq!(names(&snapshot), ["config.json"]);
    fs::remove_dir_all(&machine.options.cache).unwrap();
    fill(&other.join("models--a--lm"), COMMIT, &MODEL);
    machine.server.requests();
    assert_eq!(machine.resolve(&by_commit, ModelFiles::LanguageModel).unwrap(), snapshot);
    assert!(machine.server.requests().is_empty());
}

#[test]
fn a_clip_needs_of_the_cache_what_its_tower_needs() {
    let mut machine = Machine::new();
    machine.options.offline = true;
    let repository = machine.repository("a/clip");
    let clip = format!("hf:a/clip@{COMMIT}");
    let files = ["config.json", "preprocessor_config.json", "pytorch_model.bin"];
    let snapshot = fill(&repository, COMMIT, &files);
    assert_eq!(machine.resolve(&clip, ModelFiles::ClipVision).unwrap(), snapshot);
    machine.resolve(&clip, ModelFiles::ClipText).unwrap_err();
    machine.resolve(&clip, ModelFiles::Clip).unwrap_err();
    fill(&repository, COMMIT, &["tokenizer.json"]);
    assert_eq!(machine.resolve(&clip, ModelFiles::Clip).unwrap(), snapshot);
    fs::remove_file(snapshot.join("preprocessor_config.json")).unwrap();
    assert_eq!(machine.resolve(&clip, ModelFiles::ClipText).unwrap(), snapshot);
    machine.resolve(&clip, ModelFiles::ClipVision).unwrap_err();
    // The file name as of transformers 5.
    fill(&repository, COMMIT, &["processor_config.json"]);
    assert_eq!(machine.resolve(&clip, ModelFiles::Clip).unwrap(), snapshot);
}

#[test]
fn a_revision_that_is_not_there_hints_at_the_one_that_is() {
    let mut machine = Machine::new();
    machine.options.offline = true;
    let repository = machine.options.cache.join("models--gpt2");
    fill(&repository, COMMIT, &MODEL[..2]);
    let mut error = || machine.resolve("gpt2", ModelFiles::LanguageModel).unwrap_err().to_string();
    assert!(!error().contains("takes the revision"), "an incomplete one is of no use");
    fill(&repository, COMMIT, &MODEL);
    let by_commit = format!("hf:openai-community/gpt2@{COMMIT} takes the revision that is in");
    assert!(error().contains(&by_commit), "{}", error());
    fs::create_dir_all(repository.join("refs")).unwrap();
    fs::write(repository.join("refs/main"), COMMIT).unwrap();
    assert!(error().contains("hint: hf:openai-community/gpt2@main takes the"), "{}", error());
    assert!(error().contains(PINNED), "{}", error());
    let found = machine.resolve("gpt2@main", ModelFiles::LanguageModel).unwrap();
    assert_eq!(found, repository.join("snapshots").join(COMMIT));
}

#[test]
fn a_repository_without_weights_says_so() {
    let mut machine = Machine::new();
    for (name, text) in [("config.json", "{}"), ("tokenizer.json", "{}"), ("tf_model.h5", "x")] {
        machine.server.file("a/old", name, text);
    }
    let error = machine.resolve("hf:a/old", ModelFiles::LanguageModel).unwrap_err().to_string();
    assert!(error.contains("a/old") && error.contains("model.safetensors"), "{error}");
    assert!(error.contains(&format!("/a/old/tree/{COMMIT}")), "{error}");
}

#[test]
fn a_renamed_repository_is_followed() {
    let mut machine = Machine::with_models();
    machine.server.rename("old", "a/lm");
    let path = machine.resolve("hf:old/x/model.safetensors", ModelFiles::File);
    assert!(matches!(path, Err(Error::NotFound { .. })));
    machine.server.rename("b/lm", "a/lm");
    let path = machine.resolve("hf:b/lm/model.safetensors", ModelFiles::File).unwrap();
    assert_eq!(fs::read(path).unwrap(), weights());
}

#[test]
fn the_token_goes_to_the_hub_and_not_to_the_storage_behind_it() {
    let mut machine = Machine::with_models();
    machine.options.token = Some("secret".to_owned());
    machine.resolve("hf:a/lm", ModelFiles::LanguageModel).unwrap();
    let (storage, hub): (Vec<_>, Vec<_>) = machine
        .server
        .requests()
        .into_iter()
        .partition(|request| request.path.starts_with("/cdn/"));
    assert!(!storage.is_empty() && !hub.is_empty());
    assert!(storage.iter().all(|request| request.token.is_none()));
    assert!(hub.iter().all(|request| request.token.as_deref() == Some("Bearer secret")));
}

#[test]
fn a_cache_that_python_filled_is_used() {
    let mut machine = Machine::new();
    machine.options.endpoint = "http://127.0.0.1:9".to_owned();
    let repository = machine.repository("openai-community/gpt2");
    // gpt2 is a known model, so its pinned commit is looked up.
    let snapshot = repository.join("snapshots/607a30d783dfa663caf39e06633721c8d4cfcd7e");
    fs::create_dir_all(&snapshot).unwrap();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        fs::write(snapshot.join(name), "x").unwrap();
    }
    assert_eq!(machine.resolve("gpt2", ModelFiles::LanguageModel).unwrap(), snapshot);
}

#[test]
fn a_known_model_is_taken_at_its_commit_and_with_its_digest_only() {
    let mut machine = Machine::new();
    let repository = "openai-community/gpt2";
    for (name, text) in [("config.json", "{}"), ("tokenizer.json", "{}")] {
        machine.server.file(repository, name, text);
    }
    machine.server.file(repository, "model.safetensors", weights());
    // This hub has another commit.
    let error = machine.resolve("gpt2", ModelFiles::LanguageModel).unwrap_err().to_string();
    assert!(error.contains(COMMIT) && error.contains("607a30d7"), "{error}");
    // This hub claims the pinned commit but has other weights.
    let claim = || {
        let commit = "607a30d783dfa663caf39e06633721c8d4cfcd7e".to_owned();
        crate::server::Fault::Header("X-Repo-Commit", commit)
    };
    machine.server.fault("HEAD", "resolve", usize::MAX, claim());
    machine.server.requests();
    let error = machine.resolve(
        "hf:openai-community/gpt2/model.safetensors@607a30d783dfa663caf39e06633721c8d4cfcd7e",
        ModelFiles::File,
    );
    let error = error.unwrap_err().to_string();
    assert!(error.contains("248dfc3911869ec4") && error.contains(&sha256(&weights())), "{error}");
    assert!(error.contains("pinned by capsmith"), "{error}");
    let fetched = machine.server.requests().iter().any(|request| request.path.contains("cdn"));
    assert!(!fetched, "it was fetched although it was announced as another");
}

#[test]
fn a_local_path_is_returned_and_a_missing_one_says_how_to_fetch() {
    let mut machine = Machine::new();
    let folder = machine.folder.path().join("gpt2");
    fs::create_dir(&folder).unwrap();
    let text = folder.to_str().unwrap().to_owned();
    assert_eq!(machine.resolve(&text, ModelFiles::LanguageModel).unwrap(), folder);
    let error =
        machine.resolve("weights/gpt2-xl", ModelFiles::LanguageModel).unwrap_err().to_string();
    assert!(error.contains("there is no weights/gpt2-xl"), "{error}");
    assert!(error.contains("capsmith fetch weights gpt2-xl --out weights"), "{error}");
    let error = machine.resolve("/nowhere/x", ModelFiles::Clip).unwrap_err().to_string();
    assert!(error.contains("hf:OWNER/NAME"), "{error}");
}

#[test]
fn a_folder_of_ones_own_gets_the_files_and_keeps_what_is_there() {
    let mut machine = Machine::with_models();
    let resolved = machine.resolve("hf:a/lm", ModelFiles::LanguageModel).unwrap();
    // Files that another program put into the snapshot are not copied.
    fs::write(resolved.join("flax_model.msgpack"), "x").unwrap();
    let out = machine.folder.path().join("weights/lm");
    assert_eq!(copy_model(&resolved, &out).unwrap().len(), 5);
    assert_eq!(
        names(&out),
        ["config.json", "merges.txt", "model.safetensors", "tokenizer_config.json", "vocab.json"]
    );
    assert!(!fs::symlink_metadata(out.join("config.json")).unwrap().is_symlink());
    assert_eq!(fs::read(out.join("model.safetensors")).unwrap(), weights());
    copy_model(&resolved, &out).unwrap();
    fs::remove_file(out.join("merges.txt")).unwrap();
    fs::write(out.join("merges.txt"), "mine").unwrap();
    let error = copy_model(&resolved, &out).unwrap_err().to_string();
    assert!(error.contains("merges.txt is in the way"), "{error}");
    assert_eq!(fs::read_to_string(out.join("merges.txt")).unwrap(), "mine");

    let file = machine.resolve("hf:a/lm/model.safetensors", ModelFiles::File).unwrap();
    let out = machine.folder.path().join("weights/one");
    assert_eq!(copy_model(&file, &out).unwrap(), [out.join("model.safetensors")]);
}

#[test]
fn references_are_told_by_what_they_name() {
    let reference = HubReference { repository: "a/b".to_owned(), file: None, revision: None };
    assert_eq!(reference.to_string(), "hf:a/b");
}
