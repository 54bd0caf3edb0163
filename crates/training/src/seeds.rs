//! Seeds derived from run seed, purpose and number.
//!
//! No random generator is carried from step to step: each use has its own seed. A checkpoint needs
//! no generator state, and a resumed run draws the same numbers as an uninterrupted one.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// Purpose of random numbers.
#[derive(Debug, Clone, Copy)]
pub enum Purpose {
    /// Initial weights.
    Initialisation,
    /// Order of captions in an epoch.
    Order,
    /// Order in which texts are joined.
    Texts,
    /// Order of batches of similar length.
    BatchOrder,
    /// Dropout in a step.
    Dropout,
    /// Permutation of images in the control evaluation.
    Shuffle,
    /// Choice among an image's texts in a step of pretraining.
    Text,
    /// Images that are mirrored in a step of pretraining.
    Mirror,
}

impl Purpose {
    const fn name(self) -> &'static str {
        match self {
            Self::Initialisation => "initialisation",
            Self::Order => "order",
            Self::Texts => "texts",
            Self::BatchOrder => "batch order",
            Self::Dropout => "dropout",
            Self::Shuffle => "shuffle",
            Self::Text => "text",
            Self::Mirror => "mirror",
        }
    }
}

/// Returns a seed for libtorch's generator, at least 0, that depends on all three arguments.
#[must_use]
pub fn derive(seed: u64, purpose: Purpose, number: u64) -> i64 {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(purpose.name());
    hash.update(number.to_le_bytes());
    let digest = hash.finalize();
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest[..8]);
    i64::from_le_bytes(bytes) & i64::MAX
}

/// Returns a permutation of `0..length`.
#[must_use]
pub fn permutation(seed: u64, purpose: Purpose, number: u64, length: usize) -> Vec<usize> {
    let mut random = ChaCha8Rng::seed_from_u64(derive(seed, purpose, number).unsigned_abs());
    let mut order: Vec<usize> = (0..length).collect();
    order.shuffle(&mut random);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_differ_by_seed_purpose_and_number_and_repeat() {
        let first = derive(1, Purpose::Order, 0);
        assert_eq!(first, derive(1, Purpose::Order, 0));
        assert_ne!(first, derive(2, Purpose::Order, 0));
        assert_ne!(first, derive(1, Purpose::Dropout, 0));
        assert_ne!(first, derive(1, Purpose::Order, 1));
    }

    #[test]
    fn a_permutation_holds_every_index_once_and_moves_them() {
        let order = permutation(3, Purpose::Order, 5, 1000);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert!(sorted.iter().copied().eq(0..1000));
        assert_ne!(order, sorted);
    }
}
