//! Baseline measurements with a plain PyTorch loop, run by `python3` if it has torch.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bench::{CAPTION_TOKENS, CLIP_DIM, PREFIX_LENGTH};
use networks::device;
use networks::gpt2::Gpt2Config;
use serde::{Deserialize, Serialize};
use tch::Device;

use super::measurement::Measurement;
use crate::compare::Arithmetic;

const SCRIPT: &str = include_str!("plain.py");

/// Time limit for the script; results printed by then are used.
const TIME_LIMIT: Duration = Duration::from_secs(150);

/// Padded caption length of the paper's loop, the longest of its data set.
const PADDED: usize = 40;

/// Published sizes of a CLIP vision tower.
pub(super) struct Tower {
    pub(super) name: &'static str,
    pub(super) hidden: i64,
    pub(super) layers: i64,
    pub(super) heads: i64,
    pub(super) patch: i64,
    pub(super) projection: i64,
}

pub(super) const B32: Tower =
    Tower { name: "ViT-B/32", hidden: 768, layers: 12, heads: 12, patch: 32, projection: 512 };
pub(super) const L14: Tower =
    Tower { name: "ViT-L/14", hidden: 1024, layers: 24, heads: 16, patch: 14, projection: 768 };

/// Sizes of one benchmark job.
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
        Self {
            work: "decode",
            arithmetic,
            rounds,
            beams,
            length: CAPTION_TOKENS,
            ..Self::gpt2(config)
        }
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

/// Request to the script.
#[derive(Serialize)]
struct Request<'a> {
    device: String,
    threads: usize,
    jobs: &'a [Job],
}

/// One line of the script's output.
#[derive(Deserialize)]
struct Answer {
    /// Index of the job.
    #[serde(default)]
    job: usize,
    /// Result in the job's unit: ms per step, captions or images per second.
    value: Option<f64>,
    /// Reason for a missing result.
    error: Option<String>,
}

/// Adds the script's results to the measurements, or a note if there are none.
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

/// Runs the PyTorch script, and passes each answer to `take` as it arrives.
///
/// # Errors
/// Fails if python3 cannot be started, has no torch, fails, or exceeds the time limit.
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
        // The script must load torch's own libtorch, not this one.
        .env_remove("LD_LIBRARY_PATH")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("python3 cannot be started: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // If the script has ended, its output or exit explains why.
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
        match lines.recv_timeout(TIME_LIMIT.saturating_sub(start.elapsed())) {
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
        // The script may have ended meanwhile.
        let _ = child.kill();
        failure = Some(format!("took more than {} s", TIME_LIMIT.as_secs()));
    }
    let _ = child.wait();
    failure.map_or(Ok(()), Err)
}
