//! HTML page of a sweep: a parallel-coordinates plot of the trials, and a sortable table.

use maud::{Markup, PreEscaped, html};
use report::table::{Cell, sortable};
use toml::Value;

use super::definition::{Sweep, format_value};
use super::halving::Direction;
use super::results::{Results, TrialResult};
use super::space::{Axis, Domain};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Size and margins of the plot, in its own units.
const HEIGHT: f64 = 340.0;
const TOP: f64 = 46.0;
const BOTTOM: f64 = 300.0;
const SIDE: f64 = 80.0;
const BETWEEN: f64 = 190.0;

/// Returns the page as HTML.
pub(super) fn page(sweep: &Sweep, results: &Results) -> String {
    let better = match results.direction {
        Direction::Maximize => "higher is better",
        Direction::Minimize => "lower is better",
    };
    let measured = results.trials.iter().filter(|trial| trial.mean.is_some()).count();
    let failed: Vec<&TrialResult> = results.failed().collect();
    let body = html! {
        style { (PreEscaped(STYLE)) }
        p {
            (sweep.base.display()) " with " (sweep.space.axes.len()) " varied keys. Trials are compared by "
            strong { (results.metric) } " on the " (results.split) " split, "
            (better) ". " (measured) " of " (results.trials.len()) " trials are scored"
            @if !failed.is_empty() { ", " (failed.len()) " failed" }
            @if results.seeds.len() > 1 { "; each score is the mean of " (results.seeds.len()) " seeds" }
            "."
            @if !results.complete { " The sweep is not complete yet." }
        }
        @if let Some(best) = results.trials.first().filter(|best| best.mean.is_some()) {
            p {
                "Best: trial " (best.trial) ", " (results.metric) " " (value(best))
                @for (key, setting) in &sweep.trials[best.trial].settings {
                    " · " code { (key) " = " (format_value(setting)) }
                }
            }
        }
        @if measured > 0 { (plot(sweep, results)) }
        (table(sweep, results))
        @if !failed.is_empty() { (failures(&failed)) }
        script { (PreEscaped(SCRIPT)) }
    };
    report::page(&format!("Sweep {}", results.name), &body)
}

fn value(trial: &TrialResult) -> String {
    match (trial.mean, trial.std) {
        (Some(mean), Some(std)) => format!("{mean:.4} ± {std:.4}"),
        (Some(mean), None) => format!("{mean:.4}"),
        _ => String::new(),
    }
}

fn failures(failed: &[&TrialResult]) -> Markup {
    let error = |trial: &TrialResult| trial.error.clone().unwrap_or_default();
    html! {
        section {
            h2 { "Failed trials" }
            @for trial in failed {
                details {
                    summary { "Trial " (trial.trial) ": " (error(trial).lines().next().unwrap_or_default()) }
                    pre { (error(trial)) }
                }
            }
        }
    }
}

fn table(sweep: &Sweep, results: &Results) -> Markup {
    let has_rungs = sweep.rungs.len() > 1;
    let others = others(results);
    let mut head = vec!["trial"];
    head.extend(sweep.space.axes.iter().map(|axis| axis.key.as_str()));
    head.extend(has_rungs.then_some("epochs"));
    head.push(&results.metric);
    head.extend(&others);
    let best = results.trials.first().filter(|best| best.mean.is_some()).map(|best| best.trial);
    let rows = results.trials.iter().map(|trial| {
        let name = html! { span data-trial=(trial.trial) { (trial.trial) } };
        let mut row = vec![Cell { value: Some(trial.trial as f64), ..Cell::text(name) }];
        row.extend(sweep.trials[trial.trial].settings.iter().map(|(_, setting)| Cell {
            value: number(setting),
            ..Cell::text(format_value(setting))
        }));
        let epochs = trial.epochs.map(|epochs| Cell::number(epochs as f64, 0));
        row.extend(has_rungs.then(|| epochs.unwrap_or_default()));
        row.push(Cell {
            value: trial.mean,
            best: best == Some(trial.trial),
            ..Cell::text(
                html! { span { @if trial.error.is_some() { "failed" } @else { (value(trial)) } } },
            )
        });
        row.extend(others.iter().map(|name| match trial.measured.get(*name) {
            Some(&value) => Cell::number(value, 4),
            None => Cell::default(),
        }));
        row
    });
    html! { section { h2 { "Trials" } (sortable(&head, &rows.collect::<Vec<_>>())) } }
}

/// Returns the names of the other metrics.
fn others(results: &Results) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for name in results.trials.iter().flat_map(|trial| trial.measured.keys()) {
        if *name != results.metric && !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names
}

fn number(value: &Value) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().map(|number| number as f64))
}

/// Scale of an axis of the plot.
struct Scale {
    name: String,
    kind: Kind,
}

enum Kind {
    /// Numbers in a range, on a linear or logarithmic scale.
    Numbers { low: f64, high: f64, log: bool },
    /// Evenly spaced names.
    Names(Vec<String>),
}

impl Scale {
    fn of(axis: &Axis) -> Self {
        let kind = match &axis.domain {
            Domain::Uniform(low, high) => Kind::Numbers { low: *low, high: *high, log: false },
            Domain::LogUniform(low, high) => Kind::Numbers { low: *low, high: *high, log: true },
            Domain::Integer(low, high) => {
                Kind::Numbers { low: *low as f64, high: *high as f64, log: false }
            }
            Domain::List(values) => Self::of_list(values),
        };
        Self { name: axis.key.clone(), kind }
    }

    /// Returns the scale of a list; numbers that span an order of magnitude are logarithmic.
    fn of_list(values: &[Value]) -> Kind {
        let numbers: Option<Vec<f64>> = values.iter().map(number).collect();
        match numbers {
            Some(numbers) if numbers.len() > 1 => {
                let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
                let high = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                Kind::Numbers { low, high, log: low > 0.0 && high / low >= 10.0 }
            }
            _ => Kind::Names(values.iter().map(format_value).collect()),
        }
    }

    /// Returns the position of a value, from 0 at the bottom to 1.
    fn share(&self, value: &Value) -> f64 {
        match &self.kind {
            Kind::Numbers { .. } => self.share_of_number(number(value).unwrap_or_default()),
            Kind::Names(names) => {
                let at = names.iter().position(|name| *name == format_value(value)).unwrap_or(0);
                (at as f64 + 0.5) / names.len() as f64
            }
        }
    }

    fn share_of_number(&self, number: f64) -> f64 {
        let Kind::Numbers { low, high, log } = self.kind else { return 0.5 };
        if high <= low {
            return 0.5;
        }
        let share = if log {
            (number.ln() - low.ln()) / (high.ln() - low.ln())
        } else {
            (number - low) / (high - low)
        };
        share.clamp(0.0, 1.0)
    }

    /// Returns the positions and labels of the ticks.
    fn ticks(&self) -> Vec<(f64, String)> {
        match &self.kind {
            Kind::Names(names) => {
                let position = |at: usize| (at as f64 + 0.5) / names.len() as f64;
                names.iter().enumerate().map(|(at, name)| (position(at), name.clone())).collect()
            }
            &Kind::Numbers { low, high, log } => {
                let number = |share: f64| {
                    if log {
                        (low.ln() + share * (high / low).ln()).exp()
                    } else {
                        low + share * (high - low)
                    }
                };
                let label = |share: f64| {
                    let rounded = format!("{:.2e}", number(share)).parse().unwrap_or_default();
                    (share, format_value(&Value::Float(rounded)))
                };
                let shares: &[f64] = if high > low { &[0.0, 0.5, 1.0] } else { &[0.5] };
                shares.iter().map(|&share| label(share)).collect()
            }
        }
    }
}

/// Returns the parallel-coordinates plot: an axis for each key, and last one for the metric.
fn plot(sweep: &Sweep, results: &Results) -> Markup {
    let means: Vec<f64> = results.trials.iter().filter_map(|trial| trial.mean).collect();
    let low = means.iter().copied().fold(f64::INFINITY, f64::min);
    let high = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let metric =
        Scale { name: results.metric.clone(), kind: Kind::Numbers { low, high, log: false } };
    let mut scales: Vec<Scale> = sweep.space.axes.iter().map(Scale::of).collect();
    scales.push(metric);
    let width = 2.0 * SIDE + BETWEEN * (scales.len() - 1) as f64;
    // The worst first, so that the best lies on top.
    let mut trials: Vec<&TrialResult> =
        results.trials.iter().filter(|trial| trial.mean.is_some()).collect();
    trials.reverse();
    html! {
        section {
            h2 { "Values and results" }
            div.scroll {
                svg.parallel viewBox=(format!("0 0 {width} {HEIGHT}"))
                    style=(format!("min-width:{}px;max-width:{}px", width * 0.75, width * 1.3))
                    role="img" aria-label="Parallel coordinates: one line per trial across the varied keys to the metric" {
                    @for trial in trials { (line(sweep, results, &scales, trial)) }
                    @for (at, scale) in scales.iter().enumerate() {
                        (axis(at, scale, at + 1 == scales.len()))
                    }
                }
            }
            p.note { "worse " span.ramp {} " better. Point at a line to highlight its row, or at a row to highlight its line." }
        }
    }
}

fn x(at: usize) -> f64 {
    SIDE + BETWEEN * at as f64
}

fn y(share: f64) -> f64 {
    BOTTOM - share * (BOTTOM - TOP)
}

fn line(sweep: &Sweep, results: &Results, scales: &[Scale], trial: &TrialResult) -> Markup {
    let settings = &sweep.trials[trial.trial].settings;
    let mut shares: Vec<f64> =
        settings.iter().zip(scales).map(|((_, value), scale)| scale.share(value)).collect();
    let outcome =
        scales.last().map_or(0.5, |scale| scale.share_of_number(trial.mean.unwrap_or_default()));
    shares.push(outcome);
    let points: Vec<String> = shares
        .iter()
        .enumerate()
        .map(|(at, &share)| format!("{:.1},{:.1}", x(at), y(share)))
        .collect();
    let goodness = match results.direction {
        Direction::Maximize => outcome,
        Direction::Minimize => 1.0 - outcome,
    };
    html! {
        g.line data-trial=(trial.trial) style=(format!("--good:{:.0}%", goodness * 100.0)) {
            polyline points=(points.join(" ")) {}
            polyline.touch points=(points.join(" ")) {}
            title { "trial " (trial.trial) ": " (results.metric) " " (value(trial)) }
        }
    }
}

fn axis(at: usize, scale: &Scale, is_last: bool) -> Markup {
    let (left, right) = (x(at), x(at) + 7.0);
    let is_log = matches!(scale.kind, Kind::Numbers { log: true, .. });
    // Keys are long, so the section is printed above the name.
    let (section, name) = scale.name.rsplit_once('.').unwrap_or(("", &scale.name));
    html! {
        g.axis {
            line x1=(left) x2=(left) y1=(TOP) y2=(BOTTOM) {}
            text.name x=(left) y="30" text-anchor="middle" { (name) }
            text x=(left) y="14" text-anchor="middle" { (section) @if is_last { "result" } }
            @if is_log { text x=(left) y=(BOTTOM + 22.0) text-anchor="middle" { "log scale" } }
            @for (share, label) in scale.ticks() {
                line x1=(left - 4.0) x2=(left) y1=(y(share)) y2=(y(share)) {}
                text.tick x=(right) y=(y(share) + 4.0) { (label) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(text: &str) -> Scale {
        let space = super::super::Space::parse(&text.parse().unwrap()).unwrap();
        Scale::of(&space.axes[0])
    }

    #[test]
    fn values_lie_where_their_scale_has_them() {
        let float = |scale: &Scale, value| scale.share(&Value::Float(value));
        let log = scale("a = { log-uniform = [1e-4, 1e-2] }");
        assert!((float(&log, 1e-3) - 0.5).abs() < 1e-12);
        assert_eq!(
            log.ticks().into_iter().map(|tick| tick.1).collect::<Vec<_>>(),
            ["1e-4", "0.001", "0.01"]
        );
        assert!((float(&scale("a = { uniform = [0, 10] }"), 2.5) - 0.25).abs() < 1e-12);
        // Lists of numbers over orders of magnitude, of similar numbers, and of names.
        assert!((float(&scale("a = [1e-4, 1e-2]"), 1e-3) - 0.5).abs() < 1e-12);
        assert!((float(&scale("a = [0.0, 1.0]"), 1.0) - 1.0).abs() < 1e-12);
        let names = scale("a = [\"x\", \"y\"]");
        assert!((names.share(&Value::String("y".into())) - 0.75).abs() < 1e-12);
    }
}
