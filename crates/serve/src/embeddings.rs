//! Image embeddings of recent images, kept because images come again.
//!
//! The page sends an image once for each run, and most runs share an image encoder.

use std::collections::{HashMap, VecDeque};

use sha2::{Digest, Sha256};
use tch::Tensor;

use crate::backend::PreparedImage;
use crate::error::Error;

/// Maximum number of embeddings kept between batches.
const CAPACITY: usize = 512;

/// Index of the image encoder, and SHA-256 of the pixels.
type Key = (usize, [u8; 32]);

/// Bounded cache of image embeddings.
#[derive(Default)]
pub(crate) struct EmbeddingCache {
    /// Embeddings `[1, dim]`, f32.
    rows: HashMap<Key, Tensor>,
    /// Keys of `rows`, oldest first.
    order: VecDeque<Key>,
}

impl EmbeddingCache {
    /// Returns the embedding `[1, dim]` of each image that was preprocessed for an encoder.
    ///
    /// `encode` computes embeddings `[images, dim]` of the pixels whose embedding is not kept.
    ///
    /// # Errors
    /// Fails if `encode` does, or memory is exhausted.
    pub fn embed(
        &mut self,
        encoder: usize,
        images: &[PreparedImage],
        encode: impl FnOnce(&[&[u8]]) -> Result<Tensor, Error>,
    ) -> Result<Vec<Option<Tensor>>, Error> {
        let (mut new_keys, mut new_pixels) = (Vec::new(), Vec::new());
        let mut keys: Vec<Option<Key>> = Vec::with_capacity(images.len());
        for image in images {
            let pixels = image.pixels[encoder].as_deref();
            let key = pixels.map(|pixels| (encoder, Sha256::digest(pixels).into()));
            keys.push(key);
            let (Some(key), Some(pixels)) = (key, pixels) else { continue };
            if !self.rows.contains_key(&key) && !new_keys.contains(&key) {
                new_keys.push(key);
                new_pixels.push(pixels);
            }
        }
        if !new_pixels.is_empty() {
            // Copies, which do not keep the whole batch alive.
            let new_rows = encode(&new_pixels)?.f_split_copy(1, 0)?;
            self.order.extend(&new_keys);
            self.rows.extend(new_keys.into_iter().zip(new_rows));
        }
        let row = |key: Option<Key>| Some(self.rows.get(&key?)?.shallow_clone());
        let embeddings = keys.into_iter().map(row).collect();
        while self.order.len() > CAPACITY {
            self.order.pop_front().map(|oldest| self.rows.remove(&oldest));
        }
        Ok(embeddings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns an image for the first two of three encoders.
    fn image(pixel: u16) -> PreparedImage {
        let pixels = pixel.to_le_bytes().to_vec();
        PreparedImage { pixels: vec![Some(pixels.clone()), Some(pixels), None], tasks: Vec::new() }
    }

    /// Embeds images by an encoder that returns the pixels.
    ///
    /// Returns the embeddings, and the number of images that the encoder got.
    fn embed(cache: &mut EmbeddingCache, encoder: usize, images: &[u16]) -> (Vec<u16>, usize) {
        let images: Vec<PreparedImage> = images.iter().map(|&pixel| image(pixel)).collect();
        let mut encoded = 0;
        let rows = cache.embed(encoder, &images, |pixels| {
            encoded = pixels.len();
            let values: Vec<f32> = pixels.concat().into_iter().map(f32::from).collect();
            Ok(Tensor::from_slice(&values).view([-1, 2]))
        });
        let value = |row: Tensor| {
            let bytes = Vec::<f32>::try_from(row.view(-1)).unwrap();
            u16::from_le_bytes([bytes[0] as u8, bytes[1] as u8])
        };
        (rows.unwrap().into_iter().map(|row| value(row.unwrap())).collect(), encoded)
    }

    #[test]
    fn each_encoder_encodes_an_image_once() {
        let mut cache = EmbeddingCache::default();
        assert_eq!(embed(&mut cache, 0, &[1, 2, 1]), (vec![1, 2, 1], 2));
        assert_eq!(embed(&mut cache, 0, &[3, 2]), (vec![3, 2], 1));
        assert_eq!(embed(&mut cache, 0, &[1, 3]), (vec![1, 3], 0));
        assert_eq!(embed(&mut cache, 1, &[1]), (vec![1], 1));
        let rows = cache.embed(2, &[image(1)], |_| unreachable!()).unwrap();
        assert!(rows[0].is_none());
    }

    #[test]
    fn the_oldest_embeddings_are_dropped_after_the_batch_that_exceeds_the_bound() {
        let mut cache = EmbeddingCache::default();
        let images: Vec<u16> = (0..CAPACITY as u16).collect();
        assert_eq!(embed(&mut cache, 0, &images).1, CAPACITY);
        let more: Vec<u16> = [0, 1].into_iter().chain(1000..1002).collect();
        assert_eq!(embed(&mut cache, 0, &more), (more, 2));
        assert_eq!((cache.rows.len(), cache.order.len()), (CAPACITY, CAPACITY));
        assert_eq!(embed(&mut cache, 0, &[2, 0]), (vec![2, 0], 1));
    }

    #[test]
    fn a_failed_batch_leaves_the_cache_as_it_was() {
        let mut cache = EmbeddingCache::default();
        embed(&mut cache, 0, &[1]);
        let fail = |_: &[&[u8]]| Err(Error::Backend("out of memory".to_owned()));
        assert!(cache.embed(0, &[image(1), image(2)], fail).is_err());
        assert_eq!(embed(&mut cache, 0, &[1, 2]), (vec![1, 2], 1));
    }
}
