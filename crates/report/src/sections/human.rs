//! The best human caption of each image.

use std::collections::HashMap;

use caption_metrics::consensus::Consensus;

use super::parts::Evaluated;

/// Reference captions of all shown images.
pub(super) struct HumanCaptions<'a> {
    consensus: Consensus,
    /// References of each image, and its index in the consensus.
    images: HashMap<&'a str, (usize, &'a [String])>,
}

impl<'a> HumanCaptions<'a> {
    /// Reads the references of the images that these evaluations caption.
    pub fn of(evaluated: &[Evaluated<'a>]) -> Self {
        let mut images = HashMap::new();
        let mut references = Vec::new();
        for one in evaluated.iter().flat_map(|(.., evaluation)| &evaluation.captions) {
            images.entry(one.picture.as_str()).or_insert_with(|| {
                references.push(&one.references);
                (references.len() - 1, &one.references[..])
            });
        }
        Self { consensus: Consensus::new(references), images }
    }

    /// Returns the reference of an image that is most like its other references.
    pub fn best(&self, picture: &str) -> Option<&'a str> {
        let (index, references) = self.images.get(picture)?;
        let (_, number) = self.consensus.choose(&[*index])?;
        references.get(number).map(String::as_str)
    }
}
