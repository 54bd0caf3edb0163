//! Test server on a free port with a fake backend, and an HTTP client.

use std::io::{Cursor, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use pictures::Preprocessing;
use recipes::Config;
use serde_json::Value;
use serve::{
    Backend, BackendError, Candidate, Limits, PreparedImage, ServedModels, ServedRun, Settings,
    Task, TaskOutput,
};

/// libtorch's error for exhausted GPU memory.
const GPU_IS_FULL: &str = "CUDA out of memory. Tried to allocate 2.00 MiB. GPU 0 has a total \
    capacity of 8.00 GiB\nException raised from malloc\nframe #0: c10::Error::Error(std::string)";

/// Fake backend whose captions are sums of pixels: fast, and different for each image.
pub struct Sums {
    /// If set, each batch waits for a message: `go`, `panic`, `fail` or `memory`.
    gate: Option<Receiver<&'static str>>,
    /// Receives the size of each batch.
    taken: Sender<usize>,
}

impl Sums {
    fn preprocessing() -> Preprocessing {
        Preprocessing::clip(8)
    }

    /// Returns the caption of an image that decodes to `picture`.
    pub fn caption(picture: &[u8], task: &Task) -> String {
        let pixels = pictures::decode_within(picture, u64::MAX).unwrap();
        Self::of(&Self::preprocessing().planes(&pixels), task)
    }

    fn of(pixels: &[u8], task: &Task) -> String {
        let sum: f64 = pixels.iter().enumerate().map(|(at, &v)| f64::from(v) * at as f64).sum();
        format!("{sum} by {task:?}")
    }
}

/// Returns the config of a test run: `words` uses beam search, `samples` samples, `any` does both.
pub fn config(run: &str) -> Config {
    let file = match run {
        "words" => "small/merge-rnn",
        "samples" => "small/sbg",
        _ => "small/prefix-gradient-clipping",
    };
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    Config::load(&configs.join(format!("{file}.toml")), &[]).unwrap()
}

impl Backend for Sums {
    fn served(&self) -> ServedModels {
        let run = |name: &str| ServedRun {
            name: name.to_owned(),
            learned_from: Some("drawn pictures".to_owned()),
            config: Arc::new(config(name)),
            encoder: 0,
            max_tokens: 60,
        };
        ServedModels {
            runs: ["any", "words", "samples"].map(run).to_vec(),
            preprocessings: vec![Self::preprocessing()],
            similarity: None,
        }
    }

    fn caption(&mut self, images: &[PreparedImage]) -> Result<Vec<Vec<TaskOutput>>, BackendError> {
        self.taken.send(images.len()).unwrap();
        match self.gate.as_ref().map(|gate| gate.recv().unwrap()) {
            Some("panic") => panic!("a tensor of another shape"),
            Some("fail") => return Err(BackendError::Other("no memory is left".to_owned())),
            // tch panics like this on a libtorch error.
            Some("memory") => panic!(
                "called `Result::unwrap()` on an `Err` value: {:?}",
                tch::TchError::Torch(GPU_IS_FULL.to_owned())
            ),
            _ => {}
        }
        let written = |picture: &PreparedImage, task: &Task| TaskOutput {
            captions: vec![Candidate {
                caption: Self::of(picture.pixels[0].as_ref().unwrap(), task),
                text: "A sum.".to_owned(),
                score: 0.5,
                similarity: None,
                clip_score: None,
            }],
            keywords: None,
        };
        let of = |picture: &PreparedImage| {
            picture.tasks.iter().map(|task| written(picture, task)).collect()
        };
        Ok(images.iter().map(of).collect())
    }
}

/// Running server; dropping it stops it.
pub struct Server {
    pub address: SocketAddr,
    /// Releases a batch, if batches wait.
    pub gate: Sender<&'static str>,
    /// Receives the size of each batch.
    pub taken: Receiver<usize>,
    pub stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<bool>>,
}

impl Server {
    /// Starts a server; its batches wait for messages if `gated`.
    pub fn start(limits: Limits, gated: bool) -> Self {
        Self::start_with(Settings { limits, ..Settings::default() }, gated)
    }

    /// Starts a server with these settings; its batches wait for messages if `gated`.
    pub fn start_with(settings: Settings, gated: bool) -> Self {
        let ((gate, waits), (taken, seen)) = (unbounded(), unbounded());
        #[allow(clippy::result_large_err, reason = "the error's size is the library's")]
        let load = move || Ok(Sums { gate: gated.then_some(waits), taken });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (flag, (ready, is_ready)) = (stop.clone(), mpsc::channel());
        let thread = std::thread::spawn(move || {
            serve::serve(listener, load, settings, &flag, move || {
                ready.send(()).unwrap();
            })
            .unwrap()
        });
        is_ready.recv().unwrap();
        Self { address, gate, taken: seen, stop, thread: Some(thread) }
    }

    /// Stops the server; returns true if all requests in flight finished.
    pub fn finish(mut self) -> bool {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }

    /// Posts to `/v1/caption`; returns the status and the JSON response.
    pub fn post(&self, content_type: &str, body: &[u8]) -> (u16, Value) {
        post(self.address, content_type, body)
    }

    /// Posts an image as a form with additional fields.
    pub fn send(&self, picture: &[u8], more: &[(&str, &str)]) -> (u16, Value) {
        let (content_type, body) = form(picture, more);
        self.post(&content_type, &body)
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        let mut response = agent().get(format!("http://{}{path}", self.address)).call().unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    }

    /// Sends bytes, and returns everything received until the server closes the connection.
    pub fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        // Bytes received before a reset count.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Waiting batches would block forever.
        for _ in 0..100 {
            let _ = self.gate.send("go");
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_mins(1)));
    config.build().new_agent()
}

pub fn post(address: SocketAddr, content_type: &str, body: &[u8]) -> (u16, Value) {
    post_to(address, "/v1/caption", content_type, body)
}

/// Posts to a path; returns the status and the JSON response.
pub fn post_to(address: SocketAddr, path: &str, content_type: &str, body: &[u8]) -> (u16, Value) {
    let request = agent().post(format!("http://{address}{path}"));
    let mut response = request.header("content-type", content_type).send(body).unwrap();
    let text = response.body_mut().read_to_string().unwrap();
    let status = response.status().as_u16();
    if status == 429 {
        assert!(response.headers().contains_key("retry-after"));
    }
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}")))
}

/// Returns content type and body of a `multipart/form-data` request.
pub fn form(picture: &[u8], more: &[(&str, &str)]) -> (String, Vec<u8>) {
    form_of(&[("picture", picture)], more)
}

/// Returns a form of files, by the names of their fields, with additional fields.
pub fn form_of(files: &[(&str, &[u8])], more: &[(&str, &str)]) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for (name, bytes) in files {
        let head = format!(
            "--edge\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"a.jpg\"\r\ncontent-type: image/jpeg\r\n\r\n"
        );
        body.extend(head.as_bytes());
        body.extend(*bytes);
        body.extend(b"\r\n");
    }
    for (name, value) in more {
        let part =
            format!("--edge\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend(part.as_bytes());
    }
    body.extend(b"--edge--\r\n");
    ("multipart/form-data; boundary=edge".to_owned(), body)
}

/// Returns a PNG whose colours depend on `number`.
pub fn png(number: u32) -> Vec<u8> {
    let pixel = |x: u32, y: u32| {
        image::Rgb([number.wrapping_mul(37) as u8, (x * 9 + number) as u8, (y * 7) as u8])
    };
    let mut bytes = Vec::new();
    image::RgbImage::from_fn(20, 16, pixel)
        .write_to(&mut Cursor::new(&mut bytes), image::ImageFormat::Png)
        .unwrap();
    bytes
}
