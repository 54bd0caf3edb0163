//! METEOR's statistics and scores, against the jar's.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use caption_metrics::meteor::{Segment, Statistics, score};
use support::{json_lines, resources, strings};
use test_support::shared;

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

/// Worked examples, each of which isolates one rule; scores are the jar's.
#[test]
#[allow(clippy::unreadable_literal, reason = "as the jar prints them")]
fn examples_of_single_rules_score_as_in_the_jar() {
    let Some(resources) = resources() else { return };
    let examples: [(&str, &[&str], f64); 20] = [
        ("a dog runs", &["a dog runs"], 1.0),
        ("", &["a dog"], 0.0),
        ("selfies", &["selfie"], 0.6),
        ("dogs", &["dog"], 0.0),
        ("two dogs", &["two dog"], 0.6999999999999998),
        ("breathe", &["entity"], 0.8000000000000002),
        ("a group of men", &["a group of man"], 0.9249999999999999),
        ("the man is in front of a house", &["the man is before a house"], 0.860730593607306),
        ("a great deal of snow", &["a lot of snow"], 0.7913148371531966),
        ("the dog 's ball", &["the dog's ball"], 0.3836989904020544),
        ("a b-b-q grill", &["a b b-q grill"], 0.24917504157583614),
        ("dog a", &["a dog"], 0.4),
        ("an", &["c0"], 1.0),
        ("man rides bike while grimacing", &["male biker bikes through the woods"], 0.0),
        ("a young male surfing", &["a boy surfs"], 0.15388015957766193),
        ("trucks racing", &["trucks race in an obstacle course"], 0.17912612325837207),
        ("two dogs playing in the snow", &["dogs play in the snow"], 0.4967081235493408),
        ("five young men playing rugby", &["five men play football"], 0.2798823272502421),
        (
            "three people scuba dive under the sea",
            &["two individuals underwater scuba diving"],
            0.16858929247846782,
        ),
        ("a dog chases another dog", &["two dogs are running in a field"], 0.03076923076923077),
    ];
    let segments: Vec<Segment<&str>> = examples
        .iter()
        .map(|&(hypothesis, references, _)| Segment { id: "", hypothesis, references })
        .collect();
    let statistics = score(&resources, &segments).unwrap();
    for ((hypothesis, _, expected), statistics) in examples.iter().zip(&statistics) {
        assert!((statistics.score() - expected).abs() < 1e-15, "{hypothesis}: {statistics:?}");
    }
}

/// Checks by the corpus score that the first of references that all score zero is kept.
#[test]
fn of_references_with_equal_scores_the_first_counts() {
    let Some(resources) = resources() else { return };
    let one = ["blue car", "the blue car"];
    let other = ["the blue car", "blue car"];
    let perfect = ["a dog runs"];
    for (references, expected) in
        [(&one, 0.538_461_538_461_538_4), (&other, 0.505_415_162_454_873_6)]
    {
        let segments = [
            Segment { id: "1", hypothesis: "red apples", references: references.as_slice() },
            Segment { id: "2", hypothesis: "a dog runs", references: &perfect },
        ];
        let corpus = Statistics::sum(&score(&resources, &segments).unwrap()).score();
        assert!((corpus - expected).abs() < 1e-15, "{corpus}");
    }
}
