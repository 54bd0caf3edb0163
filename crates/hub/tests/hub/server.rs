//! A local model hub that can simulate the faults of real ones.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Commit of every repository on this hub.
/// Silence of [`Fault::Stall`], if the client does not give up before.
pub const STALL: Duration = Duration::from_mins(1);
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Simulated fault.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The body ends after this number of bytes.
    Cut(usize),
    /// The server answers with a status and, if not 0, `Retry-After` in seconds.
    Status(u16, u64),
    /// The server sends a log-in page with status 200.
    Html,
    /// The body has other bytes of the same length.
    OtherBytes,
    /// The server ignores `Range`.
    WholeBody,
    /// A header is replaced or added.
    Header(&'static str, String),
    /// The body stops after this number of bytes, and the connection stays open.
    Stall(usize),
    /// Each piece of the body takes this long.
    Slow(Duration),
}

/// A received request.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub range: Option<String>,
    pub token: Option<String>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    /// Path, method, remaining number of times, fault.
    faults: Vec<(String, &'static str, usize, Fault)>,
    renamed: BTreeMap<String, String>,
    log: Vec<Request>,
}

/// The server; it runs until the test process ends.
#[derive(Clone)]
pub struct Server {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { port: listener.local_addr().unwrap().port(), state: Arc::default() };
        let handler = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let handler = handler.clone();
                // A client that disconnects does not fail the test.
                thread::spawn(move || handler.serve(stream));
            }
        });
        server
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Adds a file. Files of more than 1,000 bytes are large ones, stored elsewhere.
    pub fn file(&self, repository: &str, name: &str, bytes: impl Into<Vec<u8>>) {
        let path = format!("{repository}/{name}");
        self.state.lock().unwrap().files.insert(path, bytes.into());
    }

    /// Applies `fault` to the next `times` requests of `method` whose path contains `path`.
    pub fn fault(&self, method: &'static str, path: &str, times: usize, fault: Fault) {
        self.state.lock().unwrap().faults.push((path.to_owned(), method, times, fault));
    }

    pub fn heal(&self) {
        self.state.lock().unwrap().faults.clear();
    }

    pub fn rename(&self, old: &str, new: &str) {
        self.state.lock().unwrap().renamed.insert(old.to_owned(), new.to_owned());
    }

    /// Returns the requests since the last call.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }

    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let request = read(&stream)?;
        let mut fault = None;
        {
            let mut state = self.state.lock().unwrap();
            state.log.push(request.clone());
            for (path, method, times, kind) in &mut state.faults {
                if fault.is_none()
                    && *times > 0
                    && request.path.contains(path.as_str())
                    && request.method == *method
                {
                    *times -= 1;
                    fault = Some(kind.clone());
                }
            }
        }
        let answer = self.answer(&request, fault.as_ref());
        let mut head = format!("HTTP/1.1 {} x\r\nConnection: close\r\n", answer.status);
        for (name, value) in &answer.headers {
            head = head + name + ": " + value + "\r\n";
        }
        stream.write_all((head + "\r\n").as_bytes()).ok()?;
        if request.method == "HEAD" {
            return Some(());
        }
        let end = match fault {
            Some(Fault::Cut(end) | Fault::Stall(end)) => end.min(answer.body.len()),
            _ => answer.body.len(),
        };
        let pieces = if let Some(Fault::Slow(pause)) = fault {
            (64, pause)
        } else {
            (end.max(1), Duration::ZERO)
        };
        for piece in answer.body[..end].chunks(pieces.0) {
            thread::sleep(pieces.1);
            stream.write_all(piece).ok()?;
        }
        stream.flush().ok()?;
        if let Some(Fault::Stall(_)) = fault {
            // Silent until the client gives up, or for so long.
            stream.set_read_timeout(Some(STALL)).ok()?;
            let _ = stream.read(&mut [0]);
        }
        Some(())
    }

    fn answer(&self, request: &Request, fault: Option<&Fault>) -> Answer {
        match fault {
            Some(Fault::Status(status, wait)) => {
                let mut answer = Answer::new(*status, b"no".to_vec());
                if *wait > 0 {
                    answer.set("Retry-After", wait.to_string());
                }
                return answer;
            }
            Some(Fault::Html) => {
                let mut answer = Answer::new(200, b"<html>Please log in</html>".to_vec());
                answer.set("Content-Type", "text/html; charset=utf-8".to_owned());
                return answer;
            }
            _ => {}
        }
        let mut answer = self.regular(request, matches!(fault, Some(Fault::WholeBody)));
        match fault {
            Some(Fault::OtherBytes) => answer.body.iter_mut().for_each(|byte| *byte ^= 1),
            Some(Fault::Header(name, value)) => answer.set(name, value.clone()),
            _ => {}
        }
        answer
    }

    fn regular(&self, request: &Request, whole: bool) -> Answer {
        let state = self.state.lock().unwrap();
        let path = request.path.trim_start_matches('/');
        if let Some(rest) = path.strip_prefix("api/models/") {
            let Some((repository, _)) = rest.split_once("/revision/") else {
                return Answer::new(404, vec![]);
            };
            let prefix = format!("{repository}/");
            let files: Vec<_> = state
                .files
                .keys()
                .filter_map(|path| path.strip_prefix(&prefix))
                .map(|name| serde_json::json!({ "rfilename": name }))
                .collect();
            if files.is_empty() {
                return Answer::new(404, b"{}".to_vec());
            }
            let body = serde_json::json!({ "sha": COMMIT, "siblings": files, "private": false });
            return Answer::new(200, body.to_string().into_bytes());
        }
        if let Some(path) = path.strip_prefix("cdn/") {
            return state.files.get(path).map_or_else(
                || Answer::new(404, vec![]),
                |bytes| Answer::ranged(bytes, if whole { None } else { request.range.as_deref() }),
            );
        }
        if let Some((repository, rest)) = path.split_once("/resolve/") {
            let (_, name) = rest.split_once('/').unwrap_or_default();
            if let Some(new) = state.renamed.get(repository) {
                let mut answer = Answer::new(307, vec![]);
                answer.set("Location", format!("/{}", path.replacen(repository, new, 1)));
                return answer;
            }
            let path = format!("{repository}/{name}");
            let Some(bytes) = state.files.get(&path) else {
                return Answer::new(404, b"Entry not found".to_vec());
            };
            let is_large = bytes.len() > 1000;
            let mut answer = if is_large {
                let mut answer = Answer::new(302, vec![]);
                answer.set("Location", format!("http://localhost:{}/cdn/{path}", self.port));
                answer.set("X-Linked-Etag", format!("\"{}\"", sha256(bytes)));
                answer.set("X-Linked-Size", bytes.len().to_string());
                answer
            } else {
                Answer::ranged(bytes, if whole { None } else { request.range.as_deref() })
            };
            answer.set(
                "ETag",
                format!("\"{}\"", if is_large { "xet".to_owned() } else { git_id(bytes) }),
            );
            answer.set("X-Repo-Commit", COMMIT.to_owned());
            return answer;
        }
        // The archives of data sets, under their own names.
        state.files.get(&format!("mirror/{path}")).map_or_else(
            || Answer::new(404, vec![]),
            |bytes| Answer::ranged(bytes, request.range.as_deref()),
        )
    }
}

struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: u16, body: Vec<u8>) -> Self {
        let headers = [("Content-Length".to_owned(), body.len().to_string())].into();
        Self { status, headers, body }
    }

    fn set(&mut self, name: &str, value: String) {
        self.headers.insert(name.to_owned(), value);
    }

    fn ranged(bytes: &[u8], range: Option<&str>) -> Self {
        let Some(range) = range else { return Self::new(200, bytes.to_vec()) };
        let start: usize =
            range.trim_start_matches("bytes=").split('-').next().unwrap().parse().unwrap();
        if start >= bytes.len() {
            return Self::new(416, vec![]);
        }
        let mut answer = Self::new(206, bytes[start..].to_vec());
        answer.set("Content-Range", format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len()));
        answer
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream.take(1 << 16));
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut request = Request { method, path, range: None, token: None };
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 || line.trim().is_empty() {
            return Some(request);
        }
        let (name, value) = line.trim().split_once(": ")?;
        match name.to_ascii_lowercase().as_str() {
            "range" => request.range = Some(value.to_owned()),
            "authorization" => request.token = Some(value.to_owned()),
            _ => {}
        }
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

pub fn git_id(bytes: &[u8]) -> String {
    let mut digest = Sha1::new();
    digest.update(format!("blob {}\0", bytes.len()));
    digest.update(bytes);
    hex::encode(digest.finalize())
}
