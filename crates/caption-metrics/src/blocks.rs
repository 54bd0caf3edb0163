//! Images by the thousand, cut into tokens.

use std::borrow::Cow;
use std::collections::VecDeque;

use crate::corpus::Image;
use crate::options::Tokenizer;
use crate::{Error, ptb};

/// Images of a block: words and n-grams of an image are some kilobytes, and only a block's are held.
const IMAGES: usize = 8192;

/// Images that are scored together.
pub(crate) struct Block<'a> {
    pub(crate) images: Vec<Image<'a>>,
    /// How many of the captions held a line separator.
    pub(crate) line_separators: usize,
}

/// All images of a source, block by block.
pub(crate) struct Blocks<'a, I> {
    images: I,
    tokenizer: Tokenizer,
    /// Images that have been read, because tokens before them depend on them.
    ahead: VecDeque<Image<'a>>,
}

impl<'a, I: Iterator<Item = Result<Image<'a>, Error>>> Blocks<'a, I> {
    pub(crate) fn new(images: I, tokenizer: Tokenizer) -> Self {
        Self { images, tokenizer, ahead: VecDeque::new() }
    }

    fn next_block(&mut self) -> Result<Option<Block<'a>>, Error> {
        let at_hand = self.ahead.len().min(IMAGES);
        let mut images: Vec<Image> = self.ahead.drain(..at_hand).collect();
        for image in self.images.by_ref().take(IMAGES - at_hand) {
            images.push(image?);
        }
        if images.is_empty() {
            return Ok(None);
        }
        let line_separators = match self.tokenizer {
            Tokenizer::None => images.iter().map(Image::line_separators).sum(),
            Tokenizer::Ptb => {
                self.look_ahead()?;
                self.tokenize(&mut images)
            }
        };
        Ok(Some(Block { images, line_separators }))
    }

    /// Reads as far as tokens of the images before may depend on, on both sides.
    fn look_ahead(&mut self) -> Result<(), Error> {
        let (mut predictions, mut references) = (ptb::Ahead::default(), ptb::Ahead::default());
        let mut see = |image: &Image| {
            predictions.see(&image.prediction);
            image.references.iter().for_each(|reference| references.see(reference));
            predictions.is_enough() && references.is_enough()
        };
        if self.ahead.iter().any(&mut see) {
            return Ok(());
        }
        for image in self.images.by_ref() {
            let image = image?;
            let is_enough = see(&image);
            self.ahead.push_back(image);
            if is_enough {
                break;
            }
        }
        Ok(())
    }

    /// Replaces captions by their tokens, references and predictions each as part of one text. Returns
    /// how many captions held a line separator.
    fn tokenize(&self, images: &mut [Image]) -> usize {
        let all = || images.iter().chain(&self.ahead);
        let predictions: Vec<&str> = all().map(|image| image.prediction.as_ref()).collect();
        let predictions = ptb::tokenize_first(&predictions, images.len());
        let references: Vec<&str> =
            all().flat_map(|image| image.references.iter().map(AsRef::as_ref)).collect();
        let count = images.iter().map(|image| image.references.len()).sum();
        let references = ptb::tokenize_first(&references, count);
        let mut tokenized = references.captions.into_iter();
        for (image, prediction) in images.iter_mut().zip(predictions.captions) {
            image.prediction = Cow::Owned(prediction);
            for (reference, tokens) in image.references.iter_mut().zip(&mut tokenized) {
                *reference = Cow::Owned(tokens);
            }
        }
        predictions.with_line_separators + references.with_line_separators
    }
}

impl<'a, I: Iterator<Item = Result<Image<'a>, Error>>> Iterator for Blocks<'a, I> {
    type Item = Result<Block<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_block().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Captions whose last token depends on what comes next. At the ends of the two first blocks it is far away:
    /// for predictions behind a word, and for references behind blank captions.
    fn images() -> Vec<Image<'static>> {
        let caption = |number: usize| match number % 5 {
            0 => "plan b.",
            1 => "The dog",
            2 => " \t",
            3 => "It is '12",
            _ => "two cats etc.",
        };
        // A period goes before a word that starts a sentence, if that is whole: if a line end follows.
        let prediction = |number: usize| match (number + 1).checked_sub(IMAGES) {
            Some(0) => "plan b.",
            Some(1) => "The",
            _ => caption(number * number / 3),
        };
        let reference = |number: usize, k: usize| match (number + 20).checked_sub(2 * IMAGES) {
            Some(0) => "plan b.",
            Some(1..40) => " ",
            Some(40) => "The dog",
            _ => caption(number / 2 + k * k),
        };
        let image = |number: usize| Image {
            id: number.to_string().into(),
            prediction: prediction(number).into(),
            references: (0..3).map(|k| reference(number, k).into()).collect(),
        };
        (0..2 * IMAGES + 100).map(image).collect()
    }

    #[test]
    fn tokens_do_not_depend_on_where_blocks_end() -> Result<(), Error> {
        let images = images();
        let mut tokenized = Vec::new();
        for block in Blocks::new(images.iter().cloned().map(Ok), Tokenizer::Ptb) {
            tokenized.extend(block?.images);
        }
        let predictions: Vec<&str> = images.iter().map(|image| image.prediction.as_ref()).collect();
        let references: Vec<&str> =
            images.iter().flat_map(|image| image.references.iter().map(AsRef::as_ref)).collect();
        assert_eq!(tokenized.len(), images.len());
        assert!(
            tokenized
                .iter()
                .map(|image| &*image.prediction)
                .eq(ptb::tokenize(&predictions).captions.iter().map(String::as_str))
        );
        assert!(
            tokenized
                .iter()
                .flat_map(|image| image.references.iter().map(AsRef::as_ref))
                .eq(ptb::tokenize(&references).captions.iter().map(String::as_str))
        );
        Ok(())
    }
}
