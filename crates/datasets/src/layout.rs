//! Layouts of data sets and their names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// File format of captions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// `captions.txt` or `results.csv`, with fields separated by `,` or `|`.
    ///
    /// The header is `image,caption` (Flickr8k) or `image_name,comment_number,comment` (Flickr30k).
    Kaggle,
    /// `Flickr8k.token.txt` or `results_20130124.token`: `name#number`, a tab, the caption.
    Original,
    /// Karpathy's JSON file with captions and split.
    ///
    /// It is called `dataset_flickr8k.json`, `dataset_flickr30k.json` or `dataset_coco.json`; files
    /// of other names are recognised by their contents.
    Karpathy,
    /// Tar archives, compressed by gzip or not.
    ///
    /// Each image has a `txt` or a `json` file of the same name.
    WebDataset,
    /// COCO's `captions_train2017.json` and the like, also in a folder `annotations`.
    Coco,
    /// `metadata.csv` or `metadata.jsonl` beside the images, as Hugging Face's imagefolder.
    ///
    /// The files may also lie in folders `train`, `validation` and `test`.
    ImageFolder,
    /// A `.txt`, `.caption` or `.json` file beside each image, as kohya and img2dataset write them.
    #[serde(rename = "text-files")]
    TextFiles,
    /// A CSV, TSV or JSON Lines file of any name and columns.
    Table,
}

impl Layout {
    /// All layouts; a folder with several of the first four is read as the first of them.
    pub const ALL: [Self; 8] = [
        Self::Kaggle,
        Self::Original,
        Self::Karpathy,
        Self::WebDataset,
        Self::Coco,
        Self::ImageFolder,
        Self::TextFiles,
        Self::Table,
    ];

    /// Returns true for the layouts of Flickr8k and Flickr30k.
    ///
    /// The reference reads their images without turning them by EXIF orientations.
    #[must_use]
    pub fn is_flickrs(self) -> bool {
        matches!(self, Self::Kaggle | Self::Original | Self::Karpathy)
    }

    /// Returns the names of all layouts, separated by commas.
    #[must_use]
    pub fn names() -> String {
        Self::ALL.map(|layout| layout.to_string()).join(", ")
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kaggle => "kaggle",
            Self::Original => "original",
            Self::Karpathy => "karpathy",
            Self::WebDataset => "webdataset",
            Self::Coco => "coco",
            Self::ImageFolder => "imagefolder",
            Self::TextFiles => "text-files",
            Self::Table => "table",
        })
    }
}

impl FromStr for Layout {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|layout| layout.to_string() == name);
        known.ok_or_else(|| format!("unknown layout {name:?}; it is one of {}", Self::names()))
    }
}
