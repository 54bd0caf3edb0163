//! ClipCap's training data: CLIP image embeddings with captions in one pickle.
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

/// Image embeddings and their captions.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    dim: usize,
    /// Row-major values, `[rows, dim]`.
    values: Vec<f32>,
    captions: Vec<Caption>,
}

/// Caption of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caption {
    /// Text of the caption, unchanged from the file.
    pub caption: String,
    /// Row of the image's embedding.
    pub row: usize,
    /// Name or number of the image, if the file has one.
    pub image: Option<String>,
}

impl Embeddings {
    /// Builds the data from embeddings `[rows, dim]` and captions.
    ///
    /// # Errors
    /// Returns [`Problem::Content`] if `dim` is 0 or does not divide the number of values, or if a
    /// caption's row does not exist.
    pub fn new(values: Vec<f32>, dim: usize, captions: Vec<Caption>) -> Result<Self, Problem> {
        if dim == 0 || !values.len().is_multiple_of(dim) {
            return Err(Problem::Content(format!(
                "{} values are not rows of {dim} each",
                values.len()
            )));
        }
        let rows = values.len() / dim;
        if let Some((index, caption)) = captions.iter().enumerate().find(|(_, c)| c.row >= rows) {
            return Err(Problem::Content(format!(
                "caption {index} belongs to row {}, but there are {rows} rows of embeddings",
                caption.row
            )));
        }
        Ok(Self { dim, values, captions })
    }

    /// Reads a pickle of embeddings and captions.
    ///
    /// Embeddings may be a torch tensor or numpy array of any floating-point type (`f64` is
    /// rounded), or a list of them or of lists of numbers. Captions are dicts or plain texts, under
    /// "captions" or "caption"; texts belong to the rows in order. A list of `{"clip_embedding": …,
    /// "caption": …}`, each with its own embedding, is read too.
    ///
    /// # Errors
    /// Fails as [`Tree::load`] does, and names the position of anything with another layout.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let tree = Tree::load(path)?;
        tree.check_expansion()
            .and_then(|()| read::read(tree.root()))
            .map_err(|problem| problem.at(path))
    }

    /// Writes ClipCap's layout atomically. The captions' images become `image_id`.
    ///
    /// Python's `pickle.load` reads the file if torch is installed.
    ///
    /// # Errors
    /// Fails, naming the file, if it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        durable::write_with(path, |file| write::write(self, file))
            .map_err(|error| Problem::from(error).at(path))
    }

    /// Returns the number of images.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.values.len() / self.dim
    }

    /// Returns the length of an embedding, which is at least 1.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Returns all embeddings, row-major `[rows, dim]`.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Returns the captions in the order of the file.
    #[must_use]
    pub fn captions(&self) -> &[Caption] {
        &self.captions
    }
}
