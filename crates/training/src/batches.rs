//! Captions as token rows, and the order in which they are seen.

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

/// The batches of one epoch: all rows shuffled, cut into whole batches, the rest dropped.
#[must_use]
pub fn epoch_batches(seed: u64, epoch: u64, rows: usize, batch_size: usize) -> Vec<Vec<usize>> {
    seeds::permutation(seed, Purpose::Order, epoch, rows)
        .chunks_exact(batch_size)
        .map(<[usize]>::to_vec)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_sees_each_row_at_most_once_and_drops_the_partial_batch() {
        let batches = epoch_batches(1, 0, 103, 10);
        assert_eq!(batches.len(), 10);
        let mut seen: Vec<usize> = batches.concat();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 100);
        assert_ne!(batches, epoch_batches(1, 1, 103, 10));
        assert_eq!(batches, epoch_batches(1, 0, 103, 10));
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
