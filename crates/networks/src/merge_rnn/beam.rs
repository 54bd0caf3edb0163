//! Beam search of the Merge-RNN authors, batched over images.
//!
//! A beam holds the `beams` most probable sentences so far, complete or not. In each step an
//! incomplete sentence continues with every word but the unknown one, or ends. The search stops
//! when the most probable sentence is complete or has the maximum number of words. The score is the
//! sum of log-probabilities, without length normalisation.

use tch::{Kind, Tensor};

use super::{EDGE, MergeRnn, State, UNKNOWN};
use crate::decode::pending_tokens::NextTokens;
use crate::device::upload;
use crate::pass::Pass;

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
struct PartialSentence {
    sentence: Sentence,
    is_complete: bool,
    /// Row of its LSTM state.
    row: usize,
}

/// Search state of one image.
struct Search {
    image: usize,
    beam: Vec<PartialSentence>,
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
        let projected = model.project(images, Pass::EVALUATION);
        let count = images.size()[0] as usize;
        let mut found = vec![Sentence::default(); count];
        let mut searches: Vec<Search> =
            (0..count).map(|image| Search { image, beam: vec![empty_sentence(image)] }).collect();
        let mut state = model.initial_state(count as i64);
        while !searches.is_empty() && max_words > 0 {
            let (words, next_state) = step(model, &projected, &mut searches, &state, beams);
            for search in &mut searches {
                search.extend(&words, beams);
            }
            searches.retain(|search| {
                let best = &search.beam[0];
                let ends = best.is_complete || best.sentence.words.len() == max_words;
                if ends {
                    found[search.image] = best.sentence.clone();
                }
                !ends
            });
            state = next_state;
        }
        found
    })
}

fn empty_sentence(row: usize) -> PartialSentence {
    PartialSentence { sentence: Sentence::default(), is_complete: false, row }
}

/// Feeds the last word of every incomplete sentence; returns the next words and LSTM states.
///
/// Assigns each sentence its row in both.
fn step(
    model: &MergeRnn,
    projected: &Tensor,
    searches: &mut [Search],
    state: &State,
    beams: usize,
) -> (NextTokens, State) {
    let (mut rows, mut owners, mut words) = (Vec::new(), Vec::new(), Vec::new());
    for search in searches {
        for partial in search.beam.iter_mut().filter(|partial| !partial.is_complete) {
            let next_row = rows.len();
            rows.push(std::mem::replace(&mut partial.row, next_row) as i64);
            owners.push(search.image as i64);
            words.push(partial.sentence.words.last().copied().unwrap_or(EDGE));
        }
    }
    let [rows, owners, words] = upload([&rows, &owners, &words], projected.device());
    let state = State {
        hidden: state.hidden.index_select(0, &rows),
        cell: state.cell.index_select(0, &rows),
    };
    let projected = projected.index_select(0, &owners);
    let inputs = model.inputs(&words.unsqueeze(1), &projected, Pass::EVALUATION);
    let (outputs, next_state) = model.run_lstm(&inputs, &state);
    let logits = model.logits(&outputs.squeeze_dim(1), &projected, Pass::EVALUATION);
    // The unknown word keeps its share of the probability, but is not generated.
    let log_probabilities = logits.log_softmax(-1, Kind::Double);
    let _ = log_probabilities.select(1, UNKNOWN).fill_(f64::NEG_INFINITY);
    let width = beams.min(log_probabilities.size()[1] as usize);
    (NextTokens::new(&log_probabilities, width), next_state)
}

impl Search {
    /// Extends every incomplete sentence, and keeps the most probable ones.
    fn extend(&mut self, words: &NextTokens, beams: usize) {
        let mut all = Vec::with_capacity(self.beam.len() * (beams + 1));
        for partial in self.beam.drain(..) {
            if partial.is_complete {
                all.push(partial);
                continue;
            }
            for (word, log_probability) in words.row(partial.row) {
                let mut extended = partial.clone();
                extended.sentence.log_probability += log_probability;
                if word == EDGE {
                    extended.is_complete = true;
                } else {
                    extended.sentence.words.push(word);
                }
                all.push(extended);
            }
        }
        all.sort_by(|a, b| b.sentence.log_probability.total_cmp(&a.sentence.log_probability));
        all.truncate(beams);
        self.beam = all;
    }
}
