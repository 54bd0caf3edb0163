//! Paired tests between runs, and the images on which one of a pair wins.

use std::cmp::Ordering;

use caption_metrics::significance::Difference;
use maud::{Markup, html};

use super::cards::Cards;
use super::human::HumanCaptions;
use super::images::RunImages;
use super::parts::{Evaluated, Scored, name, ranking};
use crate::error::Error;
use crate::resampled::difference_text;
use crate::table::{Cell, sortable};

/// Maximum number of evaluations that are compared with each other.
const COMPARED: usize = 8;
/// Maximum number of images that each of a pair wins.
const WINS: usize = 4;

/// Two evaluations on the same images, and the differences of their scores.
struct Pair<'a> {
    both: [Evaluated<'a>; 2],
    differences: Vec<Difference>,
}

/// Returns the tests and the wins of every pair.
///
/// # Errors
/// Fails if captions cannot be scored again.
pub(super) fn section(scored: &[Scored], images: &mut RunImages) -> Result<Markup, Error> {
    let pairs = pairs(scored)?;
    if pairs.is_empty() {
        return Ok(html! {});
    }
    let evaluated: Vec<Evaluated> = scored.iter().map(|one| one.evaluated).collect();
    let human = HumanCaptions::of(&evaluated);
    let wins: Vec<Markup> = pairs.iter().map(|pair| pair.wins(&human, images)).collect();
    Ok(html! {
        p.note {
            "Each difference is the second run's score less the first's on the same pictures, with the 95 % "
            "interval of a paired bootstrap and p by approximate randomisation (1,000 resamples each), as by "
            code { "capsmith evaluate compare" } ". Bold: p below 0.05."
            @if scored.len() > COMPARED { " The first " (COMPARED) " evaluations are compared." }
        }
        (tests(&pairs))
        h3 { "Pictures that one of a pair captions better" }
        div.pairs { @for pair in wins { (pair) } }
    })
}

fn pairs<'a>(scored: &[Scored<'a>]) -> Result<Vec<Pair<'a>>, Error> {
    let scored = &scored[..scored.len().min(COMPARED)];
    let mut pairs = Vec::new();
    for (number, a) in scored.iter().enumerate() {
        for b in scored[number + 1..].iter().filter(|b| a.resampled.is_comparable(&b.resampled)) {
            let differences = a.resampled.differences(&b.resampled)?;
            pairs.push(Pair { both: [a.evaluated, b.evaluated], differences });
        }
    }
    Ok(pairs)
}

fn tests(pairs: &[Pair]) -> Markup {
    let metrics: Vec<&str> = pairs[0].differences.iter().map(|one| one.name).collect();
    let rows: Vec<Vec<Cell>> = pairs
        .iter()
        .map(|pair| {
            let [a, b] = pair.both.map(label);
            let title = Cell::text(html! { (a) " → " (b) });
            let cells = metrics.iter().map(|metric| {
                let found = pair.differences.iter().find(|one| one.name == *metric);
                found.map_or_else(Cell::default, difference)
            });
            [title].into_iter().chain(cells).collect()
        })
        .collect();
    let head: Vec<&str> = ["runs"].into_iter().chain(metrics).collect();
    sortable(&head, &rows)
}

fn difference(found: &Difference) -> Cell {
    let shown = html! {
        @if found.p < 0.05 { strong { (format!("{:+.3}", found.difference)) } }
        @else { span { (format!("{:+.3}", found.difference)) } }
        small title=(difference_text(found)) {
            (format!("{:+.3} to {:+.3}, p {:.3}", found.low, found.high, found.p))
        }
    };
    let interval = Some((found.low, found.high));
    Cell { value: Some(found.difference), interval, ..Cell::text(shown) }
}

fn label((number, run, evaluation): Evaluated) -> Markup {
    name(number, &evaluation.label(&run.name))
}

impl Pair<'_> {
    /// Returns the images that each of the two captions better by the most.
    fn wins(&self, human: &HumanCaptions, images: &mut RunImages) -> Markup {
        let [a, b] = self.both;
        let metric = ranking(a.2).first().copied().unwrap_or("CIDEr");
        let score = |one: Option<&f64>| one.copied().unwrap_or(0.0);
        let mut leads: Vec<(f64, &str)> =
            a.2.captions
                .iter()
                .filter_map(|one| {
                    let other = b.2.of(&one.picture)?;
                    let lead = score(one.scores.get(metric)) - score(other.scores.get(metric));
                    Some((lead, one.picture.as_str()))
                })
                .collect();
        leads.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        let count =
            |sign: Ordering| leads.iter().filter(|lead| lead.0.total_cmp(&0.0) == sign).count();
        let (won, lost) = (count(Ordering::Greater), count(Ordering::Less));
        let mut cards = Cards { evaluated: &self.both, human, images };
        let first = leads.iter().take(won.min(WINS)).map(|lead| cards.card(lead.1, None));
        let first: Vec<Markup> = first.collect();
        let last = leads.iter().rev().take(lost.min(WINS)).map(|lead| cards.card(lead.1, None));
        let last: Vec<Markup> = last.collect();
        let [of_a, of_b] = self.both.map(|(.., run, one)| one.label(&run.name));
        html! {
            details.pair data-a=(of_a) data-b=(of_b) {
                summary { (label(a)) " against " (label(b)) }
                @for (winner, count, cards) in [(a, won, first), (b, lost, last)] {
                    h4 { (label(winner)) " wins " (count) " pictures by " (metric) }
                    div.cards.few { @for card in cards { (card) } }
                }
            }
        }
    }
}
