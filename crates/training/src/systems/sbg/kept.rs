//! The labels and the encyclopedia that a run folder keeps, to select the keywords of other pictures.

use foreign_text::printable_path;
use keywords::Encyclopedia;
use keywords::stages::{ENCYCLOPEDIA, Folder, LABELS};
use words::Label;

use crate::error::Error;
use runs::RunFolder;

/// Stands for the encyclopedia of keywords that were selected without one.
const NONE: &str = "none";

/// Returns what both files say that they were made from: the run's keywords, and whether there are
/// two files or one.
fn made_from(
    selected_sha256: &str,
    encyclopedia: Option<&Encyclopedia>,
) -> [(&'static str, String); 2] {
    let encyclopedia = encyclopedia.map_or_else(|| NONE.to_owned(), Encyclopedia::sha256);
    [("selected keywords", selected_sha256.to_owned()), ("encyclopedia", encyclopedia)]
}

/// Writes the files of a run on keywords with that digest.
pub(super) fn save(
    run: &RunFolder,
    selected_sha256: &str,
    labels: &[Label],
    encyclopedia: Option<&Encyclopedia>,
) -> Result<(), Error> {
    let folder = Folder::new(&run.keywords());
    let from = made_from(selected_sha256, encyclopedia);
    folder.make(LABELS, |path| keywords::write_labels(path, &from, labels))?;
    if let Some(encyclopedia) = encyclopedia {
        folder.make(ENCYCLOPEDIA, |path| encyclopedia.save(path, &from))?;
    }
    Ok(())
}

/// Reads the files, which must be whole and of this run's keywords.
pub(super) fn open(run: &RunFolder) -> Result<(Vec<Label>, Option<Encyclopedia>), Error> {
    let folder = Folder::new(&run.keywords());
    let selected = run.provenance()?.keywords_sha256.unwrap_or_default();
    let labels = folder.labels(LABELS)?;
    // Without the file, keywords would be selected by other rules.
    if folder.has(LABELS, &made_from(&selected, None))? {
        return Ok((labels, None));
    }
    let encyclopedia = folder.encyclopedia()?;
    let from = made_from(&selected, Some(&encyclopedia));
    for name in [LABELS, ENCYCLOPEDIA] {
        if !folder.has(name, &from)? {
            return Err(Error::Mismatch(format!(
                "{} is not of this run: it was made from other keywords than run.json names; copy it from the run that it was taken from, or train again",
                printable_path(&folder.file(name))
            )));
        }
    }
    Ok((labels, Some(encyclopedia)))
}
