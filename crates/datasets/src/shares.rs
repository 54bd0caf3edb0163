//! Shares of images in a split, such as `80/10/10`.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// Shares of training, validation and test images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shares([u16; 3]);

impl Shares {
    /// Returns the least number of images: one in each part with a share.
    pub(crate) fn least(self) -> usize {
        self.0.iter().filter(|&&share| share > 0).count()
    }

    /// Returns shares that so many images suffice for.
    pub(crate) fn fitting(images: usize) -> Self {
        Self(match images {
            0 | 1 => [100, 0, 0],
            2 => [50, 0, 50],
            _ => [80, 10, 10],
        })
    }

    /// Returns the number of images in each part, rounded; a part with a share has one at least.
    pub(crate) fn sizes(self, images: usize) -> [usize; 3] {
        let total: usize = self.0.iter().map(|&share| usize::from(share)).sum();
        let rounded = |share: u16| (images * usize::from(share) + total / 2) / total;
        let [_, validation, test] = self.0.map(rounded);
        let mut sizes = [images.saturating_sub(validation + test), validation, test];
        for part in 0..3 {
            if sizes[part] == 0 && self.0[part] > 0 {
                // The first of the largest parts gives one.
                let largest = (0..3).rev().max_by_key(|&part| sizes[part]).unwrap_or(0);
                sizes[largest] = sizes[largest].saturating_sub(1);
                sizes[part] = 1;
            }
        }
        sizes
    }

    /// Divides images among the parts by the digests of their names and `seed`.
    ///
    /// The order is that of SHA-256 of the seed (8 bytes, little-endian) and the name, so it does
    /// not depend on captions or on the order of files. Each part keeps the order of `names`.
    pub(crate) fn divide(self, names: &[&str], seed: u64) -> [Vec<usize>; 3] {
        let key = |&index: &usize| {
            let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(names[index]);
            (digest.finalize(), names[index])
        };
        let mut order: Vec<usize> = (0..names.len()).collect();
        order.sort_by_cached_key(key);
        let [train, validation, _] = self.sizes(names.len());
        let test = order.split_off(train + validation);
        let validation = order.split_off(train);
        [order, validation, test].map(|mut part| {
            part.sort_unstable();
            part
        })
    }
}

impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [train, validation, test] = self.0;
        write!(f, "{train}/{validation}/{test}")
    }
}

impl FromStr for Shares {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shares: Vec<u16> = text
            .split('/')
            .map(|share| share.trim().parse())
            .collect::<Result<_, _>>()
            .map_err(|_| "shares are whole numbers")?;
        match shares[..] {
            [0, _, _] => Err("the training share must not be 0"),
            [train, validation, test] => Ok(Self([train, validation, test])),
            _ => Err("there must be three shares: training, validation and test"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_rounded_sizes_and_at_least_one_image() {
        for (shares, images, expected) in [
            ("80/10/10", 10, [8, 1, 1]),
            ("80/10/10", 8091, [6473, 809, 809]),
            ("80/10/10", 3, [1, 1, 1]),
            ("80/10/10", 15, [11, 2, 2]),
            ("8/1/1", 20, [16, 2, 2]),
            ("90/0/10", 4, [3, 0, 1]),
            ("1/50/50", 4, [1, 1, 2]),
            ("100/0/0", 7, [7, 0, 0]),
        ] {
            let sizes = shares.parse::<Shares>().unwrap().sizes(images);
            assert_eq!(sizes, expected, "{shares} of {images}");
            assert_eq!(sizes.iter().sum::<usize>(), images);
        }
        for bad in ["80/20", "0/50/50", "80/10/x", "0.8/0.1/0.1", "80/10/10/0", "-1/1/1", ""] {
            assert!(bad.parse::<Shares>().is_err(), "{bad}");
        }
    }

    #[test]
    fn shares_divide_any_number_of_images() {
        for images in 3..200 {
            for shares in ["80/10/10", "1/1000/1000", "34/33/33", "1/1/1", "998/1/1"] {
                let sizes = shares.parse::<Shares>().unwrap().sizes(images);
                assert_eq!(sizes.iter().sum::<usize>(), images, "{shares} of {images}");
                assert!(sizes.iter().all(|&size| size > 0), "{shares} of {images}: {sizes:?}");
            }
        }
    }
}
