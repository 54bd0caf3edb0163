//! Options that name a data set and its split.

use std::path::{Path, PathBuf};

use datasets::{Columns, Corpus, Layout, Source, SplitKind, SplitSpec};

use crate::terminal;

/// Data set.
#[derive(clap::Args, Clone)]
pub struct DataSet {
    /// Data set: folder of pictures and captions, or tar archives of both such as
    /// 'shards/{000..100}.tar'.
    #[arg(long)]
    pub dataset: PathBuf,
    #[command(flatten)]
    captions: CaptionFiles,
}

/// Files of a data set's captions and pictures.
#[derive(clap::Args, Clone)]
#[group(requires = "dataset")]
pub struct CaptionFiles {
    /// Layout of the captions: kaggle, original, karpathy, webdataset, coco, imagefolder,
    /// text-files or table. [default: detected from the files]
    #[arg(long)]
    layout: Option<Layout>,
    /// Captions file: CSV, TSV, JSON Lines, or COCO's JSON. [default: found in the folder]
    #[arg(long, value_name = "FILE")]
    captions: Option<PathBuf>,
    /// Column of the captions file with the pictures' file names. [default: one of a usual name,
    /// such as `file_name` or image]
    #[arg(long, value_name = "NAME")]
    image_column: Option<String>,
    /// Column of the captions file with the captions. [default: one of a usual name, such as text
    /// or caption]
    #[arg(long, value_name = "NAME")]
    caption_column: Option<String>,
    /// Folder of the pictures. [default: found in the folder of the data set]
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
}

/// Split of a data set.
#[derive(clap::Args, Clone)]
pub struct SplitOptions {
    /// Captions in the test set of the paper split
    #[arg(long, default_value_t = 5000)]
    test_captions: usize,
    /// Captions in the validation set of the paper split, which are not trained on either
    #[arg(long, default_value_t = 0)]
    validation_captions: usize,
    /// Random seed of a split by shares
    #[arg(long, default_value_t = 42)]
    split_seed: u64,
}

impl DataSet {
    pub fn source(&self) -> Source {
        self.captions.source(&self.dataset)
    }

    /// Loads the data set, and prints its warnings.
    pub fn load(&self) -> anyhow::Result<Corpus> {
        let corpus = self.source().load()?;
        for warning in &corpus.warnings {
            terminal::say(&format!("warning: {warning}"));
        }
        Ok(corpus)
    }
}

impl CaptionFiles {
    pub fn source(&self, dataset: &Path) -> Source {
        let Self { layout, captions, image_column, caption_column, images } = self.clone();
        let columns = Columns { image: image_column, caption: caption_column };
        Source { dataset: dataset.to_owned(), layout, captions, images, columns }
    }
}

impl SplitOptions {
    pub fn spec(&self, kind: SplitKind) -> SplitSpec {
        SplitSpec {
            kind,
            test_captions: self.test_captions,
            validation_captions: self.validation_captions,
            seed: self.split_seed,
        }
    }
}
