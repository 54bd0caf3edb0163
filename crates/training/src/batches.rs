//! Training examples as token rows, and their division into batches.

use std::cmp::Reverse;

use launchers::ProcessRank;
use recipes::Training;

use crate::seeds::{self, Purpose};

/// A training example.
pub trait Example {
    /// Returns the length in tokens, for batches of similar length.
    fn length(&self) -> usize;
}

/// One caption of one image, as token ids.
#[derive(Debug, Clone)]
pub struct TokenRow {
    /// Row of the image in the embeddings.
    pub embedding: i64,
    /// Tokens of the caption, without padding.
    pub tokens: Vec<i64>,
    /// Index of the image in the corpus, for messages.
    pub image: usize,
    /// Index of the caption among the image's, for messages.
    pub caption: usize,
}

impl Example for TokenRow {
    fn length(&self) -> usize {
        self.tokens.len()
    }
}

/// Cuts every row at `min(mean + 10 std, max)` of the row lengths, as ClipCap does.
///
/// The standard deviation is the unbiased one (`torch.std`).
pub fn cut_long_rows(rows: &mut [TokenRow]) {
    let lengths: Vec<f64> = rows.iter().map(|row| row.tokens.len() as f64).collect();
    let limit = length_limit(&lengths);
    for row in rows {
        row.tokens.truncate(limit);
    }
}

fn length_limit(lengths: &[f64]) -> usize {
    let count = lengths.len() as f64;
    let max = lengths.iter().copied().fold(0.0, f64::max);
    if lengths.len() < 2 {
        return max as usize;
    }
    let mean = lengths.iter().sum::<f64>() / count;
    let squares: f64 = lengths.iter().map(|length| (length - mean).powi(2)).sum();
    let deviation = (squares / (count - 1.0)).sqrt();
    (mean + 10.0 * deviation).min(max) as usize
}

/// Division of an epoch into batches.
#[derive(Debug, Clone, Copy)]
pub struct Batching {
    /// Seed of the order.
    pub seed: u64,
    /// Examples in a batch.
    pub size: usize,
    /// Drops an epoch's last batch if it is incomplete.
    pub drop_last: bool,
    /// Sorts each fifty batches by length before cutting them, and shuffles the batches again.
    pub sort_by_length: bool,
}

impl Batching {
    pub(crate) fn new(training: &Training) -> Self {
        Self {
            seed: training.seed,
            size: training.batch_size,
            drop_last: training.drop_last_batch,
            sort_by_length: training.sort_by_length,
        }
    }

    /// Returns the number of batches in an epoch of this many examples.
    #[must_use]
    pub fn count(&self, examples: usize) -> usize {
        if self.drop_last { examples / self.size } else { examples.div_ceil(self.size) }
    }

    /// Returns the batches of one epoch, as indexes into `examples`: shuffled, then cut.
    #[must_use]
    pub fn epoch(&self, epoch: u64, examples: &[impl Example]) -> Vec<Vec<usize>> {
        let mut order = seeds::permutation(self.seed, Purpose::Order, epoch, examples.len());
        order.truncate(self.count(examples.len()) * self.size);
        if !self.sort_by_length {
            return order.chunks(self.size).map(<[usize]>::to_vec).collect();
        }
        for pool in order.chunks_mut(BATCHES_PER_SORT * self.size) {
            pool.sort_by_key(|&example| examples[example].length());
        }
        let batches: Vec<&[usize]> = order.chunks(self.size).collect();
        seeds::permutation(self.seed, Purpose::BatchOrder, epoch, batches.len())
            .into_iter()
            .map(|batch| batches[batch].to_vec())
            .collect()
    }
}

/// Returns the examples of a batch that one process computes.
///
/// Examples go from the longest to the shortest to the ranks in turn, back and forth, so that all
/// ranks have about the same work. A single process takes the batch unchanged.
#[must_use]
pub fn share_of_batch(
    batch: &[usize],
    examples: &[impl Example],
    process: ProcessRank,
) -> Vec<usize> {
    if process.is_single() {
        return batch.to_vec();
    }
    let mut batch = batch.to_vec();
    batch.sort_by_key(|&example| Reverse(examples[example].length()));
    let size = process.world_size;
    let rounds = batch.chunks(size).enumerate();
    let own = rounds.filter_map(|(round, examples)| {
        examples.get(if round % 2 == 0 { process.rank } else { size - 1 - process.rank })
    });
    own.copied().collect()
}

/// Number of batches whose examples are sorted by length at once.
const BATCHES_PER_SORT: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize) -> Vec<TokenRow> {
        let row = |index| TokenRow {
            embedding: 0,
            tokens: vec![1; 1 + index * 7 % 13],
            image: 0,
            caption: 0,
        };
        (0..count).map(row).collect()
    }

    fn epoch(epoch: u64, rows: &[TokenRow], sort_by_length: bool) -> Vec<Vec<usize>> {
        Batching { seed: 1, size: 10, drop_last: true, sort_by_length }.epoch(epoch, rows)
    }

    #[test]
    fn an_epoch_sees_each_row_at_most_once_and_drops_the_partial_batch() {
        let rows = rows(103);
        for sorted in [false, true] {
            let batches = |number| epoch(number, &rows, sorted);
            let first = batches(0);
            assert_eq!(first.len(), 10);
            let mut seen: Vec<usize> = first.concat();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), 100);
            assert_ne!(first, batches(1));
            assert_eq!(first, batches(0));
        }
    }

    #[test]
    fn a_partial_batch_can_be_kept() {
        let rows = rows(103);
        let batching = Batching { seed: 1, size: 10, drop_last: false, sort_by_length: false };
        let batches = batching.epoch(0, &rows);
        assert_eq!((batches.len(), batching.count(103)), (11, 11));
        assert_eq!(batches[10].len(), 3);
        let mut seen = batches.concat();
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..103));
    }

    #[test]
    fn batches_sorted_by_length_hold_rows_of_like_length_and_come_in_any_order() {
        let rows = rows(1300);
        let lengths = |batch: &Vec<usize>| -> Vec<usize> {
            batch.iter().map(|&row| rows[row].tokens.len()).collect()
        };
        let spread = |sorted: bool| -> usize {
            let batches = epoch(0, &rows, sorted);
            let spreads = batches.iter().map(|batch| {
                let lengths = lengths(batch);
                lengths.iter().max().unwrap() - lengths.iter().min().unwrap()
            });
            spreads.sum()
        };
        assert!(spread(true) * 10 < spread(false), "{} {}", spread(true), spread(false));
        let firsts: Vec<usize> =
            epoch(0, &rows, true).iter().map(|batch| lengths(batch)[0]).collect();
        assert!(!firsts.is_sorted());
    }

    #[test]
    fn a_batch_is_shared_whole_and_evenly() {
        let rows = rows(103);
        let batch: Vec<usize> = (0..103).rev().collect();
        for world_size in 1..=4 {
            let shares: Vec<Vec<usize>> = (0..world_size)
                .map(|rank| {
                    share_of_batch(&batch, &rows, ProcessRank { rank, world_size, local_rank: 0 })
                })
                .collect();
            let tokens = |share: &Vec<usize>| -> usize {
                share.iter().map(|&row| rows[row].tokens.len()).sum()
            };
            let (most, least) = (
                shares.iter().map(tokens).max().unwrap(),
                shares.iter().map(tokens).min().unwrap(),
            );
            assert!(most - least <= 13, "{most} {least}");
            let mut all = shares.concat();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..103));
        }
        let alone = share_of_batch(&batch, &rows, ProcessRank::SINGLE);
        assert_eq!(alone, batch);
        // More processes than examples: some have none.
        let process = ProcessRank { rank: 3, world_size: 4, local_rank: 0 };
        assert!(share_of_batch(&batch[..2], &rows, process).is_empty());
    }

    #[test]
    fn rows_are_cut_at_ten_unbiased_deviations_above_the_mean() {
        // 999 rows of 10 and one of 400: mean 10.39, std 12.33, limit int(133.7).
        let mut lengths = vec![10.0; 999];
        lengths.push(400.0);
        assert_eq!(length_limit(&lengths), 133);
        assert_eq!(length_limit(&[3.0, 5.0]), 5);
        assert_eq!(length_limit(&[7.0]), 7);
        assert_eq!(length_limit(&[]), 0);
    }
}
