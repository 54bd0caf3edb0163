//! Keywords of images that are not in the data set.

use keywords::compare::select_all;
use keywords::{Keyword, Selector};
use progress::Silent;
use tch::Tensor;

use crate::error::Error;

/// Selects the keywords of images that are not in the data set.
pub struct KeywordSelector {
    selector: Selector,
    /// Embeddings of the selector's texts `[texts, dim]`.
    texts: Tensor,
}

impl KeywordSelector {
    /// Combines a selector with the embeddings `[texts, dim]` of its texts.
    pub(crate) fn new(selector: Selector, texts: Tensor) -> Self {
        Self { selector, texts }
    }

    /// Selects the keywords of images with these embeddings, `[images, dim]` of length 1.
    ///
    /// # Errors
    /// Fails if the embeddings are not of the run's CLIP.
    pub fn select(&self, embeddings: &Tensor) -> Result<Vec<Vec<Keyword>>, Error> {
        Ok(select_all(&self.selector, embeddings, &self.texts, &mut Silent)?)
    }
}
