//! What a person sees while waiting, and how a person stops it. Data goes to stdout, this to stderr.

use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context;
use foreign_text::printable;
use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};
use studies::stages::STOP_WITH_STDIN;

/// What signals set: the flag that work watches, and which signal it was.
static STOP: OnceLock<(Arc<AtomicBool>, Arc<AtomicUsize>)> = OnceLock::new();

/// True while a stop is left to the command, which has something to save or to end first.
static HELD: AtomicBool = AtomicBool::new(false);

/// Time that a command has to heed a stop before the process ends, where stops are not held.
const PATIENCE: Duration = Duration::from_millis(500);
/// Pause between two looks at the stop flag.
const LOOK: Duration = Duration::from_millis(50);

/// A flag that Ctrl-C and SIGTERM set; a second one ends the process at once. So does the first, after a
/// moment, unless the command has said by [`hold_stops`] that it must end by itself.
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

/// Leaves stops to the command from now on if `held`, or no longer does.
pub fn hold_stops(held: bool) {
    HELD.store(held, Ordering::Relaxed);
}

/// Ends the process where it is asked to stop, and would lose nothing by that: all files are replaced as a
/// whole, and what is finished is kept.
fn end_when_stopped(stop: &AtomicBool) {
    let mut since: Option<Instant> = None;
    loop {
        std::thread::sleep(LOOK);
        if !stop.load(Ordering::Relaxed) || HELD.load(Ordering::Relaxed) {
            since = None;
        } else if since.get_or_insert_with(Instant::now).elapsed() >= PATIENCE {
            say(
                "interrupted; what was finished is kept, and the same command resumes (train and sweep with --resume)",
            );
            let code = interrupted().map_or(128 + SIGTERM, i32::from);
            signal_hook::low_level::exit(code);
        }
    }
}

/// How long a command that was told to stop may take before the process ends at once.
const GRACE: Duration = Duration::from_mins(2);

/// Stops as for SIGTERM when standard input ends, where the process is a stage of a study: so it ends with
/// the study, even when that is killed.
pub fn stop_with_stdin() {
    if !is_stage() {
        return;
    }
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let exit = || std::process::exit(128 + SIGTERM);
        // What asked for no flag is ended as by a signal.
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

/// The exit code of a command that a signal cut short, 130 for Ctrl-C and 143 for SIGTERM.
pub fn interrupted() -> Option<u8> {
    match STOP.get()?.1.load(Ordering::Relaxed) {
        0 => None,
        signal => u8::try_from(128 + signal).ok(),
    }
}

/// Whether the cause is a reader that closed its end of a pipe.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == ErrorKind::BrokenPipe)
}

/// A bar with a count, a rate and the time left; hidden when stderr is no terminal.
pub fn bar(length: u64, what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{prefix} {wide_bar:.cyan/dim} {pos}/{len} {per_sec} {eta} left {msg}",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(length).with_style(style).with_prefix(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// Says how far a bar is where bars are not shown: at most twice a minute, in a stage of a study, whose last
/// line is shown, each second.
#[derive(Default)]
pub struct Lines {
    last: Option<Instant>,
}

impl Lines {
    /// Whether it is time for a line.
    pub fn due(&mut self) -> bool {
        let pause = Duration::from_secs(if is_stage() { 1 } else { 30 });
        let due = self.last.is_none_or(|last| last.elapsed() >= pause);
        let shown = due && !std::io::stderr().is_terminal();
        if shown {
            self.last = Some(Instant::now());
        }
        shown
    }
}

/// Prints a message to stderr, whatever the names in it hold: a terminal obeys no character of them.
pub fn say(message: &str) {
    let lines: Vec<_> = message.split('\n').map(|line| printable(line).to_string()).collect();
    // Nobody can be told when stderr is closed.
    let _ = writeln!(std::io::stderr(), "{}", lines.join("\n"));
}

/// Prints to stdout, where data goes.
///
/// # Errors
/// When stdout is closed.
pub fn print(text: &str) -> anyhow::Result<()> {
    Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
}
