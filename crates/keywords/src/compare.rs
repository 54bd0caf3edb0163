//! Comparison of images with texts, and of words with words, by matrix products.

use progress::{Progress, Unit};
use rayon::prelude::*;
use runs::Keyword;
use tch::{Kind, Tensor, no_grad};
use words::Label;

use crate::error::Error;
use crate::selection::Selector;
use crate::text_encoder::TextEncoder;

/// Number of rows that are multiplied at once.
const ROWS: i64 = 1024;
/// Cosine above which two words count as synonyms.
pub const SYNONYM_COSINE: f64 = 0.8;

/// Selects the keywords of each image.
///
/// `images` `[images, dim]` and `texts` `[texts, dim]`, those of [`Selector::texts`], are unit
/// vectors on one device.
///
/// # Errors
/// Fails if the dimensions differ, no label is a noun, adverb or adjective, or memory is exhausted.
pub fn select_all(
    selector: &Selector,
    images: &Tensor,
    texts: &Tensor,
    progress: &mut dyn Progress,
) -> Result<Vec<Vec<Keyword>>, Error> {
    let count = selector.texts().len();
    if count == 0 {
        return Err(Error::Mismatch(
            "among the labels is no noun, adverb or adjective, so there is nothing to choose"
                .into(),
        ));
    }
    let transposed = texts.f_tr()?;
    let total = images.size()[0] as u64;
    progress.start("selecting keywords", Unit::Count("pictures"), Some(total), 0);
    let mut all = Vec::with_capacity(total as usize);
    for chunk in images.split(ROWS, 0) {
        let similarities = values(&no_grad(|| chunk.f_matmul(&transposed))?);
        let selected = similarities.par_chunks_exact(count).map(|row| selector.select(row));
        all.par_extend(selected);
        progress.position(all.len() as u64);
    }
    progress.finish();
    Ok(all)
}

/// Returns, for each label, the index of the most similar category by CLIP's text tower.
///
/// The first of equally similar categories wins.
///
/// # Errors
/// Same as [`TextEncoder::encode`].
pub fn nearest_by_clip(
    encoder: &TextEncoder,
    labels: &[&Label],
    categories: &[&str],
) -> Result<Vec<usize>, Error> {
    let words: Vec<&str> = labels.iter().map(|label| label.word.as_str()).collect();
    let categories = encoder.encode(categories)?;
    let words = encoder.encode(&words)?;
    Ok(largest_of_rows(&no_grad(|| words.f_matmul(&categories.f_tr()?))?))
}

/// Returns the index of the first largest value in each row of `[rows, values]`.
pub(crate) fn largest_of_rows(rows: &Tensor) -> Vec<usize> {
    let count = rows.size()[1] as usize;
    values(rows).chunks_exact(count.max(1)).map(first_largest).collect()
}

fn first_largest(values: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}

/// Removes labels that are near-synonyms of a more frequent label by an encoder of texts.
///
/// `labels` are ordered by frequency, most frequent first. A label is removed if its cosine with a
/// kept one is above [`SYNONYM_COSINE`]. `encode` returns unit vectors `[words, dim]`.
///
/// # Errors
/// Same as `encode`. Also fails if memory is exhausted.
pub fn without_synonyms(
    labels: Vec<Label>,
    encode: impl FnOnce(&[&str]) -> Result<Tensor, Error>,
) -> Result<Vec<Label>, Error> {
    let words: Vec<&str> = labels.iter().map(|label| label.word.as_str()).collect();
    let embeddings = encode(&words)?;
    let mut is_kept = vec![true; labels.len()];
    for first in (0..labels.len()).step_by(ROWS as usize) {
        let count = ROWS.min((labels.len() - first) as i64);
        let rows = embeddings.f_narrow(0, first as i64, count)?;
        // Each label is compared with all more frequent ones.
        let others = embeddings.f_narrow(0, 0, first as i64 + count)?;
        let width = first + count as usize;
        let similarities = values(&no_grad(|| rows.f_matmul(&others.f_tr()?))?);
        for (number, row) in (first..).zip(similarities.chunks_exact(width)) {
            let same =
                |(other, cosine): (&bool, &f32)| *other && f64::from(*cosine) > SYNONYM_COSINE;
            is_kept[number] = !is_kept[..number].iter().zip(row).any(same);
        }
    }
    Ok(labels.into_iter().zip(is_kept).filter_map(|(label, kept)| kept.then_some(label)).collect())
}

fn values(tensor: &Tensor) -> Vec<f32> {
    let tensor = tensor.to_device(tch::Device::Cpu).to_kind(Kind::Float).contiguous();
    let mut values = vec![0.0; tensor.numel()];
    tensor.copy_data(&mut values, tensor.numel());
    values
}

#[cfg(test)]
mod tests {
    use super::first_largest;

    #[test]
    fn of_equal_values_the_first_is_largest() {
        assert_eq!(first_largest(&[0.1, 0.5, 0.5, 0.2]), 1);
    }
}
