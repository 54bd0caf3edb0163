//! Load test of a running `capsmith serve` with many clients, some of them sending malformed
//! requests: throughput, latencies, responses by status, and the server's memory.
//!
//! ```sh
//! cargo run --release -p serve --example load -- ADDRESS PID FOLDER CLIENTS SECONDS
//! ```
//!
//! ADDRESS is for example 127.0.0.1:8080, PID the server's process, and FOLDER holds images. Twenty
//! images are captioned one by one first; every later response must be the same, or a temporary
//! rejection, after which the client waits a tenth of a second.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Number of different images.
const PICTURES: usize = 20;
/// One in this many requests is malformed.
const MALFORMED: usize = 8;

type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

/// Responses of all clients.
#[derive(Default)]
struct Seen {
    statuses: BTreeMap<u16, usize>,
    /// Seconds per captioned request.
    latencies: Vec<f64>,
    wrong: usize,
    lost: usize,
}

fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [address, pid, folder, clients, seconds] = &words[..] else {
        return Err("usage: load ADDRESS PID FOLDER CLIENTS SECONDS".into());
    };
    let (clients, seconds): (usize, u64) = (clients.parse()?, seconds.parse()?);
    let pictures = pictures(folder)?;
    let mut expected = Vec::new();
    for picture in &pictures {
        let (status, answer) = send(address, picture)?;
        if status != 200 {
            return Err(format!("{status}: {answer}").into());
        }
        expected.push(captions(&answer));
    }
    let before = resident(pid)?;
    let (seen, start) = (Mutex::new(Seen::default()), Instant::now());
    let end = start + Duration::from_secs(seconds);
    std::thread::scope(|scope| {
        for client in 0..clients {
            let (seen, pictures, expected) = (&seen, &pictures, &expected);
            scope.spawn(move || {
                let mut number = client;
                while Instant::now() < end {
                    one(address, number, pictures, expected, seen);
                    number += clients + 1;
                }
            });
        }
    });
    let elapsed = start.elapsed().as_secs_f64();
    let Seen { statuses, mut latencies, wrong, lost } =
        seen.into_inner().map_err(|_| "a client broke down")?;
    latencies.sort_by(f64::total_cmp);
    let quantile = |share: f64| {
        latencies.get((latencies.len() as f64 * share) as usize).copied().unwrap_or(0.0)
    };
    println!(
        "{clients} clients for {elapsed:.0} s: {:.1} pictures a second",
        latencies.len() as f64 / elapsed
    );
    println!("latency p50 {:.2} s, p99 {:.2} s", quantile(0.5), quantile(0.99));
    println!("statuses {statuses:?}, wrong answers {wrong}, lost requests {lost}");
    std::thread::sleep(Duration::from_secs(2));
    println!("resident memory {} MiB before, {} MiB after", before >> 10, resident(pid)? >> 10);
    Ok(())
}

fn pictures(folder: &str) -> Result<Vec<Vec<u8>>, Box<dyn Error + Send + Sync>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths.truncate(PICTURES);
    Ok(paths.iter().map(fs::read).collect::<Result<_, _>>()?)
}

/// Sends one request, and records its response.
fn one(address: &str, number: usize, pictures: &[Vec<u8>], expected: &[Value], seen: &Mutex<Seen>) {
    let place = number % pictures.len();
    let picture = &pictures[place];
    let malformed = number.is_multiple_of(MALFORMED);
    let sent = if malformed { &picture[..picture.len() / 2] } else { picture };
    let start = Instant::now();
    let answer = send(address, sent);
    let latency = start.elapsed().as_secs_f64();
    let Ok(mut seen) = seen.lock() else { return };
    match answer {
        Err(_) => seen.lost += 1,
        Ok((status, answer)) => {
            *seen.statuses.entry(status).or_default() += 1;
            match status {
                200 if malformed || captions(&answer) != expected[place] => seen.wrong += 1,
                200 => seen.latencies.push(latency),
                422 if !malformed => seen.wrong += 1,
                _ => {}
            }
            drop(seen);
            if status == 429 {
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

fn send(address: &str, picture: &[u8]) -> Result<(u16, Value), Box<dyn Error + Send + Sync>> {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_mins(3)))
        .build()
        .new_agent();
    let mut response = agent
        .post(format!("http://{address}/v1/caption"))
        .header("content-type", "application/json")
        .send(json!({ "picture": STANDARD.encode(picture) }).to_string())?;
    let answer = serde_json::from_str(&response.body_mut().read_to_string()?)?;
    Ok((response.status().as_u16(), answer))
}

/// Returns the captions and keywords of all runs.
fn captions(answer: &Value) -> Value {
    let runs = answer["runs"].as_array().into_iter().flatten();
    runs.map(|run| json!([run["run"], run["caption"], run["keywords"]])).collect()
}

/// Returns the resident memory of a process, in KiB.
fn resident(pid: &str) -> Result<u64, Box<dyn Error + Send + Sync>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line.ok_or("no VmRSS")?.trim().trim_end_matches(" kB").parse()?)
}
