//! Training curves by step.

use maud::{Markup, html};
use runs::metrics::StepRecord;

use super::parts::absent;
use crate::plot::{Line, MOST_POINTS, Scale, Style, line_chart, smooth, thin};
use crate::run::Run;

/// Divisor of a line's number of steps that gives the length of the moving average.
const SMOOTHED_PART: usize = 50;

pub(super) fn section(runs: &[Run]) -> Markup {
    let trained = runs.iter().any(|run| !run.steps.is_empty());
    let losses: Vec<Line> = runs
        .iter()
        .enumerate()
        .flat_map(|(number, run)| {
            smoothed(number, run, |step| step.loss).into_iter().chain(held_out(number, run))
        })
        .collect();
    let rates: Vec<Line> =
        runs.iter().enumerate().filter_map(|(number, run)| rate(number, run)).collect();
    let norms: Vec<Line> = runs
        .iter()
        .enumerate()
        .flat_map(|(number, run)| smoothed(number, run, |step| step.gradient_norm))
        .collect();
    html! {
        @if trained {
            p.note {
                "Strong lines are moving averages over about " (100 / SMOOTHED_PART) " % of the steps, faint lines "
                "the values of each step, dots the loss on held-out captions. Losses are per token or word, "
                "so they are not comparable between systems with different vocabularies. The axis of the loss may "
                "leave out the high losses of the first steps. A click on a name in the legend hides its line."
            }
            div.charts.first-wide {
                (line_chart("Loss", "step", Scale::Clipped, &losses))
                (line_chart("Learning rate", "step", Scale::Linear, &rates))
                (line_chart("Gradient norm before clipping", "step", Scale::Logarithmic, &norms))
            }
        }
        (absent(runs, |run| !run.steps.is_empty(), "has no metrics.csv, because it was imported or has not trained a step yet", |run| {
            format!("capsmith train CONFIG --out {} --resume", run.path.display())
        }))
    }
}

fn points(run: &Run, value: impl Fn(&StepRecord) -> f64) -> Vec<(f64, f64)> {
    let points = run.steps.iter().map(|step| (step.step as f64, value(step)));
    points.filter(|point| point.1.is_finite()).collect()
}

/// Returns a faint line of all values and a line of their moving average.
fn smoothed(number: usize, run: &Run, value: impl Fn(&StepRecord) -> f64) -> Vec<Line> {
    let raw = points(run, value);
    if raw.is_empty() {
        return Vec::new();
    }
    let smooth = smooth(&raw, raw.len() / SMOOTHED_PART);
    let line = |style, points: &[_]| Line {
        name: run.name.clone(),
        colour: number,
        style,
        points: thin(points, MOST_POINTS),
    };
    vec![line(Style::Faint, &raw), line(Style::Line, &smooth)]
}

fn rate(number: usize, run: &Run) -> Option<Line> {
    let points = points(run, |step| step.learning_rate);
    let line = Line {
        name: run.name.clone(),
        colour: number,
        style: Style::Line,
        points: thin(&points, MOST_POINTS),
    };
    Some(line).filter(|line| !line.points.is_empty())
}

/// Returns the held-out loss after each epoch.
fn held_out(number: usize, run: &Run) -> Option<Line> {
    let points =
        run.epochs.iter().filter_map(|epoch| Some((epoch.step as f64, epoch.validation_loss?)));
    let points: Vec<_> = points.collect();
    let line = Line {
        name: format!("{}, held out", run.name),
        colour: number,
        style: Style::Dots,
        points: thin(&points, MOST_POINTS),
    };
    Some(line).filter(|line| !line.points.is_empty())
}
