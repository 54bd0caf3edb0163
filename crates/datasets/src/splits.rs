//! Splits of a corpus: by position as in the paper, by lists, as its files say, or by shares.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use foreign_text::{printable, printable_path, python_json};
use serde::{Deserialize, Serialize};

use crate::corpus::{Corpus, Part};
use crate::error::{LoadError, Location};
use crate::layout::Layout;
use crate::shares::Shares;
use crate::{karpathy, text};

/// Kind of split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SplitKind {
    /// By position: the last caption rows are the test set, those before it the validation set.
    Paper,
    /// The lists of Flickr8k's release, `Flickr_8k.{train,dev,test}Images.txt`.
    Official,
    /// Karpathy's split, from `dataset_flickr8k.json` or `dataset_flickr30k.json`.
    Karpathy,
    /// Karpathy's split without COCO's `restval` images, which he trained on too.
    KarpathyNoRestVal,
    /// Lists of file names, `train.txt`, `validation.txt` and `test.txt`.
    Lists,
    /// The parts that the files of captions name.
    ///
    /// That is Karpathy's JSON, COCO's `captions_val2017.json` and imagefolder's
    /// `test/metadata.csv`.
    Given,
    /// Shares of the images, drawn by [`SplitSpec::seed`].
    Shares(Shares),
}

impl SplitKind {
    /// Kinds that need no shares.
    pub const NAMED: [Self; 6] = [
        Self::Paper,
        Self::Official,
        Self::Karpathy,
        Self::KarpathyNoRestVal,
        Self::Lists,
        Self::Given,
    ];

    /// Returns a split that so many images suffice for.
    pub(crate) fn fitting(images: usize) -> Self {
        Self::Shares(Shares::fitting(images))
    }
}

impl fmt::Display for SplitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Paper => "paper",
            Self::Official => "official",
            Self::Karpathy => "karpathy",
            Self::KarpathyNoRestVal => "karpathy-no-restval",
            Self::Lists => "lists",
            Self::Given => "given",
            Self::Shares(shares) => return shares.fmt(f),
        })
    }
}

impl FromStr for SplitKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        if let Some(kind) = Self::NAMED.into_iter().find(|kind| kind.to_string() == name) {
            return Ok(kind);
        }
        name.parse().map(Self::Shares).map_err(|problem| {
            let names = Self::NAMED.map(|kind| kind.to_string()).join(", ");
            let problem = if name.contains('/') { format!(": {problem}") } else { String::new() };
            format!(
                "unknown split {name:?}; it is one of {names}, or shares such as 80/10/10{problem}"
            )
        })
    }
}

impl TryFrom<String> for SplitKind {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

impl From<SplitKind> for String {
    fn from(kind: SplitKind) -> Self {
        kind.to_string()
    }
}

/// Kind and sizes of a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitSpec {
    /// Kind of split.
    pub kind: SplitKind,
    /// For [`SplitKind::Paper`], the number of caption rows at the end that form the test set.
    pub test_captions: usize,
    /// For [`SplitKind::Paper`], the number of held-out caption rows before the test set.
    pub validation_captions: usize,
    /// For [`SplitKind::Shares`], the seed of the draw.
    #[serde(default)]
    pub seed: u64,
}

impl SplitSpec {
    /// The paper's split for its prefix models: 5,000 rows for the test, none held out.
    ///
    /// SBG also holds out 5,000 for validation.
    pub const PAPER: Self = Self::new(SplitKind::Paper, 5000);
    /// The release's lists.
    pub const OFFICIAL: Self = Self::new(SplitKind::Official, 0);
    /// Karpathy's split.
    pub const KARPATHY: Self = Self::new(SplitKind::Karpathy, 0);

    const fn new(kind: SplitKind, test_captions: usize) -> Self {
        Self { kind, test_captions, validation_captions: 0, seed: 0 }
    }

    /// Returns shares of the images, drawn by `seed`.
    #[must_use]
    pub const fn shares(shares: Shares, seed: u64) -> Self {
        Self { seed, ..Self::new(SplitKind::Shares(shares), 0) }
    }
}

/// Indexes into [`Corpus::images`]; no image is in two parts, and some may be in none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Split {
    /// Training images; never empty.
    pub train: Vec<usize>,
    /// Validation images.
    pub validation: Vec<usize>,
    /// Test images.
    pub test: Vec<usize>,
}

/// Reason why a corpus cannot be split.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    /// The data set has no files for this split.
    #[error(
        "{} has no {kind} split: it needs {} there; the splits `paper` and `80/10/10` need no file",
        printable_path(root), needs.join(" or ")
    )]
    NoLists {
        /// Requested split.
        kind: SplitKind,
        /// Folder of the data set.
        root: PathBuf,
        /// Missing files.
        needs: Vec<String>,
    },
    /// The boundary of the split lies within an image.
    #[error(
        "the last {rows} captions begin inside image {}; choose {below} or {above} captions \
         ({dropped} captions were dropped while loading, see the warnings)",
        printable(image)
    )]
    InsideImage {
        /// Requested rows, counted from the end of the file.
        rows: usize,
        /// Image at the boundary.
        image: String,
        /// Next smaller number of rows that ends between images.
        below: usize,
        /// Next larger number of rows that ends between images.
        above: usize,
        /// Number of captions dropped by loading, which may have moved the boundary.
        dropped: usize,
    },
    /// The corpus has fewer rows than requested.
    #[error(
        "{requested} captions are requested for test and validation, but there are only {have}\n\
         hint: lower test_captions and validation_captions, or set split to \"{fitting}\""
    )]
    TooFewCaptions {
        /// Captions of the corpus.
        have: usize,
        /// Requested captions.
        requested: usize,
        /// Split that the data set has enough images for.
        fitting: SplitKind,
    },
    /// There are fewer images than parts of the split.
    #[error(
        "the split {shares} needs {} images, one for each part, but there are only {have}\n\
         hint: set split to \"{fitting}\"",
        shares.least()
    )]
    TooFewImages {
        /// Requested shares.
        shares: Shares,
        /// Images of the corpus.
        have: usize,
        /// Shares that so many images suffice for.
        fitting: Shares,
    },
    /// No image is left for training.
    #[error("the {kind} split leaves no image to train on\nhint: set split to \"{fitting}\"")]
    NothingToTrain {
        /// Requested split.
        kind: SplitKind,
        /// Split that the data set has enough images for.
        fitting: SplitKind,
    },
    /// A list names an image that the corpus does not have.
    #[error(
        "{}:{line} lists {}, of which {} has no captions",
        printable_path(file),
        printable(image),
        printable_path(root)
    )]
    UnknownImage {
        /// File of the list.
        file: PathBuf,
        /// Line, or entry of a JSON file.
        line: usize,
        /// Image without captions.
        image: String,
        /// Folder of the data set.
        root: PathBuf,
    },
    /// An image is listed twice, in one part or in two.
    #[error(
        "{}:{line} lists {}, which {}:{first_line} lists already",
        printable_path(file),
        printable(image),
        printable_path(first_file)
    )]
    ListedTwice {
        /// File of the second list.
        file: PathBuf,
        /// Line in the second list.
        line: usize,
        /// Image listed twice.
        image: String,
        /// File of the first list.
        first_file: PathBuf,
        /// Line in the first list.
        first_line: usize,
    },
    /// A list cannot be read.
    #[error(transparent)]
    List(#[from] LoadError),
}

impl Split {
    /// Splits `corpus` by `spec`.
    ///
    /// [`SplitKind::Paper`] splits by position in the order of Kaggle's files: the order of rows in
    /// that layout, and of file names in the others, so that every layout of Flickr8k gives the
    /// same parts.
    pub fn new(corpus: &Corpus, spec: &SplitSpec) -> Result<Self, SplitError> {
        let split = match spec.kind {
            SplitKind::Paper => by_position(corpus, spec)?,
            SplitKind::Official => by_lists(corpus, spec.kind, &OFFICIAL_LISTS)?,
            SplitKind::Karpathy => by_karpathy(corpus, |_| true)?,
            SplitKind::KarpathyNoRestVal => by_karpathy(corpus, |part| part != Part::RestVal)?,
            SplitKind::Lists => by_lists(corpus, spec.kind, &OWN_LISTS)?,
            SplitKind::Given => by_parts(corpus, |_| true)?,
            SplitKind::Shares(shares) => by_shares(corpus, shares, spec.seed)?,
        };
        if split.train.is_empty() {
            let fitting = SplitKind::fitting(corpus.images.len());
            return Err(SplitError::NothingToTrain { kind: spec.kind, fitting });
        }
        Ok(split)
    }

    /// Adds an image. Karpathy's `restval` images are for training, as he used them.
    fn put(&mut self, part: Part, index: usize) {
        match part {
            Part::Train | Part::RestVal => self.train.push(index),
            Part::Val => self.validation.push(index),
            Part::Test => self.test.push(index),
        }
    }
}

/// Lists of the parts: training, validation, test.
const OFFICIAL_LISTS: [&str; 3] =
    ["Flickr_8k.trainImages.txt", "Flickr_8k.devImages.txt", "Flickr_8k.testImages.txt"];
const OWN_LISTS: [&str; 3] = ["train.txt", "validation.txt", "test.txt"];

fn by_shares(corpus: &Corpus, shares: Shares, seed: u64) -> Result<Split, SplitError> {
    let names: Vec<&str> = corpus.images.iter().map(|image| image.file_name.as_str()).collect();
    let have = names.len();
    if have < shares.least() {
        return Err(SplitError::TooFewImages { shares, have, fitting: Shares::fitting(have) });
    }
    let [train, validation, test] = shares.divide(&names, seed);
    Ok(Split { train, validation, test })
}

fn by_position(corpus: &Corpus, spec: &SplitSpec) -> Result<Split, SplitError> {
    let mut order: Vec<usize> = (0..corpus.images.len()).collect();
    if corpus.layout != Layout::Kaggle {
        order.sort_by_key(|&index| corpus.images.get(index).map(|image| &image.file_name));
    }
    let held_out = spec.test_captions.saturating_add(spec.validation_captions);
    let have = corpus.caption_count();
    if held_out > have {
        let (requested, fitting) = (held_out, SplitKind::fitting(corpus.images.len()));
        return Err(SplitError::TooFewCaptions { have, requested, fitting });
    }
    let test = last_images(corpus, &order, spec.test_captions)?;
    let validation = last_images(corpus, &order, held_out)?;
    let test = order.split_off(order.len() - test);
    let validation = order.split_off(order.len() + test.len() - validation);
    Ok(Split { train: order, validation, test })
}

/// Returns the number of images at the end of `order` that have `rows` captions.
fn last_images(corpus: &Corpus, order: &[usize], rows: usize) -> Result<usize, SplitError> {
    let mut seen = 0;
    for (count, image) in
        order.iter().rev().filter_map(|&index| corpus.images.get(index)).enumerate()
    {
        if seen == rows {
            return Ok(count);
        }
        let below = seen;
        seen += image.captions.len();
        if seen > rows {
            let dropped = corpus.warnings.iter().filter(|w| w.kind.drops_captions());
            return Err(SplitError::InsideImage {
                rows,
                image: image.file_name.clone(),
                below,
                above: seen,
                dropped: dropped.map(|warning| warning.count).sum(),
            });
        }
    }
    Ok(order.len())
}

/// Assignment of listed images to parts, each at most once.
struct Assignment<'c> {
    corpus: &'c Corpus,
    index_by_name: HashMap<&'c str, usize>,
    listed: HashMap<usize, (PathBuf, usize)>,
}

impl<'c> Assignment<'c> {
    fn new(corpus: &'c Corpus) -> Self {
        let names = corpus.images.iter().enumerate();
        let index_by_name = names.map(|(index, image)| (image.file_name.as_str(), index)).collect();
        Self { corpus, index_by_name, listed: HashMap::new() }
    }

    fn take(&mut self, name: &str, file: &Path, line: usize) -> Result<usize, SplitError> {
        let Some(&index) = self.index_by_name.get(name) else {
            return Err(SplitError::UnknownImage {
                file: file.to_owned(),
                line,
                image: name.to_owned(),
                root: self.corpus.root.clone(),
            });
        };
        if let Some((first_file, first_line)) = self.listed.get(&index) {
            return Err(SplitError::ListedTwice {
                file: file.to_owned(),
                line,
                image: name.to_owned(),
                first_file: first_file.clone(),
                first_line: *first_line,
            });
        }
        self.listed.insert(index, (file.to_owned(), line));
        Ok(index)
    }
}

fn by_lists(corpus: &Corpus, kind: SplitKind, lists: &[&str; 3]) -> Result<Split, SplitError> {
    let folder = ["", "Flickr8k_text"]
        .into_iter()
        .map(|folder| corpus.root.join(folder))
        .find(|folder| lists.iter().any(|list| folder.join(list).is_file()))
        .ok_or_else(|| SplitError::NoLists {
            kind,
            root: corpus.root.clone(),
            needs: vec![match kind {
                SplitKind::Official => "Flickr_8k.{train,dev,test}Images.txt".to_owned(),
                _ => "{train,validation,test}.txt with a file name in each line".to_owned(),
            }],
        })?;
    let mut assignment = Assignment::new(corpus);
    let mut part = |list: &str| -> Result<Vec<usize>, SplitError> {
        let file = folder.join(list);
        if kind == SplitKind::Lists && !file.is_file() {
            return Ok(Vec::new());
        }
        let contents = text::read(&file)?;
        text::lines(&contents)
            .map(|(line, name)| {
                let name = name.trim();
                text::check_path(name, &file, Location::Line(line))?;
                assignment.take(name, &file, line)
            })
            .collect()
    };
    let [train, validation, test] = *lists;
    Ok(Split { train: part(train)?, validation: part(validation)?, test: part(test)? })
}

/// Splits by the parts that the caption files name; other images are in no part.
fn by_parts(corpus: &Corpus, is_used: impl Fn(Part) -> bool) -> Result<Split, SplitError> {
    if corpus.images.iter().all(|image| image.part.is_none()) {
        let needs = [
            "Karpathy's JSON",
            "annotations/captions_{train,val}2017.json",
            "metadata.csv in folders train, validation and test",
        ];
        return Err(SplitError::NoLists {
            kind: SplitKind::Given,
            root: corpus.root.clone(),
            needs: needs.map(str::to_owned).to_vec(),
        });
    }
    let mut split = Split::default();
    for (index, image) in corpus.images.iter().enumerate() {
        if let Some(part) = image.part.filter(|part| is_used(*part)) {
            split.put(part, index);
        }
    }
    Ok(split)
}

fn by_karpathy(corpus: &Corpus, is_used: impl Fn(Part) -> bool) -> Result<Split, SplitError> {
    if corpus.layout == Layout::Karpathy {
        return by_parts(corpus, is_used);
    }
    let files = karpathy::find(&corpus.root)
        .map_err(|source| LoadError::Io { path: corpus.root.clone(), source })?;
    let file = LoadError::only_one(&corpus.root, files)?.ok_or_else(|| SplitError::NoLists {
        kind: SplitKind::Karpathy,
        root: corpus.root.clone(),
        needs: karpathy::FILES.iter().map(|&name| name.to_owned()).collect(),
    })?;
    let contents = text::read(&file)?;
    let contents = python_json(&contents);
    let mut assignment = Assignment::new(corpus);
    let mut split = Split::default();
    for (index, record) in karpathy::parse(&contents, &file)?.images.iter().enumerate() {
        let image = assignment.take(&record.filename, &file, index + 1)?;
        if is_used(record.split) {
            split.put(record.split, image);
        }
    }
    Ok(split)
}
