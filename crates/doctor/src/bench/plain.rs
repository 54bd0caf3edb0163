//! The same work by a plain loop in PyTorch, which `python3` runs where it has torch.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use networks::device;
use networks::gpt2::Gpt2Config;
use serde::{Deserialize, Serialize};
use tch::Device;
use training::bench::{CLIP_DIM, PREFIX_LENGTH, WRITTEN};

use super::{Measurement, Tower};
use crate::compare::Arithmetic;

const SCRIPT: &str = include_str!("plain.py");

/// The whole script may take so long; what it has measured by then is used.
const PATIENCE: Duration = Duration::from_secs(150);

/// Tokens that the paper's loop pads captions to: what the longest has.
const PADDED: usize = 40;

/// One piece of work, by its sizes.
#[derive(Debug, Default, Serialize)]
pub(super) struct Job {
    work: &'static str,
    arithmetic: &'static str,
    rounds: usize,
    hidden: i64,
    layers: i64,
    heads: i64,
    vocab: i64,
    prefix: i64,
    clip_dim: i64,
    batch: i64,
    length: usize,
    beams: usize,
    patch: i64,
    projection: i64,
}

impl Job {
    fn gpt2(config: &Gpt2Config) -> Self {
        Self {
            hidden: config.n_embd,
            layers: config.n_layer,
            heads: config.n_head,
            vocab: config.vocab_size,
            prefix: PREFIX_LENGTH,
            clip_dim: CLIP_DIM,
            ..Self::default()
        }
    }

    pub(super) fn train(
        config: &Gpt2Config,
        batch: usize,
        arithmetic: Arithmetic,
        rounds: usize,
    ) -> Self {
        let (arithmetic, batch) = (arithmetic.name(), batch as i64);
        Self { work: "train", arithmetic, rounds, batch, length: PADDED, ..Self::gpt2(config) }
    }

    pub(super) fn decode(config: &Gpt2Config, beams: usize, rounds: usize) -> Self {
        let arithmetic = Arithmetic::F32.name();
        Self { work: "decode", arithmetic, rounds, beams, length: WRITTEN, ..Self::gpt2(config) }
    }

    pub(super) fn encode(
        tower: &Tower,
        pictures: i64,
        arithmetic: Arithmetic,
        rounds: usize,
    ) -> Self {
        Self {
            work: "encode",
            arithmetic: arithmetic.name(),
            rounds,
            hidden: tower.hidden,
            layers: tower.layers,
            heads: tower.heads,
            batch: pictures,
            patch: tower.patch,
            projection: tower.projection,
            ..Self::default()
        }
    }
}

/// The request to the script.
#[derive(Serialize)]
struct Request<'a> {
    device: String,
    threads: usize,
    jobs: &'a [Job],
}

/// A line of the script's.
#[derive(Deserialize)]
struct Answer {
    /// The job's number.
    #[serde(default)]
    job: usize,
    /// In the job's unit: ms a step, captions or pictures a second.
    value: Option<f64>,
    /// Why there is none.
    error: Option<String>,
}

/// Adds what the plain loop measures, or a note that says why there is nothing.
pub(super) fn compare(measurements: &mut [Measurement], jobs: &[Job], device: Device) {
    let result = run(jobs, device, |answer| {
        let Some(measurement) = measurements.get_mut(answer.job) else { return };
        measurement.plain = answer.value;
        if let Some(error) = answer.error {
            note(measurement, &error);
        }
    });
    if let Err(reason) = result {
        for measurement in
            measurements.iter_mut().filter(|one| one.plain.is_none() && one.note.is_none())
        {
            note(measurement, &reason);
        }
    }
}

fn note(measurement: &mut Measurement, reason: &str) {
    let text = format!("plain loop: {reason}");
    let before = measurement.note.take().map(|before| format!("{before}; "));
    measurement.note = Some(before.unwrap_or_default() + &text);
}

/// Runs the script and takes its lines as they come.
fn run(jobs: &[Job], device: Device, mut take: impl FnMut(Answer)) -> Result<(), String> {
    let device = match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        _ => "cpu".to_owned(),
    };
    let request = Request { device, threads: device::threads(), jobs };
    let request = serde_json::to_string(&request).map_err(|error| error.to_string())?;
    let start = Instant::now();
    let mut child = Command::new("python3")
        .args(["-c", SCRIPT])
        // Another libtorch than torch's own must not get in its way.
        .env_remove("LD_LIBRARY_PATH")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("python3 cannot be started: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A script that has ended says why by its lines, or by having none.
        let _ = stdin.write_all(request.as_bytes());
    }
    let (send, lines) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
    }
    let mut failure = Some("python3 has no torch".to_owned());
    let ended = loop {
        match lines.recv_timeout(PATIENCE.saturating_sub(start.elapsed())) {
            Ok(line) => match serde_json::from_str::<Answer>(&line) {
                Ok(answer) => {
                    failure = None;
                    take(answer);
                }
                Err(_) => failure = Some(line),
            },
            Err(mpsc::RecvTimeoutError::Disconnected) => break true,
            Err(mpsc::RecvTimeoutError::Timeout) => break false,
        }
    };
    if !ended {
        // It may have ended meanwhile.
        let _ = child.kill();
        failure = Some(format!("took more than {} s", PATIENCE.as_secs()));
    }
    let _ = child.wait();
    failure.map_or(Ok(()), Err)
}
