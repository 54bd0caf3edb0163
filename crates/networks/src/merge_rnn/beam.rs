//! Beam search as Merge-RNN's authors have it, many pictures at a time.
//!
//! A beam holds the `beams` most probable of all sentences so far, whole ones among them. Those that
//! are not whole go on with every word but the unknown one, or end. The search ends when the most
//! probable is whole, or has all words that it may have. Probabilities are products over words and
//! the end, in log space, without regard to length.

use tch::{Kind, Tensor};

use super::{EDGE, MergeRnn, State, UNKNOWN};
use crate::decode::chosen::Chosen;
use crate::device::upload;

/// What was written of a picture.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sentence {
    /// Word numbers, without edges.
    pub words: Vec<i64>,
    /// The natural logarithm of its probability, its end included where it has one.
    pub log_probability: f64,
}

/// A sentence under way.
#[derive(Clone)]
struct Prefix {
    sentence: Sentence,
    is_whole: bool,
    /// The row of states that it goes on from.
    row: usize,
}

/// One picture's search.
struct Search {
    picture: usize,
    beam: Vec<Prefix>,
}

/// The most probable sentence found for each row of `images` `[pictures, image_dim]`.
///
/// # Panics
/// When `beams` is 0.
#[must_use]
pub fn beam_search(
    model: &MergeRnn,
    images: &Tensor,
    beams: usize,
    max_words: usize,
) -> Vec<Sentence> {
    tch::no_grad(|| {
        let pictures = model.image.forward(images);
        let count = images.size()[0] as usize;
        let mut found = vec![Sentence::default(); count];
        let mut searches: Vec<Search> =
            (0..count).map(|picture| Search { picture, beam: vec![first(picture)] }).collect();
        let mut state = model.start(count as i64);
        while !searches.is_empty() && max_words > 0 {
            let (words, behind) = step(model, &pictures, &mut searches, &state, beams);
            for search in &mut searches {
                search.lengthen(&words, beams);
            }
            searches.retain(|search| {
                let best = &search.beam[0];
                let ends = best.is_whole || best.sentence.words.len() == max_words;
                if ends {
                    found[search.picture] = best.sentence.clone();
                }
                !ends
            });
            state = behind;
        }
        found
    })
}

fn first(row: usize) -> Prefix {
    Prefix { sentence: Sentence::default(), is_whole: false, row }
}

/// For each row of states its most probable next words.
struct NextWords {
    each: usize,
    words: Vec<i64>,
    log_probabilities: Vec<f64>,
}

impl NextWords {
    fn of(&self, row: usize) -> impl Iterator<Item = (i64, f64)> {
        let range = row * self.each..(row + 1) * self.each;
        self.words[range.clone()].iter().copied().zip(self.log_probabilities[range].iter().copied())
    }
}

/// Reads the last word of every prefix that is not whole; says the next ones, and the states behind,
/// and gives each prefix its row in both.
fn step(
    model: &MergeRnn,
    pictures: &Tensor,
    searches: &mut [Search],
    state: &State,
    beams: usize,
) -> (NextWords, State) {
    let (mut rows, mut owners, mut words) = (Vec::new(), Vec::new(), Vec::new());
    for search in searches {
        for prefix in search.beam.iter_mut().filter(|prefix| !prefix.is_whole) {
            let behind = rows.len();
            rows.push(std::mem::replace(&mut prefix.row, behind) as i64);
            owners.push(search.picture as i64);
            words.push(prefix.sentence.words.last().copied().unwrap_or(EDGE));
        }
    }
    let [rows, owners, words] = upload([&rows, &owners, &words], pictures.device());
    let state = State {
        hidden: state.hidden.index_select(0, &rows),
        cell: state.cell.index_select(0, &rows),
    };
    let pictures = pictures.index_select(0, &owners);
    let inputs = model.inputs(&words.unsqueeze(1), &pictures);
    let (outputs, behind) = model.read(&inputs, &state);
    let logits = model.logits(&outputs.squeeze_dim(1), &pictures);
    // The unknown word keeps its share of the probability, but is not written.
    let log_probabilities = logits.log_softmax(-1, Kind::Double);
    let _ = log_probabilities.select(1, UNKNOWN).fill_(f64::NEG_INFINITY);
    let each = beams.min(log_probabilities.size()[1] as usize);
    let (best, words) = log_probabilities.topk(each as i64, -1, true, true);
    let (words, log_probabilities) = Chosen::send(&words, &best).receive();
    (NextWords { each, words, log_probabilities }, behind)
}

impl Search {
    /// Lengthens every prefix that is not whole, and keeps the most probable sentences.
    fn lengthen(&mut self, words: &NextWords, beams: usize) {
        let mut all = Vec::with_capacity(self.beam.len() * (beams + 1));
        for prefix in self.beam.drain(..) {
            if prefix.is_whole {
                all.push(prefix);
                continue;
            }
            for (word, log_probability) in words.of(prefix.row) {
                let mut longer = prefix.clone();
                longer.sentence.log_probability += log_probability;
                if word == EDGE {
                    longer.is_whole = true;
                } else {
                    longer.sentence.words.push(word);
                }
                all.push(longer);
            }
        }
        all.sort_by(|a, b| b.sentence.log_probability.total_cmp(&a.sentence.log_probability));
        all.truncate(beams);
        self.beam = all;
    }
}
