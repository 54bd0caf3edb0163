//! Beam search equal to ClipCap's `generate_beam` at temperature 1, batched over images.
//!
//! A beam's score rises with its next token's log-probability, so only its `width` most probable
//! tokens can win. The device finds those; the host does the rest, ClipCap's f32 arithmetic, with a
//! few numbers per beam.
//!
//! Each image has `width` rows in the cache. A surviving beam keeps its row; if it has several
//! children, the others take over free rows and copy the generated part of their parent's cache.
//! Nothing else is copied: neither the prompt, which an image's rows share, nor a beam that only
//! grows or changes rank.
//!
//! The host needs a step's tokens to prepare the next one, so a GPU waits for it once per step.

use tch::{Kind, Tensor};

use super::constraints::TokenConstraints;
use super::hypothesis::Hypothesis;
use super::pending_tokens::NextTokens;
use super::steps::{StopCriteria, compacted_rows, next_logits, read_prompt, should_compact};
use crate::device::upload;
use crate::gpt2::Gpt2;

/// Returns the beams, best first, for each row of `prompt`.
pub(super) fn search(
    gpt2: &Gpt2,
    prompt: &Tensor,
    beams: usize,
    criteria: &StopCriteria,
    constraints: &TokenConstraints,
    length_penalty: f32,
) -> Vec<Vec<Hypothesis>> {
    let prompt_tokens = prompt.size()[1];
    let width = beams.min(constraints.vocabulary as usize);
    let mut images: Vec<ImageBeams> =
        (0..prompt.size()[0]).map(|_| ImageBeams::new(length_penalty)).collect();
    // Image of each group of `width` cache rows.
    let mut groups: Vec<usize> = (0..images.len()).collect();
    let (mut cache, mut logits) = read_prompt(gpt2, prompt, width, criteria.cache_tokens(prompt));
    for step in 1..=criteria.max_tokens {
        let history = (step > 1 && constraints.need_history()).then(|| {
            let rows = groups.iter().flat_map(|&image| images[image].histories(width, step - 1));
            let [rows] = upload([&rows.collect::<Vec<i64>>()], logits.device());
            rows.view([-1, step as i64 - 1])
        });
        let log_probabilities = constraints.known(logits).log_softmax(-1, Kind::Float);
        let next = constraints.apply(&log_probabilities, history.as_ref(), step - 1);
        let next = NextTokens::new(&next, width);
        for (group, &image) in groups.iter().enumerate() {
            let image = &mut images[image];
            image.extend(&next, group * width, criteria);
            image.assign_rows(width, group * width);
        }
        let live: Vec<bool> = groups.iter().map(|&image| images[image].is_live()).collect();
        let left = live.iter().filter(|&&live| live).count();
        if left == 0 || step == criteria.max_tokens {
            break;
        }
        let compact = should_compact(left, groups.len());
        if compact {
            groups = compacted_rows(&live).into_iter().map(|group| groups[group]).collect();
        }
        let sources: Vec<usize> =
            groups.iter().flat_map(|&image| &images[image].sources).copied().collect();
        let tokens: Vec<i64> =
            groups.iter().flat_map(|&image| images[image].last_tokens(width)).collect();
        // After a compaction, rows hold another image's prompt, so it must be copied too.
        let first = if compact { 0 } else { prompt_tokens };
        let [tokens] = cache.rearrange(&sources, first, [&tokens]);
        logits = next_logits(gpt2, &gpt2.embed(&tokens.unsqueeze(1)), &mut cache);
    }
    images.into_iter().map(ImageBeams::hypotheses).collect()
}

#[derive(Debug, Clone)]
struct Beam {
    tokens: Vec<i64>,
    /// Score times its divisor, rounded as in ClipCap, which stores the average.
    sum: f32,
    ended: bool,
    /// Row within its image, while the beam is unfinished.
    row: usize,
}

impl Beam {
    /// Returns the beam with one more token, or ended without one.
    fn extended(&self, token: Option<i64>, sum: f32, criteria: &StopCriteria) -> Self {
        let tokens: Vec<i64> = self.tokens.iter().copied().chain(token).collect();
        Self {
            sum,
            ended: token.is_none_or(|token| criteria.is_stop(token)),
            row: self.row,
            tokens,
        }
    }
}

struct ImageBeams {
    /// Beams, best first.
    beams: Vec<Beam>,
    /// Source row in the cache for each of its next rows.
    sources: Vec<usize>,
    length_penalty: f32,
}

impl ImageBeams {
    /// Creates one empty beam in the first row.
    fn new(length_penalty: f32) -> Self {
        let beam = Beam { tokens: Vec::new(), sum: 0.0, ended: false, row: 0 };
        Self { beams: vec![beam], sources: Vec::new(), length_penalty }
    }

    /// Returns the divisor of a beam's log-probability.
    fn divisor(&self, tokens: usize) -> f32 {
        (tokens.max(1) as f32).powf(self.length_penalty)
    }

    fn is_live(&self) -> bool {
        self.beams.iter().any(|beam| !beam.ended)
    }

    /// Replaces the beams by the best among their extensions and the finished ones.
    ///
    /// `first_row` is the image's first row in `next`.
    fn extend(&mut self, next: &NextTokens, first_row: usize, criteria: &StopCriteria) {
        if !self.is_live() {
            return;
        }
        let mut candidates = Vec::new();
        for beam in &self.beams {
            let (before, after) =
                (self.divisor(beam.tokens.len()), self.divisor(beam.tokens.len() + 1));
            // The values come from f32, so the cast is exact. Tokens that the constraints forbid have
            // no probability.
            let mut extensions = next
                .row(first_row + beam.row)
                .map(|(token, log_probability)| (token, log_probability as f32))
                .filter(|(_, log_probability)| *log_probability != f32::NEG_INFINITY)
                .peekable();
            if beam.ended || extensions.peek().is_none() {
                candidates.push((beam.sum / before, before, beam, None));
                continue;
            }
            for (token, log_probability) in extensions {
                candidates.push(((beam.sum + log_probability) / after, after, beam, Some(token)));
            }
        }
        candidates.sort_by(|(one, ..), (other, ..)| other.total_cmp(one));
        let best = candidates.into_iter().take(next.width);
        let beams = best.map(|(average, divisor, beam, token)| {
            beam.extended(token, average * divisor, criteria)
        });
        self.beams = beams.collect();
    }

    /// Assigns each unfinished beam a row: the first child keeps its parent's, others get free
    /// ones.
    ///
    /// `first_row` is the image's first row in the cache.
    fn assign_rows(&mut self, width: usize, first_row: usize) {
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

    /// Returns the tokens of the image's `width` rows, `length` each, of its unfinished beams.
    fn histories(&self, width: usize, length: usize) -> Vec<i64> {
        let mut tokens = vec![0; width * length];
        for beam in self.beams.iter().filter(|beam| !beam.ended) {
            tokens[beam.row * length..][..length].copy_from_slice(&beam.tokens);
        }
        tokens
    }

    /// Returns the next input of the image's `width` rows: the last tokens of its unfinished beams.
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
