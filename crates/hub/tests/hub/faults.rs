//! Servers that fail, lie or do not exist.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use hub::{Error, ModelFiles};

use crate::server::{COMMIT, Fault, STALL, sha256};
use crate::{Machine, child, names, weights};

const FILE: &str = "hf:a/lm/model.safetensors";
const ALWAYS: usize = usize::MAX;

fn blobs(machine: &Machine) -> Vec<String> {
    names(&machine.repository("a/lm").join("blobs"))
}

fn fetch(machine: &mut Machine) -> Result<Vec<u8>, Error> {
    machine.resolve(FILE, ModelFiles::File).map(|path| fs::read(path).unwrap())
}

/// Asserts that a temporary failure leaves only incomplete blobs.
fn assert_nothing_is_taken_for_whole(machine: &Machine) {
    let kept = blobs(machine);
    assert!(
        kept.iter().all(|name| Path::new(name).extension().is_some_and(|e| e == "incomplete")),
        "{kept:?}"
    );
    assert!(names(&machine.repository("a/lm").join("snapshots").join(COMMIT)).is_empty());
}

/// Returns the ranges that were asked of the content network.
fn ranges(machine: &Machine) -> Vec<Option<String>> {
    let requests = machine.server.requests().into_iter();
    requests.filter(|one| one.path.starts_with("/cdn")).map(|one| one.range).collect()
}

#[test]
fn a_cut_connection_is_taken_up_where_it_ended() {
    let mut machine = Machine::with_models();
    machine.server.fault("GET", "cdn", 1, Fault::Cut(123_457));
    assert_eq!(fetch(&mut machine).unwrap(), weights());
    assert_eq!(ranges(&machine), [None, Some("bytes=123457-".to_owned())]);
    assert_eq!(blobs(&machine), [sha256(&weights())]);
}

#[test]
fn a_server_that_falls_silent_is_asked_again() {
    let mut machine = Machine::with_models();
    machine.options.read_timeout = Duration::from_secs(1);
    machine.server.fault("GET", "cdn", 1, Fault::Stall(100_000));
    let start = std::time::Instant::now();
    assert_eq!(fetch(&mut machine).unwrap(), weights());
    assert!(start.elapsed() < STALL);
    assert_eq!(ranges(&machine), [None, Some("bytes=100000-".to_owned())]);
}

#[test]
fn a_server_that_ignores_range_sends_the_whole_again() {
    let mut machine = Machine::with_models();
    machine.server.fault("GET", "cdn", 1, Fault::Cut(100_000));
    machine.server.fault("GET", "cdn", 1, Fault::WholeBody);
    assert_eq!(fetch(&mut machine).unwrap(), weights());
}

#[test]
fn a_connection_that_is_always_cut_is_given_up_and_taken_up_another_time() {
    let mut machine = Machine::with_models();
    machine.server.fault("GET", "cdn", ALWAYS, Fault::Cut(1000));
    let error = fetch(&mut machine).unwrap_err();
    assert!(matches!(error, Error::Unreachable { tries: 4, .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("4 tries") && text.contains("model.safetensors"), "{text}");
    assert_nothing_is_taken_for_whole(&machine);
    assert_eq!(machine.said.len(), 3, "{:?}", machine.said);

    machine.server.heal();
    machine.server.requests();
    assert_eq!(fetch(&mut machine).unwrap(), weights());
    let ranges: Vec<_> =
        machine.server.requests().into_iter().filter_map(|request| request.range).collect();
    assert!(ranges.iter().all(|range| range == "bytes=4000-"), "{ranges:?}");
    assert!(!ranges.is_empty());
}

#[test]
fn a_file_of_another_size_is_not_kept() {
    for size in [299_999, 300_001] {
        let mut machine = Machine::with_models();
        let announced = Fault::Header("X-Linked-Size", size.to_string());
        machine.server.fault("HEAD", "model.safetensors", ALWAYS, announced);
        let error = fetch(&mut machine).unwrap_err().to_string();
        assert!(error.contains("300000") && error.contains(&size.to_string()), "{error}");
        assert!(blobs(&machine).is_empty());
    }
}

#[test]
fn a_large_file_of_another_content_is_not_kept() {
    let mut machine = Machine::with_models();
    machine.server.fault("GET", "cdn", 1, Fault::OtherBytes);
    let error = fetch(&mut machine).unwrap_err().to_string();
    let other: Vec<u8> = weights().iter().map(|byte| byte ^ 1).collect();
    assert!(error.contains(&sha256(&weights())) && error.contains(&sha256(&other)), "{error}");
    assert!(error.contains("a/lm/model.safetensors"), "{error}");
    assert!(blobs(&machine).is_empty());
    assert_nothing_is_taken_for_whole(&machine);
    assert_eq!(fetch(&mut machine).unwrap(), weights());
}

#[test]
fn a_small_file_of_another_content_is_not_kept_either() {
    let mut machine = Machine::with_models();
    machine.server.fault("GET", "config.json", 1, Fault::OtherBytes);
    let error = machine.resolve("hf:a/lm", ModelFiles::LanguageModel).unwrap_err().to_string();
    assert!(error.contains("a/lm/config.json") && error.contains("git object id"), "{error}");
    assert_nothing_is_taken_for_whole(&machine);
}

#[test]
fn a_blob_that_was_cut_short_in_the_cache_is_fetched_again() {
    let mut machine = Machine::with_models();
    let path = machine.resolve(FILE, ModelFiles::File).unwrap();
    let blob = fs::canonicalize(&path).unwrap();
    fs::write(&blob, "short").unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(fetch(&mut machine).unwrap(), weights());
}

#[test]
fn what_is_not_there_is_named() {
    let mut machine = Machine::with_models();
    let error = machine.resolve("hf:a/lm/gone.pt@v2", ModelFiles::File).unwrap_err().to_string();
    assert!(error.contains("a/lm has no gone.pt at revision v2"), "{error}");
    assert!(error.contains("/a/lm/tree/v2"), "{error}");
    let error = machine.resolve("hf:a/none", ModelFiles::Clip).unwrap_err().to_string();
    assert!(error.contains("a/none has no files at revision main"), "{error}");
    assert_eq!(machine.server.requests().len(), 2, "404 is not tried again");
}

#[test]
fn a_refusal_says_to_accept_the_licence_or_to_set_a_token() {
    for status in [401, 403] {
        for (method, path) in [("HEAD", "resolve"), ("GET", "api")] {
            let mut machine = Machine::with_models();
            machine.server.fault(method, path, ALWAYS, Fault::Status(status, 0));
            let error =
                machine.resolve("hf:a/lm", ModelFiles::LanguageModel).unwrap_err().to_string();
            let page = format!("accept its licence at {}/a/lm", machine.server.url());
            assert!(error.contains(&page) && error.contains("set HF_TOKEN"), "{error}");
            machine.options.token = Some("mine".to_owned());
            let error =
                machine.resolve("hf:a/lm", ModelFiles::LanguageModel).unwrap_err().to_string();
            assert!(error.contains("check that the token"), "{error}");
            assert!(!error.contains("mine"), "the token is told: {error}");
        }
    }
}

#[test]
fn a_busy_or_broken_server_is_asked_again() {
    for status in [429, 500, 502, 503, 504] {
        let mut machine = Machine::with_models();
        for (method, path) in [("GET", "api"), ("HEAD", "config.json"), ("GET", "cdn")] {
            machine.server.fault(method, path, 2, Fault::Status(status, 0));
        }
        let folder = machine.resolve("hf:a/lm", ModelFiles::LanguageModel).unwrap();
        assert_eq!(fs::read(folder.join("model.safetensors")).unwrap(), weights());
        assert_eq!(machine.said.len(), 6, "{:?}", machine.said);
    }
}

#[test]
fn the_servers_wish_to_wait_is_respected() {
    let mut machine = Machine::with_models();
    machine.server.fault("HEAD", "resolve", 1, Fault::Status(429, 1));
    let start = std::time::Instant::now();
    fetch(&mut machine).unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert!(
        machine.said[0].contains("429") && machine.said[0].contains("1.0 s"),
        "{:?}",
        machine.said
    );
}

#[test]
fn a_server_that_stays_broken_is_asked_a_bounded_number_of_times() {
    let mut machine = Machine::with_models();
    machine.server.fault("HEAD", "resolve", ALWAYS, Fault::Status(500, 0));
    let error = fetch(&mut machine).unwrap_err().to_string();
    assert!(error.contains("500") && error.contains("4 tries"), "{error}");
    assert_eq!(machine.server.requests().len(), 4);
}

#[test]
fn a_log_in_page_is_not_taken_for_a_file() {
    for (method, path) in
        [("GET", "api"), ("HEAD", "config.json"), ("GET", "cdn"), ("GET", "vocab.json")]
    {
        let mut machine = Machine::with_models();
        machine.server.fault(method, path, ALWAYS, Fault::Html);
        let error = machine.resolve("hf:a/lm", ModelFiles::LanguageModel).unwrap_err().to_string();
        assert!(error.contains("did not answer as a model hub"), "{error}");
        assert!(error.contains("HF_ENDPOINT"), "{error}");
    }
}

#[test]
fn what_is_in_the_cache_needs_no_server() {
    let mut machine = Machine::with_models();
    let folder = machine.resolve("hf:a/lm", ModelFiles::LanguageModel).unwrap();
    machine.options.endpoint = "http://127.0.0.1:9".to_owned();
    assert_eq!(machine.resolve("hf:a/lm", ModelFiles::LanguageModel).unwrap(), folder);
    assert!(machine.said.is_empty());
    let error = machine.resolve("hf:a/clip", ModelFiles::Clip).unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("http://127.0.0.1:9/api/models/a/clip"), "{error}");
}

#[test]
fn offline_the_cache_is_used_and_nothing_else() {
    let mut machine = Machine::with_models();
    machine.resolve("hf:a/lm", ModelFiles::LanguageModel).unwrap();
    machine.options.offline = true;
    machine.server.requests();
    machine.resolve("hf:a/lm", ModelFiles::LanguageModel).unwrap();
    machine.resolve(FILE, ModelFiles::File).unwrap();
    for text in ["hf:a/clip", "hf:a/lm@v2", "hf:a/lm/README.md"] {
        let error = machine.resolve(text, ModelFiles::LanguageModel).unwrap_err().to_string();
        assert!(error.contains("HF_HUB_OFFLINE is set"), "{error}");
        assert!(error.contains(&format!("capsmith fetch weights {text}")), "{error}");
        assert!(error.contains(machine.options.cache.to_str().unwrap()), "{error}");
    }
    assert!(machine.server.requests().is_empty());
}

#[test]
fn names_that_would_leave_the_cache_are_refused() {
    for etag in ["../../../x", "\"a/b\"", "", "\"..\""] {
        let mut machine = Machine::with_models();
        machine.server.fault("HEAD", "resolve", 1, Fault::Header("X-Linked-Etag", etag.to_owned()));
        let error = fetch(&mut machine).unwrap_err();
        assert!(matches!(error, Error::NotTheHub { .. }), "{etag:?}: {error}");
    }
    let mut machine = Machine::new();
    for name in ["config.json", "tokenizer.json", "../evil", "/etc/evil"] {
        machine.server.file("a/evil", name, "{}");
    }
    let index = r#"{"weight_map": {"x": "../../../evil.safetensors"}}"#;
    machine.server.file("a/evil", "model.safetensors.index.json", index);
    let error = machine.resolve("hf:a/evil", ModelFiles::LanguageModel).unwrap_err().to_string();
    assert!(error.contains("../../../evil.safetensors"), "{error}");
}

#[test]
fn nonsense_in_headers_is_an_error_and_no_panic() {
    for (method, path, name, value) in [
        ("HEAD", "resolve", "X-Linked-Size", "many"),
        ("HEAD", "resolve", "X-Linked-Size", "99999999999999999999999999"),
        ("HEAD", "resolve", "X-Repo-Commit", "main"),
        ("HEAD", "resolve", "Location", "/a/lm/resolve/main/model.safetensors"),
        ("GET", "cdn", "Content-Length", "-1"),
        ("GET", "resolve", "Location", "http://"),
    ] {
        let mut machine = Machine::with_models();
        machine.server.fault(method, path, ALWAYS, Fault::Header(name, value.to_owned()));
        let error = fetch(&mut machine).unwrap_err();
        assert!(error.to_string().contains("http://127.0.0.1"), "{name}: {error}");
        assert_nothing_is_taken_for_whole(&machine);
    }
    let mut machine = Machine::with_models();
    machine.server.fault("GET", "cdn", 1, Fault::Cut(1000));
    let range = Fault::Header("Content-Range", "bytes 5-/x".to_owned());
    machine.server.fault("GET", "cdn", 1, range);
    assert_eq!(fetch(&mut machine).unwrap(), weights());
    let mut machine = Machine::with_models();
    machine.server.fault("GET", "cdn", 1, Fault::Cut(1000));
    let range = Fault::Header("Content-Range", "bytes 7-299999/300000".to_owned());
    machine.server.fault("GET", "cdn", 1, range);
    assert_eq!(fetch(&mut machine).unwrap(), weights());
}

#[test]
fn threads_that_want_the_same_file_fetch_it_once() {
    let mut machine = Machine::with_models();
    machine.server.fault("GET", "cdn", 1, Fault::Slow(Duration::from_micros(50)));
    let options = machine.options.clone();
    thread::scope(|scope| {
        for _ in 0..4 {
            let options = options.clone();
            scope.spawn(move || {
                let reference = hub::ModelReference::parse(FILE).unwrap();
                let path =
                    hub::resolve(&reference, ModelFiles::File, &options, &mut progress::Silent);
                assert_eq!(fs::read(path.unwrap()).unwrap(), weights());
            });
        }
    });
    assert_eq!(ranges(&machine).len(), 1);
    assert_eq!(fetch(&mut machine).unwrap(), weights());
}

#[test]
fn processes_that_want_the_same_file_fetch_it_once() {
    if let Ok(argument) = std::env::var("CAPSMITH_CHILD") {
        let (cache, endpoint) = argument.split_once('|').unwrap();
        let mut machine = Machine::new();
        machine.options.cache = cache.into();
        machine.options.endpoint = endpoint.to_owned();
        assert_eq!(fetch(&mut machine).unwrap(), weights());
        return;
    }
    let machine = Machine::with_models();
    machine.server.fault("GET", "cdn", 1, Fault::Slow(Duration::from_micros(50)));
    let argument = format!("{}|{}", machine.options.cache.display(), machine.options.endpoint);
    let test = "faults::processes_that_want_the_same_file_fetch_it_once";
    let children: Vec<_> = (0..3).map(|_| child(test, &argument, None).spawn().unwrap()).collect();
    for mut process in children {
        assert!(process.wait().unwrap().success());
    }
    assert_eq!(ranges(&machine).len(), 1);
    assert_eq!(blobs(&machine), [sha256(&weights())]);
}
