//! Layout of the original releases: `name#number`, a tab, the caption.

use crate::error::{LoadError, Location};
use crate::reading::Reading;
use crate::text;

/// Names of the caption file, bare and as Flickr8k's archive unpacks.
pub(crate) const FILES: [&str; 4] = [
    "Flickr8k.token.txt",
    "Flickr8k_text/Flickr8k.token.txt",
    "results_20130124.token",
    "flickr30k/results_20130124.token",
];

/// Reads `contents` line by line.
pub(crate) fn read(contents: &str, reading: &mut Reading<'_>) -> Result<(), LoadError> {
    for (line, row) in text::lines(contents) {
        let malformed =
            |problem: &str| LoadError::malformed(reading.file, Location::Line(line), problem);
        let Some((key, caption)) = row.split_once('\t') else {
            return Err(malformed("has too few fields: a tab must lie before the caption"));
        };
        match key.rsplit_once('#') {
            Some((name, number)) if number.parse::<u32>().is_ok() => {
                reading.add_row(name, caption, line)?;
            }
            _ => {
                return Err(malformed("has no #number after the image's name"));
            }
        }
    }
    Ok(())
}
