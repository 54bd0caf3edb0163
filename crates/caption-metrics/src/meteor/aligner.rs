//! METEOR's alignment: a beam search over the reference from left to right.
//!
//! A state is a partial alignment. States are ordered by how many words they match, then by how few
//! chunks, then by the summed distance of matched positions, then by age; the first 40 survive each
//! step. Three properties of the original decide many alignments and are kept: what a match gains
//! is truncated to an integer (so a one-word stem, synonym or paraphrase match gains nothing); the
//! distance of a match is charged to the state that it was branched *from*; and matches without any
//! competitor are fixed before the search.

/// The matcher that proposed a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Module {
    Exact = 0,
    Stem = 1,
    Synonym = 2,
    Paraphrase = 3,
}

/// A match of the words `reference..reference + reference_words` with `hypothesis..hypothesis +
/// hypothesis_words`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) module: Module,
    pub(super) reference: u32,
    pub(super) reference_words: u8,
    pub(super) hypothesis: u32,
    pub(super) hypothesis_words: u8,
}

impl Match {
    fn distance(&self) -> u64 {
        u64::from(self.reference.abs_diff(self.hypothesis))
    }

    /// Returns the gain of the match for a side on which it covers `words` words.
    fn gain(&self, words: u8) -> u32 {
        u32::from(if self.module == Module::Exact { words } else { words / 2 })
    }

    fn hypothesis_end(&self) -> u32 {
        self.hypothesis + u32::from(self.hypothesis_words)
    }

    fn reference_end(&self) -> u32 {
        self.reference + u32::from(self.reference_words)
    }

    /// Returns the hypothesis words as bits, only for hypotheses of at most [`MASK_WORDS`] words.
    fn mask(&self) -> u128 {
        let ones = (1_u128 << self.hypothesis_words) - 1;
        ones.checked_shl(self.hypothesis).unwrap_or(0)
    }
}

/// The candidates, by the first reference word that they cover.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    matches: Vec<Match>,
    /// For each reference word the end of its candidates in `matches`.
    ends: Vec<usize>,
    hypothesis_words: usize,
}

impl Candidates {
    /// Sorts candidates by their start; those of one start keep their order.
    pub(super) fn new(
        mut matches: Vec<Match>,
        reference_words: usize,
        hypothesis_words: usize,
    ) -> Self {
        matches.sort_by_key(|m| m.reference);
        let mut ends = vec![0; reference_words];
        for (m, end) in matches.iter().zip(1..) {
            ends[m.reference as usize] = end;
        }
        for word in 1..reference_words {
            ends[word] = ends[word].max(ends[word - 1]);
        }
        Self { matches, ends, hypothesis_words }
    }

    /// Returns the candidates that start at a reference word.
    fn starting_at(&self, word: usize) -> &[Match] {
        let start = if word == 0 { 0 } else { self.ends[word - 1] };
        &self.matches[start..self.ends[word]]
    }

    /// Returns for every reference position the candidate without a competitor, if there is one:
    /// the only one that starts there, whose words no other candidate covers.
    fn fixed(&self) -> Vec<Option<Match>> {
        let mut over_reference = vec![0_u32; self.ends.len()];
        let mut over_hypothesis = vec![0_u32; self.hypothesis_words];
        for m in &self.matches {
            for count in words_of(&mut over_reference, m.reference, m.reference_words) {
                *count += 1;
            }
            for count in words_of(&mut over_hypothesis, m.hypothesis, m.hypothesis_words) {
                *count += 1;
            }
        }
        (0..self.ends.len())
            .map(|word| {
                let [m] = self.starting_at(word) else { return None };
                let reference = words_of(&mut over_reference, m.reference, m.reference_words);
                let hypothesis = words_of(&mut over_hypothesis, m.hypothesis, m.hypothesis_words);
                reference.iter().chain(hypothesis.iter()).all(|&n| n == 1).then_some(*m)
            })
            .collect()
    }
}

fn words_of(counts: &mut [u32], start: u32, words: u8) -> &mut [u32] {
    let start = start as usize;
    counts.get_mut(start..start + usize::from(words)).unwrap_or_default()
}

/// The number of states that survive a step.
const BEAM: usize = 40;
/// Hypotheses up to this length have their used words in one machine integer.
const MASK_WORDS: usize = 128;
/// The [`State::last`] of a state without a match.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct State {
    gain: u32,
    chunks: u32,
    distance: u64,
    /// The reference word after the last match or skipped word.
    next: u32,
    /// The end of the open chunk in the hypothesis.
    open: Option<u32>,
    /// Hypothesis words in use, for hypotheses of at most [`MASK_WORDS`] words.
    used: u128,
    /// The last match taken, in [`Search::taken`].
    last: u32,
}

impl State {
    /// Returns whether this state goes before the other. Equal states keep their order.
    fn is_before(&self, other: &Self) -> bool {
        (other.gain, self.chunks, self.distance) < (self.gain, other.chunks, other.distance)
    }

    fn close_chunk(&mut self) {
        if self.open.take().is_some() {
            self.chunks += 1;
        }
    }

    fn advance_over(&mut self, m: &Match) {
        self.gain += m.gain(m.hypothesis_words) + m.gain(m.reference_words);
        if self.open.is_some_and(|open| open != m.hypothesis) {
            self.chunks += 1;
        }
        self.next = m.reference_end();
        self.open = Some(m.hypothesis_end());
    }
}

/// The best [`BEAM`] states pushed so far, in the order of a stable sort.
#[derive(Debug)]
struct Queue(Vec<State>);

impl Queue {
    /// Returns whether a state with this order could still enter.
    fn admits(&self, state: &State) -> bool {
        self.0.len() < BEAM || self.0.last().is_some_and(|worst| state.is_before(worst))
    }

    fn push(&mut self, state: State) {
        if !self.admits(&state) {
            return;
        }
        let at = self.0.iter().rposition(|other| !state.is_before(other)).map_or(0, |at| at + 1);
        if self.0.len() == BEAM {
            self.0.pop();
        }
        self.0.insert(at, state);
    }
}

struct Search<'a> {
    candidates: &'a Candidates,
    fixed: Vec<Option<Match>>,
    fixed_reference: Vec<bool>,
    /// Matches taken by some state, each with the one taken before it.
    taken: Vec<(u32, Match)>,
}

/// Aligns: returns for every reference position the match that starts there.
pub(super) fn align(candidates: &Candidates) -> Vec<Option<Match>> {
    let mut search = Search::new(candidates);
    if search.fixed.iter().flatten().count() == candidates.matches.len() {
        return search.fixed;
    }
    let best = search.run();
    search.alignment(best)
}

impl<'a> Search<'a> {
    fn new(candidates: &'a Candidates) -> Self {
        let fixed = candidates.fixed();
        let mut fixed_reference = vec![false; candidates.ends.len()];
        for m in fixed.iter().flatten() {
            for word in m.reference..m.reference_end() {
                fixed_reference[word as usize] = true;
            }
        }
        Self { candidates, fixed, fixed_reference, taken: Vec::new() }
    }

    fn uses_masks(&self) -> bool {
        self.candidates.hypothesis_words <= MASK_WORDS
    }

    fn run(&mut self) -> State {
        let used = if self.uses_masks() {
            self.fixed.iter().flatten().fold(0, |used, m| used | m.mask())
        } else {
            0
        };
        let start =
            State { gain: 0, chunks: 0, distance: 0, next: 0, open: None, used, last: NONE };
        let [mut queue, mut following] = [(); 2].map(|()| Queue(Vec::with_capacity(BEAM)));
        queue.push(start);
        for position in 0..self.candidates.ends.len() as u32 {
            following.0.clear();
            for &state in &queue.0 {
                self.step(state, position, &mut following);
            }
            if following.0.is_empty() {
                following.0.extend(queue.0.first());
            }
            std::mem::swap(&mut queue, &mut following);
        }
        following.0.clear();
        for mut state in queue.0 {
            state.close_chunk();
            following.push(state);
        }
        following.0.first().copied().unwrap_or(start)
    }

    /// Pushes the successors of a state at a reference word.
    fn step(&mut self, mut state: State, position: u32, following: &mut Queue) {
        if position < state.next {
            // Inside a match of several words.
            following.push(state);
            return;
        }
        if self.fixed_reference[position as usize] {
            if let Some(m) = &self.fixed[position as usize] {
                state.advance_over(m);
                state.distance += m.distance();
                following.push(state);
            }
            return;
        }
        for m in self.candidates.starting_at(position as usize) {
            if !self.is_free(&state, m) {
                continue;
            }
            let mut branch = state;
            branch.advance_over(m);
            if following.admits(&branch) {
                if self.uses_masks() {
                    branch.used |= m.mask();
                }
                branch.last = self.taken.len() as u32;
                self.taken.push((state.last, *m));
                following.push(branch);
            }
            state.distance += m.distance();
        }
        state.close_chunk();
        state.next += 1;
        following.push(state);
    }

    /// Returns whether no word of the match is in use.
    fn is_free(&self, state: &State, m: &Match) -> bool {
        let reference = m.reference as usize..m.reference_end() as usize;
        if self.fixed_reference[reference].contains(&true) {
            return false;
        }
        if self.uses_masks() {
            return state.used & m.mask() == 0;
        }
        let apart = |other: &Match| {
            other.hypothesis_end() <= m.hypothesis || m.hypothesis_end() <= other.hypothesis
        };
        self.fixed.iter().flatten().all(apart) && self.chain(state.last).all(|other| apart(&other))
    }

    /// Returns the matches that led to a state, latest first.
    fn chain(&self, last: u32) -> impl Iterator<Item = Match> {
        let link = |at: u32| self.taken.get(at as usize);
        std::iter::successors(link(last), move |(before, _)| link(*before)).map(|(_, m)| *m)
    }

    fn alignment(&self, best: State) -> Vec<Option<Match>> {
        let mut chosen = self.fixed.clone();
        for m in self.chain(best.last) {
            chosen[m.reference as usize] = Some(m);
        }
        chosen
    }
}
