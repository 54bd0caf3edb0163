//! What is to be done, how far it is, and what was done.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use foreign_text::{printable, printable_path};
use launchers::Place;
use pictures::PictureFile;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tch::Device;

use crate::digest;
use crate::error::Error;
use runs::Identity;

/// Where a picture is, by its place in the list and its name.
pub type Find<'a> = Box<dyn Fn(usize, &str) -> PictureFile + Sync + 'a>;

/// A picture that has no embedding, since it could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Its name in the data set.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Which pictures to embed, how, and into which file.
pub struct Plan<'a> {
    /// The pictures' names in the data set, by which their embeddings are found again, in the order
    /// of the rows to come. They are unique.
    pub names: Vec<String>,
    /// Where each picture is.
    pub find: Find<'a>,
    /// What the embeddings will be of, written into the file.
    pub identity: Identity,
    /// Where the model is.
    pub device: Device,
    /// Pictures encoded together. It moves the last bits of a result, so a run that is resumed must
    /// keep it.
    pub batch_size: usize,
    /// Leave out pictures that cannot be decoded, where else the first of them is an error.
    pub skip_corrupt: bool,
    /// Which of how many processes that share the work this one is.
    pub place: Place,
    /// The file to write.
    pub output: &'a Path,
}

impl Plan<'_> {
    /// Refuses what cannot be carried out.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let impossible = |reason: &str| Err(Error::Plan(reason.to_owned()));
        if self.names.is_empty() {
            return impossible("there are no pictures to embed");
        }
        if self.batch_size == 0 {
            return impossible("the batch size must be at least 1");
        }
        if self.identity.dimension == 0 {
            return impossible("an embedding has at least one value");
        }
        if self.output.file_name().is_none() {
            return impossible(&format!(
                "{} is not the name of a file",
                printable_path(self.output)
            ));
        }
        let mut names = HashSet::new();
        match self.names.iter().find(|name| !names.insert(name.as_str())) {
            Some(twice) => {
                impossible(&format!("the data set has the picture {} twice", printable(twice)))
            }
            None => Ok(()),
        }
    }

    /// Returns the file of a picture of the list.
    pub(crate) fn file(&self, picture: usize) -> PictureFile {
        (self.find)(picture, &self.names[picture])
    }

    /// How many batches the pictures make.
    pub(crate) fn batches(&self) -> usize {
        self.names.len().div_ceil(self.batch_size)
    }

    /// The pictures of a batch, as places in the list; none past the end.
    pub(crate) fn batch(&self, index: usize) -> Range<usize> {
        let bound = |batch: usize| batch.saturating_mul(self.batch_size).min(self.names.len());
        bound(index)..bound(index.saturating_add(1))
    }

    /// A digest of the names in their order.
    pub(crate) fn names_sha256(&self) -> String {
        let mut names = Sha256::new();
        self.names.iter().for_each(|name| digest::add_text(&mut names, name));
        hex::encode(names.finalize())
    }
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Embeddings made by this run.
    pub encoded: usize,
    /// Embeddings that an earlier run had made.
    pub resumed: usize,
    /// Pictures without an embedding, in the order of the plan.
    pub skipped: Vec<Skipped>,
    /// Pictures that had changed since an earlier run read them, as places in the plan's list.
    /// Their batches were encoded again.
    pub changed: Vec<usize>,
    /// The output was finished already, and no picture has changed since.
    pub already_finished: bool,
    /// The output does not tell which files its pictures were read from, so that no change is
    /// noticed.
    pub unrecorded: bool,
    /// Pictures that are other processes' and not done: the last of them writes the output.
    pub left: usize,
}
