//! The paraphrase table as a trie, built from text.

use std::io::BufRead;

use rustc_hash::FxHashMap;

use super::super::layout::{Numbers, RankedBits, Strings};

/// Distinct phrases and pairs of them.
pub(super) struct Table {
    phrases: Vec<Box<str>>,
    /// Source and target, as indices of `phrases`.
    pairs: Vec<(u32, u32)>,
}

impl Table {
    /// Reads groups of three lines: a probability, the source, the target.
    pub(super) fn read(mut text: impl BufRead) -> Result<Self, String> {
        let mut numbers: FxHashMap<Box<str>, u32> = FxHashMap::default();
        let mut phrases: Vec<Box<str>> = Vec::new();
        let mut number = |phrase: &str| {
            if let Some(&known) = numbers.get(phrase) {
                return known;
            }
            let number = phrases.len() as u32;
            phrases.push(phrase.into());
            numbers.insert(phrase.into(), number);
            number
        };
        let mut pairs = Vec::new();
        let mut lines = [String::new(), String::new(), String::new()];
        loop {
            for line in &mut lines {
                line.clear();
                text.read_line(line).map_err(|error| format!("the paraphrases: {error}"))?;
            }
            match lines.each_ref().map(|line| line.trim_end_matches(['\r', '\n'])) {
                ["", "", ""] => break,
                [_, source, target] if !source.is_empty() && !target.is_empty() => {
                    pairs.push((number(source), number(target)));
                }
                _ => {
                    return Err(format!("the paraphrases: entry {} is cut short", pairs.len() + 1));
                }
            }
        }
        Ok(Self { phrases, pairs })
    }

    pub(super) fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Encodes words (two sections), the nodes' last words, the parents, the starts of children,
    /// the sources, the starts of targets, and targets.
    pub(super) fn sections(&self) -> Result<[Vec<u8>; 8], String> {
        let mut words: Vec<&str> =
            self.phrases.iter().flat_map(|phrase| phrase.split(' ')).collect();
        words.sort_unstable();
        words.dedup();
        let ranks: FxHashMap<&str, u16> =
            words.iter().zip(0..=u16::MAX).map(|(&word, rank)| (word, rank)).collect();
        if ranks.len() < words.len() {
            return Err(format!("the paraphrases have {} words, which is too many", words.len()));
        }
        let phrases: Vec<Vec<u16>> = self
            .phrases
            .iter()
            .map(|phrase| phrase.split(' ').map(|word| ranks[word]).collect())
            .collect();
        let trie = Trie::new(&phrases);
        if trie.0.len() >= 1 << 24 || self.pairs.len() >= 1 << 24 {
            return Err("there are too many paraphrases".to_owned());
        }
        let nodes: Vec<u32> = phrases.iter().map(|phrase| trie.node(phrase)).collect();
        let [ends, text] = Strings::sections_of(&words);
        let [last_words, parents, children] = trie.sections();
        let [sources, starts, targets] = self.targets(&nodes, trie.0.len());
        Ok([ends, text, last_words, parents, children, sources, starts, targets])
    }

    /// Encodes the sources, the starts of targets, and targets, given the node of each phrase.
    fn targets(&self, nodes: &[u32], count: usize) -> [Vec<u8>; 3] {
        let node = |phrase: u32| nodes[phrase as usize];
        let mut pairs: Vec<(u32, u32)> =
            self.pairs.iter().map(|&(source, target)| (node(source), node(target))).collect();
        pairs.sort_unstable();
        let mut lengths = vec![0; count];
        for &(source, _) in &pairs {
            lengths[source as usize] += 1;
        }
        let (sources, starts) = groups(0, &lengths);
        [sources, starts, Numbers::<3>::bytes_of(pairs.iter().map(|pair| pair.1))]
    }
}

/// The starts of phrases as word numbers, shorter ones first, then in text order.
///
/// An index is a node's number. The children of a node are neighbours, in the order of their
/// parents.
struct Trie<'a>(Vec<&'a [u16]>);

impl<'a> Trie<'a> {
    fn new(phrases: &'a [Vec<u16>]) -> Self {
        let starts = |phrase: &'a Vec<u16>| (1..=phrase.len()).map(|length| &phrase[..length]);
        let mut nodes: Vec<&[u16]> = phrases.iter().flat_map(starts).collect();
        nodes.sort_unstable_by(|a, b| a.len().cmp(&b.len()).then(a.cmp(b)));
        nodes.dedup();
        Self(nodes)
    }

    fn node(&self, start: &[u16]) -> u32 {
        let before = |node: &&[u16]| (node.len(), *node) < (start.len(), start);
        self.0.partition_point(before) as u32
    }

    fn sections(&self) -> [Vec<u8>; 3] {
        let mut children = vec![0; self.0.len()];
        let mut tops = 0;
        for node in &self.0 {
            match node.split_last() {
                Some((_, [])) => tops += 1,
                Some((_, parent)) => children[self.node(parent) as usize] += 1,
                None => {}
            }
        }
        let (parents, starts) = groups(tops, &children);
        let last_words = self.0.iter().filter_map(|node| node.last()).map(|&word| word.into());
        [Numbers::<2>::bytes_of(last_words), parents, starts]
    }
}

/// Encodes the indices with a group of positive length, and the bounds of the groups from `start`.
fn groups(start: u32, lengths: &[u32]) -> (Vec<u8>, Vec<u8>) {
    let has_group: Vec<bool> = lengths.iter().map(|&length| length > 0).collect();
    let mut bounds = vec![start];
    for length in lengths.iter().filter(|&&length| length > 0) {
        bounds.push(bounds[bounds.len() - 1] + length);
    }
    (RankedBits::bytes_of(&has_group), Numbers::<3>::bytes_of(bounds))
}
