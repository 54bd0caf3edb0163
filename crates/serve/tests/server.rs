//! The server as seen by well-behaved and other clients.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod stage;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use recipes::{Sampling, Strategy};
use serde_json::json;
use serve::{Limits, Task};
use test_support::wait_for;

use stage::{Server, Sums, config, form, png};

const MULTIPART: &str = "multipart/form-data; boundary=edge";

fn task(run: usize, name: &str) -> Task {
    Task { run, decoding: config(name).decoding }
}

fn fixture(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/pictures");
    std::fs::read(format!("{folder}/{name}")).unwrap()
}

#[test]
fn forms_and_json_return_the_same_captions_for_the_named_runs() {
    let server = Server::start(Limits::default(), false);
    let picture = png(1);
    let (status, all) = server.send(&picture, &[]);
    assert_eq!(status, 200, "{all}");
    assert_eq!((all["width"].as_u64(), all["height"].as_u64()), (Some(20), Some(16)));
    for (run, name) in ["any", "words", "samples"].iter().enumerate() {
        assert_eq!(all["runs"][run]["run"], *name);
        let caption = Sums::caption(&picture, &task(run, name));
        assert_eq!(all["runs"][run]["caption"], caption);
        assert_eq!(all["runs"][run]["candidates"][0]["caption"], caption);
    }

    // Some runs in the requested order, with other decoding settings.
    let beams = r#"{"words": {"max_tokens": 7, "strategy": {"beams": 2}}}"#;
    let (status, some) =
        server.send(&picture, &[("runs", "words"), ("runs", "any"), ("decoding", beams)]);
    assert_eq!(status, 200, "{some}");
    let mut words = task(1, "words");
    words.decoding.max_new_tokens = 7;
    words.decoding.strategy = Strategy::Beam { num_beams: 2 };
    assert_eq!(some["runs"][0]["caption"], Sums::caption(&picture, &words));
    assert_eq!(some["runs"][1]["caption"], Sums::caption(&picture, &task(0, "any")));
    assert_eq!(some["runs"][1]["text"], "A sum.");
    assert_eq!(some["runs"][1]["candidates"][0]["text"], "A sum.");

    let request = json!({
        "picture": STANDARD.encode(&picture),
        "runs": ["words", "any"],
        "decoding": serde_json::from_str::<serde_json::Value>(beams).unwrap(),
    });
    let (status, same) = server.post("application/json", request.to_string().as_bytes());
    assert_eq!((status, &same["runs"]), (200, &some["runs"]), "{same}");
}

#[test]
fn photos_are_turned_upright_by_their_exif_orientation() {
    let server = Server::start(Limits::default(), false);
    let pixels = fixture("turned/6.jpg.rgb");
    let upright = [&b"P6\n17 23\n255\n"[..], &pixels[8..]].concat();
    let (status, answer) = server.send(&fixture("turned/6.jpg"), &[]);
    assert_eq!(status, 200, "{answer}");
    assert_eq!((answer["width"].as_u64(), answer["height"].as_u64()), (Some(17), Some(23)));
    assert_eq!(answer["runs"][0]["caption"], Sums::caption(&upright, &task(0, "any")));
}

#[test]
fn strategies_of_the_runs_kind_may_be_partial() {
    let server = Server::start(Limits::default(), false);
    let picture = png(2);
    let seed = r#"{"samples": {"strategy": {"seed": 7}}}"#;
    let (status, answer) = server.send(&picture, &[("runs", "samples"), ("decoding", seed)]);
    assert_eq!(status, 200, "{answer}");
    let mut seeded = task(2, "samples");
    let Strategy::Sampling(Sampling { seed, .. }) = &mut seeded.decoding.strategy else { panic!() };
    *seed = 7;
    assert_eq!(answer["runs"][0]["caption"], Sums::caption(&picture, &seeded));
}

#[test]
fn constraints_replace_those_of_the_run_one_by_one() {
    let server = Server::start(Limits::default(), false);
    let picture = png(2);
    let options = r#"{"any": {"no_repeat_ngram_size": 3, "repetition_penalty": 1.5}}"#;
    let (status, answer) = server.send(&picture, &[("runs", "any"), ("decoding", options)]);
    assert_eq!(status, 200, "{answer}");
    let mut task = task(0, "any");
    task.decoding.constraints.no_repeat_ngram_size = 3;
    task.decoding.constraints.repetition_penalty = 1.5;
    let answer = &answer["runs"][0];
    assert_eq!(answer["caption"], Sums::caption(&picture, &task));
    assert_eq!(answer["decoding"]["repetition_penalty"], 1.5);
    assert_eq!(answer["decoding"]["min_new_tokens"], 0);
}

#[test]
fn invalid_options_are_rejected_with_the_valid_ones() {
    let server = Server::start(Limits::default(), false);
    let refused = |more: &[(&str, &str)], words: &[&str]| {
        let (status, answer) = server.send(&png(1), more);
        let error = answer["error"].as_str().unwrap();
        assert_eq!(status, 400, "{more:?}: {error}");
        for word in words {
            assert!(error.contains(word), "{more:?}: {word} is not in: {error}");
        }
    };
    let decoding = |text: &str, words: &[&str]| refused(&[("decoding", text)], words);
    refused(&[("runs", "other")], &["other", "any, words, samples"]);
    refused(&[("runs", "any"), ("runs", "any")], &["twice"]);
    refused(&[("colour", "red")], &["colour", "picture, runs and decoding"]);
    refused(&[("decoding", "{}"), ("decoding", "{}")], &["two fields"]);
    refused(&[("runs", "any"), ("decoding", r#"{"words": {}}"#)], &["words", "runs does not"]);
    decoding("{", &["decoding"]);
    decoding("[]", &["decoding"]);
    decoding(r#"{"other": {}}"#, &["other", "any, words, samples"]);
    decoding(r#"{"any": {"beams": 2}}"#, &["beams", "max_new_tokens, strategy", "length_penalty"]);
    decoding(r#"{"any": {"no_repeat_ngram_size": -1}}"#, &["any", "no_repeat_ngram_size"]);
    decoding(r#"{"any": {"repetition_penalty": 0}}"#, &["repetition_penalty", "from 0.01 to 100"]);
    decoding(r#"{"any": {"length_penalty": 2}}"#, &["length_penalty", "beam"]);
    decoding(r#"{"words": {"min_new_tokens": 1}}"#, &["merge-rnn", "no such constraint"]);
    decoding(r#"{"any": {"max_tokens": 0}}"#, &["max_new_tokens", "from 1 to"]);
    decoding(r#"{"any": {"max_tokens": -1}}"#, &["max_tokens"]);
    decoding(r#"{"any": {"max_tokens": 61}}"#, &["61", "from 1 to 60"]);
    decoding(r#"{"any": {"max_tokens": "many"}}"#, &["max_tokens"]);
    decoding(r#"{"any": {"strategy": {"kind": "best"}}}"#, &["best", "greedy", "beam", "sampling"]);
    let (status, answer) = server.send(
        &png(1),
        &[("runs", "any"), ("decoding", r#"{"any": {"strategy": {"kind": "beam"}}}"#)],
    );
    assert_eq!(status, 200, "{answer}");
    let default = json!({"kind": "beam", "num_beams": 5});
    assert_eq!(answer["runs"][0]["decoding"]["strategy"], default);
    decoding(r#"{"any": {"strategy": {"kind": "beam", "beams": 2, "b": 1}}}"#, &["b", "num_beams"]);
    decoding(r#"{"any": {"strategy": {"kind": "beam", "beams": 21}}}"#, &["21", "from 1 to 20"]);
    decoding(r#"{"any": {"strategy": 3}}"#, &["strategy"]);
    decoding(r#"{"words": {"strategy": {"kind": "greedy"}}}"#, &["merge-rnn", "beam"]);
    decoding(r#"{"samples": {"strategy": {"kind": "greedy"}}}"#, &["sbg", "sampling"]);
    decoding(r#"{"samples": {"strategy": {"temperature": 0}}}"#, &["temperature"]);
    decoding(r#"{"samples": {"strategy": {"top_p": 2}}}"#, &["top_p"]);
    decoding(r#"{"samples": {"strategy": {"samples": 1000000}}}"#, &["samples"]);
}

#[test]
fn malformed_requests_get_error_messages() {
    let server = Server::start(Limits { body: 1 << 20, ..Limits::default() }, false);
    let form = |picture: &[u8]| form(picture, &[]).1;
    let jpeg = fixture("decodable/one-row.png");
    let mut cut = png(3);
    cut.truncate(cut.len() / 2);
    let large = vec![7; 3 << 20];
    let json = |text: &str| text.as_bytes().to_vec();
    let cases: [(&str, Vec<u8>, u16, &str); 22] = [
        (MULTIPART, form(&fixture("refused/cut.jpg")), 422, "cut short"),
        (MULTIPART, form(&cut), 422, "cut short"),
        (MULTIPART, form(&fixture("refused/huge.png")), 422, "30000x30000"),
        (MULTIPART, form(&fixture("refused/huge.gif")), 422, "30000x30000"),
        (MULTIPART, form(&fixture("refused/grey16.png")), 422, "unsupported"),
        (MULTIPART, form(b"what a fine dog"), 422, "is not a JPEG"),
        (MULTIPART, form(b""), 422, "empty"),
        (MULTIPART, b"--edge--\r\n".to_vec(), 400, "no file named picture"),
        (MULTIPART, form(&jpeg)[..90].to_vec(), 400, "malformed"),
        (MULTIPART, Vec::new(), 400, "malformed"),
        ("multipart/form-data", form(&jpeg), 400, "boundary"),
        ("multipart/form-data; boundary=other", form(&jpeg), 400, "malformed"),
        ("text/plain", jpeg.clone(), 415, "multipart/form-data"),
        ("", jpeg.clone(), 415, "application/json"),
        ("application/json", json("{"), 400, "line 1"),
        ("application/json", json("[1]"), 400, "the request"),
        ("application/json", json(r#"{"runs": []}"#), 400, "picture"),
        ("application/json", json(r#"{"picture": "", "run": "any"}"#), 400, "expected one of"),
        ("application/json", json(r#"{"picture": "a dog!"}"#), 400, "base64"),
        ("application/json", json(r#"{"picture": ""}"#), 422, "empty"),
        ("application/json", vec![b'['; 100_000], 400, "the request"),
        (MULTIPART, form(&large), 413, "1 MiB"),
    ];
    for (content_type, body, expected, words) in cases {
        let (status, answer) = server.post(content_type, &body);
        let error = answer["error"].as_str().unwrap();
        assert_eq!(status, expected, "{error}");
        assert!(error.contains(words), "{words} is not in: {error}");
    }
    // Far too large: rejected by `Content-Length`, before the body is sent.
    let head = "POST /v1/caption HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9999999999\r\n\r\n";
    assert!(server.raw(head.as_bytes()).starts_with("HTTP/1.1 413"));
    // No HTTP at all, and an invalid length.
    assert!(server.raw(b"\x16\x03\x01 what is this\r\n\r\n").starts_with("HTTP/1.1 400"));
    let head = "POST /v1/caption HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n";
    assert!(server.raw(head.as_bytes()).starts_with("HTTP/1.1 400"));
    // A client that disconnects in the middle of a request.
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream
        .write_all(
            b"POST /v1/caption HTTP/1.1\r\nhost: localhost\r\ncontent-length: 500\r\n\r\nhalf",
        )
        .unwrap();
    drop(stream);

    let (status, answer) = server.send(&png(4), &[("runs", "any")]);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["runs"][0]["caption"], Sums::caption(&png(4), &task(0, "any")));
}

#[test]
fn page_health_and_runs_are_served_to_this_machine_only() {
    let server = Server::start(Limits::default(), false);
    assert_eq!(server.get("/healthz"), (200, "ok\n".to_owned()));
    for (path, part) in [
        ("/", "<!doctype html>"),
        ("/style.css", "--accent"),
        ("/app.js", "/v1/caption"),
        ("/icon.svg", "<svg"),
    ] {
        let (status, text) = server.get(path);
        assert!(status == 200 && text.contains(part), "{path}");
    }
    let (_, runs) = server.get("/v1/runs");
    let runs: serde_json::Value = serde_json::from_str(&runs).unwrap();
    assert_eq!(runs["runs"][1]["name"], "words");
    assert_eq!(runs["runs"][1]["learned_from"], "drawn pictures");
    assert_eq!(runs["runs"][1]["strategies"], json!(["beam"]));
    assert_eq!(runs["runs"][1]["decoding"]["strategy"], json!({"kind": "beam", "num_beams": 3}));
    let (status, text) = server.get("/v1/other");
    assert!(status == 404 && text.starts_with("{\"error\""), "{text}");
    let (status, text) = server.get("/v1/caption");
    assert!(status == 405 && text.starts_with("{\"error\""), "{text}");

    let page = server.raw(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    for header in ["content-security-policy: default-src 'none'", "x-content-type-options: nosniff"]
    {
        assert!(page.contains(header), "{page}");
    }
    assert!(!page.contains("access-control-allow"), "{page}");
    let by = |headers: &str| {
        let request = format!("GET /v1/runs HTTP/1.1\r\n{headers}connection: close\r\n\r\n");
        server.raw(request.as_bytes()).split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(by("host: 127.0.0.1:1\r\n"), "200");
    assert_eq!(by("host: evil.example\r\n"), "403");
    assert_eq!(by("host: localhost\r\norigin: http://evil.example\r\n"), "403");
}

#[test]
fn a_full_queue_rejects_requests_and_waiting_images_form_a_batch() {
    let limits = Limits { queue: 3, batch: 8, ..Limits::default() };
    let server = Server::start(limits, true);
    std::thread::scope(|scope| {
        // The models hold one image until the gate opens, and three wait.
        let first = scope.spawn(|| server.send(&png(0), &[]));
        assert_eq!(server.taken.recv().unwrap(), 1);
        let waiting: Vec<_> = (1..4)
            .map(|number| {
                let server = &server;
                scope.spawn(move || (number, server.send(&png(number), &[])))
            })
            .collect();
        let full = "capsmith_queue_depth 3\n";
        wait_for("a full queue", || server.get("/metrics").1.contains(full));
        let start = Instant::now();
        let (status, answer) = server.send(&png(9), &[]);
        assert_eq!(status, 429, "{answer}");
        assert!(start.elapsed() < Duration::from_secs(2));
        assert_eq!(server.get("/healthz").0, 200);

        server.gate.send("go").unwrap();
        server.gate.send("go").unwrap();
        assert_eq!(first.join().unwrap().0, 200);
        for waiting in waiting {
            let (number, (status, answer)) = waiting.join().unwrap();
            assert_eq!((status, &answer["together"]), (200, &json!(3)), "{answer}");
            let caption = Sums::caption(&png(number), &task(0, "any"));
            assert_eq!(answer["runs"][0]["caption"], caption);
        }
    });
    let (_, metrics) = server.get("/metrics");
    for line in [
        "capsmith_requests_total{status=\"200\"}",
        "capsmith_requests_total{status=\"429\"} 1",
        "capsmith_queue_depth 0",
        "capsmith_batch_pictures_sum 4.0",
        "capsmith_batch_pictures_count 2",
        "capsmith_caption_seconds_count 5",
    ] {
        assert!(metrics.contains(line), "{line} is not in:\n{metrics}");
    }
}

#[test]
fn a_panic_or_an_error_of_the_models_fails_its_batch_alone() {
    let server = Server::start(Limits::default(), true);
    for (word, expected) in [("panic", "another shape"), ("fail", "no memory")] {
        server.gate.send(word).unwrap();
        let (status, answer) = server.send(&png(1), &[]);
        let error = answer["error"].as_str().unwrap();
        assert!(status == 500 && error.contains(expected), "{status} {error}");
        server.gate.send("go").unwrap();
        assert_eq!(server.send(&png(1), &[]).0, 200);
    }
}

#[test]
fn exhausted_memory_gives_503_and_the_next_batch_succeeds() {
    let server = Server::start(Limits::default(), true);
    server.gate.send("memory").unwrap();
    let (status, answer) = server.send(&png(1), &[]);
    let error = answer["error"].as_str().unwrap();
    assert_eq!(status, 503, "{error}");
    assert!(error.contains("no memory left") && error.contains("fewer runs"), "{error}");
    assert!(
        !["panic", "frame", "unwrap", "c10"].iter().any(|word| error.contains(word)),
        "{error}"
    );
    server.gate.send("go").unwrap();
    assert_eq!(server.send(&png(1), &[]).0, 200);
}

#[test]
fn late_and_slow_requests_time_out() {
    let limits = Limits {
        header_time: Duration::from_millis(500),
        body_time: Duration::from_millis(500),
        request_time: Duration::from_secs(2),
        ..Limits::default()
    };
    let server = Server::start(limits, true);
    let (status, answer) = server.send(&png(1), &[]);
    assert_eq!(status, 503, "{answer}");
    // The models hold the late image; the next one is captioned as usual.
    server.gate.send("go").unwrap();
    server.gate.send("go").unwrap();
    assert_eq!(server.send(&png(2), &[]).0, 200);

    let slow_body =
        "POST /v1/caption HTTP/1.1\r\nhost: localhost\r\ncontent-length: 500\r\n\r\nhalf";
    assert!(server.raw(slow_body.as_bytes()).starts_with("HTTP/1.1 408"));
    // Headers that never end, and a silent connection.
    let start = Instant::now();
    for slow_headers in ["GET /healthz HTTP/1.1\r\nhost: loc", ""] {
        assert!(!server.raw(slow_headers.as_bytes()).contains("200"));
    }
    assert!(start.elapsed() < Duration::from_secs(10), "slow clients stay connected");
}

#[test]
fn shutdown_finishes_requests_in_flight() {
    let server = Server::start(Limits::default(), true);
    let address = server.address;
    let (content_type, body) = form(&png(5), &[]);
    let client = std::thread::spawn(move || stage::post(address, &content_type, &body));
    assert_eq!(server.taken.recv().unwrap(), 1);
    server.stop.store(true, Ordering::Relaxed);
    // New connections are refused once it has noticed.
    wait_for("the end of listening", || TcpStream::connect(address).is_err());
    server.gate.send("go").unwrap();
    let (status, answer) = client.join().unwrap();
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["runs"][0]["caption"], Sums::caption(&png(5), &task(0, "any")));
    assert!(server.finish(), "something was left unfinished");
}

#[test]
fn shutdown_has_a_time_limit() {
    let limits = Limits { shutdown_time: Duration::from_millis(200), ..Limits::default() };
    let server = Server::start(limits, true);
    let mut stream = TcpStream::connect(server.address).unwrap();
    let (_, body) = form(&png(5), &[]);
    let head = format!(
        "POST /v1/caption HTTP/1.1\r\nhost: localhost\r\ncontent-type: {MULTIPART}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
    assert_eq!(server.taken.recv().unwrap(), 1);
    let start = Instant::now();
    assert!(!server.finish(), "the request in flight was not finished");
    assert!(start.elapsed() < Duration::from_secs(10));
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(!answer.contains("200 OK"), "{answer}");
}

#[test]
fn two_hundred_concurrent_clients_get_correct_responses() {
    let limits = Limits { queue: 16, batch: 8, ..Limits::default() };
    let server = Server::start(limits, false);
    let (captioned, refused, malformed) =
        (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for client in 0..200 {
            let (server, captioned) = (&server, &captioned);
            let (refused, malformed) = (&refused, &malformed);
            scope.spawn(move || {
                for round in 0..3 {
                    let picture = png(client * 3 + round);
                    if client % 4 == 0 {
                        let half = &picture[..picture.len() / 2];
                        assert_eq!(server.send(half, &[]).0 / 100, 4);
                        malformed.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    let run = ["any", "words", "samples"][client as usize % 3];
                    let expected = Sums::caption(&picture, &task(client as usize % 3, run));
                    loop {
                        let (status, answer) = server.send(&picture, &[("runs", run)]);
                        if status == 429 {
                            refused.fetch_add(1, Ordering::Relaxed);
                            std::thread::sleep(Duration::from_millis(20));
                            continue;
                        }
                        assert_eq!(status, 200, "{answer}");
                        assert_eq!(answer["runs"][0]["caption"], expected);
                        captioned.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                }
            });
        }
    });
    assert_eq!([captioned.into_inner(), malformed.into_inner()], [450, 150]);
    let (_, metrics) = server.get("/metrics");
    assert!(metrics.contains("capsmith_requests_total{status=\"200\"} 450\n"), "{metrics}");
    let refused = refused.into_inner();
    println!("captioned 450, refused for a while {refused}, malformed 150");
    assert!(server.finish());
}
