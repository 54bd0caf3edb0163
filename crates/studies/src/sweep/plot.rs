//! Parallel-coordinates plot of a sweep: one line per trial across the varied keys to the metric.

use maud::{Markup, html};
use toml::Value;

use super::definition::{Sweep, format_value};
use super::halving::Direction;
use super::results::{Results, TrialResult};
use super::space::{Axis, Domain};

/// Distance of the axes, and room around the plot, in its own units.
const BETWEEN: f64 = 190.0;
const SIDE: f64 = 110.0;
const TOP: f64 = 46.0;
const BOTTOM: f64 = 300.0;
/// Size and room of the plot for narrow screens, whose axes lie below each other.
const NARROW: f64 = 360.0;
const NARROW_SIDE: f64 = 28.0;
const NARROW_BETWEEN: f64 = 84.0;

/// Returns the plot, for wide and for narrow screens.
pub(super) fn plot(sweep: &Sweep, results: &Results) -> Markup {
    let mut scales: Vec<Scale> = sweep
        .space
        .axes
        .iter()
        .enumerate()
        .map(|(number, axis)| {
            let tried = sweep.trials.iter().filter_map(|trial| trial.settings.get(number));
            Scale::of(axis, tried.map(|(_, value)| value))
        })
        .collect();
    scales.push(Scale::of_metric(results));
    // The worst first, so that the best lies on top.
    let mut trials: Vec<&TrialResult> =
        results.trials.iter().filter(|trial| trial.mean.is_some()).collect();
    trials.reverse();
    let better = results.direction.better();
    let best_end = match results.direction {
        Direction::Maximize => "high",
        Direction::Minimize => "low",
    };
    html! {
        section {
            h2 { "Values and results" }
            p.note {
                "Each line is a trial: the values that it tried, and its " (results.metric) " on the last axis, where "
                (better) ", so good trials end at its " (best_end) " end. " span.worse { "Blue" } " lines are the worse trials "
                span.ramp aria-hidden="true" {} " and " span.better { "orange" } " lines the better ones. Ticks are "
                "the values that were tried."
            }
            @for layout in [Layout::Wide, Layout::Narrow] {
                @let (width, height) = layout.size(scales.len());
                div.scroll.(layout.class()) tabindex="0" {
                    svg.parallel viewBox=(format!("0 0 {width} {height}"))
                        style=(format!("min-width:{}px;max-width:{}px", layout.least(width), width * 1.3))
                        role="img" aria-label="One line per trial across the varied keys to the metric; the table below has the same values" {
                        @for trial in &trials { (line(layout, sweep, results, &scales, trial)) }
                        @for (at, scale) in scales.iter().enumerate() { (axis(layout, at, scale)) }
                    }
                }
            }
            p.note { "Point at a line to highlight its row, or at a row to highlight its line." }
        }
    }
}

/// Formats the metric of a trial over its seeds.
pub(super) fn outcome(trial: &TrialResult) -> String {
    match (trial.mean, trial.std) {
        (Some(mean), Some(std)) => format!("{mean:.4} ± {std:.4}"),
        (Some(mean), None) => format!("{mean:.4}"),
        _ => String::new(),
    }
}

/// Returns a number of the TOML file.
pub(super) fn number(value: &Value) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().map(|number| number as f64))
}

/// Arrangement of the axes.
#[derive(Clone, Copy, PartialEq)]
enum Layout {
    /// Upright axes beside each other.
    Wide,
    /// Level axes below each other, which fit a phone.
    Narrow,
}

impl Layout {
    fn class(self) -> &'static str {
        if self == Self::Wide { "wide" } else { "narrow" }
    }

    fn size(self, axes: usize) -> (f64, f64) {
        match self {
            Self::Wide => (2.0 * SIDE + BETWEEN * (axes - 1) as f64, BOTTOM + 40.0),
            Self::Narrow => (NARROW, TOP + NARROW_BETWEEN * (axes - 1) as f64 + 36.0),
        }
    }

    /// Returns the width below which the plot scrolls rather than shrinks.
    fn least(self, width: f64) -> f64 {
        if self == Self::Wide { width * 0.75 } else { 0.0 }
    }

    /// Returns the point of a share of an axis.
    fn point(self, at: usize, share: f64) -> (f64, f64) {
        match self {
            Self::Wide => (SIDE + BETWEEN * at as f64, BOTTOM - share * (BOTTOM - TOP)),
            Self::Narrow => {
                let x = NARROW_SIDE + share * (NARROW - 2.0 * NARROW_SIDE);
                (x, TOP + NARROW_BETWEEN * at as f64)
            }
        }
    }

    /// Returns the share of an axis that a label needs.
    fn label_room(self) -> f64 {
        if self == Self::Wide { 0.06 } else { 0.17 }
    }
}

/// Scale of an axis of the plot.
struct Scale {
    name: String,
    /// Line above the name.
    above: String,
    kind: Kind,
    /// Positions and labels of the ticks, in ascending order of the positions.
    ticks: Vec<(f64, String)>,
}

enum Kind {
    /// Numbers in a range, on a linear or logarithmic scale.
    Numbers { low: f64, high: f64, log: bool },
    /// Evenly spaced names.
    Names(Vec<String>),
}

impl Scale {
    /// Returns the scale of a key, with a tick for each value that was tried.
    fn of<'a>(axis: &Axis, tried: impl Iterator<Item = &'a Value>) -> Self {
        let kind = match &axis.domain {
            Domain::Uniform(low, high) => Kind::Numbers { low: *low, high: *high, log: false },
            Domain::LogUniform(low, high) => Kind::Numbers { low: *low, high: *high, log: true },
            Domain::Integer(low, high) => {
                Kind::Numbers { low: *low as f64, high: *high as f64, log: false }
            }
            Domain::List(values) => Kind::of_list(values),
        };
        let mut ticks: Vec<(f64, String)> =
            tried.map(|value| (kind.share(value), tick_label(value))).collect();
        ticks.sort_by(|a, b| a.0.total_cmp(&b.0));
        ticks.dedup();
        // Keys are long, so the section is printed above the name.
        let (above, name) = axis.key.rsplit_once('.').unwrap_or(("", &axis.key));
        let log = if matches!(kind, Kind::Numbers { log: true, .. }) { ", log scale" } else { "" };
        Self { name: name.to_owned(), above: format!("{above}{log}"), kind, ticks }
    }

    /// Returns the scale of the metric, from the lowest to the highest result.
    fn of_metric(results: &Results) -> Self {
        let means: Vec<f64> = results.trials.iter().filter_map(|trial| trial.mean).collect();
        let low = means.iter().copied().fold(f64::INFINITY, f64::min);
        let high = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let label = |share: f64| (share, format!("{:.4}", low + share * (high - low)));
        let shares: &[f64] = if high > low { &[0.0, 0.5, 1.0] } else { &[0.5] };
        Self {
            name: results.metric.clone(),
            above: results.direction.better().to_owned(),
            kind: Kind::Numbers { low, high, log: false },
            ticks: shares.iter().map(|&share| label(share)).collect(),
        }
    }

    /// Returns the ticks with a label where there is room; the first and the last have one.
    fn labelled(&self, room: f64) -> Vec<(f64, Option<&str>)> {
        let last = self.ticks.last().map_or(0.0, |tick| tick.0);
        let mut free_from = f64::NEG_INFINITY;
        let ticks = self.ticks.iter().map(|(share, label)| {
            let is_last = *share >= last;
            let has_room = *share >= free_from && (is_last || last - share >= room);
            if has_room {
                free_from = share + room;
            }
            (*share, (has_room || is_last).then_some(label.as_str()))
        });
        ticks.collect()
    }
}

/// Returns the label of a value, numbers with at most three digits.
fn tick_label(value: &Value) -> String {
    match value {
        Value::Float(number) => {
            let rounded = format!("{number:.2e}").parse().unwrap_or(*number);
            format_value(&Value::Float(rounded))
        }
        other => format_value(other),
    }
}

impl Kind {
    /// Returns the scale of a list; numbers that span an order of magnitude are logarithmic.
    fn of_list(values: &[Value]) -> Self {
        let numbers: Option<Vec<f64>> = values.iter().map(number).collect();
        match numbers {
            Some(numbers) if numbers.len() > 1 => {
                let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
                let high = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                Self::Numbers { low, high, log: low > 0.0 && high / low >= 10.0 }
            }
            _ => Self::Names(values.iter().map(format_value).collect()),
        }
    }

    /// Returns the position of a value, from 0 at the start of the axis to 1.
    fn share(&self, value: &Value) -> f64 {
        match self {
            Self::Numbers { .. } => self.share_of_number(number(value).unwrap_or_default()),
            Self::Names(names) => {
                let at = names.iter().position(|name| *name == format_value(value)).unwrap_or(0);
                (at as f64 + 0.5) / names.len() as f64
            }
        }
    }

    fn share_of_number(&self, number: f64) -> f64 {
        let &Self::Numbers { low, high, log } = self else { return 0.5 };
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
}

fn line(
    layout: Layout,
    sweep: &Sweep,
    results: &Results,
    scales: &[Scale],
    trial: &TrialResult,
) -> Markup {
    let settings = &sweep.trials[trial.trial].settings;
    let mut shares: Vec<f64> =
        settings.iter().zip(scales).map(|((_, value), scale)| scale.kind.share(value)).collect();
    let mean = trial.mean.unwrap_or_default();
    let share = scales.last().map_or(0.5, |scale| scale.kind.share_of_number(mean));
    shares.push(share);
    let points: Vec<String> = shares
        .iter()
        .enumerate()
        .map(|(at, &share)| layout.point(at, share))
        .map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect();
    let goodness = match results.direction {
        Direction::Maximize => share,
        Direction::Minimize => 1.0 - share,
    };
    html! {
        g.line data-trial=(trial.trial) style=(format!("--good:{:.0}%", goodness * 100.0)) {
            polyline points=(points.join(" ")) {}
            polyline.touch points=(points.join(" ")) {}
            title { "trial " (trial.trial) ": " (results.metric) " " (outcome(trial)) }
        }
    }
}

fn axis(layout: Layout, at: usize, scale: &Scale) -> Markup {
    let ((x1, y1), (x2, y2)) = (layout.point(at, 0.0), layout.point(at, 1.0));
    let ticks = scale.labelled(layout.label_room());
    html! {
        g.axis {
            line x1=(x1) y1=(y1) x2=(x2) y2=(y2) {}
            @if layout == Layout::Wide {
                text.name x=(x1) y="30" text-anchor="middle" { (scale.name) }
                text x=(x1) y="14" text-anchor="middle" { (scale.above) }
            } @else {
                text.name x=(x1) y=(y1 - 12.0) { (scale.name) }
                text x=(x2) y=(y1 - 12.0) text-anchor="end" { (scale.above) }
            }
            @for (share, label) in ticks {
                @let (x, y) = layout.point(at, share);
                @if layout == Layout::Wide {
                    line x1=(x - 4.0) x2=(x) y1=(y) y2=(y) {}
                    @if let Some(label) = label { text.tick x=(x + 7.0) y=(y + 4.0) { (label) } }
                } @else {
                    line x1=(x) x2=(x) y1=(y) y2=(y + 4.0) {}
                    @if let Some(label) = label {
                        text.tick x=(x) y=(y + 18.0) text-anchor="middle" { (label) }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(text: &str, tried: &[f64]) -> Scale {
        let space = super::super::Space::parse(&text.parse().unwrap()).unwrap();
        let tried: Vec<Value> = tried.iter().copied().map(Value::Float).collect();
        Scale::of(&space.axes[0], tried.iter())
    }

    #[test]
    fn values_lie_where_their_scale_has_them() {
        let float = |scale: &Scale, value| scale.kind.share(&Value::Float(value));
        let log = scale("a = { log-uniform = [1e-4, 1e-2] }", &[1e-3, 1e-4, 1e-2, 1e-3]);
        assert!((float(&log, 1e-3) - 0.5).abs() < 1e-12);
        let labels: Vec<&str> = log.ticks.iter().map(|tick| tick.1.as_str()).collect();
        assert_eq!(labels, ["1e-4", "0.001", "0.01"]);
        assert!((float(&scale("a = { uniform = [0, 10] }", &[]), 2.5) - 0.25).abs() < 1e-12);
        // Lists of numbers over orders of magnitude, of similar numbers, and of names.
        assert!((float(&scale("a = [1e-4, 1e-2]", &[]), 1e-3) - 0.5).abs() < 1e-12);
        assert!((float(&scale("a = [0.0, 1.0]", &[]), 1.0) - 1.0).abs() < 1e-12);
        let names = scale("a = [\"x\", \"y\"]", &[]);
        assert!((names.kind.share(&Value::String("y".into())) - 0.75).abs() < 1e-12);
    }

    #[test]
    fn labels_that_would_overlap_are_left_out_but_not_their_ticks() {
        let dense = scale("a = { uniform = [0, 1] }", &[0.0, 0.02, 0.5, 0.98, 1.0]);
        let labels: Vec<Option<&str>> = dense.labelled(0.1).iter().map(|tick| tick.1).collect();
        assert_eq!(labels, [Some("0"), None, Some("0.5"), None, Some("1")]);
    }
}
