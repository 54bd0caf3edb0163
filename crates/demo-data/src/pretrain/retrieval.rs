//! Retrieval of images by their captions, as CLIP models are compared.

use networks::clip::ClipModel;
use networks::normalized;
use serde::Serialize;
use tch::{Kind, Tensor};
use training::Error;
use words::ClipTokenizer;

/// File of [`Retrievals`] in a model's folder.
pub const RETRIEVAL_FILE: &str = "retrieval.json";

/// Number of texts per batch.
const BATCH: usize = 256;

/// Retrieval of the images that a model was not trained on.
#[derive(Debug, Clone, Serialize)]
pub struct Retrievals {
    /// Among the validation images; `None` if there are none.
    pub validation: Option<Retrieval>,
    /// Among the test images; `None` if there are none.
    pub test: Option<Retrieval>,
}

/// Ranks of images for their captions by cosine similarity.
///
/// Every caption of every image is a query, and all images are candidates. The rank of a caption's
/// image is 1 plus the number of other images that are at least as similar.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Retrieval {
    /// Number of candidates.
    pub images: usize,
    /// Number of queries.
    pub captions: usize,
    /// Part of the queries whose image has rank 1.
    pub recall_at_1: f64,
    /// Part of the queries whose image has a rank of at most 5.
    pub recall_at_5: f64,
    /// Part of the queries whose image has a rank of at most 10.
    pub recall_at_10: f64,
    /// Median rank; of an even number of queries the lower of the two in the middle.
    pub median_rank: usize,
}

/// Measures retrieval among images given by their features `[images, dimension]`.
///
/// `captions` has those of each image.
///
/// # Errors
/// Fails if libtorch or the tokenizer does.
pub(super) fn measure(
    model: &ClipModel,
    tokenizer: &ClipTokenizer,
    features: &Tensor,
    captions: &[&[String]],
) -> Result<Retrieval, Error> {
    let _no_grad = tch::no_grad_guard();
    let images = model.project_features(features)?;
    let mut queries: Vec<(usize, Vec<u32>)> = Vec::new();
    for (image, captions) in captions.iter().enumerate() {
        queries.extend(tokenizer.encode_batch(captions)?.into_iter().map(|ids| (image, ids)));
    }
    // Batches of texts of similar length need little padding.
    queries.sort_by_key(|(_, ids)| ids.len());
    // Without captions there are no rows.
    let mut texts = vec![images.f_narrow(0, 0, 0)?];
    for batch in queries.chunks(BATCH) {
        let rows: Vec<&[u32]> = batch.iter().map(|(_, ids)| &ids[..]).collect();
        let padded = tokenizer.pad(&rows);
        let ids = Tensor::from_slice(&padded.ids).view([padded.rows as i64, padded.tokens as i64]);
        texts.push(model.encode_text(&ids, None)?);
    }
    let own: Vec<i64> = queries.iter().map(|&(image, _)| image as i64).collect();
    measure_embeddings(&images, &Tensor::f_cat(&texts, 0)?, &own)
}

/// Measures retrieval among images given by their embeddings `[images, dimension]`.
///
/// `texts` are embeddings of captions, `[captions, dimension]`, and `own` the row of each caption's
/// image. Embeddings may have any length.
///
/// # Errors
/// Fails if libtorch does.
pub(super) fn measure_embeddings(
    images: &Tensor,
    texts: &Tensor,
    own: &[i64],
) -> Result<Retrieval, Error> {
    let _no_grad = tch::no_grad_guard();
    let count = images.size()[0] as usize;
    let images = normalized(images)?;
    let mut ranks: Vec<i64> = Vec::with_capacity(own.len());
    for own in own.chunks(BATCH) {
        let texts = texts.f_narrow(0, ranks.len() as i64, own.len() as i64)?;
        let similarities = normalized(&texts)?.f_matmul(&images.tr())?;
        ranks.extend(ranks_of(&similarities, &Tensor::from_slice(own)));
    }
    ranks.sort_unstable();
    Ok(summary(count, &ranks))
}

/// Returns the rank of column `own[i]` in row i of `similarities` `[queries, images]`.
fn ranks_of(similarities: &Tensor, own: &Tensor) -> Vec<i64> {
    let of_own = similarities.gather(1, &own.unsqueeze(1), false);
    let ranks =
        similarities.ge_tensor(&of_own).sum_dim_intlist([1_i64].as_slice(), false, Kind::Int64);
    (0..ranks.size()[0]).map(|row| ranks.int64_value(&[row])).collect()
}

/// Summarises sorted ranks.
fn summary(images: usize, ranks: &[i64]) -> Retrieval {
    let recall =
        |most: i64| ranks.partition_point(|&rank| rank <= most) as f64 / ranks.len().max(1) as f64;
    Retrieval {
        images,
        captions: ranks.len(),
        recall_at_1: recall(1),
        recall_at_5: recall(5),
        recall_at_10: recall(10),
        median_rank: ranks.get(ranks.len().saturating_sub(1) / 2).map_or(0, |&rank| rank as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_count_the_images_that_are_at_least_as_similar() {
        let similarities = Tensor::from_slice2(&[
            [0.9_f32, 0.1, 0.2, 0.3],
            [0.5, 0.4, 0.6, 0.1],
            [0.7, 0.7, 0.7, 0.7],
            [0.1, 0.2, 0.3, 0.25],
        ]);
        let ranks = ranks_of(&similarities, &Tensor::from_slice(&[0_i64, 1, 2, 3]));
        assert_eq!(ranks, [1, 3, 4, 2]);
        let mut sorted = ranks;
        sorted.sort_unstable();
        let found = summary(4, &sorted);
        assert_eq!((found.recall_at_1, found.recall_at_5, found.median_rank), (0.25, 1.0, 2));
        let found = summary(12, &[1, 6, 11, 12]);
        assert_eq!((found.images, found.recall_at_10), (12, 0.5));
    }
}
