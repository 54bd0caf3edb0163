//! Archives of numpy's arrays: `np.savez(file, names=names, features=features)`.

use std::io::{Cursor, Read};

use zip::ZipArchive;

use crate::npy::Array;
use crate::{Rows, listed};

/// Reads the features, and the names unless a text file has them.
pub(crate) fn read(bytes: &[u8], named_elsewhere: bool) -> Result<(Rows, Vec<String>), String> {
    let damaged =
        |error: &dyn std::fmt::Display| format!("is not a complete .npz archive: {error}");
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| damaged(&error))?;
    let found: Vec<String> = archive
        .file_names()
        .map(|name| name.map(std::borrow::Cow::into_owned))
        .collect::<Result<_, _>>()
        .map_err(|error| damaged(&error))?;
    let mut array = |names: &[&str]| {
        let member = names.iter().map(|name| format!("{name}.npy")).find(|one| found.contains(one));
        let Some(member) = member else {
            return Err(format!(
                "has no array \"{}\"; it holds {}\nhint: np.savez(file, names=np.array(names, dtype=str), features=features)",
                names[0],
                listed(found.iter().map(|name| name.trim_end_matches(".npy")))
            ));
        };
        let mut data = Vec::new();
        let mut file = archive.by_name(&member).map_err(|error| damaged(&error))?;
        file.read_to_end(&mut data).map_err(|error| damaged(&error))?;
        Ok((member, data))
    };
    let in_member = |member: &str, reason: String| format!("the array {member} {reason}");
    let (member, data) = array(&["features", "embeddings"])?;
    let rows = Array::parse(&data).and_then(|features| features.rows());
    let rows = rows.map_err(|reason| in_member(&member, reason))?;
    if named_elsewhere {
        return Ok((rows, Vec::new()));
    }
    let (member, data) = array(&["names"])?;
    let names = Array::parse(&data).and_then(|names| names.texts());
    Ok((rows, names.map_err(|reason| in_member(&member, reason))?))
}
