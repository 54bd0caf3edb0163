//! Common part of all layouts: gathers rows into images, and finds the image files.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use foreign_text::{printable, printable_path};
use pictures::PictureFile;
use unicode_normalization::UnicodeNormalization as _;

use crate::corpus::{Corpus, Image, ImageLocations, Part};
use crate::error::{LoadError, Location};
use crate::fingerprint::Fingerprint;
use crate::layout::Layout;
use crate::text;
use crate::warnings::{WarningKind, Warnings};

/// Folders of image files within the data set's folder, in the order of the search.
pub const IMAGE_FOLDERS: [&str; 17] = [
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
    "flickr30k-images/flickr30k-images",
    "Flickr30k_images",
    "Flickr30k_Images",
    "imgs",
    ".",
];

/// Extensions of image files; other names in a caption file are not images.
///
/// HEIC, AVIF and JPEG XL cannot be decoded: an error names the format.
const PICTURE_EXTENSIONS: [&str; 16] = [
    "jpg", "jpeg", "png", "gif", "bmp", "webp", "ppm", "pgm", "pbm", "pnm", "tif", "tiff", "heic",
    "heif", "avif", "jxl",
];

/// Image that Flickr8k's captions name, but that no release of the set contains.
const NEVER_RELEASED: &str = "2258277193_586949ec62.jpg";

/// Treatment of captions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Captions {
    /// Keeps all captions.
    Kept,
    /// Digests captions as they are read, and keeps only those of the last image.
    Digested,
}

/// Gathers rows into images while a caption file is read.
pub(crate) struct Reading<'f> {
    /// The caption file, for warnings and errors.
    pub(crate) file: &'f Path,
    pub(crate) warnings: Warnings,
    images: Vec<Image>,
    /// Number of captions of each image.
    counts: Vec<u32>,
    locations: Vec<(&'f Path, Location)>,
    /// Folder of each image within the images' folder; mostly empty.
    subfolders: Vec<String>,
    index_by_name: HashMap<String, usize>,
    /// Digest of all images but the last, while captions can be digested.
    fingerprint: Option<Fingerprint>,
    captions: Captions,
}

impl<'f> Reading<'f> {
    pub(crate) fn new(file: &'f Path, captions: Captions) -> Self {
        Self {
            file,
            warnings: Warnings::default(),
            images: Vec::new(),
            counts: Vec::new(),
            locations: Vec::new(),
            subfolders: Vec::new(),
            index_by_name: HashMap::new(),
            fingerprint: (captions == Captions::Digested).then(Fingerprint::default),
            captions,
        }
    }

    /// Adds one row of a text file.
    pub(crate) fn add_row(
        &mut self,
        name: &str,
        caption: &str,
        line: usize,
    ) -> Result<(), LoadError> {
        let location = Location::Line(line);
        let index = match self.index_by_name.get(name) {
            Some(&index) => {
                if index + 1 != self.images.len() {
                    self.warn(WarningKind::ScatteredRows, location, name);
                }
                index
            }
            None => self.add_image(name, None, location)?,
        };
        self.add_caption(index, caption, location);
        Ok(())
    }

    /// Adds an image that has not been seen yet and returns its index.
    pub(crate) fn add_image(
        &mut self,
        name: &str,
        part: Option<Part>,
        location: Location,
    ) -> Result<usize, LoadError> {
        text::check_name(name, self.file, location)?;
        self.add_named(name, part, location)
    }

    /// Sets the folder, within the images' folder, of the last added image.
    pub(crate) fn set_subfolder(
        &mut self,
        folder: &str,
        location: Location,
    ) -> Result<(), LoadError> {
        text::check_folder(folder, self.file, location)?;
        if let Some(last) = self.subfolders.last_mut() {
            folder.trim_end_matches('/').clone_into(last);
        }
        Ok(())
    }

    /// Returns the index of the image of that name.
    pub(crate) fn index_of(&self, name: &str) -> Option<usize> {
        self.index_by_name.get(name).copied()
    }

    /// Returns true if an image has that caption, as far as captions are kept.
    pub(crate) fn has_caption(&self, index: usize, caption: &str) -> bool {
        self.images.get(index).is_some_and(|image| image.captions.iter().any(|one| one == caption))
    }

    /// Adds an image under a path, or a name that is not that of a file.
    pub(crate) fn add_named(
        &mut self,
        name: &str,
        part: Option<Part>,
        location: Location,
    ) -> Result<usize, LoadError> {
        let index = self.images.len();
        if self.index_by_name.insert(name.to_owned(), index).is_some() {
            let problem = format!("lists {} a second time", printable(name));
            return Err(LoadError::malformed(self.file, location, problem));
        }
        self.digest_last();
        self.counts.push(0);
        self.images.push(Image {
            file_name: name.to_owned(),
            captions: Vec::new(),
            words: Vec::new(),
            part,
        });
        self.locations.push((self.file, location));
        self.subfolders.push(String::new());
        Ok(index)
    }

    /// Adds a caption to an image, by the index from [`Self::add_image`].
    pub(crate) fn add_caption(&mut self, index: usize, caption: &str, location: Location) {
        self.add_caption_with_words(index, caption, None, location);
    }

    /// Adds a caption with its words, if the file lists them, joined by spaces.
    pub(crate) fn add_caption_with_words(
        &mut self,
        index: usize,
        caption: &str,
        words: Option<String>,
        location: Location,
    ) {
        let is_last = index + 1 == self.images.len();
        let Some(image) = self.images.get_mut(index) else { return };
        if caption.trim().is_empty() {
            let name = image.file_name.clone();
            self.warn(WarningKind::EmptyCaption, location, &name);
        } else {
            self.counts[index] += 1;
            if !is_last {
                self.fingerprint = None;
            }
            if is_last || self.captions == Captions::Kept {
                image.captions.push(caption.to_owned());
            }
            if words.is_some() && self.captions == Captions::Kept {
                image.words.resize(image.captions.len() - 1, None);
                image.words.push(words);
            }
        }
    }

    /// Digests the last image, which is complete, and drops its captions.
    fn digest_last(&mut self) {
        if let (Captions::Digested, Some(image)) = (self.captions, self.images.last_mut()) {
            let captions = std::mem::take(&mut image.captions);
            if let Some(fingerprint) = &mut self.fingerprint
                && !captions.is_empty()
            {
                fingerprint.add(&image.file_name, &captions);
            }
        }
    }

    pub(crate) fn warn(&mut self, kind: WarningKind, location: Location, example: &str) {
        self.warnings.add(kind, self.file, Some(location), example);
    }

    /// Finds the image files, and handles images without a file or without captions.
    ///
    /// Searches `folder` for the images, or else [`IMAGE_FOLDERS`] below `root`.
    pub(crate) fn finish(
        mut self,
        root: &Path,
        folder: Option<&Path>,
        layout: Layout,
    ) -> Result<(Corpus, Option<Fingerprint>), LoadError> {
        self.digest_last();
        if self.counts.iter().all(|&count| count == 0) {
            return Err(LoadError::NoCaptions(self.file.to_owned()));
        }
        let found = find_pictures(root, folder, self.file, &self.images, &self.subfolders)?;
        let FoundPictures { folder: images_dir, mut names, in_subfolders } = found;
        let mut images = Vec::with_capacity(self.images.len());
        let mut files = Vec::with_capacity(self.images.len());
        let mut has_other_names = in_subfolders;
        let read =
            std::mem::take(&mut self.images).into_iter().zip(&self.counts).zip(&self.locations);
        for (((image, &captions), (file, location)), subfolder) in read.zip(&self.subfolders) {
            let name = &image.file_name;
            let subfolder = if in_subfolders { subfolder } else { "" };
            let relative = text::joined(subfolder, name);
            let found = names.take(&relative);
            let has_picture = found.is_some();
            if captions == 0 {
                self.warnings.add(WarningKind::ImageWithoutCaptions, file, Some(*location), name);
                continue;
            }
            if !has_picture && (!is_picture_name(name) || name == NEVER_RELEASED) {
                self.fingerprint = None;
                for _ in 0..captions {
                    self.warnings.add(WarningKind::NoSuchPicture, file, Some(*location), name);
                }
                continue;
            }
            if !has_picture {
                self.warnings.add(WarningKind::MissingPicture, file, Some(*location), name);
            }
            let file = found.unwrap_or_else(|| relative.into_owned());
            has_other_names |= file != *name;
            files.push(file);
            images.push(image);
        }
        let mut spare: Vec<String> =
            names.exact.into_iter().filter(|name| is_spare_picture(name)).collect();
        spare.sort_unstable();
        for name in &spare {
            self.warnings.add(WarningKind::PictureWithoutCaptions, &images_dir, None, name);
        }
        let warnings = self.warnings.into_vec();
        let members = if has_other_names {
            files.iter().map(|file| images_dir.join(file).into()).collect()
        } else {
            Vec::new()
        };
        let locations = ImageLocations { folder: images_dir, members };
        let caption_files = vec![self.file.to_owned()];
        let root = root.to_owned();
        let corpus = Corpus { root, layout, caption_files, images, warnings, locations };
        Ok((corpus, self.fingerprint))
    }

    /// Completes a data set whose image files are known: a location for each image.
    pub(crate) fn finish_with(
        mut self,
        root: &Path,
        folder: &Path,
        layout: Layout,
        members: Vec<PictureFile>,
    ) -> Result<(Corpus, Option<Fingerprint>), LoadError> {
        self.digest_last();
        if self.images.is_empty() {
            return Err(LoadError::NoCaptions(folder.to_owned()));
        }
        let corpus = Corpus {
            root: root.to_owned(),
            layout,
            caption_files: vec![folder.to_owned()],
            images: self.images,
            warnings: self.warnings.into_vec(),
            locations: ImageLocations { folder: folder.to_owned(), members },
        };
        Ok((corpus, self.fingerprint))
    }
}

pub(crate) fn is_picture_name(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| {
        PICTURE_EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
    })
}

/// Returns true if a file without captions is an image, and not a `._` metadata file of macOS.
fn is_spare_picture(name: &str) -> bool {
    is_picture_name(name) && !name.starts_with("._") && !name.contains("/._")
}

/// Image files in a data set's folder.
struct FoundPictures {
    folder: PathBuf,
    names: PictureNames,
    in_subfolders: bool,
}

/// File names of pictures, or paths if they are in subfolders.
///
/// A name also finds the file whose name has the same characters in another Unicode form: macOS
/// writes a letter and its accent as two.
#[derive(Default)]
struct PictureNames {
    exact: HashSet<String>,
    /// Names that are not ASCII, by their form NFC.
    composed: HashMap<String, String>,
}

impl PictureNames {
    fn add(&mut self, name: String) {
        if !name.is_ascii() {
            self.composed.insert(name.nfc().collect(), name.clone());
        }
        self.exact.insert(name);
    }

    fn has(&self, name: &str) -> bool {
        self.exact.contains(name) || self.in_another_form(name).is_some()
    }

    /// Removes the file that a name finds.
    fn take(&mut self, name: &str) -> Option<String> {
        if let Some(exact) = self.exact.take(name) {
            return Some(exact);
        }
        let other = self.in_another_form(name)?.to_owned();
        self.exact.take(&other)
    }

    fn in_another_form(&self, name: &str) -> Option<&str> {
        if name.is_ascii() {
            return None;
        }
        self.composed.get(&name.nfc().collect::<String>()).map(String::as_str)
    }
}

/// Finds the first folder that contains any of the images: `folder`, or [`IMAGE_FOLDERS`].
///
/// Searches the subfolders that the captions name, or the folder itself if none of them exists.
fn find_pictures(
    root: &Path,
    folder: Option<&Path>,
    captions: &Path,
    images: &[Image],
    subfolders: &[String],
) -> Result<FoundPictures, LoadError> {
    let folders: Vec<PathBuf> = match folder {
        Some(folder) => vec![folder.to_owned()],
        None => IMAGE_FOLDERS
            .iter()
            .map(|&folder| if folder == "." { root.to_owned() } else { root.join(folder) })
            .collect(),
    };
    for in_subfolders in [true, false] {
        if in_subfolders && subfolders.iter().all(String::is_empty) {
            continue;
        }
        let path_of = |(image, subfolder): (&'_ Image, &String)| {
            let subfolder = if in_subfolders { subfolder.as_str() } else { "" };
            text::joined(subfolder, &image.file_name).into_owned()
        };
        let paths = || images.iter().zip(subfolders).map(path_of);
        let distinct: BTreeSet<String> = paths()
            .map(|path| path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned())
            .collect();
        for folder in &folders {
            let mut names = PictureNames::default();
            for subfolder in &distinct {
                let path =
                    if subfolder.is_empty() { folder.clone() } else { folder.join(subfolder) };
                match file_names(&path) {
                    Ok(found) => found
                        .iter()
                        .for_each(|name| names.add(text::joined(subfolder, name).into_owned())),
                    Err(source) if source.kind() == io::ErrorKind::NotFound => {}
                    Err(source) => return Err(LoadError::Io { path, source }),
                }
            }
            if paths().any(|path| names.has(&path)) {
                return Ok(FoundPictures { folder: folder.clone(), names, in_subfolders });
            }
        }
    }
    let tried = match folder {
        Some(folder) => vec![printable_path(folder).to_string()],
        None => IMAGE_FOLDERS.iter().map(|&folder| folder.to_owned()).collect(),
    };
    let (root, captions) = (root.to_owned(), captions.to_owned());
    Err(LoadError::NoPictures { root, captions, images: images.len(), tried })
}

/// Returns the names of files in a folder, without those that are not UTF-8, as captions are.
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
