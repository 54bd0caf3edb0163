//! Beam search of the Merge-RNN authors, batched over images.
//!
//! A beam holds the `beams` most probable sentences so far, complete or not. In each step an
//! incomplete sentence continues with every word but the unknown one, or ends. The search stops
//! when the most probable sentence is complete or has the maximum number of words. The score is the
//! sum of log-probabilities, without length normalisation.

use tch::{Kind, Tensor};

use super::{EDGE, MergeRnn, State, UNKNOWN};
use crate::decode::chosen::Chosen;
use crate::device::upload;

/// Generated caption of an image.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sentence {
    /// Word ids, without edges.
    pub words: Vec<i64>,
    /// Natural log-probability, including the end if the sentence is complete.
    pub log_probability: f64,
}

/// Sentence in progress.
#[derive(Clone)]
struct Prefix {
    sentence: Sentence,
    is_whole: bool,
    /// Row of its LSTM state.
    row: usize,
}

/// Search state of one image.
struct Search {
    picture: usize,
    beam: Vec<Prefix>,
}

/// Returns the most probable sentence for each row of `images` `[images, image_dim]`.
///
/// # Panics
/// Panics if `beams` is 0.
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

/// Most probable next words of each state row.
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

/// Feeds the last word of every incomplete sentence; returns the next words and LSTM states.
///
/// Assigns each sentence its row in both.
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
    // The unknown word keeps its share of the probability, but is not generated.
    let log_probabilities = logits.log_softmax(-1, Kind::Double);
    let _ = log_probabilities.select(1, UNKNOWN).fill_(f64::NEG_INFINITY);
    let each = beams.min(log_probabilities.size()[1] as usize);
    let (best, words) = log_probabilities.topk(each as i64, -1, true, true);
    let (words, log_probabilities) = Chosen::send(&words, &best).receive();
    (NextWords { each, words, log_probabilities }, behind)
}

impl Search {
    /// Extends every incomplete sentence, and keeps the most probable ones.
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
