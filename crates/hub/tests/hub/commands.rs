//! Commands and the environment variables that they read.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use hub::cli::{FetchWeightsArgs, fetch_weights};
use progress::Silent;

use crate::server::{COMMIT, Fault, git_id, sha256};
use crate::{Machine, child, names, weights};

/// Runs `fetch weights` in a child process with the environment variables `settings`.
fn run(arguments: &[&str], settings: &[(&str, &str)]) -> (bool, String) {
    let mut command: Command =
        child("commands::fetch_weights_in_a_child", &arguments.join("\n"), None);
    for variable in [
        "HF_HOME",
        "HF_HUB_CACHE",
        "HUGGINGFACE_HUB_CACHE",
        "TRANSFORMERS_CACHE",
        "HF_TOKEN",
        "HF_TOKEN_PATH",
        "HF_HUB_OFFLINE",
        "TRANSFORMERS_OFFLINE",
        "XDG_CACHE_HOME",
    ] {
        command.env_remove(variable);
    }
    let output = command.envs(settings.iter().copied()).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn fetch_weights_in_a_child() {
    let Ok(arguments) = std::env::var("CAPSMITH_CHILD") else { return };
    let mut arguments = arguments.lines().map(str::to_owned);
    let out = arguments.next().filter(|out| !out.is_empty()).map(Into::into);
    let args = FetchWeightsArgs { names: arguments.collect(), out };
    match fetch_weights(&args, &mut Silent, &mut std::io::stdout().lock()) {
        Ok(()) => println!("DONE"),
        Err(error) => println!("ERROR {error}"),
    }
}

#[test]
fn every_variable_that_names_a_cache_is_followed() {
    let machine = Machine::with_models();
    let endpoint = ("HF_ENDPOINT", machine.server.url());
    let folder = |name: &str| machine.folder.path().join(name).display().to_string();
    let fetch = |settings: &[(&str, String)]| {
        let settings: Vec<(&str, &str)> = settings
            .iter()
            .chain([&endpoint])
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        run(&["", "a/lm"], &settings).1
    };
    let home = || ("HF_HOME", folder("home"));
    for (settings, place) in [
        (vec![("XDG_CACHE_HOME", folder("xdg"))], "xdg/huggingface/hub"),
        (vec![home(), ("XDG_CACHE_HOME", folder("unused"))], "home/hub"),
        (vec![home(), ("TRANSFORMERS_CACHE", folder("t"))], "t"),
        (vec![home(), ("HUGGINGFACE_HUB_CACHE", folder("h"))], "h"),
        (vec![("HF_HUB_CACHE", folder("c")), ("HUGGINGFACE_HUB_CACHE", folder("unused"))], "c"),
        (vec![("HF_HUB_CACHE", "~/tilde".to_owned()), ("HOME", folder("me"))], "me/tilde"),
    ] {
        let text = fetch(&settings);
        assert!(text.contains("DONE") && text.contains(&folder(place)), "{settings:?}: {text}");
        assert!(machine.folder.path().join(place).join("models--a--lm").is_dir(), "{place}");
    }
    assert!(!machine.folder.path().join("unused").exists());
    // All caches that the variables name are searched.
    machine.server.requests();
    let both = [("HF_HUB_CACHE", folder("empty")), ("TRANSFORMERS_CACHE", folder("t"))];
    let offline = ("TRANSFORMERS_OFFLINE", "1".to_owned());
    let text = fetch(&[both[0].clone(), both[1].clone(), offline.clone()]);
    assert!(text.contains("DONE") && text.contains(&folder("t")), "{text}");
    assert!(machine.server.requests().is_empty());
    let text = fetch(&[both[0].clone(), offline]);
    assert!(text.contains("ERROR") && text.contains("HF_HUB_OFFLINE is set"), "{text}");
}

/// The cache is as Python leaves it: links from the snapshot to blobs, and the commit of `main`.
#[test]
fn a_cache_that_python_filled_is_used_offline_under_both_names_of_a_model() {
    let machine = Machine::new();
    for (folder, name) in [
        ("models--distilgpt2", "distilbert/distilgpt2"),
        ("models--distilbert--distilgpt2", "distilgpt2"),
    ] {
        let cache = machine.folder.path().join(folder);
        let repository = cache.join(folder);
        let snapshot = repository.join("snapshots").join(COMMIT);
        for folder in [&repository.join("blobs"), &repository.join("refs"), &snapshot] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(repository.join("refs/main"), COMMIT).unwrap();
        let files = [("config.json", b"{}".to_vec()), ("tokenizer.json", b"{}".to_vec())];
        for (file, bytes) in files.into_iter().chain([("model.safetensors", weights())]) {
            let etag = if bytes.len() > 1000 { sha256(&bytes) } else { git_id(&bytes) };
            fs::write(repository.join("blobs").join(&etag), bytes).unwrap();
            symlink(format!("../../blobs/{etag}"), snapshot.join(file)).unwrap();
        }
        let settings = [
            ("HUGGINGFACE_HUB_CACHE", cache.to_str().unwrap()),
            ("HF_ENDPOINT", &machine.server.url()),
            ("HF_HUB_OFFLINE", "1"),
        ];
        let (_, text) = run(&["", name], &settings);
        let line = format!("{}/model.safetensors  300000 bytes", snapshot.display());
        assert!(text.contains("DONE") && text.contains(&line), "{text}");
        assert!(text.contains("as announced by the hub"), "{text}");
    }
    assert!(machine.server.requests().is_empty());
}

#[test]
fn weights_are_listed_with_their_digests_and_put_into_a_folder() {
    let machine = Machine::with_models();
    let home = machine.folder.path().join("home");
    let out = machine.folder.path().join("weights");
    let settings = [
        ("HF_HOME", home.to_str().unwrap()),
        ("HF_ENDPOINT", &format!("{}/", machine.server.url())),
    ];
    let names_and_out = [out.to_str().unwrap(), "a/lm", "hf:a/clip/model.safetensors"];
    let (_, text) = run(&names_and_out, &settings);
    assert!(text.contains("DONE"), "{text}");
    let digest = sha256(&weights());
    assert!(
        text.contains(&format!("300000 bytes  sha256 {digest}  as announced by the hub")),
        "{text}"
    );
    assert!(text.contains(&format!("sha256 {}  no pin", sha256(b"{}"))), "{text}");
    assert_eq!(names(&out), ["clip", "lm"]);
    assert_eq!(names(&out.join("clip")), ["model.safetensors"]);
    assert_eq!(names(&out.join("lm")).len(), 5);
    assert!(home.join("hub/models--a--lm/blobs").join(git_id(b"{}")).is_file());

    // A change in the cache is detected.
    let blob = home.join("hub/models--a--lm/blobs").join(&digest);
    fs::write(&blob, "changed").unwrap();
    let (_, text) = run(&["", "a/lm"], &settings);
    assert!(text.contains("ERROR") && text.contains(&digest), "{text}");
    assert!(text.contains("was changed in the cache"), "{text}");
}

#[test]
fn the_environment_is_read_as_python_reads_it() {
    let machine = Machine::with_models();
    let home = machine.folder.path().join("home");
    fs::create_dir(&home).unwrap();
    fs::write(home.join("token"), "from-file\n").unwrap();
    let url = machine.server.url();
    let base = [("HF_HOME", home.to_str().unwrap()), ("HF_ENDPOINT", url.as_str())];
    let token = |machine: &Machine| {
        machine.server.requests().into_iter().find_map(|request| request.token).unwrap_or_default()
    };
    run(&["", "a/lm"], &base);
    assert_eq!(token(&machine), "Bearer from-file");
    let cache = machine.folder.path().join("elsewhere");
    let settings =
        [base[0], base[1], ("HF_TOKEN", "mine"), ("HF_HUB_CACHE", cache.to_str().unwrap())];
    run(&["", "a/lm"], &settings);
    assert_eq!(token(&machine), "Bearer mine");
    assert!(cache.join("models--a--lm").is_dir());

    let (_, text) = run(&["", "a/clip"], &[base[0], base[1], ("HF_HUB_OFFLINE", "1")]);
    assert!(text.contains("ERROR a/clip at revision main"), "{text}");
    let (_, text) = run(&["", "a/lm"], &[base[0], base[1], ("HF_HUB_OFFLINE", "1")]);
    assert!(text.contains("DONE"), "{text}");
    assert!(machine.server.requests().is_empty());

    let (_, text) = run(&["", "a/lm"], &[base[0], ("HF_ENDPOINT", "huggingface.co")]);
    assert!(text.contains("ERROR HF_ENDPOINT is huggingface.co"), "{text}");
    let (_, text) = run(&["", "a/lm"], &[base[0], base[1], ("HF_TOKEN", "a\nb")]);
    assert!(text.contains("ERROR HF_TOKEN"), "{text}");
}

#[test]
fn a_short_name_is_asked_for_under_its_repository_at_its_commit() {
    let machine = Machine::new();
    let home = machine.folder.path().join("home");
    machine.server.fault("GET", "api", usize::MAX, Fault::Status(403, 0));
    machine.server.fault("HEAD", "resolve", usize::MAX, Fault::Status(403, 0));
    let url = machine.server.url();
    let settings = [("HF_HOME", home.to_str().unwrap()), ("HF_ENDPOINT", url.as_str())];
    run(&["", "clip-vit-large-patch14"], &settings);
    run(&["", "clip-prefix"], &settings);
    let paths: Vec<String> =
        machine.server.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(
        paths,
        [
            "/api/models/openai/clip-vit-large-patch14/revision/32bd64288804d66eefd0ccbe215aa642df71cc41",
            "/Anshler/clip-prefix/resolve/4cd0c0983d96beaeab5ea5cbdc5c0c663e9a60c6/flickr8k_gradient.pt",
        ]
    );
}
