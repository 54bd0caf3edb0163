//! Synthetic image set: images and captions drawn from a seed.
//!
//! A scene has one thing, several things, or two in a relation, in one of eight places. Each image
//! has five captions, and the layout is Kaggle's of Flickr8k. The set lets users without Flickr8k
//! run the whole workflow. Place, colour and position carry most of the content, because an
//! untrained CLIP can distinguish those.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let out = folder.path().join("scenes");
//! let options = demo_data::Options { count: 4, seed: 7, size: 64, alt_texts: 0 };
//! let summary = demo_data::draw(&out, &options, |_done| {})?;
//! assert_eq!((summary.pictures, summary.captions), (4, 20));
//! assert!(out.join("captions.txt").is_file() && out.join("Images/scene-00000.jpg").is_file());
//! # Ok(())
//! # }
//! ```

mod alt_texts;
mod canvas;
mod captions;
mod kinds;
pub mod models;
mod paint;
mod places;
pub mod pretrain;
mod scene;
mod set;

pub use set::{Error, MAX_ALT_TEXTS, MAX_COUNT, Options, SIZES, Summary, draw};
