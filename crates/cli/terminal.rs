//! What a person sees while waiting, and how a person stops it. Data goes to stdout, this to stderr.

use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};

static SIGNAL: AtomicUsize = AtomicUsize::new(0);

/// A flag that Ctrl-C and SIGTERM set; a second one ends the process at once.
///
/// # Errors
/// When the system refuses a handler.
pub fn stop_flag() -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        let exit_code = 128 + signal;
        signal_hook::flag::register_conditional_shutdown(signal, exit_code, flag.clone())
            .and_then(|_| signal_hook::flag::register(signal, flag.clone()))
            .context("cannot handle signals")?;
        let noted = flag.clone();
        // SAFETY: the handler only stores into atomics.
        unsafe {
            signal_hook::low_level::register(signal, move || {
                SIGNAL.store(signal as usize, Ordering::Relaxed);
                noted.store(true, Ordering::Relaxed);
            })
        }
        .context("cannot handle signals")?;
    }
    Ok(flag)
}

/// The exit code of a command that a signal cut short, 130 for Ctrl-C and 143 for SIGTERM.
pub fn interrupted() -> Option<u8> {
    match SIGNAL.load(Ordering::Relaxed) {
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

/// A line on stderr.
pub fn say(line: &str) {
    // Nobody can be told when stderr is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Whether progress is shown as bars; otherwise commands print a line now and then.
pub fn shows_bars() -> bool {
    std::io::stderr().is_terminal()
}

/// Prints to stdout, where data goes.
///
/// # Errors
/// When stdout is closed.
pub fn print(text: &str) -> anyhow::Result<()> {
    Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
}
