//! Writing of a set: images, then captions, and last the note that marks it as complete.

use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use datasets::DRAWN_MARK;
use foreign_text::printable_path;
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::alt_texts::alt_texts;
use crate::captions::{CAPTIONS, captions};
use crate::paint::paint;
use crate::scene::Scene;

/// Version of the drawing and captioning code. Increase it if the output changes.
const FORMAT_VERSION: u32 = 1;

const QUALITY: u8 = 92;

/// Largest number of images in a set: their names have five digits.
pub const MAX_COUNT: usize = 100_000;

/// Largest number of alt texts per image.
pub const MAX_ALT_TEXTS: usize = 100;

/// Allowed side lengths of an image, in pixels.
pub const SIZES: RangeInclusive<u32> = 32..=1024;

/// Settings of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Number of images, from 1 to [`MAX_COUNT`].
    pub count: usize,
    /// Seed of all random choices. The same seed gives the same bytes, and a longer set begins with
    /// the shorter one.
    pub seed: u64,
    /// Width and height of an image in pixels, within [`SIZES`].
    pub size: u32,
    /// Number of alt texts after each image's five captions, at most [`MAX_ALT_TEXTS`].
    pub alt_texts: usize,
}

/// Contents of the folder after drawing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Number of images.
    pub pictures: usize,
    /// Number of captions and alt texts, with five captions per image.
    pub captions: usize,
    /// True if the complete set existed already.
    pub was_there: bool,
}

/// Error of drawing a set.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option is outside its bounds.
    #[error("{what} is {value}; it must be from {least} to {most}")]
    Option {
        /// Name of the option.
        what: &'static str,
        /// Value of the option.
        value: u64,
        /// Smallest allowed value.
        least: u64,
        /// Largest allowed value.
        most: u64,
    },
    /// The folder has other contents, which are not overwritten.
    #[error("{} holds {found}; remove it or choose another folder", printable_path(path))]
    Occupied {
        /// Path of the folder.
        path: PathBuf,
        /// Description of the contents.
        found: String,
    },
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] durable::Error),
    /// A file cannot be read.
    #[error("cannot read {}: {source}", printable_path(path))]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Reason that the system gave.
        source: io::Error,
    },
    /// An image cannot be encoded.
    #[error("cannot encode {}: {source}", printable_path(path))]
    Encode {
        /// Path of the image.
        path: PathBuf,
        /// Reason that the encoder gave.
        source: image::ImageError,
    },
}

/// Draws a set into `out` on all cores and creates the folder if needed.
///
/// Calls `progress` with the number of finished images, from any thread. A complete set is left
/// unchanged; an interrupted one is drawn again.
pub fn draw(
    out: &Path,
    options: &Options,
    progress: impl Fn(usize) + Sync,
) -> Result<Summary, Error> {
    options.check()?;
    let folder = Folder { out, options };
    let summary = Summary {
        pictures: options.count,
        captions: options.count * (CAPTIONS + options.alt_texts),
        was_there: folder.is_whole()?,
    };
    if summary.was_there {
        progress(options.count);
        return Ok(summary);
    }
    durable::create_dir_all(&out.join(IMAGES))?;
    durable::write(&folder.note_path(), folder.note(UNFINISHED).as_bytes())?;
    let done = AtomicUsize::new(0);
    let worded = (0..options.count)
        .into_par_iter()
        .map(|index| {
            let (pixels, texts) = picture(options, index);
            folder.write_picture(index, &pixels)?;
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
            Ok(texts)
        })
        .collect::<Result<Vec<_>, Error>>()?;
    folder.write_captions(&worded)?;
    durable::write(&folder.note_path(), folder.note(FINISHED).as_bytes())?;
    Ok(summary)
}

/// Returns the pixels and texts of image `index`, independently of the other images.
///
/// Alt texts are drawn last, so that they do not change a set's images and captions.
fn picture(options: &Options, index: usize) -> (Vec<u8>, Vec<String>) {
    let mut random = ChaCha8Rng::seed_from_u64(options.seed);
    random.set_stream(index as u64);
    let scene = Scene::random(&mut random);
    let mut texts = captions(&scene, &mut random).to_vec();
    let pixels = paint(&scene, options.size, &mut random);
    texts.extend(alt_texts(&scene, options.alt_texts, &mut random));
    (pixels, texts)
}

impl Options {
    fn check(&self) -> Result<(), Error> {
        let within = |what, value: u64, least: u64, most: u64| {
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(Error::Option { what, value, least, most })
            }
        };
        within("count", self.count as u64, 1, MAX_COUNT as u64)?;
        within("alt texts", self.alt_texts as u64, 0, MAX_ALT_TEXTS as u64)?;
        within("size", self.size.into(), (*SIZES.start()).into(), (*SIZES.end()).into())
    }
}

const IMAGES: &str = "Images";
const CAPTION_FILE: &str = "captions.txt";
const UNFINISHED: &str = "unfinished";
const FINISHED: &str = "finished";

/// Folder of a set, and the settings of that set.
struct Folder<'o> {
    out: &'o Path,
    options: &'o Options,
}

impl Folder<'_> {
    fn note_path(&self) -> PathBuf {
        self.out.join(datasets::DRAWN_FILE)
    }

    /// Returns the text of the note, written before the first image and after the last file.
    fn note(&self, state: &str) -> String {
        let Options { count, seed, size, alt_texts } = self.options;
        let alt_texts = match alt_texts {
            0 => String::new(),
            number => format!("alt texts {number}\n"),
        };
        format!(
            "{DRAWN_MARK}, edition {FORMAT_VERSION}\ncount {count}\nseed {seed}\nsize {size}\n{alt_texts}{state}\n"
        )
    }

    fn picture_name(index: usize) -> String {
        format!("scene-{index:05}.jpg")
    }

    /// Returns whether the complete set exists; fails if the folder has other contents.
    fn is_whole(&self) -> Result<bool, Error> {
        let path = self.note_path();
        let occupied = |found: String| Error::Occupied { path: self.out.to_owned(), found };
        match fs::read_to_string(&path) {
            Ok(note) if note == self.note(FINISHED) => Ok(self.has_all_files()),
            Ok(note) if note == self.note(UNFINISHED) => Ok(false),
            Ok(note) => {
                let lines: Vec<&str> = note.lines().take(6).collect();
                Err(occupied(format!("another drawn set ({})", lines.join(", "))))
            }
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                for name in [CAPTION_FILE, IMAGES] {
                    if self.out.join(name).exists() {
                        return Err(occupied(format!("{name}, which capsmith has not drawn")));
                    }
                }
                Ok(false)
            }
            Err(source) => Err(Error::Read { path, source }),
        }
    }

    fn has_all_files(&self) -> bool {
        let images = self.out.join(IMAGES);
        self.out.join(CAPTION_FILE).is_file()
            && (0..self.options.count).all(|index| images.join(Self::picture_name(index)).is_file())
    }

    fn write_picture(&self, index: usize, pixels: &[u8]) -> Result<(), Error> {
        let path = self.out.join(IMAGES).join(Self::picture_name(index));
        let mut encoded = Vec::new();
        let size = self.options.size;
        JpegEncoder::new_with_quality(&mut encoded, QUALITY)
            .encode(pixels, size, size, ExtendedColorType::Rgb8)
            .map_err(|source| Error::Encode { path: path.clone(), source })?;
        Ok(durable::write(&path, &encoded)?)
    }

    fn write_captions(&self, worded: &[Vec<String>]) -> Result<(), Error> {
        let path = self.out.join(CAPTION_FILE);
        durable::write_with(&path, |file| {
            let mut rows = csv::Writer::from_writer(file);
            rows.write_record(["image", "caption"])?;
            for (index, texts) in worded.iter().enumerate() {
                for text in texts {
                    rows.write_record([Self::picture_name(index).as_str(), text])?;
                }
            }
            rows.flush()
        })?;
        Ok(())
    }
}
