//! ClipCap's training data: CLIP image embeddings with captions, as one pickle.
//!
//! ```python
//! {"clip_embedding": torch.cat(embeddings),          # [rows, dim]
//!  "captions": [{"image_id": …, "caption": "…", "clip_embedding": 0}, …]}   # the caption's row
//! ```

mod read;
mod write;

use std::path::Path;

use crate::error::{Error, Problem};
use crate::tree::Tree;

/// Image embeddings and the captions that go with them.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    dim: usize,
    /// `[rows, dim]`.
    values: Vec<f32>,
    captions: Vec<Caption>,
}

/// One caption of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caption {
    /// Its text, as it is in the file.
    pub caption: String,
    /// The row of its image's embedding.
    pub row: usize,
    /// The image's name or number, where the file has one.
    pub image: Option<String>,
}

impl Embeddings {
    /// Puts embeddings `[rows, dim]` and captions together.
    ///
    /// # Errors
    /// [`Problem::Content`] where `dim` is 0 or does not divide the number of values, or a caption's
    /// row does not exist.
    pub fn new(values: Vec<f32>, dim: usize, captions: Vec<Caption>) -> Result<Self, Problem> {
        if dim == 0 || !values.len().is_multiple_of(dim) {
            return Err(Problem::Content(format!(
                "{} values are not rows of {dim} each",
                values.len()
            )));
        }
        let rows = values.len() / dim;
        if let Some((place, caption)) = captions.iter().enumerate().find(|(_, c)| c.row >= rows) {
            return Err(Problem::Content(format!(
                "caption {place} belongs to row {}, but there are {rows} rows of embeddings",
                caption.row
            )));
        }
        Ok(Self { dim, values, captions })
    }

    /// Reads such a pickle. Embeddings may be a torch tensor or numpy array of any floating-point
    /// type (`f64` is rounded), or a list of them or of lists of numbers; captions are dicts or plain texts, under "captions" or "caption";
    /// texts belong to the rows in order. A list of `{"clip_embedding": …, "caption": …}` with an
    /// embedding each is read too.
    ///
    /// # Errors
    /// What [`Tree::load`] refuses, and what is not laid out so, by its place.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let tree = Tree::load(path)?;
        tree.check_expansion()
            .and_then(|()| read::read(tree.root()))
            .map_err(|problem| problem.at(path))
    }

    /// Writes ClipCap's layout, whole or not at all; Python's `pickle.load` reads it where torch is
    /// installed. The captions' images become `image_id`.
    ///
    /// # Errors
    /// Names the file that could not be written.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        durable::write_with(path, |file| write::write(self, file))
            .map_err(|error| Problem::from(error).at(path))
    }

    /// The number of images.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.values.len() / self.dim
    }

    /// The length of an embedding, at least 1.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// All embeddings, `[rows, dim]`, row by row.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The captions, in the file's order.
    #[must_use]
    pub fn captions(&self) -> &[Caption] {
        &self.captions
    }
}
