//! Pascal-50S (Vedantam et al. 2015): which of two captions of an image people prefer.
//!
//! A line of `pascal50s.jsonl` is a pair of captions:
//!
//! ```json
//! {"image": "2008_000008.jpg", "category": 1, "captions": ["a", "b"], "references": ["…", "…"], "votes": [31, 17]}
//! ```
//!
//! with the category 1 to 4 for HC (two human captions of the image), HI (one of another image), HM
//! (human and machine) and MM (two machines), 48 references and the votes for either caption.

use std::cmp::Ordering;
use std::path::Path;

use rand::SeedableRng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;

use crate::correlate::{Columns, Pair};
use crate::{Error, Protocol, text};

pub(super) const FILE: &str = "pascal50s.jsonl";

pub(super) const HINT: &str = "convert pair_pascal.mat and consensus_pascal.mat of \
    pyCIDErConsensus.zip (https://vrama91.github.io/cider/) to pascal50s.jsonl with the script in \
    docs/accuracy.md";

/// Draws of references, over which accuracies are averaged.
const DRAWS: u64 = 5;

/// References of a draw.
const REFERENCES: usize = 5;

const CATEGORIES: usize = 4;

/// Two captions of an image, and how often people preferred each.
#[derive(Deserialize)]
pub(super) struct Preference {
    image: String,
    category: usize,
    captions: [String; 2],
    references: Vec<String>,
    votes: [u32; 2],
}

impl Preference {
    /// Returns the number of people who voted.
    pub(super) fn voters(&self) -> usize {
        self.votes.iter().sum::<u32>() as usize
    }
}

/// Reads the pairs of captions.
pub(super) fn read(path: &Path) -> Result<Vec<Preference>, Error> {
    let malformed = |message| Error::Malformed { path: path.to_owned(), message };
    let mut preferences = Vec::new();
    for (line, text) in (1..).zip(text::read(path)?.lines()) {
        if text.trim().is_empty() {
            continue;
        }
        let preference: Preference = serde_json::from_str(text)
            .map_err(|error| malformed(format!("line {line}: {error}")))?;
        let (category, references) = (preference.category, preference.references.len());
        if !(1..=CATEGORIES).contains(&category) || references < REFERENCES {
            return Err(malformed(format!(
                "line {line}: expected a category from 1 to {CATEGORIES} and at least \
                 {REFERENCES} references, found {category} and {references}"
            )));
        }
        preferences.push(preference);
    }
    if preferences.is_empty() {
        Err(malformed("it holds no pairs".to_owned()))
    } else {
        Ok(preferences)
    }
}

/// Returns the accuracy of every score for each category, and their mean.
///
/// Each of five draws takes five references of a pair, from its own stream of a `ChaCha8`
/// generator. A tie of scores or of votes counts one half, which is what breaking it at random
/// gives on average.
pub(super) fn accuracies(
    preferences: &[Preference],
    seed: u64,
    score: impl Fn(&[Pair]) -> Result<(Protocol, Columns), Error>,
) -> Result<(Protocol, Columns), Error> {
    let mut sums: Vec<(&'static str, [f64; CATEGORIES])> = Vec::new();
    let mut protocol = None;
    for draw in 0..DRAWS {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(draw);
        let mut sides = [const { Vec::new() }; 2];
        for preference in preferences {
            let Preference { image, captions, references, .. } = preference;
            let drawn = sample(&mut generator, references.len(), REFERENCES);
            let drawn: Vec<String> = drawn.into_iter().map(|k| references[k].clone()).collect();
            for (side, caption) in sides.iter_mut().zip(captions) {
                let (image, caption) = (image.clone(), caption.clone());
                side.push(Pair { image, caption, references: drawn.clone() });
            }
        }
        let (_, first) = score(&sides[0])?;
        let (used, second) = score(&sides[1])?;
        protocol = Some(used);
        sums.resize(first.len(), ("", [0.0; CATEGORIES]));
        for ((sum, (name, a)), (_, b)) in sums.iter_mut().zip(first).zip(second) {
            sum.0 = name;
            for (preference, scores) in preferences.iter().zip(a.into_iter().zip(b)) {
                sum.1[preference.category - 1] += credit(scores, preference.votes);
            }
        }
    }
    let protocol = protocol.ok_or(Error::NoImages)?;
    let pairs_of = |category| {
        let of_category = preferences.iter().filter(|pair| pair.category == category + 1);
        of_category.count() as f64
    };
    let averages = sums.into_iter().map(|(name, sums)| {
        let mut averages: Vec<f64> = (0..CATEGORIES)
            .map(|category| sums[category] / (pairs_of(category) * DRAWS as f64))
            .collect();
        averages.push(averages.iter().sum::<f64>() / CATEGORIES as f64);
        (name, averages)
    });
    Ok((protocol, averages.collect()))
}

/// Returns 1 if scores and votes prefer one caption, 0 if they do not, and one half for a tie.
fn credit(scores: (f64, f64), votes: [u32; 2]) -> f64 {
    let by_score = scores.0.partial_cmp(&scores.1).unwrap_or(Ordering::Equal);
    match (by_score, votes[0].cmp(&votes[1])) {
        (Ordering::Equal, _) | (_, Ordering::Equal) => 0.5,
        (by_score, by_votes) => f64::from(u8::from(by_score == by_votes)),
    }
}
