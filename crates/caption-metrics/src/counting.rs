//! Document frequencies of the n-grams of references.

use rayon::prelude::*;

use crate::blocks::blocks;
use crate::corpus::{Image, Pairs};
use crate::interner::Interner;
use crate::ngrams::{DocumentFrequencies, ImageGrams};
use crate::words::Caption;
use crate::{Error, Predictions, References, Subset, Tokenizer};

/// Images whose n-grams are held at a time while references are counted.
const COUNTED: usize = 1024;

/// Counts in how many images' references n-grams occur; `advance` receives images as they are done.
pub(crate) fn count(
    pairs: &Pairs,
    tokenizer: Tokenizer,
    vocabulary: &mut Interner,
    advance: &mut dyn FnMut(usize),
) -> Result<DocumentFrequencies, Error> {
    let mut frequencies = DocumentFrequencies::default();
    for block in blocks(pairs, tokenizer) {
        for images in block.images.chunks(COUNTED) {
            let captions: Vec<Vec<Caption>> =
                images.iter().map(|image| references_of(image, vocabulary)).collect();
            let grams = captions.par_iter().map(|references| {
                let mut grams = ImageGrams::default();
                for reference in references {
                    grams.count(reference);
                }
                grams
            });
            for grams in grams.collect::<Vec<_>>() {
                frequencies.add(&grams);
            }
        }
        advance(block.images.len());
    }
    if frequencies.is_empty() { Err(Error::NoReferenceWords) } else { Ok(frequencies) }
}

/// Counts the n-grams of all references, whose words are numbered by the second value.
pub(crate) fn count_references(
    references: &References,
    tokenizer: Tokenizer,
) -> Result<(DocumentFrequencies, Interner), Error> {
    let blank = Predictions::new(references.iter().map(|(id, _)| (id, "")))?;
    let pairs = Pairs::new(references, &blank, &Subset::All)?;
    let mut vocabulary = Interner::default();
    let frequencies = count(&pairs, tokenizer, &mut vocabulary, &mut |_| {})?;
    Ok((frequencies, vocabulary))
}

/// Returns an image's references as numbers of words.
pub(crate) fn references_of(image: &Image, vocabulary: &mut Interner) -> Vec<Caption> {
    image.references.iter().map(|text| Caption::new(text, vocabulary)).collect()
}
