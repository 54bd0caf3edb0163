//! Messages, progress bars and signal handling. Data goes to stdout, all of this to stderr.

use std::fmt::{Debug, Write as _};
use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context;
use foreign_text::printable;
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use progress::{Progress, Unit};
use signal_hook::consts::{SIGINT, SIGTERM};
use studies::stages::STOP_WITH_STDIN;
use tracing::field::Field;
use tracing::subscriber::set_global_default;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{self, SubscriberExt};

/// State set by signals: the stop flag that commands poll, and the number of the signal.
static STOP: OnceLock<(Arc<AtomicBool>, Arc<AtomicUsize>)> = OnceLock::new();

/// True while the command handles a stop itself, to save or finish something first.
static HELD: AtomicBool = AtomicBool::new(false);

/// Time before a stop ends the process, unless stops are held.
const PATIENCE: Duration = Duration::from_millis(500);
/// Interval of polling the stop flag.
const LOOK: Duration = Duration::from_millis(50);

/// Returns the flag that Ctrl-C and SIGTERM set; a second signal ends the process at once.
///
/// The first signal also ends the process, after a short time, unless [`hold_stops`] leaves that to
/// the command.
pub fn stop_flag() -> anyhow::Result<Arc<AtomicBool>> {
    if let Some((flag, _)) = STOP.get() {
        return Ok(flag.clone());
    }
    let (flag, which) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag unset and sets it, the second exits.
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, flag.clone())
            .and_then(|_| signal_hook::flag::register(signal, flag.clone()))
            .and_then(|_| signal_hook::flag::register_usize(signal, which.clone(), signal as usize))
            .context("cannot handle signals")?;
    }
    let flag = STOP.get_or_init(|| (flag, which)).0.clone();
    let stopped = flag.clone();
    std::thread::spawn(move || end_when_stopped(&stopped));
    Ok(flag)
}

/// Sets whether the command handles stops itself.
pub fn hold_stops(held: bool) {
    HELD.store(held, Ordering::Relaxed);
}

/// Ends the process after a stop, unless stops are held.
///
/// Nothing finished is lost: every file is replaced atomically.
fn end_when_stopped(stop: &AtomicBool) {
    let mut since: Option<Instant> = None;
    loop {
        std::thread::sleep(LOOK);
        if !stop.load(Ordering::Relaxed) || HELD.load(Ordering::Relaxed) {
            since = None;
        } else if since.get_or_insert_with(Instant::now).elapsed() >= PATIENCE {
            // A print that waits for its reader keeps the bars, and must not keep the process.
            let (done, said) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                say(
                    "interrupted; finished work is kept, and the same command resumes it (train and sweep with --resume)",
                );
                let _ = done.send(());
            });
            let _ = said.recv_timeout(PATIENCE);
            let code = interrupted().map_or(128 + SIGTERM, i32::from);
            signal_hook::low_level::exit(code);
        }
    }
}

/// Time for a stopped command to finish before the process ends at once.
const GRACE: Duration = Duration::from_mins(2);

/// In a stage of a study, stops as on SIGTERM when standard input ends.
///
/// A stage therefore ends with its study, even if that is killed.
pub fn stop_with_stdin() {
    if !is_stage() {
        return;
    }
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let exit = || std::process::exit(128 + SIGTERM);
        // A command that polls no flag ends as on a signal.
        let Some((flag, which)) = STOP.get() else { exit() };
        which.store(SIGTERM as usize, Ordering::Relaxed);
        flag.store(true, Ordering::Relaxed);
        std::thread::sleep(GRACE);
        exit();
    });
}

fn is_stage() -> bool {
    std::env::var_os(STOP_WITH_STDIN).is_some()
}

/// Returns the exit code of an interrupted command: 130 for Ctrl-C, 143 for SIGTERM.
pub fn interrupted() -> Option<u8> {
    match STOP.get()?.1.load(Ordering::Relaxed) {
        0 => None,
        signal => u8::try_from(128 + signal).ok(),
    }
}

/// Returns whether the error is a broken pipe: the reader of the output has closed it.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == ErrorKind::BrokenPipe)
}

/// Progress bar with a count, a rate and the remaining time; without a terminal, periodic lines.
#[derive(Default)]
pub struct Bar {
    shown: Option<ProgressBar>,
    task: String,
    unit: Option<Unit>,
    detail: String,
    last_line: Option<Instant>,
}

impl Bar {
    /// Starts a task.
    pub fn new(task: &str, unit: Unit, total: u64) -> Self {
        let mut bar = Self::default();
        bar.start(task, unit, Some(total), 0);
        bar
    }

    /// Prints a progress line at most twice a minute, or once a second in a stage of a study, whose
    /// display shows the last line. Prints nothing if stderr is a terminal.
    fn line(&mut self, done: u64, total: Option<u64>) {
        let pause = Duration::from_secs(if is_stage() { 1 } else { 30 });
        let is_due = self.last_line.is_none_or(|last| last.elapsed() >= pause);
        if !is_due || std::io::stderr().is_terminal() {
            return;
        }
        self.last_line = Some(Instant::now());
        let amount = |number: u64| match self.unit {
            Some(Unit::Bytes) => HumanBytes(number).to_string(),
            _ => number.to_string(),
        };
        let total = total.map(|total| format!(" of {}", amount(total))).unwrap_or_default();
        let unit = match self.unit {
            Some(Unit::Count(unit)) => format!(" {unit}"),
            _ => String::new(),
        };
        let detail = if self.detail.is_empty() { "" } else { ", " };
        let Self { task, detail: text, .. } = self;
        say(&format!("{task}: {}{total}{unit}{detail}{text}", amount(done)));
    }
}

impl Progress for Bar {
    fn start(&mut self, task: &str, unit: Unit, total: Option<u64>, done: u64) {
        self.finish();
        let amounts = match unit {
            Unit::Bytes => "{bytes}/{total_bytes} {bytes_per_sec}",
            Unit::Count(_) => "{pos}/{len} {per_sec}",
        };
        let template = format!("{{prefix}} {{wide_bar:.cyan/dim}} {amounts} {{eta}} left {{msg}}");
        let style = ProgressStyle::with_template(&template)
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(total.unwrap_or_default()).with_style(style);
        let bar = BARS.add(bar.with_prefix(task.to_owned()));
        bar.enable_steady_tick(Duration::from_millis(250));
        // Rate and remaining time exclude the work done before.
        bar.set_position(done);
        bar.reset_eta();
        self.shown = Some(bar);
        self.unit = Some(unit);
        task.clone_into(&mut self.task);
        self.detail.clear();
    }

    fn position(&mut self, done: u64) {
        let Some(bar) = &self.shown else { return };
        bar.set_position(done);
        let total = bar.length().filter(|total| *total > 0);
        self.line(done, total);
    }

    fn detail(&mut self, text: &str) {
        text.clone_into(&mut self.detail);
        if let Some(bar) = &self.shown {
            bar.set_message(text.to_owned());
        }
    }

    fn finish(&mut self) {
        if let Some(bar) = self.shown.take() {
            bar.finish_and_clear();
        }
    }

    fn note(&mut self, message: &str) {
        say(message);
    }

    fn unsaved(&mut self, is_unsaved: bool) {
        hold_stops(is_unsaved);
    }
}

/// Shows no progress, but holds stops while there is unsaved work.
pub struct Quiet;

impl Progress for Quiet {
    fn unsaved(&mut self, is_unsaved: bool) {
        hold_stops(is_unsaved);
    }
}

/// Logs a message for people: `error: …` and `warning: …` at their level, any other as a note.
pub fn say(message: &str) {
    if message.starts_with("error: ") {
        tracing::error!(target: "capsmith", "{message}");
    } else if message.starts_with("warning: ") {
        tracing::warn!(target: "capsmith", "{message}");
    } else {
        tracing::info!(target: "capsmith", "{message}");
    }
}

/// Passes the lines that a `LineWriter` writes to it to [`say`].
pub struct Notes;

impl Write for Notes {
    fn write(&mut self, lines: &[u8]) -> std::io::Result<usize> {
        say(String::from_utf8_lossy(lines).trim_end_matches('\n'));
        Ok(lines.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// All progress bars. Code that prints a line must suspend them ([`MultiProgress::suspend`]).
pub static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Sends logged messages to stderr, as many as the counts of `-v` and `-q` ask for.
pub fn init(verbose: u8, quiet: u8) {
    let level = match (verbose, quiet) {
        (0, 0) => LevelFilter::INFO,
        (0, 1) => LevelFilter::WARN,
        (0, _) => LevelFilter::ERROR,
        (1, _) => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    if quiet > 0 {
        BARS.set_draw_target(ProgressDrawTarget::hidden());
    }
    let lines = Lines { since: (verbose > 0).then(Instant::now) };
    // Fails only if there is a subscriber already, and this is called once.
    let _ = set_global_default(tracing_subscriber::registry().with(level).with(lines));
}

/// Prints messages to stderr; if `since` is set, each with the seconds since then and its target.
struct Lines {
    since: Option<Instant>,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: layer::Context<'_, S>) {
        let mut message = String::new();
        // Writing to a string cannot fail.
        event.record(&mut |_: &Field, value: &dyn Debug| _ = write!(message, "{value:?}"));
        // Whatever names a message holds, the terminal obeys no character of them.
        let lines: Vec<_> = message.split('\n').map(|line| printable(line).to_string()).collect();
        let (dim, plain) =
            if std::io::stderr().is_terminal() { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        let start = self.since.map_or_else(String::new, |since| {
            let seconds = since.elapsed().as_secs_f64();
            format!("{dim}{seconds:.3}s {}{plain} ", event.metadata().target())
        });
        // Nobody can be told when stderr is closed.
        let _ = BARS.suspend(|| writeln!(std::io::stderr(), "{start}{}", lines.join("\n")));
    }
}

/// Prints to stdout, where data goes.
///
/// # Errors
/// Fails if stdout is closed.
pub fn print(text: &str) -> anyhow::Result<()> {
    Ok(BARS.suspend(|| std::io::stdout().lock().write_all(text.as_bytes()))?)
}
