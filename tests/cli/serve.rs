//! `capsmith serve` with a run of each system: it answers with the run's own captions.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use precompute::{Dtype, EncoderSource, ImageEncoder, Network};
use runs::RunFolder;
use serde_json::{Value, json};
use tch::Device;
use training::captioner::Captioner;
use training::captions::{for_people, ranked};

use super::stage::{capsmith, failure, success};
use super::workspace::Workspace;

/// Decoding of requests: the run, the request's fields, and the same as settings.
const ASKED: [(&str, &str, &[&str]); 5] = [
    ("prefix", "{}", &[]),
    (
        "prefix",
        r#"{"strategy": {"kind": "beam", "beams": 3}, "max_tokens": 8}"#,
        &["decoding.strategy={ kind = \"beam\", num_beams = 3 }", "decoding.max_new_tokens=8"],
    ),
    (
        "prefix",
        r#"{"strategy": {"kind": "sampling", "samples": 3, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "seed": 5}}"#,
        &[
            "decoding.strategy={ kind = \"sampling\", samples = 3, temperature = 1.0, top_k = 0, top_p = 1.0, seed = 5 }",
        ],
    ),
    ("sbg", r#"{"strategy": {"seed": 9}}"#, &["decoding.strategy.seed=9"]),
    ("merge-rnn", r#"{"strategy": {"beams": 5}}"#, &["decoding.strategy.beams=5"]),
];

/// A server process; dropping it kills it.
pub struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(place: &Workspace) -> Self {
        let runs = ["prefix", "sbg", "merge-rnn"].map(|run| place.of(run));
        let mut words = vec!["serve", "--address", "127.0.0.1", "--port", "0"];
        words.extend(["--allowed-host", "captions.example.org"]);
        words.extend(runs.iter().flat_map(|run| ["--run", run]));
        Self::start_by(capsmith(&words))
    }

    /// Starts a command that serves the runs `prefix`, `sbg` and `merge-rnn`.
    pub fn start_by(command: Command) -> Self {
        Self::start_with(command, "prefix, sbg, merge-rnn")
    }

    /// Starts a command that serves these runs.
    pub fn start_with(mut command: Command, runs: &str) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let line =
            lines.find(|line| line.as_ref().unwrap().starts_with("serving")).unwrap().unwrap();
        let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
        assert!(line.contains(runs), "{line}");
        // A full pipe must not hold up the server.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    /// Returns the status of `/healthz` for a request that names this host.
    fn status_by(&self, host: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let request = format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    }

    pub fn caption(&self, request: &Value) -> Value {
        let (status, answer) = self.ask(request);
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Returns the status and the answer of a request for captions.
    pub fn ask(&self, request: &Value) -> (u16, Value) {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut response = agent
            .post(format!("http://{}/v1/caption", self.address))
            .header("content-type", "application/json")
            .send(request.to_string())
            .unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        (response.status().as_u16(), serde_json::from_str(&text).unwrap())
    }

    /// Sends SIGTERM, and returns the exit code.
    pub fn stop(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Captions with their scores, and keywords.
type Answer = (Vec<(String, f64)>, Option<Vec<String>>);

/// Returns a run's captions of each picture by itself, best first, with its keywords.
fn direct(place: &Workspace, run: &str, sets: &[&str], pictures: &[PathBuf]) -> Vec<Answer> {
    let clip = PathBuf::from(place.stage.clip());
    let folder = RunFolder::open(Path::new(&place.of(run))).unwrap();
    let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
    let texts = Some(place.text_encoder());
    let captioner = Captioner::load(&folder, Device::Cpu, None, &sets, texts).unwrap();
    let source =
        EncoderSource { network: Network::Clip, path: clip, dtype: Dtype::F32, locked: None };
    let encoder = ImageEncoder::load(&source, Device::Cpu).unwrap();
    let selector = captioner.keyword_selector().unwrap();
    let caption = |picture: &PathBuf| {
        let pixels = encoder.preprocessing().planes(&pictures::decode(picture).unwrap());
        let embeddings = encoder.encode_pictures(&[pixels]).unwrap();
        let pictures = captioner.image_inputs(&embeddings, selector.as_ref()).unwrap();
        let captions = captioner.caption(&pictures, &mut progress::Silent).unwrap().remove(0);
        let captions = ranked(captions).into_iter().map(|one| (one.text, one.score)).collect();
        (captions, pictures.keywords.map(|mut all| all.remove(0)))
    };
    pictures.iter().map(caption).collect()
}

fn check(answer: &Value, run: &str, expected: &(Vec<(String, f64)>, Option<Vec<String>>)) {
    let (captions, keywords) = expected;
    let answer = &answer["runs"][0];
    assert_eq!(answer["run"], run);
    assert_eq!(answer["keywords"], json!(keywords), "{run}");
    let candidates = answer["candidates"].as_array().unwrap();
    let texts: Vec<&Value> = candidates.iter().map(|one| &one["caption"]).collect();
    assert_eq!(texts, captions.iter().map(|(text, _)| text).collect::<Vec<_>>(), "{run}");
    assert_eq!(answer["caption"], captions[0].0);
    assert_eq!(answer["text"], for_people(&captions[0].0));
    for (candidate, (_, score)) in candidates.iter().zip(captions) {
        // Sums of another batch are rounded otherwise.
        assert!((candidate["score"].as_f64().unwrap() - score).abs() < 1e-4, "{run}: {candidate}");
        let similarity = candidate["similarity"].as_f64().unwrap();
        assert!((-1.0..=1.0).contains(&similarity), "{similarity}");
        let clip_score = candidate["clip_score"].as_f64().unwrap();
        assert!((0.0..=2.5).contains(&clip_score), "{clip_score}");
        if run == "sbg" {
            assert!((similarity - score).abs() < 1e-4, "{similarity} and {score}");
        }
    }
}

#[test]
fn served_captions_are_those_of_the_runs_whatever_they_are_batched_with() {
    let place = Workspace::with_keywords();
    success(&place.stage.train(Path::new(&place.of("prefix")), &[]));
    for system in ["sbg", "merge-rnn"] {
        success(&place.train(system, system, &[]));
    }
    let server = Server::start(&place);
    let folder = PathBuf::from(place.stage.pictures()).join("Images");
    let by =
        ["captions.example.org", "localhost", "evil.example"].map(|host| server.status_by(host));
    assert_eq!(by, ["200", "200", "403"]);
    let mut pictures: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    pictures.sort();
    // The page's sample pictures are those of the data set.
    let sample = ureq::get(format!("http://{}/samples/0", server.address)).call().unwrap();
    let sample = sample.into_body().read_to_vec().unwrap();
    assert!(pictures.iter().any(|picture| std::fs::read(picture).unwrap() == sample));
    pictures.truncate(12);

    let expected = ASKED.map(|(run, _, sets)| direct(&place, run, sets, &pictures));
    let most_together = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..pictures.len() * ASKED.len())
            .map(|client| {
                let (picture, asked) = (client % pictures.len(), client / pictures.len());
                let (server, file) = (&server, std::fs::read(&pictures[picture]).unwrap());
                let expected = &expected[asked][picture];
                scope.spawn(move || {
                    let (run, decoding, _) = ASKED[asked];
                    let decoding: Value = serde_json::from_str(decoding).unwrap();
                    let answer = server.caption(&json!({
                        "picture": STANDARD.encode(&file),
                        "runs": [run],
                        "decoding": { run: decoding },
                    }));
                    check(&answer, run, expected);
                    answer["together"].as_u64().unwrap()
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).max().unwrap()
    });
    assert!(most_together > 1, "nothing was captioned together");

    // Stopped by SIGTERM, it exits as other commands do.
    assert_eq!(server.stop(), Some(143));

    // What cannot be served is refused before anything is loaded.
    let run = place.of("prefix");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let taken_port = taken.rsplit(':').next().unwrap();
    for (words, expected) in [
        (vec!["serve", "--run", "nowhere"], "nowhere"),
        (vec!["serve", "--run", &run, "--run", &run], "twice"),
        (vec!["serve", "--run", &run, "--address", &taken], "--address"),
        (vec!["serve", "--run", &run, "--address", "here"], "--address"),
        (vec!["serve", "--run", &run, "--port", taken_port], "--port"),
        (vec!["serve", "--run", &run, "--device", "gpu"], "not a device"),
        (vec!["serve", "--run", &run, "--clip", "/nowhere/clip"], "/nowhere/clip"),
    ] {
        let error = failure(&words);
        assert!(error.contains(expected), "{words:?}: {error}");
    }
    for (option, value, expected) in
        [("--port", "70000", "0..=65535"), ("--allow-origin", "*", "not an origin")]
    {
        let output = capsmith(&["serve", "--run", &run, option, value]).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(option) && error.contains(expected), "{error}");
    }
}
