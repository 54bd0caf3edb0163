//! Captions as token rows, and the order in which they are seen.

use networks::prefix::TokenBatch;
use tch::{Device, Tensor};

use crate::learner::Part;
use crate::seeds::{self, Purpose};

/// One caption of one picture, as token ids.
#[derive(Debug, Clone)]
pub struct TokenRow {
    /// Row of the picture in the embeddings.
    pub embedding: i64,
    /// The caption's tokens, without padding.
    pub tokens: Vec<i64>,
    /// Index of the picture in the corpus, for messages.
    pub image: usize,
    /// Index of the caption among the picture's, for messages.
    pub caption: usize,
}

/// Cuts every row at `min(mean + 10 std, max)` of the row lengths, as ClipCap does.
///
/// The standard deviation is the unbiased one (`torch.std`).
pub fn cut_long_rows(rows: &mut [TokenRow]) {
    let lengths: Vec<f64> = rows.iter().map(|row| row.tokens.len() as f64).collect();
    let limit = longest_kept(&lengths);
    for row in rows {
        row.tokens.truncate(limit);
    }
}

fn longest_kept(lengths: &[f64]) -> usize {
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

/// The batches of one epoch, as indexes into `rows`: all rows shuffled, cut into whole batches, the
/// rest dropped.
///
/// With `sort_by_length` the shuffled rows of every fifty batches are sorted by length before they
/// are cut, and the batches shuffled again.
#[must_use]
pub fn epoch_batches(
    seed: u64,
    epoch: u64,
    rows: &[TokenRow],
    batch_size: usize,
    sort_by_length: bool,
) -> Vec<Vec<usize>> {
    let mut order = seeds::permutation(seed, Purpose::Order, epoch, rows.len());
    order.truncate(rows.len() / batch_size * batch_size);
    if !sort_by_length {
        return order.chunks_exact(batch_size).map(<[usize]>::to_vec).collect();
    }
    for pool in order.chunks_mut(SORTED_TOGETHER * batch_size) {
        pool.sort_by_key(|&row| rows[row].tokens.len());
    }
    let batches: Vec<&[usize]> = order.chunks_exact(batch_size).collect();
    seeds::permutation(seed, Purpose::BatchOrder, epoch, batches.len())
        .into_iter()
        .map(|batch| batches[batch].to_vec())
        .collect()
}

/// Batches whose rows are sorted together.
const SORTED_TOGETHER: usize = 50;

/// Rows on the device, with their pictures' embeddings from those of the data set.
#[must_use]
pub fn part(rows: &[&TokenRow], embeddings: &Tensor, prefix_length: i64, device: Device) -> Part {
    let places: Vec<i64> = rows.iter().map(|row| row.embedding).collect();
    let places = Tensor::from_slice(&places).to_device(device);
    let tokens: Vec<&[i64]> = rows.iter().map(|row| row.tokens.as_slice()).collect();
    Part {
        embeddings: embeddings.index_select(0, &places),
        tokens: TokenBatch::new(&tokens, prefix_length, device),
    }
}

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

    #[test]
    fn an_epoch_sees_each_row_at_most_once_and_drops_the_partial_batch() {
        let rows = rows(103);
        for sorted in [false, true] {
            let batches = |epoch| epoch_batches(1, epoch, &rows, 10, sorted);
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
    fn batches_sorted_by_length_hold_rows_of_like_length_and_come_in_any_order() {
        let rows = rows(1300);
        let lengths = |batch: &Vec<usize>| -> Vec<usize> {
            batch.iter().map(|&row| rows[row].tokens.len()).collect()
        };
        let spread = |sorted: bool| -> usize {
            let batches = epoch_batches(1, 0, &rows, 10, sorted);
            let spreads = batches.iter().map(|batch| {
                let lengths = lengths(batch);
                lengths.iter().max().unwrap() - lengths.iter().min().unwrap()
            });
            spreads.sum()
        };
        assert!(spread(true) * 10 < spread(false), "{} {}", spread(true), spread(false));
        let firsts: Vec<usize> =
            epoch_batches(1, 0, &rows, 10, true).iter().map(|batch| lengths(batch)[0]).collect();
        assert!(!firsts.is_sorted());
    }

    #[test]
    fn rows_are_cut_at_ten_unbiased_deviations_above_the_mean() {
        // 999 rows of 10 and one of 400: mean 10.39, std 12.33, limit int(133.7).
        let mut lengths = vec![10.0; 999];
        lengths.push(400.0);
        assert_eq!(longest_kept(&lengths), 133);
        assert_eq!(longest_kept(&[3.0, 5.0]), 5);
        assert_eq!(longest_kept(&[7.0]), 7);
        assert_eq!(longest_kept(&[]), 0);
    }
}
