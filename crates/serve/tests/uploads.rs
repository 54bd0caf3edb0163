//! Forms of a caption request: fields, JSON, raw bytes, several pictures, and other origins.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod stage;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use serve::{Limits, Settings, Task};
use test_support::wait_for;

use stage::{Server, Sums, config, form, form_of, png, post_to};

const JSON: &str = "application/json";

/// Returns the caption of a picture by the run `any`.
fn caption(picture: &[u8]) -> String {
    Sums::caption(picture, &Task { run: 0, decoding: config("any").decoding })
}

fn data_url(picture: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(picture))
}

fn post_json(server: &Server, request: &Value) -> (u16, Value) {
    server.post(JSON, request.to_string().as_bytes())
}

/// Returns the error of an answer with this status.
fn error(expected: u16, (status, answer): (u16, Value)) -> String {
    assert_eq!(status, expected, "{answer}");
    answer["error"].as_str().unwrap().to_owned()
}

#[test]
fn a_picture_may_come_in_any_field_as_json_or_as_the_body() {
    let server = Server::start(Limits::default(), false);
    let picture = png(1);
    let (_, expected) = server.send(&picture, &[]);
    let base64 = STANDARD.encode(&picture);
    for field in ["picture", "image", "file"] {
        let (content_type, body) = form_of(&[(field, &picture)], &[]);
        let (status, answer) = server.post(&content_type, &body);
        assert_eq!((status, &answer["runs"]), (200, &expected["runs"]), "{field}: {answer}");
        for text in [base64.clone(), data_url(&picture), format!("data:;base64,{base64}")] {
            let (status, answer) = post_json(&server, &json!({ field: text }));
            assert_eq!((status, &answer["runs"]), (200, &expected["runs"]), "{field}: {answer}");
        }
    }
    for content_type in ["image/png", "IMAGE/JPEG; q=1", "image/x-anything"] {
        let (status, answer) = server.post(content_type, &picture);
        assert_eq!((status, &answer["runs"]), (200, &expected["runs"]), "{answer}");
    }
    // Pictures that are none.
    assert!(error(422, server.post("image/jpeg", b"a dog")).contains("is not a JPEG"));
    assert!(error(422, server.post("image/jpeg", b"")).contains("empty"));
    assert!(error(415, server.post("application/octet-stream", &picture)).contains("image/jpeg"));
    for (text, words) in [
        ("data:image/png,abc", "base64, does"),
        ("data:image/png;base64", "base64, does"),
        ("data:image/png;base64,a dog!", "not base64"),
        ("https://example.org/dog.jpg", "not base64"),
    ] {
        let error = error(400, post_json(&server, &json!({ "image": text })));
        assert!(error.contains(words), "{text}: {error}");
    }
    for request in [
        json!({ "picture": base64, "image": base64 }),
        json!({ "picture": base64, "pictures": [base64] }),
        json!({ "picture": [base64] }),
        json!({ "pictures": [] }),
        json!({ "pictures": [3] }),
        json!({ "pictures": vec![&base64; 65] }),
        json!({}),
    ] {
        let error = error(400, post_json(&server, &request));
        assert!(error.contains("request"), "{error}");
    }
}

#[test]
fn several_pictures_have_an_outcome_each() {
    let server = Server::start(Limits::default(), false);
    let (first, second) = (png(1), png(2));
    let cut = &first[..first.len() / 2];
    let files: [&[u8]; 4] = [&first, cut, b"", &second];
    let check = |(status, answer): (u16, Value)| {
        assert_eq!(status, 200, "{answer}");
        let pictures = answer["pictures"].as_array().unwrap();
        assert_eq!(pictures.len(), 4);
        assert_eq!(pictures[0]["runs"][0]["caption"], caption(&first));
        assert_eq!(pictures[1]["status"], 422);
        assert!(pictures[1]["error"].as_str().unwrap().contains("cut short"), "{answer}");
        assert_eq!(pictures[2], json!({ "error": "the picture is empty", "status": 422 }));
        assert_eq!(pictures[3]["runs"][0]["caption"], caption(&second));
        assert_eq!(pictures[3]["width"], 20);
    };
    for names in [["picture"; 4], ["pictures"; 4], ["picture", "image", "file", "pictures"]] {
        let fields: Vec<(&str, &[u8])> = names.into_iter().zip(files).collect();
        let (content_type, body) = form_of(&fields, &[("runs", "any")]);
        check(server.post(&content_type, &body));
    }
    let texts = files.map(|file| STANDARD.encode(file));
    check(post_json(&server, &json!({ "pictures": texts, "runs": "any" })));
    // A text that is no base64 loses no other picture either.
    let (status, answer) = post_json(&server, &json!({ "pictures": ["a dog!", texts[0]] }));
    assert_eq!((status, &answer["pictures"][0]["status"]), (200, &json!(400)), "{answer}");
    assert_eq!(answer["pictures"][1]["runs"][0]["caption"], caption(&first));

    // A list of one is a list, and a list of bad pictures is one.
    let (content_type, body) = form_of(&[("pictures", &first)], &[]);
    let (_, answer) = server.post(&content_type, &body);
    assert_eq!(answer["pictures"][0]["runs"][0]["caption"], caption(&first));
    let (status, answer) = post_json(&server, &json!({ "pictures": ["", ""] }));
    assert_eq!((status, answer["pictures"].as_array().unwrap().len()), (200, 2), "{answer}");
    // Options are those of the whole request.
    let request = json!({ "pictures": texts, "runs": ["other"] });
    assert!(error(400, post_json(&server, &request)).contains("other"));
    assert!(server.get("/metrics").1.contains("capsmith_queue_depth 0\n"));
}

#[test]
fn limits_hold_for_several_pictures() {
    let limits = Limits { pictures: 3, queue: 4, batch: 4, body: 1 << 20, ..Limits::default() };
    let server = Server::start(limits, true);
    let picture = png(1);
    let send = |count: usize| {
        let (content_type, body) = form_of(&vec![("picture", &picture[..]); count], &[]);
        server.post(&content_type, &body)
    };
    assert!(error(413, send(4)).contains("at most 3"));
    let large = vec![7; 1 << 20];
    let (content_type, body) = form_of(&[("image", &picture), ("image", &large)], &[]);
    assert!(error(413, server.post(&content_type, &body)).contains("1 MiB"));
    assert!(error(413, server.post("image/png", &vec![7; 2 << 20])).contains("1 MiB"));
    std::thread::scope(|scope| {
        // The models hold one picture, three wait, and one slot is left.
        let first = scope.spawn(|| server.send(&picture, &[]));
        assert_eq!(server.taken.recv().unwrap(), 1);
        let waiting = scope.spawn(|| send(3));
        wait_for("three to wait", || server.get("/metrics").1.contains("queue_depth 3\n"));
        assert!(error(429, send(2)).contains("waiting"));
        let last = scope.spawn(|| send(1));
        wait_for("four to wait", || server.get("/metrics").1.contains("queue_depth 4\n"));
        for _ in 0..5 {
            server.gate.send("go").unwrap();
        }
        assert_eq!(first.join().unwrap().0, 200);
        let (status, answer) = waiting.join().unwrap();
        assert_eq!((status, answer["pictures"].as_array().unwrap().len()), (200, 3), "{answer}");
        for outcome in answer["pictures"].as_array().unwrap() {
            assert_eq!(outcome["runs"][0]["caption"], caption(&picture));
        }
        assert_eq!(last.join().unwrap().0, 200);
    });
    assert!(server.get("/metrics").1.contains("capsmith_queue_depth 0\n"));
}

#[test]
fn runs_and_decoding_may_be_in_the_query() {
    let server = Server::start(Limits::default(), false);
    let picture = png(1);
    let names = |(status, answer): (u16, Value)| -> Vec<String> {
        assert_eq!(status, 200, "{answer}");
        let runs = answer["runs"].as_array().unwrap();
        runs.iter().map(|run| run["run"].as_str().unwrap().to_owned()).collect()
    };
    let raw = |query: &str| {
        post_to(server.address, &format!("/v1/caption{query}"), "image/png", &picture)
    };
    assert_eq!(names(raw("?runs=samples,any")), ["samples", "any"]);
    assert_eq!(names(raw("?runs=samples%2C%20any")), ["samples", "any"]);
    assert_eq!(names(raw("?runs=words&runs=any")), ["words", "any"]);
    assert_eq!(names(server.send(&picture, &[("runs", "words,any")])), ["words", "any"]);
    let base64 = STANDARD.encode(&picture);
    for runs in [json!("words,any"), json!(["words", "any"]), json!(["words,any"])] {
        let request = json!({ "picture": base64, "runs": runs });
        assert_eq!(names(post_json(&server, &request)), ["words", "any"]);
    }
    let (_, answer) = raw("?runs=any&decoding=%7B%22any%22:%7B%22max_new_tokens%22:7%7D%7D");
    assert_eq!(answer["runs"][0]["decoding"]["max_new_tokens"], 7);
    let (content_type, body) = form(&picture, &[("decoding", "{}"), ("runs", "any")]);
    let both = |query: &str| {
        post_to(server.address, &format!("/v1/caption?{query}"), &content_type, &body)
    };
    assert_eq!(names(both("runs=words")), ["any", "words"]);
    for (answer, words) in [
        (both("runs=any"), "twice"),
        (both("decoding={}"), "two fields decoding"),
        (raw("?runs=any,any"), "twice"),
        (raw("?runs=any,"), "there is no run"),
        (raw("?runs=other"), "any, words, samples"),
        (raw("?run=any"), "runs and decoding"),
        (raw("?decoding=1"), "decoding is invalid"),
    ] {
        let error = error(400, answer);
        assert!(error.contains(words), "{words} is not in {error}");
    }
}

#[test]
fn models_are_listed_and_captions_are_written_as_on_hugging_face() {
    let server = Server::start(Limits::default(), false);
    let picture = png(1);
    let (_, models) = server.get("/v1/models");
    let models: Value = serde_json::from_str(&models).unwrap();
    assert_eq!(models["object"], "list");
    assert_eq!(models["data"][1]["id"], "words");
    assert!(models["data"][1]["created"].as_u64().unwrap() > 1_600_000_000);

    let path = "/v1/image-to-text/any";
    let inputs = json!({ "inputs": STANDARD.encode(&picture) }).to_string();
    let tokens = json!({ "inputs": data_url(&picture), "parameters": { "max_new_tokens": 7 } });
    for (content_type, body) in [
        ("image/png", &picture[..]),
        ("application/octet-stream", &picture),
        ("", &picture),
        (JSON, inputs.as_bytes()),
        (JSON, tokens.to_string().as_bytes()),
    ] {
        let (status, answer) = post_to(server.address, path, content_type, body);
        assert_eq!((status, answer), (200, json!([{ "generated_text": "A sum." }])));
    }
    assert!(
        error(404, post_to(server.address, "/v1/image-to-text/other", "", &picture))
            .contains("any, words")
    );
    let malformed = post_to(server.address, "/v1/image-to-text/%FF", "", &picture);
    assert!(error(400, malformed).contains("UTF-8"));
    assert!(error(422, post_to(server.address, path, "", b"a dog")).contains("is not a JPEG"));
    for (request, words) in [
        (json!({ "inputs": "a dog!" }), "not base64"),
        (json!({ "inputs": ["", ""] }), "string"),
        (json!({ "inputs": "", "parameters": { "beams": 1 } }), "max_new_tokens"),
        (json!({ "picture": "" }), "inputs"),
    ] {
        let answer = post_to(server.address, path, JSON, request.to_string().as_bytes());
        let error = error(400, answer);
        assert!(error.contains(words), "{words} is not in {error}");
    }
    let inputs = STANDARD.encode(&picture);
    let request = json!({ "inputs": inputs, "parameters": { "max_new_tokens": 61 } });
    error(400, post_to(server.address, path, JSON, request.to_string().as_bytes()));
}

#[test]
fn sample_pictures_are_served_while_their_files_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let files = [png(1), b"no picture".to_vec(), png(3)];
    let samples = files.iter().enumerate().map(|(number, bytes)| {
        let path = folder.path().join(format!("{number}.jpg"));
        std::fs::write(&path, bytes).unwrap();
        path.into()
    });
    let settings = Settings { samples: samples.collect(), ..Settings::default() };
    let server = Server::start_with(settings, false);
    std::fs::remove_file(folder.path().join("2.jpg")).unwrap();
    let (_, runs) = server.get("/v1/runs");
    assert!(runs.contains("\"samples\":3"), "{runs}");
    let get = |path: &str| {
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        server.raw(request.as_bytes())
    };
    let answer = get("/samples/0");
    assert!(answer.contains(" 200 ") && answer.contains("content-type: image/png"), "{answer}");
    for path in ["/samples/1", "/samples/2", "/samples/3", "/samples/-1", "/samples/a"] {
        assert!(get(path).starts_with("HTTP/1.1 404"), "{path}");
    }
}

#[test]
fn pages_of_allowed_origins_may_ask() {
    let origins = vec!["https://example.org".parse().unwrap()];
    let server = Server::start_with(Settings { origins, ..Settings::default() }, false);
    let ask = |request: &str, origin: &str| {
        let request = format!(
            "{request} HTTP/1.1\r\nhost: localhost\r\norigin: {origin}\r\naccess-control-request-method: POST\r\nconnection: close\r\n\r\n"
        );
        server.raw(request.as_bytes()).to_lowercase()
    };
    let allowed = "access-control-allow-origin: https://example.org\r\n";
    let preflight = ask("OPTIONS /v1/caption", "https://example.org");
    assert!(preflight.starts_with("http/1.1 204") && preflight.contains(allowed), "{preflight}");
    assert!(preflight.contains("access-control-allow-headers: content-type"), "{preflight}");
    // An error may be read, too.
    for (request, status) in [("GET /v1/runs", "200"), ("GET /nowhere", "404")] {
        let answer = ask(request, "https://example.org");
        assert!(answer.starts_with(&format!("http/1.1 {status}")), "{answer}");
        assert!(answer.contains(allowed), "{answer}");
    }
    for origin in ["https://evil.example", "http://example.org", "null"] {
        let answer = ask("OPTIONS /v1/caption", origin);
        assert!(
            answer.starts_with("http/1.1 403") && !answer.contains("access-control"),
            "{answer}"
        );
    }
    // The server's own page needs no such headers.
    assert!(!ask("GET /v1/runs", "http://localhost").contains("access-control"));
    assert!(server.finish());
}
