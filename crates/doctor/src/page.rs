//! HTML page of a doctor report.

use maud::{Markup, html};
use report::Footer;
use report::table::{Cell, sortable};

use crate::bench::Measurement;
use crate::finding::{Finding, Group, Outcome, Report};

/// Renders a report as a self-contained HTML page.
#[must_use]
pub fn page(report: &Report) -> String {
    let [ok, failed, skipped] =
        [Outcome::Ok, Outcome::Failed, Outcome::Skipped].map(|outcome| report.count(outcome));
    let body = html! {
        p.lead {
            "Device " strong { (report.device) } ": " (ok) " checks are ok, " (failed) " failed, "
            (skipped) " skipped."
        }
        @for check in report.checks.iter().filter(|check| check.verdict.outcome == Outcome::Failed) {
            p.absent { strong { (check.name) } ": " (check.verdict.detail) }
        }
        @for group in Group::CHECKED { (section(report, group)) }
        @if !report.measurements.is_empty() { (speeds(&report.measurements)) }
    };
    let machine = vec![report.device.clone()];
    let footer = Footer { machine, ..Footer::of_command("capsmith doctor") };
    report::page("capsmith doctor", &body, &footer)
}

fn section(report: &Report, group: Group) -> Markup {
    let checks: Vec<&Finding> = report.checks.iter().filter(|check| check.group == group).collect();
    html! {
        @if !checks.is_empty() {
            section {
                h2 { (group.title()) }
                div.scroll {
                    table {
                        thead { tr { th { "check" } th {} th { "what was seen" } } }
                        tbody { @for check in checks { (line(check)) } }
                    }
                }
            }
        }
    }
}

fn line(check: &Finding) -> Markup {
    let verdict = &check.verdict;
    let class = if verdict.outcome == Outcome::Ok { "best" } else { "" };
    html! {
        tr {
            td { (check.name) }
            td class=(class) { span { (verdict.outcome.word()) } }
            td { (verdict.detail) @if let Some(hint) = &verdict.hint { div.note { (hint) } } }
        }
    }
}

fn speeds(measurements: &[Measurement]) -> Markup {
    let head = ["work", "arithmetic", "", "capsmith", "plain PyTorch", "faster", "MFU", "peak MiB"];
    let number = |value: Option<f64>, decimals: usize| {
        value.map_or_else(Cell::default, |value| Cell::number(value, decimals))
    };
    let row = |one: &Measurement| {
        vec![
            Cell::text(&one.work),
            Cell::text(one.arithmetic),
            Cell::text(one.unit),
            number(one.value, 1),
            number(one.plain, 1),
            number(one.speedup(), 2),
            number(one.mfu.map(|share| share * 100.0), 1),
            number(one.peak_bytes.map(|bytes| bytes as f64 / f64::from(1 << 20)), 0),
        ]
    };
    let rows: Vec<Vec<Cell>> = measurements.iter().map(row).collect();
    html! {
        section {
            h2 { (Group::Bench.title()) }
            (sortable(&head, &rows))
            p.note {
                "Random weights. Each training step is waited for, on both sides. The plain loop pads "
                "captions to 40 tokens, and captions one picture at a time, reading the caption again for "
                "each token, as the paper's notebook. MFU in percent: 6 operations for each parameter and "
                "row that a step multiplies, by the peak of the GPU's data sheet."
            }
            @for one in measurements {
                @if let Some(note) = &one.note { p.absent { (one.work) ", " (one.arithmetic) ": " (note) } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;
    use crate::finding::Verdict;

    #[test]
    fn a_page_shows_what_failed_and_escapes_it() {
        let check = |verdict| Finding {
            group: Group::Networks,
            name: "GPT-2, f32".to_owned(),
            verdict,
            seconds: 0.1,
        };
        let options = Options { device: "cuda:0".to_owned(), bench: false };
        let checks = vec![check(Verdict::ok("fine")), check(Verdict::failed("0.3 <off>"))];
        let report = Report::new(&options, checks, Vec::new(), None);
        assert!(!report.ok);
        let page = page(&report);
        assert!(
            page.contains("1 checks are ok, 1 failed") && page.contains("0.3 &lt;off&gt;"),
            "{page}"
        );
        assert!(!page.contains("<off>") && !page.contains("Speed"), "{page}");
    }
}
