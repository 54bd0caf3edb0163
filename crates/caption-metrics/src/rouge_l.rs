//! ROUGE-L (Lin 2004) with pycocoevalcap's choices.
//!
//! With `lcs_i` the length of the longest common subsequence of the prediction c and reference
//! `r_i`:
//!
//! ```text
//! P = max_i lcs_i / |c|      R = max_i lcs_i / |r_i|      (perhaps from different references)
//! ROUGE-L = (1 + β²) P R / (R + β² P),  β = 1.2;  0 where P or R is 0
//! ```
//!
//! Words are the text between single spaces, so a double space makes an empty word and an empty
//! caption is one empty word. The corpus score is the mean over images.

use rustc_hash::FxHashMap;

const BETA: f64 = 1.2;

/// Returns ROUGE-L of one image, from words split at single spaces.
pub(crate) fn score<'a>(prediction: &[u32], references: impl Iterator<Item = &'a [u32]>) -> f64 {
    let pattern = Pattern::new(prediction);
    let (mut precision, mut recall) = (0.0_f64, 0.0_f64);
    for reference in references {
        let common = pattern.longest_common_subsequence(reference) as f64;
        precision = precision.max(common / prediction.len() as f64);
        recall = recall.max(common / reference.len() as f64);
    }
    if precision == 0.0 || recall == 0.0 {
        return 0.0;
    }
    let beta2 = BETA * BETA;
    ((1.0 + beta2) * precision * recall) / (recall + beta2 * precision)
}

const BITS: usize = u64::BITS as usize;

/// A sequence prepared for the bit-parallel computation of common subsequences (Hyyrö 2004): a row
/// of the usual table is a vector of bits, 64 columns a machine word.
struct Pattern {
    /// For each word the bits of its positions.
    positions: FxHashMap<u32, Vec<u64>>,
    blocks: usize,
}

impl Pattern {
    fn new(words: &[u32]) -> Self {
        let blocks = words.len().div_ceil(BITS);
        let mut positions: FxHashMap<u32, Vec<u64>> = FxHashMap::default();
        for (at, &word) in words.iter().enumerate() {
            // Only as long as needed: the rest is zero, and a long caption has many rare words.
            let row = positions.entry(word).or_default();
            row.resize(at / BITS + 1, 0);
            row[at / BITS] |= 1 << (at % BITS);
        }
        Self { positions, blocks }
    }

    fn longest_common_subsequence(&self, other: &[u32]) -> usize {
        // A zero bit marks a column where the row's value rises by one. Columns beyond the pattern
        // stay ones, because nothing matches there.
        let mut row = vec![u64::MAX; self.blocks];
        for word in other {
            let Some(matches) = self.positions.get(word) else { continue };
            let mut carry = false;
            for (block, bits) in row.iter_mut().enumerate() {
                let hit = *bits & matches.get(block).copied().unwrap_or_default();
                if hit == 0 && !carry {
                    continue;
                }
                let (sum, over) = bits.carrying_add(hit, carry);
                carry = over;
                *bits = sum | (*bits & !hit);
            }
        }
        row.iter().map(|bits| bits.count_zeros() as usize).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The textbook table.
    fn by_table(a: &[u32], b: &[u32]) -> usize {
        let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
        for i in 0..a.len() {
            for j in 0..b.len() {
                table[i + 1][j + 1] = if a[i] == b[j] {
                    table[i][j] + 1
                } else {
                    table[i + 1][j].max(table[i][j + 1])
                };
            }
        }
        table[a.len()][b.len()]
    }

    proptest! {
        #[test]
        fn bits_and_table_agree(
            a in prop::collection::vec(0_u32..6, 0..200),
            b in prop::collection::vec(0_u32..6, 0..200),
        ) {
            prop_assert_eq!(Pattern::new(&a).longest_common_subsequence(&b), by_table(&a, &b));
        }
    }

    #[test]
    fn precision_and_recall_may_come_from_different_references() {
        // Both words of "a b" are in the long reference, all of the short one is in "a b".
        let score = score(&[0, 1], [&[0, 1, 2, 3][..], &[0][..]].into_iter());
        assert!((score - 1.0).abs() < 1e-15, "{score}");
    }
}
