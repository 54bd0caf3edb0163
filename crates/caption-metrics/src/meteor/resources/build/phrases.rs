//! The paraphrase table, from text to a trie.

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
    /// From groups of three lines: a probability, the source, the target.
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

    /// Words (two sections), the nodes' last words, which nodes are parents, where children start,
    /// which nodes are sources, where targets start, targets.
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
        let trie = Trie::new(&self.phrases, &ranks);
        if trie.nodes.len() >= 1 << 24 || self.pairs.len() >= 1 << 24 {
            return Err("there are too many paraphrases".to_owned());
        }
        let [ends, text] = Strings::sections_of(&words);
        let [last_words, parents, children] = trie.sections();
        let [sources, starts, targets] = self.targets(&trie);
        Ok([ends, text, last_words, parents, children, sources, starts, targets])
    }

    fn targets(&self, trie: &Trie) -> [Vec<u8>; 3] {
        let node = |phrase: u32| trie.numbers[trie.node_of_phrase[phrase as usize] as usize];
        let mut pairs: Vec<(u32, u32)> =
            self.pairs.iter().map(|&(source, target)| (node(source), node(target))).collect();
        pairs.sort_unstable();
        let mut is_source = vec![false; trie.nodes.len()];
        let mut starts = Vec::new();
        for group in pairs.chunk_by(|a, b| a.0 == b.0) {
            is_source[group[0].0 as usize] = true;
            starts.push(group.len() as u32);
        }
        let starts = std::iter::once(0).chain(starts.into_iter().scan(0, |sum, length| {
            *sum += length;
            Some(*sum)
        }));
        [
            RankedBits::bytes_of(&is_source),
            Numbers::<3>::bytes_of(starts),
            Numbers::<3>::bytes_of(pairs.iter().map(|pair| pair.1)),
        ]
    }
}

/// All starts of phrases, in text order.
struct Trie {
    nodes: Vec<Node>,
    node_of_phrase: Vec<u32>,
    /// For each node its number level by level.
    numbers: Vec<u32>,
}

struct Node {
    /// Counted from 0.
    level: usize,
    last_word: u16,
    children: u32,
}

impl Trie {
    fn new(phrases: &[Box<str>], ranks: &FxHashMap<&str, u16>) -> Self {
        let mut order: Vec<u32> = (0..phrases.len() as u32).collect();
        order.sort_unstable_by_key(|&phrase| &phrases[phrase as usize]);
        let mut nodes: Vec<Node> = Vec::new();
        let mut node_of_phrase = vec![0; phrases.len()];
        // The nodes from the top to the phrase before.
        let mut path: Vec<u32> = Vec::new();
        for phrase in order {
            let words = phrases[phrase as usize].split(' ').map(|word| ranks[word]);
            for (level, last_word) in words.enumerate() {
                let same =
                    path.get(level).is_some_and(|&n| nodes[n as usize].last_word == last_word);
                if !same {
                    path.truncate(level);
                    if let Some(&parent) = path.last() {
                        nodes[parent as usize].children += 1;
                    }
                    path.push(nodes.len() as u32);
                    nodes.push(Node { level, last_word, children: 0 });
                }
                node_of_phrase[phrase as usize] = path[level];
            }
        }
        let numbers = level_by_level(&nodes);
        Self { nodes, node_of_phrase, numbers }
    }

    fn sections(&self) -> [Vec<u8>; 3] {
        let mut order: Vec<u32> = (0..self.nodes.len() as u32).collect();
        order.sort_unstable_by_key(|&node| self.numbers[node as usize]);
        let nodes = || order.iter().map(|&node| &self.nodes[node as usize]);
        let tops = self.nodes.iter().filter(|node| node.level == 0).count() as u32;
        let is_parent: Vec<bool> = nodes().map(|node| node.children > 0).collect();
        let children = std::iter::once(tops).chain(nodes().filter(|node| node.children > 0).scan(
            tops,
            |end, node| {
                *end += node.children;
                Some(*end)
            },
        ));
        [
            Numbers::<2>::bytes_of(nodes().map(|node| u32::from(node.last_word))),
            RankedBits::bytes_of(&is_parent),
            Numbers::<3>::bytes_of(children),
        ]
    }
}

/// Numbers nodes that are given in text order: first all of the top level, then all of the next.
fn level_by_level(nodes: &[Node]) -> Vec<u32> {
    let levels = nodes.iter().map(|node| node.level + 1).max().unwrap_or(0);
    let mut next = vec![0_u32; levels + 1];
    for node in nodes {
        next[node.level + 1] += 1;
    }
    for level in 0..levels {
        next[level + 1] += next[level];
    }
    nodes
        .iter()
        .map(|node| {
            let number = next[node.level];
            next[node.level] += 1;
            number
        })
        .collect()
}
