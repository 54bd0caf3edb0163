//! Images by the thousand, cut into tokens.

use rayon::prelude::*;

use crate::corpus::{Image, Pairs};
use crate::ptb;
use crate::tokenizer::Tokenizer;

/// Images of a block: an image's words and n-grams take some kilobytes, so few are held at a time.
const IMAGES: usize = 8192;

/// Images that are scored together, as tokens.
pub(crate) struct Block<'a> {
    pub(crate) images: Vec<Image<'a>>,
    /// The number of captions that held a line separator.
    pub(crate) line_separators: usize,
}

/// Returns all images, block by block.
pub(crate) fn blocks<'a>(
    pairs: &'a Pairs<'a>,
    tokenizer: Tokenizer,
) -> impl Iterator<Item = Block<'a>> {
    (0..pairs.len()).step_by(IMAGES).map(move |start| {
        let end = pairs.len().min(start + IMAGES);
        let mut images: Vec<Image> =
            (start..end).into_par_iter().map(|index| pairs.image(index)).collect();
        let line_separators = match tokenizer {
            Tokenizer::None => images.iter().map(Image::line_separators).sum(),
            Tokenizer::Ptb => {
                images.extend(context(pairs, end));
                let line_separators = tokenize(&mut images, end - start);
                images.truncate(end - start);
                line_separators
            }
        };
        Block { images, line_separators }
    })
}

/// Returns as many of the images from `start` on as tokens of those before may depend on.
fn context<'a>(pairs: &'a Pairs<'a>, start: usize) -> impl Iterator<Item = Image<'a>> {
    let (mut predictions, mut references) = (ptb::Ahead::default(), ptb::Ahead::default());
    (start..pairs.len()).map_while(move |index| {
        let is_enough = predictions.is_enough() && references.is_enough();
        (!is_enough).then(|| {
            let image = pairs.image(index);
            predictions.see(&image.prediction);
            image.references.iter().for_each(|reference| references.see(reference));
            image
        })
    })
}

/// Replaces the captions of the first `count` images by their tokens.
///
/// References and predictions are one text each. Returns how many captions held a line separator.
fn tokenize(images: &mut [Image], count: usize) -> usize {
    let predictions: Vec<&str> = images.iter().map(|image| image.prediction.as_str()).collect();
    let predictions = ptb::tokenize_first(&predictions, count);
    let references: Vec<&str> =
        images.iter().flat_map(|image| &image.references).map(String::as_str).collect();
    let of_images = images[..count].iter().map(|image| image.references.len()).sum();
    let references = ptb::tokenize_first(&references, of_images);
    let mut tokenized = references.captions.into_iter();
    for (image, prediction) in images.iter_mut().zip(predictions.captions) {
        image.prediction = prediction;
        for (reference, tokens) in image.references.iter_mut().zip(&mut tokenized) {
            *reference = tokens;
        }
    }
    predictions.with_line_separators + references.with_line_separators
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, Predictions, References, Subset};

    /// Captions whose last token depends on what comes next. At the ends of the two first blocks
    /// that is far away: for predictions behind a word, for references behind blank captions.
    fn captions() -> impl Iterator<Item = (String, [&'static str; 3])> {
        let caption = |number: usize| match number % 5 {
            0 => "plan b.",
            1 => "The dog",
            2 => " \t",
            3 => "It is '12",
            _ => "two cats etc.",
        };
        // A period goes before a word that starts a sentence, if a line end follows that word.
        let prediction = move |number: usize| match (number + 1).checked_sub(IMAGES) {
            Some(0) => "plan b.",
            Some(1) => "The",
            _ => caption(number * number / 3),
        };
        let reference = move |number: usize, k: usize| match (number + 20).checked_sub(2 * IMAGES) {
            Some(0) => "plan b.",
            Some(1..40) => " ",
            Some(40) => "The dog",
            _ => caption(number / 2 + k * k),
        };
        (0..2 * IMAGES + 100).map(move |number| {
            let references = [0, 1].map(|k| reference(number, k));
            (number.to_string(), [prediction(number), references[0], references[1]])
        })
    }

    #[test]
    fn tokens_do_not_depend_on_where_blocks_end() -> Result<(), Error> {
        let (predictions, references): (Vec<&str>, Vec<[&str; 2]>) =
            captions().map(|(_, [prediction, a, b])| (prediction, [a, b])).unzip();
        let ids = || captions().map(|(id, _)| id);
        let pairs = (
            References::new(ids().zip(&references).map(|(id, &list)| (id, list)))?,
            Predictions::new(ids().zip(&predictions))?,
        );
        let pairs = Pairs::new(&pairs.0, &pairs.1, &Subset::All)?;
        let images: Vec<Image> =
            blocks(&pairs, Tokenizer::Ptb).flat_map(|block| block.images).collect();
        let found: Vec<&str> = images.iter().map(|image| image.prediction.as_str()).collect();
        assert_eq!(found, ptb::tokenize(&predictions).captions);
        let found: Vec<&String> = images.iter().flat_map(|image| &image.references).collect();
        let expected = ptb::tokenize(&references.concat()).captions;
        assert!(found.into_iter().eq(&expected));
        Ok(())
    }
}
