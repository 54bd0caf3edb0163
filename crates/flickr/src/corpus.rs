//! A folder of pictures with their captions, whichever layout it has.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::warnings::{Warning, WarningKind, Warnings};
use crate::{kaggle, karpathy, original, text};

/// Where pictures may lie under the data set's folder, in the order they are tried.
const PICTURE_FOLDERS: [&str; 16] = [
    "Images",
    "images",
    "Flicker8k_Dataset",
    "Flickr8k_Dataset",
    "Flicker8k_Dataset/Flicker8k_Dataset",
    "Flickr8k_Dataset/Flicker8k_Dataset",
    "Flickr8k_Dataset/Flickr8k_Dataset",
    "flickr8k_images",
    "flickr8k-images",
    "flickr30k_images",
    "flickr30k-images",
    "flickr30k_images/flickr30k_images",
    "Flickr30k_images",
    "Flickr30k_Images",
    "imgs",
    ".",
];

/// Names a picture may end in; others in a caption file are no pictures.
const PICTURE_EXTENSIONS: [&str; 6] = ["jpg", "jpeg", "png", "gif", "bmp", "webp"];

/// Flickr8k's captions speak of this picture, but no release of the set ever had it.
const NEVER_RELEASED: &str = "2258277193_586949ec62.jpg";

/// How captions are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// `captions.txt` with header `image,caption` (Flickr8k) or `image_name,comment_number,comment`
    /// (Flickr30k, also as `results.csv`), fields separated by `,` or `|`.
    Kaggle,
    /// `Flickr8k.token.txt` or `results_20130124.token`: `name#number`, a tab, the caption.
    Original,
    /// `dataset_flickr8k.json` or `dataset_flickr30k.json`: captions and Karpathy's split.
    Karpathy,
}

impl Layout {
    /// Every layout, in the order in which a folder that has several is recognised.
    pub const ALL: [Self; 3] = [Self::Kaggle, Self::Original, Self::Karpathy];

    /// The caption files that make a folder this layout.
    fn files(self) -> &'static [&'static str] {
        match self {
            Self::Kaggle => &kaggle::FILES,
            Self::Original => &original::FILES,
            Self::Karpathy => &karpathy::FILES,
        }
    }

    fn find(self, root: &Path) -> Option<PathBuf> {
        self.files().iter().map(|name| root.join(name)).find(|path| path.is_file())
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kaggle => "kaggle",
            Self::Original => "original",
            Self::Karpathy => "karpathy",
        })
    }
}

impl FromStr for Layout {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|layout| layout.to_string() == name).ok_or_else(|| {
            format!("unknown layout {name:?}; it is one of kaggle, original, karpathy")
        })
    }
}

/// A place in a caption file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// A line of a text file, from 1.
    Line(usize),
    /// An entry of a JSON file's list of images, from 1.
    Record(usize),
}

/// The part of Karpathy's split that an image is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KarpathySplit {
    /// Training.
    Train,
    /// Also training: what COCO's validation set left over; Flickr's sets have none.
    RestVal,
    /// Validation.
    Val,
    /// Test.
    Test,
}

/// A picture's file name and what five people said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The plain file name; see [`Corpus::image_path`].
    pub file_name: String,
    /// Its captions as they are in the file, in the file's order; at least one, none of them blank.
    pub captions: Vec<String>,
    /// Its part of Karpathy's split, where the layout is [`Layout::Karpathy`].
    pub karpathy_split: Option<KarpathySplit>,
}

/// A data set's images and captions.
#[derive(Debug, Clone)]
pub struct Corpus {
    /// The folder that was loaded.
    pub root: PathBuf,
    /// The folder of the pictures.
    pub images_dir: PathBuf,
    /// How the captions were written down.
    pub layout: Layout,
    /// The images in the order in which the caption file first speaks of them. In Kaggle's files
    /// that is the order of their names.
    pub images: Vec<Image>,
    /// What was odd but could be dealt with.
    pub warnings: Vec<Warning>,
}

/// Why a data set cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The data set's folder does not exist.
    #[error("there is no folder {}", .0.display())]
    NoFolder(PathBuf),
    /// No layout's caption file is there.
    #[error("{} holds no captions that are known; looked for {}", root.display(), tried.join(", "))]
    NotRecognised {
        /// The folder.
        root: PathBuf,
        /// The files that would have been recognised.
        tried: Vec<String>,
    },
    /// None of the usual picture folders is there, or none has any of the pictures.
    #[error(
        "{} holds none of the {images} pictures that {} speaks of; looked in {}",
        root.display(), captions.display(), tried.join(", ")
    )]
    NoPictures {
        /// The data set's folder.
        root: PathBuf,
        /// The caption file.
        captions: PathBuf,
        /// How many pictures were looked for.
        images: usize,
        /// The folders that were tried, relative to the root.
        tried: Vec<String>,
    },
    /// A file that must be there is not.
    #[error("{} is missing", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A file or folder cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A line or record that cannot be understood.
    #[error("{} {problem}", located(file, *place))]
    Malformed {
        /// The file.
        file: PathBuf,
        /// Where in it.
        place: Place,
        /// What is wrong there.
        problem: String,
    },
    /// A JSON file that is not Karpathy's; the source has line and column.
    #[error("{} is not a data set in Karpathy's format: {source}", file.display())]
    Json {
        /// The file.
        file: PathBuf,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
    /// The file has no captions at all.
    #[error("{} has no captions", .0.display())]
    NoCaptions(PathBuf),
}

fn located(file: &Path, place: Place) -> String {
    match place {
        Place::Line(line) => format!("{}:{line}", file.display()),
        Place::Record(record) => format!("{}, image {record},", file.display()),
    }
}

impl LoadError {
    pub(crate) fn malformed(file: &Path, place: Place, problem: impl Into<String>) -> Self {
        Self::Malformed { file: file.to_owned(), place, problem: problem.into() }
    }
}

impl Corpus {
    /// Reads the captions under `dir`, and finds its pictures without opening them.
    ///
    /// A folder with several layouts is read as the first of [`Layout::ALL`] unless `layout` names
    /// another. What each kind of bad input leads to is listed at [`WarningKind`]; everything not
    /// there is an error that names file and line.
    pub fn load(dir: &Path, layout: Option<Layout>) -> Result<Self, LoadError> {
        if !dir.is_dir() {
            return Err(LoadError::NoFolder(dir.to_owned()));
        }
        let candidates = layout.as_ref().map_or(&Layout::ALL[..], std::slice::from_ref);
        let (layout, file) = candidates
            .iter()
            .find_map(|&layout| Some((layout, layout.find(dir)?)))
            .ok_or_else(|| LoadError::NotRecognised {
                root: dir.to_owned(),
                tried: candidates
                    .iter()
                    .flat_map(|layout| layout.files())
                    .map(|&name| name.to_owned())
                    .collect(),
            })?;
        let contents = text::read(&file)?;
        let mut reading = Reading::new(&file);
        match layout {
            Layout::Kaggle => kaggle::read(&contents, &mut reading)?,
            Layout::Original => original::read(&contents, &mut reading)?,
            Layout::Karpathy => karpathy::read(&contents, &mut reading)?,
        }
        reading.finish(dir, layout)
    }

    /// The path of the picture of image `index`; of no picture where there is no such image.
    #[must_use]
    pub fn image_path(&self, index: usize) -> PathBuf {
        let name = self.images.get(index).map_or("", |image| image.file_name.as_str());
        self.images_dir.join(name)
    }

    /// The number of captions of all images together.
    #[must_use]
    pub fn caption_count(&self) -> usize {
        self.images.iter().map(|image| image.captions.len()).sum()
    }

    /// A digest of the image names and captions in their order (SHA-256 in hexadecimal): equal for
    /// equal data sets wherever they lie, whatever the layout. Pixels are not part of it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut digest = Sha256::new();
        let mut add = |text: &str| {
            // The length keeps "ab","c" apart from "a","bc".
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text.as_bytes());
        };
        for image in &self.images {
            add(&image.file_name);
            add(&image.captions.len().to_string());
            image.captions.iter().for_each(|caption| add(caption));
        }
        digest.finalize().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
    }
}

/// Gathers rows into images while a caption file is read.
pub(crate) struct Reading<'f> {
    /// The caption file, for warnings and errors.
    pub(crate) file: &'f Path,
    pub(crate) warnings: Warnings,
    images: Vec<Image>,
    places: Vec<Place>,
    index_by_name: HashMap<String, usize>,
}

impl<'f> Reading<'f> {
    fn new(file: &'f Path) -> Self {
        Self {
            file,
            warnings: Warnings::default(),
            images: Vec::new(),
            places: Vec::new(),
            index_by_name: HashMap::new(),
        }
    }

    /// Adds one row of a text file.
    pub(crate) fn add_row(
        &mut self,
        name: &str,
        caption: &str,
        line: usize,
    ) -> Result<(), LoadError> {
        let place = Place::Line(line);
        let index = match self.index_by_name.get(name) {
            Some(&index) => {
                if index + 1 != self.images.len() {
                    self.warn(WarningKind::ScatteredRows, place, name);
                }
                index
            }
            None => self.add_image(name, None, place)?,
        };
        self.add_caption(index, caption, place);
        Ok(())
    }

    /// Adds an image that has not been seen yet; its index is returned.
    pub(crate) fn add_image(
        &mut self,
        name: &str,
        karpathy_split: Option<KarpathySplit>,
        place: Place,
    ) -> Result<usize, LoadError> {
        text::check_name(name, self.file, place)?;
        let index = self.images.len();
        if self.index_by_name.insert(name.to_owned(), index).is_some() {
            let problem = format!("lists {name} a second time");
            return Err(LoadError::malformed(self.file, place, problem));
        }
        self.images.push(Image {
            file_name: name.to_owned(),
            captions: Vec::new(),
            karpathy_split,
        });
        self.places.push(place);
        Ok(index)
    }

    /// Adds a caption to an image that [`Self::add_image`] gave.
    pub(crate) fn add_caption(&mut self, index: usize, caption: &str, place: Place) {
        let Some(image) = self.images.get_mut(index) else { return };
        if caption.trim().is_empty() {
            let name = image.file_name.clone();
            self.warn(WarningKind::EmptyCaption, place, &name);
        } else {
            image.captions.push(caption.to_owned());
        }
    }

    pub(crate) fn warn(&mut self, kind: WarningKind, place: Place, example: &str) {
        self.warnings.add(kind, self.file, Some(place), example);
    }

    /// Finds the pictures, and settles what becomes of images without one or without captions.
    fn finish(mut self, root: &Path, layout: Layout) -> Result<Corpus, LoadError> {
        if self.images.iter().all(|image| image.captions.is_empty()) {
            return Err(LoadError::NoCaptions(self.file.to_owned()));
        }
        let (images_dir, mut pictures) = find_pictures(root, self.file, &self.images)?;
        let mut images = Vec::with_capacity(self.images.len());
        for (image, place) in std::mem::take(&mut self.images).into_iter().zip(&self.places) {
            let name = &image.file_name;
            let has_picture = pictures.remove(name);
            if image.captions.is_empty() {
                self.warnings.add(WarningKind::ImageWithoutCaptions, self.file, Some(*place), name);
                continue;
            }
            if !has_picture && (!is_picture_name(name) || name == NEVER_RELEASED) {
                for _ in &image.captions {
                    self.warnings.add(WarningKind::NoSuchPicture, self.file, Some(*place), name);
                }
                continue;
            }
            if !has_picture {
                self.warnings.add(WarningKind::MissingPicture, self.file, Some(*place), name);
            }
            images.push(image);
        }
        let mut spare: Vec<String> =
            pictures.into_iter().filter(|name| is_picture_name(name)).collect();
        spare.sort_unstable();
        for name in &spare {
            self.warnings.add(WarningKind::PictureWithoutCaptions, &images_dir, None, name);
        }
        let warnings = self.warnings.into_vec();
        Ok(Corpus { root: root.to_owned(), images_dir, layout, images, warnings })
    }
}

fn is_picture_name(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| {
        PICTURE_EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
    })
}

/// The first of the usual folders with any of the pictures in it, and the file names there.
fn find_pictures(
    root: &Path,
    captions: &Path,
    images: &[Image],
) -> Result<(PathBuf, HashSet<String>), LoadError> {
    for folder in PICTURE_FOLDERS {
        let path = if folder == "." { root.to_owned() } else { root.join(folder) };
        let names = match file_names(&path) {
            Ok(names) => names,
            Err(source) if source.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(LoadError::Io { path, source }),
        };
        if images.iter().any(|image| names.contains(&image.file_name)) {
            return Ok((path, names));
        }
    }
    Err(LoadError::NoPictures {
        root: root.to_owned(),
        captions: captions.to_owned(),
        images: images.len(),
        tried: PICTURE_FOLDERS.iter().map(|&folder| folder.to_owned()).collect(),
    })
}

/// Names that are not UTF-8 are left out: no caption can speak of them.
fn file_names(folder: &Path) -> io::Result<HashSet<String>> {
    if !folder.is_dir() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let mut names = HashSet::new();
    for entry in fs::read_dir(folder)? {
        if let Ok(name) = entry?.file_name().into_string() {
            names.insert(name);
        }
    }
    Ok(names)
}
