//! A picture set that capsmith draws itself: pictures and captions from a seed.
//!
//! Scenes of one thing, several things, or two in a relation, in one of eight places, with five
//! captions each, in Kaggle's layout of Flickr8k. Who has no Flickr8k can still walk the whole path
//! with them. Place, colour and position carry most of a picture, because those are what an
//! untrained CLIP tells apart.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let out = folder.path().join("scenes");
//! let options = scenes::Options { count: 4, seed: 7, size: 64, alt_texts: 0 };
//! let summary = scenes::draw(&out, &options, |_done| {})?;
//! assert_eq!((summary.pictures, summary.captions), (4, 20));
//! assert!(out.join("captions.txt").is_file() && out.join("Images/scene-00000.jpg").is_file());
//! # Ok(())
//! # }
//! ```

mod alt_texts;
mod canvas;
mod captions;
mod kinds;
mod paint;
mod places;
mod scene;
mod set;

pub use set::{Error, MAX_ALT_TEXTS, MAX_COUNT, Options, SIZES, Summary, draw};
