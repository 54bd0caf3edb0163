//! METEOR's statistics and scores of every segment of the shared ground truth.

mod support;

use caption_metrics::meteor::{Segment, Statistics, score};
use support::{json_lines, resources, shared, strings};

#[test]
fn segments_have_the_jars_statistics_and_scores() {
    let Some(path) = shared("evaluator/meteor/visible.jsonl") else { return };
    let Some(resources) = resources() else { return };
    let lines = json_lines(&path);
    let references: Vec<Vec<String>> = lines.iter().map(|line| strings(&line["refs"])).collect();
    let segments: Vec<Segment<String>> = lines
        .iter()
        .zip(&references)
        .map(|(line, references)| Segment {
            id: line["kind"].as_str().unwrap(),
            hypothesis: line["hyp"].as_str().unwrap(),
            references,
        })
        .collect();
    let statistics = score(&resources, &segments).unwrap();
    let mut wrong = Vec::new();
    for (line, statistics) in lines.iter().zip(&statistics) {
        let counts: Vec<String> = statistics.counts().iter().map(|n| format!("{n}.0")).collect();
        let close = (statistics.score() - line["score"].as_f64().unwrap()).abs() < 1e-15;
        if counts.join(" ") != line["stats"].as_str().unwrap() || !close {
            wrong.push(format!("{line}\n    {} {}", counts.join(" "), statistics.score()));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    let corpus = Statistics::sum(&statistics).score();
    assert!((corpus - 0.287_478_094_823_942).abs() < 1e-14, "{corpus}");
    assert!(lines.len() > 3000);
}
