//! Labels and encyclopedia in a run folder, for keywords of new images.

use durable::kept::Key;
use foreign_text::printable_path;
use keywords::{ENCYCLOPEDIA, Encyclopedia, Folder, LABELS};
use runs::RunFolder;
use words::Label;

use crate::error::Error;

/// Returns the sources of both files: the run's keywords, and the encyclopedia if there is one.
fn sources(selected_sha256: &str, encyclopedia: Option<&Encyclopedia>) -> Key {
    let encyclopedia = encyclopedia.map_or_else(|| "none".to_owned(), Encyclopedia::sha256);
    Key::new([("selected keywords", selected_sha256.to_owned()), ("encyclopedia", encyclopedia)])
}

/// Writes the files of a run on keywords with that digest.
pub(super) fn save(
    run: &RunFolder,
    selected_sha256: &str,
    labels: &[Label],
    encyclopedia: Option<&Encyclopedia>,
) -> Result<(), Error> {
    let folder = Folder::new(&run.keywords());
    let from = sources(selected_sha256, encyclopedia);
    folder.write(LABELS, |path| keywords::write_labels(path, &from, labels))?;
    if let Some(encyclopedia) = encyclopedia {
        folder.write(ENCYCLOPEDIA, |path| encyclopedia.save(path, &from))?;
    }
    Ok(())
}

/// Reads the files, which must be undamaged and belong to this run's keywords.
pub(super) fn open(run: &RunFolder) -> Result<(Vec<Label>, Option<Encyclopedia>), Error> {
    let folder = Folder::new(&run.keywords());
    let selected = run.provenance()?.keywords_sha256.unwrap_or_default();
    let labels = folder.labels(LABELS)?;
    // A missing file would change the rules of the selection.
    if folder.sources(LABELS)? == Some(sources(&selected, None)) {
        return Ok((labels, None));
    }
    let encyclopedia = folder.encyclopedia()?;
    let from = Some(sources(&selected, Some(&encyclopedia)));
    for name in [LABELS, ENCYCLOPEDIA] {
        if folder.sources(name)? != from {
            return Err(Error::Mismatch(format!(
                "{} does not belong to this run: its keywords differ from those that run.json records\nhint: restore the file from a copy, or train again",
                printable_path(&folder.file(name))
            )));
        }
    }
    Ok((labels, Some(encyclopedia)))
}
