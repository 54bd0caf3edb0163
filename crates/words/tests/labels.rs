//! Compares labels of Flickr8k with the paper's published list.
//!
//! The authors made that list with spaCy and a sentence-transformers model. Skipped if `../shared`
//! is absent.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

use std::collections::HashMap;
use std::path::Path;

use test_support::shared;
use words::{Label, labels};

fn captions(path: &Path) -> Vec<String> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    reader.records().map(|record| record.unwrap()[1].to_owned()).collect()
}

/// Counts the published labels among ours, and those with the same part of speech.
fn agreement(ours: &[Label], published: &[Label]) -> (usize, usize) {
    let parts: HashMap<&str, _> =
        ours.iter().map(|label| (label.word.as_str(), label.part_of_speech)).collect();
    let found = published.iter().filter_map(|label| Some((label, parts.get(&label.word[..])?)));
    let found: Vec<bool> = found.map(|(label, part)| label.part_of_speech == *part).collect();
    (found.len(), found.iter().filter(|same| **same).count())
}

#[test]
fn most_of_the_published_labels_come_out() {
    let (Some(captions_file), Some(published)) =
        (shared("flickr8k/captions.txt"), shared("sbg/all_labels.json"))
    else {
        return;
    };
    let captions = captions(&captions_file);
    let published: Vec<Label> = serde_json::from_slice(&std::fs::read(published).unwrap()).unwrap();
    let start = std::time::Instant::now();
    let all = labels::count(&captions);
    println!("{} labels of {} captions in {:.1?}", all.len(), captions.len(), start.elapsed());
    let kept = labels::without_synonyms(all.clone());
    for (mode, ours, least) in
        [("none", &all, [990, 875, 4960, 4250]), ("wordnet", &kept, [965, 855, 4690, 4010])]
    {
        let (first, first_same) = agreement(ours, &published[..1000]);
        let (whole, whole_same) = agreement(ours, &published);
        println!(
            "synonyms {mode}: {} labels; of the published first 1,000: {first}, with the same part of speech {first_same}; of all {}: {whole}, {whole_same}",
            ours.len(),
            published.len()
        );
        let found = [first, first_same, whole, whole_same];
        assert!(found.iter().zip(least).all(|(found, least)| *found >= least), "{found:?}");
    }
    let frequencies: HashMap<&str, u64> =
        all.iter().map(|label| (label.word.as_str(), label.frequency)).collect();
    let same = published[..1000]
        .iter()
        .filter(|label| frequencies.get(&label.word[..]) == Some(&label.frequency))
        .count();
    println!("of the published first 1,000 {same} have exactly the published frequency");
    assert!(same >= 690);
    // A contraction that Flickr8k writes apart from its noun ("a dog 's mouth") is not a label.
    assert!(!frequencies.contains_key("s") && !frequencies.contains_key("'s"));
}
