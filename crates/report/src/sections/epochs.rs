//! Scores of captions after each epoch.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::parts::name;
use crate::plot::{Line, MOST_POINTS, Scale, Style, line_chart, thin};
use crate::run::{Run, metrics};

pub(super) fn section(runs: &[Run]) -> Markup {
    let scored: Vec<(usize, &Run)> =
        runs.iter().enumerate().filter(|(_, run)| !run.epoch_scores.is_empty()).collect();
    if scored.is_empty() {
        return html! {
            p.absent {
                "No run was scored during training. Set " code { "training.scored_pictures" }
                " to caption and score that many pictures after each epoch."
            }
        };
    }
    html! {
        p.note {
            "The first pictures of a split, captioned by each epoch's checkpoint: "
            @for (pictures, runs) in &by_pictures(&scored) {
                @for &(number, text) in runs { (name(number, text)) ", " }
                (pictures) " pictures; "
            }
            "CIDEr depends on the set of pictures, so it differs from CIDEr of the whole split."
        }
        div.charts {
            @for metric in metrics() { (line_chart(metric, "epoch", Scale::Linear, &lines(&scored, metric))) }
        }
    }
}

/// Groups runs by split and number of the images that they captioned.
fn by_pictures<'a>(scored: &[(usize, &'a Run)]) -> BTreeMap<String, Vec<(usize, &'a str)>> {
    let mut by_pictures: BTreeMap<String, Vec<(usize, &str)>> = BTreeMap::new();
    for &(number, run) in scored {
        if let Some(last) = run.epoch_scores.last() {
            let pictures = format!("{} {}", last.pictures, last.split);
            by_pictures.entry(pictures).or_default().push((number, &run.name));
        }
    }
    by_pictures
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
