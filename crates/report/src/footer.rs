//! The end of a page: the program, the machine and the commands that made it.

use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{Days, NaiveDate};
use maud::{Markup, html};

/// Facts on how the contents of a page were made, besides version, commit and date.
#[derive(Debug, Clone, Default)]
pub struct Footer {
    /// Hardware, such as "cpu with 2 threads"; empty if not recorded.
    pub machine: Vec<String>,
    /// Seconds that the recorded commands ran; `None` if not recorded.
    pub seconds: Option<f64>,
    /// Commands in the order in which they ran; the last one wrote the page.
    pub commands: Vec<String>,
}

impl Footer {
    /// Returns the footer of a page that a single command writes.
    #[must_use]
    pub fn of_command(command: impl Into<String>) -> Self {
        Self { commands: vec![command.into()], ..Self::default() }
    }

    pub(crate) fn markup(&self) -> Markup {
        let commands = self.commands.len();
        html! {
            footer {
                p {
                    "capsmith " (env!("CARGO_PKG_VERSION"))
                    @if let Some(commit) = option_env!("CAPSMITH_COMMIT") { ", commit " (commit) }
                    " · " time { (today()) }
                    @if !self.machine.is_empty() { " · " (self.machine.join("; ")) }
                    @if let Some(seconds) = self.seconds { " · " (duration(seconds)) " of work" }
                }
                @if let [command] = &self.commands[..] {
                    p { "Made by " code { (command) } }
                } @else if commands > 1 {
                    details {
                        summary { "Made by " (commands) " commands" }
                        pre tabindex="0" { @for command in &self.commands { (command) "\n" } }
                    }
                }
            }
        }
    }
}

/// Formats a time span for people: `42 s`, `6 min`, `2 h 5 min`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match minutes {
        _ if seconds < 60.0 => format!("{:.0} s", seconds.max(1.0)),
        0..60 => format!("{minutes} min"),
        _ => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}

/// Returns today's date in UTC.
fn today() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    date(now.as_secs() / 86_400)
}

/// Formats a day, counted from 1970-01-01, as year, month and day.
fn date(days: u64) -> String {
    let days = Days::new(days);
    NaiveDate::default().checked_add_days(days).map(|day| day.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates_and_seconds_are_spans() {
        for (days, name) in [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (19_722, "2023-12-31"),
            (20_786, "2026-11-29"),
        ] {
            assert_eq!(date(days), name);
        }
        let spans = [0.2, 59.0, 89.0, 3_600.0, 7_500.0].map(duration);
        assert_eq!(spans, ["1 s", "59 s", "1 min", "1 h 0 min", "2 h 5 min"]);
    }

    #[test]
    fn what_is_not_recorded_is_left_out() {
        let footer = Footer::of_command("capsmith report <run>").markup().into_string();
        assert!(footer.contains("capsmith report &lt;run&gt;") && !footer.contains("of work"));
        let commands = vec!["a".to_owned(), "b".to_owned()];
        let more = Footer { machine: vec!["cpu".to_owned()], seconds: Some(61.0), commands };
        let more = more.markup().into_string();
        assert!(more.contains("cpu · 1 min of work") && more.contains("2 commands"), "{more}");
    }
}
