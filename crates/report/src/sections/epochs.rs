//! Scores of captions after each epoch.

use std::collections::BTreeSet;

use maud::{Markup, html};

use crate::plot::{Line, MOST_POINTS, Style, line_chart, thin};
use crate::run::{Run, metrics};

pub(super) fn section(runs: &[Run]) -> Markup {
    let scored: Vec<(usize, &Run)> =
        runs.iter().enumerate().filter(|(_, run)| !run.epoch_scores.is_empty()).collect();
    if scored.is_empty() {
        return html! {
            p.absent {
                "No run was scored while it trained. The key " code { "training.scored_pictures" }
                " says how many pictures are captioned after each epoch."
            }
        };
    }
    let pictures: BTreeSet<String> = scored
        .iter()
        .filter_map(|(_, run)| run.epoch_scores.last())
        .map(|scores| format!("{} {}", scores.pictures, scores.split))
        .collect();
    let pictures: Vec<String> = pictures.into_iter().collect();
    html! {
        p.note {
            "Of the first " (pictures.join(", of others of ")) " pictures, captioned by each epoch's checkpoint. "
            "CIDEr depends on which pictures are scored together: it is not that of the whole split."
        }
        div.charts {
            @for metric in metrics() { (line_chart(metric, "epoch", &lines(&scored, metric))) }
        }
    }
}

fn lines(runs: &[(usize, &Run)], metric: &str) -> Vec<Line> {
    let lines = runs.iter().map(|&(number, run)| {
        let scores = run.epoch_scores.iter().flat_map(|scores| {
            let named = scores.named().into_iter().filter(|(name, _)| *name == metric);
            named.map(|(_, score)| (scores.epoch as f64, score))
        });
        Line {
            name: run.name.clone(),
            colour: number,
            style: Style::Dots,
            points: thin(&scores.collect::<Vec<_>>(), MOST_POINTS),
        }
    });
    lines.filter(|line| !line.points.is_empty()).collect()
}
