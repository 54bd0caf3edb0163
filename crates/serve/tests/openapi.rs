//! `/openapi.json` describes every route, and what the server answers.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod stage;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use serve::{Limits, Settings, Task};

use stage::{Server, Sums, config, form, form_of, png, post_to};

/// Operations of the interface.
const OPERATIONS: [&str; 7] = [
    "get /healthz",
    "get /metrics",
    "get /samples/{number}",
    "get /v1/models",
    "get /v1/runs",
    "post /v1/caption",
    "post /v1/image-to-text/{run}",
];

fn document(server: &Server) -> Value {
    let (status, text) = server.get("/openapi.json");
    assert_eq!(status, 200);
    serde_json::from_str(&text).unwrap()
}

/// Returns the schema that `$ref` names, or the schema itself.
fn resolved<'d>(document: &'d Value, schema: &'d Value) -> &'d Value {
    match schema["$ref"].as_str() {
        Some(target) => document.pointer(target.strip_prefix('#').unwrap()).unwrap(),
        None => schema,
    }
}

/// Checks a value by a schema; every field of an object must be described.
fn check(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let schema = resolved(document, schema);
    let choices = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array());
    if let Some(choices) = choices {
        let checked: Vec<_> =
            choices.iter().map(|choice| check(document, choice, value, at)).collect();
        let fitting = checked.iter().filter(|result| result.is_ok()).count();
        return if fitting == 1 { Ok(()) } else { Err(format!("{at}: {checked:?}")) };
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let kinds: Vec<&str> = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        kind => kind.as_str().into_iter().collect(),
    };
    if !(kinds.contains(&kind) || kind == "integer" && kinds.contains(&"number")) {
        return Err(format!("{at}: {kind}, but not {kinds:?}"));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        check(document, &schema["items"], item, &format!("{at}[{index}]"))?;
    }
    let required = schema["required"].as_array().into_iter().flatten();
    for name in required.filter_map(Value::as_str) {
        if value.get(name).is_none() {
            return Err(format!("{at} lacks {name}"));
        }
    }
    for (name, field) in value.as_object().into_iter().flatten() {
        let described = schema["properties"].get(name).or(schema.get("additionalProperties"));
        let described = described.ok_or_else(|| format!("{at}.{name} is not described"))?;
        check(document, described, field, &format!("{at}.{name}"))?;
    }
    Ok(())
}

/// Checks a JSON answer by the schema of its status, or of its kind of status.
fn check_answer(document: &Value, operation: &Value, (status, answer): &(u16, Value)) {
    let responses = &operation["responses"];
    let response = responses
        .get(status.to_string())
        .or_else(|| responses.get(format!("{}XX", status / 100)))
        .unwrap_or_else(|| panic!("{status} is not described: {answer}"));
    let schema = &response["content"]["application/json"]["schema"];
    check(document, schema, answer, "answer").unwrap_or_else(|error| panic!("{error}: {answer}"));
}

#[test]
fn the_document_has_every_operation_and_no_reference_is_dangling() {
    let server = Server::start(Limits::default(), false);
    let document = document(&server);
    assert_eq!(document["openapi"], "3.1.0");
    let mut operations = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            operations.insert(format!("{method} {path}"));
            assert!(!operation["summary"].as_str().unwrap().is_empty(), "{method} {path}");
            let id = operation["operationId"].as_str().unwrap();
            for response in operation["responses"].as_object().unwrap().values() {
                assert!(response["description"].is_string(), "{method} {path}");
            }
            assert!(document["paths"].to_string().matches(&format!("\"{id}\"")).count() == 1);
        }
    }
    assert_eq!(operations, OPERATIONS.map(str::to_owned).into());
    let mut left = vec![&document];
    while let Some(value) = left.pop() {
        if value["$ref"].is_string() {
            assert!(resolved(&document, value).is_object(), "{value}");
        }
        left.extend(value.as_object().into_iter().flatten().map(|(_, field)| field));
        left.extend(value.as_array().into_iter().flatten());
    }
    for (path, part) in
        [("/docs", "<title>"), ("/docs.js", "openapi.json"), ("/palette.css", "--page")]
    {
        let (status, text) = server.get(path);
        assert!(status == 200 && text.contains(part), "{path}");
    }
    assert!(server.finish());
}

#[test]
fn answers_are_as_the_document_says() {
    let folder = tempfile::tempdir().unwrap();
    let sample = folder.path().join("sample.png");
    fs::write(&sample, png(1)).unwrap();
    let settings = Settings { samples: vec![sample.into()], ..Settings::default() };
    let server = Server::start_with(settings, false);
    let document = document(&server);
    for path in ["/v1/runs", "/v1/models"] {
        let (status, text) = server.get(path);
        let answer = (status, serde_json::from_str(&text).unwrap());
        check_answer(&document, &document["paths"][path]["get"], &answer);
    }
    for path in ["/healthz", "/metrics"] {
        assert!(document["paths"][path]["get"]["responses"]["200"].is_object());
        assert_eq!(server.get(path).0, 200);
    }
    assert!(server.raw(b"GET /samples/0 HTTP/1.0\r\nhost: localhost\r\n\r\n").contains(" 200 "));

    // Every kind of body, and every schema of one.
    let (picture, base64) = (png(1), STANDARD.encode(png(1)));
    let options = json!({ "any": { "max_new_tokens": 7, "strategy": { "kind": "greedy" } } });
    let one = json!({ "picture": base64, "runs": ["any"], "decoding": options });
    let several = json!({ "pictures": [base64, "no picture"] });
    let inputs = json!({ "inputs": base64, "parameters": { "max_new_tokens": 7 } });
    let caption = &document["paths"]["/v1/caption"]["post"];
    let image_to_text = &document["paths"]["/v1/image-to-text/{run}"]["post"];
    for (operation, bodies) in [(caption, vec![&one, &several]), (image_to_text, vec![&inputs])] {
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        for body in bodies {
            check(&document, schema, body, "request").unwrap();
        }
        assert!(operation["requestBody"]["content"]["image/*"].is_object());
    }
    let answer = server.send(&picture, &[("runs", "any")]);
    check_answer(&document, caption, &answer);
    assert_eq!(server.taken.recv().unwrap(), 1);
    let task = Task { run: 0, decoding: config("any").decoding };
    assert_eq!(answer.1["runs"][0]["caption"], Sums::caption(&picture, &task));
    let form_schema = &caption["requestBody"]["content"]["multipart/form-data"]["schema"];
    let names = resolved(&document, form_schema)["properties"].as_object().unwrap();
    let names: Vec<&str> = names.keys().map(String::as_str).collect();
    for name in &names {
        let (content_type, body) = match *name {
            "runs" => form(&picture, &[("runs", "any")]),
            "decoding" => form(&picture, &[("decoding", "{}")]),
            name => form_of(&[(name, &picture)], &[]),
        };
        let answer = server.post(&content_type, &body);
        assert_eq!(answer.0, 200, "{name}: {}", answer.1);
        check_answer(&document, caption, &answer);
    }
    assert_eq!(names.len(), 6, "{names:?}");
    for (content_type, body, status) in [
        ("application/json", one.to_string().into_bytes(), 200),
        ("application/json", several.to_string().into_bytes(), 200),
        ("application/json", b"{".to_vec(), 400),
        ("application/json", b" []".to_vec(), 400),
        ("image/png", picture.clone(), 200),
        ("image/png", b"no picture".to_vec(), 422),
        ("text/plain", picture.clone(), 415),
    ] {
        let answer = server.post(content_type, &body);
        assert_eq!(answer.0, status, "{}", answer.1);
        check_answer(&document, caption, &answer);
    }
    for (run, body, status) in [
        ("any", inputs.to_string(), 200),
        ("other", inputs.to_string(), 404),
        ("any", "{".to_owned(), 400),
    ] {
        let path = format!("/v1/image-to-text/{run}");
        let answer = post_to(server.address, &path, "application/json", body.as_bytes());
        assert_eq!(answer.0, status, "{}", answer.1);
        check_answer(&document, image_to_text, &answer);
    }
}

#[test]
fn a_generated_client_and_hugging_faces_get_captions() {
    let folder = tempfile::tempdir().unwrap();
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/openapi");
    let requirements = fs::read_to_string(scripts.join("requirements.txt")).unwrap();
    let packages: Vec<&str> = requirements.lines().collect();
    let python = test_support::python_with(&folder.path().join("venv"), &packages);
    let Some(python) = python else { return };
    let picture = folder.path().join("picture.png");
    fs::write(&picture, png(1)).unwrap();
    let server = Server::start(Limits::default(), false);
    let mut client = Command::new(python);
    client.arg(scripts.join("client.py")).arg(format!("http://{}", server.address)).arg(&picture);
    test_support::output(&mut client).unwrap_or_else(|error| panic!("{error}"));
}
