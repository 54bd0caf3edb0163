//! `capsmith doctor`.

use std::io::IsTerminal;
use std::panic;
use std::path::{Path, PathBuf};

use ::doctor::{Finding, Group, Measurement, Observer, Options, Outcome, Report};
use anyhow::{Context, anyhow, bail};
use foreign_text::{printable, printable_path};
use indicatif::{ProgressBar, ProgressStyle};

use crate::terminal;

/// Check that capsmith works on this machine, and measure its speed.
///
/// Inspects libtorch, CUDA, the driver, GPUs, memory, disk, METEOR's resources and the hub.
/// Computes every network on the device in f32, TF32 and, if supported, bf16 and f16, and compares
/// it with the CPU. Trains twenty steps of CLIP-prefix, SBG and Merge-RNN without dropout, resumes
/// a training, and decodes by every strategy. Needs only this program and its libtorch: no data set
/// and no network, since the models are small and random. Exits with 1 if a check fails.
#[derive(clap::Args)]
pub struct Args {
    /// Device to check: cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Also measure training, decoding and CLIP, and a plain PyTorch loop if python3 has torch.
    /// Uses full-size models on a GPU and small ones on the CPU.
    #[arg(long)]
    bench: bool,
    /// Folder for doctor.json and doctor.html; existing ones are replaced
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    out: PathBuf,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    check_writable(&args.out)?;
    let options = Options { device: args.device.clone(), bench: args.bench };
    // A panic fails its check and is reported with it.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let mut screen = Screen::default();
    let report = ::doctor::examine(&options, &mut screen);
    panic::set_hook(hook);
    // Even with stdout closed, the report is written and the exit code set.
    let printed = screen.finish();
    if report.checks.is_empty()
        && let Some(error) = report.device_error
    {
        return Err(error.into());
    }
    write(&report, &args.out)?;
    if let Some(error) = report.device_error {
        return Err(error.into());
    }
    if report.ok {
        return printed;
    }
    let (failed, checks) = (report.count(Outcome::Failed), report.checks.len());
    let missing = report.measurements.iter().filter(|one| one.value.is_none()).count();
    let measured = report.measurements.len();
    match missing {
        0 => bail!(
            "{failed} of {checks} checks failed; the lines above that begin with FAIL name them"
        ),
        _ => bail!("{failed} of {checks} checks and {missing} of {measured} measurements failed"),
    }
}

/// Fails early if the folder is not writable.
fn check_writable(folder: &Path) -> anyhow::Result<()> {
    let hint = "hint: name another folder with --out";
    durable::create_dir_all(folder).map_err(|error| anyhow!("{error}\n{hint}"))?;
    tempfile::NamedTempFile::new_in(folder)
        .map(drop)
        .with_context(|| format!("cannot write to {}\n{hint}", printable_path(folder)))
}

fn write(report: &Report, folder: &Path) -> anyhow::Result<()> {
    let (json, html) = (folder.join("doctor.json"), folder.join("doctor.html"));
    durable::write_json(&json, report)?;
    durable::write(&html, ::doctor::page(report).as_bytes())?;
    terminal::say(&format!("wrote {} and {}", printable_path(&json), printable_path(&html)));
    Ok(())
}

/// Prints findings as they come, and the running check.
#[derive(Default)]
struct Screen {
    bar: Option<ProgressBar>,
    group: Option<Group>,
    /// First error of writing to stdout.
    failure: Option<anyhow::Error>,
}

impl Screen {
    fn line(&mut self, text: &str) {
        if let Err(error) = terminal::print(&format!("{}\n", printable(text))) {
            self.failure.get_or_insert(error);
        }
    }

    fn heading(&mut self, group: Group) {
        if self.group.replace(group) != Some(group) {
            self.line("");
            self.line(group.title());
        }
    }

    fn finish(self) -> anyhow::Result<()> {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        self.failure.map_or(Ok(()), Err)
    }
}

impl Observer for Screen {
    fn started(&mut self, group: Group, name: &str) {
        let bar = self.bar.get_or_insert_with(|| {
            let bar = terminal::BARS.add(ProgressBar::new_spinner());
            bar.set_style(ProgressStyle::default_spinner());
            bar.enable_steady_tick(std::time::Duration::from_millis(250));
            bar
        });
        bar.set_message(printable(name).to_string());
        if group == Group::Bench && !std::io::stderr().is_terminal() {
            terminal::say(&format!("measuring {name}"));
        }
    }

    fn finished(&mut self, finding: &Finding) {
        self.heading(finding.group);
        let verdict = &finding.verdict;
        self.line(&format!("{:<8}{}: {}", verdict.outcome.word(), finding.name, verdict.detail));
        if let Some(hint) = &verdict.hint {
            self.line(&format!("        hint: {hint}"));
        }
    }

    fn measured(&mut self, measurement: &Measurement) {
        self.heading(Group::Bench);
        let Measurement { work, arithmetic, unit, .. } = measurement;
        let number =
            |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
        let (value, plain) = (number(measurement.value), number(measurement.plain));
        let line = format!("{work:<42} {arithmetic:<5} {value:>9} {unit:<10} plain {plain:>9}");
        let speedup = measurement.speedup().map(|speedup| format!("{speedup:.2} x"));
        let mfu = measurement.mfu.map(|share| format!("MFU {:.1} %", share * 100.0));
        let memory = measurement.peak_bytes.map(|bytes| format!("{} MiB", bytes >> 20));
        let parts: Vec<String> = [Some(line), speedup, mfu, memory].into_iter().flatten().collect();
        self.line(&parts.join("  "));
        if let Some(note) = &measurement.note {
            self.line(&format!("        {note}"));
        }
    }
}
