//! Beam search as ClipCap's `generate_beam`, at its temperature of 1, for several pictures at once.
//!
//! Of a live beam only its most probable tokens can win, as many as there are beams, since its score
//! rises with the token's log-probability. So the device finds those, and everything else, which is
//! ClipCap's arithmetic in floats, is done here with a few numbers a beam.
//!
//! Each picture has as many rows of the cache as beams. A beam that goes on keeps its row, and where
//! it goes on in several ways, the others take over rows that have become free and copy what their
//! parent has written. Nothing else is copied: not the prompt, which all rows of a picture have in
//! common, nor a beam that only gets longer, whatever its rank becomes.
//!
//! The host must know a step's tokens before it can lay out the next: a GPU waits for it once a step.

use tch::{Kind, Tensor};

use super::Hypothesis;
use super::chosen::Chosen;
use super::steps::{Limits, next_logits, read_prompt, without_gaps, worth_leaving};
use crate::gpt2::Gpt2;

/// Beams, best first, for each row of `prompt`.
pub(super) fn search(
    gpt2: &Gpt2,
    prompt: &Tensor,
    beams: usize,
    limits: &Limits,
) -> Vec<Vec<Hypothesis>> {
    let prompt_tokens = prompt.size()[1];
    let width = beams.min(gpt2.config().vocab_size as usize);
    let mut pictures: Vec<Picture> = (0..prompt.size()[0]).map(|_| Picture::new()).collect();
    // Which pictures the rows in the cache are, in groups of `width`.
    let mut groups: Vec<usize> = (0..pictures.len()).collect();
    let (mut cache, mut logits) = read_prompt(gpt2, prompt, width, limits.room(prompt));
    for step in 1..=limits.max_tokens {
        let next = NextTokens::of(&logits, width);
        for (group, &picture) in groups.iter().enumerate() {
            let picture = &mut pictures[picture];
            picture.lengthen(&next, group * width, limits);
            picture.give_rows(width, group * width);
        }
        let goes_on: Vec<bool> =
            groups.iter().map(|&picture| pictures[picture].goes_on()).collect();
        let left = goes_on.iter().filter(|&&goes_on| goes_on).count();
        if left == 0 || step == limits.max_tokens {
            break;
        }
        let leave = worth_leaving(left, groups.len());
        if leave {
            groups = without_gaps(&goes_on).into_iter().map(|group| groups[group]).collect();
        }
        let sources: Vec<usize> =
            groups.iter().flat_map(|&picture| &pictures[picture].sources).copied().collect();
        let tokens: Vec<i64> =
            groups.iter().flat_map(|&picture| pictures[picture].last_tokens(width)).collect();
        // Where pictures have moved into the places of others, their prompts have, too.
        let first = if leave { 0 } else { prompt_tokens };
        let [tokens] = cache.rearrange(&sources, first, [&tokens]);
        logits = next_logits(gpt2, &gpt2.embed(&tokens.unsqueeze(1)), &mut cache);
    }
    pictures.into_iter().map(Picture::hypotheses).collect()
}

/// The most probable next tokens of each row, and their log-probabilities; `[rows, width]`.
struct NextTokens {
    width: usize,
    tokens: Vec<i64>,
    log_probabilities: Vec<f64>,
}

impl NextTokens {
    fn of(logits: &Tensor, width: usize) -> Self {
        let (log_probabilities, tokens) =
            logits.log_softmax(-1, Kind::Float).topk(width as i64, -1, true, true);
        let (tokens, log_probabilities) = Chosen::send(&tokens, &log_probabilities).receive();
        Self { width, tokens, log_probabilities }
    }

    fn of_row(&self, row: usize) -> impl Iterator<Item = (i64, f32)> {
        let places = row * self.width..(row + 1) * self.width;
        let log_probabilities = self.log_probabilities[places.clone()].iter();
        // They were floats.
        self.tokens[places].iter().copied().zip(log_probabilities.map(|&value| value as f32))
    }
}

#[derive(Debug, Clone)]
struct Beam {
    tokens: Vec<i64>,
    /// The sum of its log-probabilities, as ClipCap carries it on: an average times a length.
    sum: f32,
    ended: bool,
    /// Its row among the picture's, while it lives.
    row: usize,
}

impl Beam {
    fn average(&self) -> f32 {
        self.sum / self.tokens.len() as f32
    }

    /// The beam with one more token, or as it is.
    fn with(&self, token: Option<i64>, average: f32, limits: &Limits) -> Self {
        let tokens: Vec<i64> = self.tokens.iter().copied().chain(token).collect();
        Self {
            sum: average * tokens.len() as f32,
            ended: token.is_none_or(|token| limits.stop_at(token)),
            row: self.row,
            tokens,
        }
    }
}

struct Picture {
    /// Best first.
    beams: Vec<Beam>,
    /// For each of its next rows the present row of the cache to go on from.
    sources: Vec<usize>,
}

impl Picture {
    /// One beam, of nothing yet, in the first row.
    fn new() -> Self {
        let beam = Beam { tokens: Vec::new(), sum: 0.0, ended: false, row: 0 };
        Self { beams: vec![beam], sources: Vec::new() }
    }

    fn goes_on(&self) -> bool {
        self.beams.iter().any(|beam| !beam.ended)
    }

    /// Makes of the beams the best ones that are a token longer or have ended before; `next` begins
    /// at `first_row` for this picture.
    fn lengthen(&mut self, next: &NextTokens, first_row: usize, limits: &Limits) {
        if !self.goes_on() {
            return;
        }
        let mut candidates = Vec::new();
        for beam in &self.beams {
            if beam.ended {
                candidates.push((beam.average(), beam, None));
                continue;
            }
            let length = (beam.tokens.len() + 1) as f32;
            for (token, log_probability) in next.of_row(first_row + beam.row) {
                candidates.push(((beam.sum + log_probability) / length, beam, Some(token)));
            }
        }
        candidates.sort_by(|(one, ..), (other, ..)| other.total_cmp(one));
        let best = candidates.into_iter().take(next.width);
        self.beams = best.map(|(average, beam, token)| beam.with(token, average, limits)).collect();
    }

    /// Gives each live beam a row of its own among `width`: the parent's to its first child, free
    /// ones to the others. The picture's rows in the cache begin at `first_row`.
    fn give_rows(&mut self, width: usize, first_row: usize) {
        let mut parents = vec![None; width];
        let mut waiting = Vec::new();
        for beam in self.beams.iter_mut().filter(|beam| !beam.ended) {
            match &mut parents[beam.row] {
                kept @ None => *kept = Some(beam.row),
                Some(_) => waiting.push(beam),
            }
        }
        let free: Vec<usize> = (0..width).filter(|&row| parents[row].is_none()).collect();
        for (beam, row) in waiting.into_iter().zip(free) {
            parents[row] = Some(beam.row);
            beam.row = row;
        }
        // A row that stays free may hold anything.
        let sources =
            parents.into_iter().enumerate().map(|(row, parent)| first_row + parent.unwrap_or(row));
        self.sources = sources.collect();
    }

    /// What the picture's `width` rows read next: the last tokens of its live beams.
    fn last_tokens(&self, width: usize) -> Vec<i64> {
        let mut tokens = vec![0; width];
        for beam in self.beams.iter().filter(|beam| !beam.ended) {
            tokens[beam.row] = beam.tokens.last().copied().unwrap_or_default();
        }
        tokens
    }

    fn hypotheses(self) -> Vec<Hypothesis> {
        let hypothesis =
            |beam: Beam| Hypothesis { tokens: beam.tokens, log_probability: f64::from(beam.sum) };
        self.beams.into_iter().map(hypothesis).collect()
    }
}
