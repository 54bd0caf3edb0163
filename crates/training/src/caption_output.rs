//! Files that captions of pictures go to: a table, or a text file beside each picture.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use foreign_text::printable_path;

use crate::caption_table::{CaptionTable, Existing, Row, write_text};
use crate::captions::Caption;
use crate::error::Error;

/// Time between two writes of a table: each writes all of it.
const SAVE_INTERVAL: Duration = Duration::from_secs(2);

/// Destination of the captions of pictures.
pub enum CaptionOutput {
    /// Table in a file, and the time of its last write.
    Table(CaptionTable, Instant),
    /// Text file beside each picture, with its name and the ending `.txt`.
    TextFiles(Existing),
}

impl CaptionOutput {
    /// Opens a table, with the rows that its file has.
    ///
    /// # Errors
    /// Names a file that is no such table.
    pub fn table(path: &Path) -> Result<Self, Error> {
        Ok(Self::Table(CaptionTable::open(path)?, Instant::now()))
    }

    /// Returns true if a picture has its captions already.
    #[must_use]
    pub fn has(&self, picture: &Path) -> bool {
        match self {
            Self::Table(table, _) => table.has(&picture.to_string_lossy()),
            Self::TextFiles(Existing::Skip) => text_file(picture).exists(),
            Self::TextFiles(_) => false,
        }
    }

    /// Checks that no two pictures would have one text file.
    ///
    /// # Errors
    /// Names the two pictures.
    pub fn check(&self, pictures: &[PathBuf]) -> Result<(), Error> {
        let Self::TextFiles(_) = self else { return Ok(()) };
        let mut by_file = HashMap::new();
        for picture in pictures {
            let file = text_file(picture);
            if let Some(other) = by_file.insert(file.clone(), picture) {
                return Err(Error::Mismatch(format!(
                    "{} and {} would both have the text file {}\nhint: rename one of them, or use --out",
                    printable_path(other),
                    printable_path(picture),
                    printable_path(&file)
                )));
            }
        }
        Ok(())
    }

    /// Adds the captions of a picture; [`Self::save`] writes a table.
    ///
    /// # Errors
    /// Names the file that cannot be written.
    pub fn add(&mut self, picture: &Path, captions: Vec<Caption>) -> Result<(), Error> {
        match self {
            Self::Table(table, _) => {
                for Caption { text, score } in captions {
                    let file_name = picture.to_string_lossy().into_owned();
                    let score = score.is_finite().then_some(score);
                    table.add(Row { file_name, text, score });
                }
                Ok(())
            }
            Self::TextFiles(existing) => {
                let texts: Vec<String> = captions.into_iter().map(|caption| caption.text).collect();
                write_text(&text_file(picture), &texts, *existing)
            }
        }
    }

    /// Saves the table if the last time is long ago.
    ///
    /// # Errors
    /// Names the file.
    pub fn save_in_time(&mut self) -> Result<(), Error> {
        match self {
            Self::Table(_, saved) if saved.elapsed() >= SAVE_INTERVAL => self.save(),
            _ => Ok(()),
        }
    }

    /// Saves the table.
    ///
    /// # Errors
    /// Names the file.
    pub fn save(&mut self) -> Result<(), Error> {
        if let Self::Table(table, saved) = self {
            table.save()?;
            *saved = Instant::now();
        }
        Ok(())
    }
}

fn text_file(picture: &Path) -> PathBuf {
    picture.with_extension("txt")
}
