//! HTML page of a sweep: progress, a plot and a table of the trials, and what to do with each.

use std::collections::BTreeSet;
use std::path::Path;

use foreign_text::{printable_path, shell_command};
use maud::{Markup, PreEscaped, html};
use report::Footer;
use report::plot::{Line, Scale, Style, line_chart};
use report::table::{Cell, sortable};
use runs::RunFolder;
use runs::metrics::{self, EpochRecord, MetricsError};

use super::definition::{Sweep, format_value};
use super::plot::{number, outcome, plot};
use super::results::{Results, TrialResult};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Returns the page of the sweep in the folder `out` as HTML.
///
/// # Errors
/// Fails if the records of a run are damaged.
pub(super) fn page(sweep: &Sweep, results: &Results, out: &Path) -> Result<String, MetricsError> {
    let better = results.direction.better();
    let failed: Vec<&TrialResult> = results.failed().collect();
    let best = results.trials.first().filter(|best| best.mean.is_some());
    let body = html! {
        style { (PreEscaped(STYLE)) }
        @if let Some(best) = best {
            p.lead {
                "The best of " (results.trials.len()) " trials is "
                a href=(format!("#trial-{}", best.trial)) { "trial " (best.trial) }
                " with " (results.metric) " " strong { (outcome(best)) } " (" (better) "): "
                (settings(sweep, best.trial)) "."
            }
        }
        (progress(results))
        p.note {
            "Config " code { (sweep.base.display()) } ". Trials are compared by " (results.metric) " on the "
            (results.split) " split"
            @if results.seeds.len() > 1 { ", the mean of " (results.seeds.len()) " seeds" }
            "."
        }
        @if best.is_some() { (plot(sweep, results)) }
        (table(sweep, results))
        (details(sweep, results, out)?)
        @if !failed.is_empty() { (failures(&failed)) }
        script { (PreEscaped(SCRIPT)) }
    };
    let (file, folder) = (printable_path(&sweep.file), printable_path(out));
    let footer = Footer {
        machine: machines(results, out),
        seconds: Some(results.seconds),
        commands: vec![format!("capsmith sweep {file} --out {folder}")],
    };
    Ok(report::page(&title(sweep), &body, &footer))
}

/// Returns the distinct hardware that the runs recorded.
fn machines(results: &Results, out: &Path) -> Vec<String> {
    let folders = results.trials.iter().flat_map(|trial| {
        trial.runs.iter().map(move |run| out.join(&trial.folder).join(format!("seed-{}", run.seed)))
    });
    let provenances = folders.filter_map(|folder| RunFolder::new(&folder).provenance().ok());
    let names: BTreeSet<String> = provenances.map(|one| one.hardware().to_string()).collect();
    names.into_iter().collect()
}

/// Returns a title that names the sweep, the varied keys, the system and the data.
fn title(sweep: &Sweep) -> String {
    let keys: Vec<&str> = sweep.space.axes.iter().map(|axis| last_part(&axis.key)).collect();
    let keys = match &keys[..] {
        [rest @ .., last] if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        keys => keys.concat(),
    };
    let of = sweep.trials.first().map(|trial| {
        let data = &trial.config.data.dataset;
        let name = if datasets::is_drawn(data) {
            datasets::DRAWN_NAME.into()
        } else {
            data.file_name().unwrap_or_default().to_string_lossy()
        };
        format!(" of {} on {name}", trial.config.system.title())
    });
    format!("Sweep {}: {keys}{}", sweep.name, of.unwrap_or_default())
}

fn last_part(key: &str) -> &str {
    key.rsplit_once('.').map_or(key, |(_, name)| name)
}

fn settings(sweep: &Sweep, trial: usize) -> Markup {
    html! {
        @for (number, (key, setting)) in sweep.trials[trial].settings.iter().enumerate() {
            @if number > 0 { ", " }
            code { (key) " = " (format_value(setting)) }
        }
    }
}

/// Returns how many trials, runs and stages are done.
fn progress(results: &Results) -> Markup {
    let trials = results.trials.len();
    let scored = results.trials.iter().filter(|trial| trial.mean.is_some()).count();
    let failed = results.failed().count();
    let runs = results.trials.iter().flat_map(|trial| &trial.runs);
    let measured = runs.filter(|run| !run.rungs.is_empty()).count();
    let seeds = results.seeds.len();
    let (finished, planned) = (results.finished_stages, results.planned_stages);
    html! {
        p.progress {
            progress value=(finished) max=(planned.max(1)) aria-label="Finished stages" {}
            @if results.complete { "Complete: " } @else { "Not complete yet: " }
            (scored) " of " (trials) " trials scored"
            @if failed > 0 { ", " (failed) " failed" }
            "; " (measured) " of " (trials * seeds) " runs (" (seeds)
            @if seeds == 1 { " seed" } @else { " seeds" } " each); "
            (finished) " of " (planned) " planned stages finished."
        }
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
                    pre tabindex="0" { (error(trial)) }
                }
            }
        }
    }
}

fn table(sweep: &Sweep, results: &Results) -> Markup {
    let has_rungs = sweep.rungs.len() > 1;
    let others = results.other_metrics();
    let mut head = vec!["trial"];
    head.extend(sweep.space.axes.iter().map(|axis| axis.key.as_str()));
    head.extend(has_rungs.then_some("epochs"));
    head.push(&results.metric);
    head.extend(&others);
    let best = results.trials.first().filter(|best| best.mean.is_some()).map(|best| best.trial);
    let rows = results.trials.iter().map(|trial| {
        let name = html! {
            a href=(format!("#trial-{}", trial.trial)) data-trial=(trial.trial) { (trial.trial) }
        };
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
                html! { span { @if trial.error.is_some() { "failed" } @else { (outcome(trial)) } } },
            )
        });
        row.extend(others.iter().map(|name| match trial.measured.get(*name) {
            Some(&value) => Cell::number(value, 4),
            None => Cell::default(),
        }));
        row
    });
    html! {
        section {
            h2 { "Trials" }
            p.note { "Best first. A number leads to the trial's runs, curves and commands." }
            (sortable(&head, &rows.collect::<Vec<_>>()))
            (report::meanings([results.metric.as_str()].into_iter().chain(others.clone())))
        }
    }
}

/// Returns each trial's runs, curves and commands, collapsed except for the best.
fn details(sweep: &Sweep, results: &Results, out: &Path) -> Result<Markup, MetricsError> {
    let trials = results.trials.iter().enumerate().map(|(rank, trial)| {
        let curves = curves(trial, out)?;
        let (name, number) = (&results.name, trial.trial);
        let folder = format!("{}/{}", out.display(), trial.folder);
        let config = format!("{folder}/config.toml");
        let new_run = format!("runs/{name}-trial-{number}");
        let mut report = vec!["capsmith".to_owned(), "report".to_owned()];
        report.extend(trial.runs.iter().map(|run| format!("{folder}/seed-{}", run.seed)));
        Ok(html! {
            details.trial id=(format!("trial-{number}")) open[rank == 0 && trial.mean.is_some()] {
                summary { "Trial " (number) ": " (results.metric) " " (outcome(trial)) }
                p { (settings(sweep, number)) }
                p {
                    "Runs: "
                    @for run in &trial.runs {
                        a href=(format!("{}/seed-{}/", trial.folder, run.seed)) { "seed " (run.seed) } " "
                    }
                }
                p { "Train with these values:" }
                pre.command tabindex="0" {
                    (shell_command(["capsmith", "train", &config, "--out", &new_run]))
                }
                p { "Compare its runs in detail:" }
                pre.command tabindex="0" { (shell_command(&report)) }
                (curves)
            }
        })
    });
    let trials = trials.collect::<Result<Vec<Markup>, MetricsError>>()?;
    Ok(html! { section { h2 { "Each trial" } @for trial in trials { (trial) } } })
}

/// Returns the losses of the trial's runs by epoch.
fn curves(trial: &TrialResult, out: &Path) -> Result<Markup, MetricsError> {
    let mut lines = Vec::new();
    for (colour, run) in trial.runs.iter().enumerate() {
        let folder = out.join(&trial.folder).join(format!("seed-{}", run.seed));
        let epochs: Vec<EpochRecord> = metrics::records(&folder.join("epochs.csv"))?;
        let points = |value: fn(&EpochRecord) -> Option<f64>| -> Vec<(f64, f64)> {
            epochs.iter().filter_map(|one| Some((one.epoch as f64, value(one)?))).collect()
        };
        let training =
            (format!("seed {}", run.seed), Style::Line, points(|one| Some(one.last_loss)));
        let name = format!("seed {}, held out", run.seed);
        for (name, style, points) in
            [training, (name, Style::Dots, points(|one| one.validation_loss))]
        {
            if !points.is_empty() {
                lines.push(Line { name, colour, style, points });
            }
        }
    }
    Ok(
        html! { div.charts { (line_chart("Loss of the last batch, and held out", "epoch", Scale::Clipped, &lines)) } },
    )
}
