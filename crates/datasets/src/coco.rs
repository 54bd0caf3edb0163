//! COCO's layout: JSON files of captions, each with a folder of images.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use foreign_text::{printable, python_json};
use serde::Deserialize;

use crate::corpus::Part;
use crate::error::{LoadError, Location};
use crate::reading::Reading;
use crate::text;

/// Name patterns of the files.
pub(crate) const FILES: [&str; 2] = ["captions_*.json", "annotations/captions_*.json"];

/// Start of a file's name, before the name of its folder of images.
const PREFIX: &str = "captions_";

/// Fields of the file that are used.
#[derive(Deserialize)]
struct DataSet<'t> {
    #[serde(borrow)]
    images: Vec<Record<'t>>,
    #[serde(borrow)]
    annotations: Vec<Annotation<'t>>,
}

#[derive(Deserialize)]
struct Record<'t> {
    #[serde(borrow)]
    id: Id<'t>,
    #[serde(borrow)]
    file_name: Cow<'t, str>,
}

#[derive(Deserialize)]
struct Annotation<'t> {
    #[serde(borrow)]
    image_id: Id<'t>,
    #[serde(borrow)]
    caption: Cow<'t, str>,
}

/// Identifier of an image: COCO's are numbers.
#[derive(Debug, Deserialize, PartialEq, Eq, Hash)]
#[serde(untagged)]
enum Id<'t> {
    Number(u64),
    Text(#[serde(borrow)] Cow<'t, str>),
}

/// Returns the files of a folder and of its `annotations`, sorted by name.
pub(crate) fn find(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in [root.to_owned(), root.join("annotations")] {
        if !folder.is_dir() {
            continue;
        }
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let is_json = path.extension().is_some_and(|extension| extension == "json");
            if is_json && pictures_of(&path).is_some() && path.is_file() {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Returns the folder of a file's images, such as `train2017`.
fn pictures_of(file: &Path) -> Option<&str> {
    file.file_stem()?.to_str()?.strip_prefix(PREFIX)
}

/// Reads `contents` image by image.
pub(crate) fn read(contents: &str, reading: &mut Reading<'_>) -> Result<(), LoadError> {
    let file = reading.file;
    let contents = python_json(contents);
    let DataSet { images, annotations } = serde_json::from_str(&contents)
        .map_err(|source| LoadError::Json { file: file.to_owned(), format: "COCO's", source })?;
    let mut captions: HashMap<&Id, Vec<(usize, &str)>> = HashMap::new();
    for (number, Annotation { image_id, caption }) in (1..).zip(&annotations) {
        captions.entry(image_id).or_default().push((number, caption));
    }
    let folder = pictures_of(file).unwrap_or_default();
    let part = [("train", Part::Train), ("val", Part::Val), ("test", Part::Test)];
    let part = part.into_iter().find(|(name, _)| folder.starts_with(name)).map(|(_, part)| part);
    for (number, Record { id, file_name }) in (1..).zip(&images) {
        let location = Location::Record(number);
        text::check_path(file_name, file, location)?;
        let image = reading.add_named(file_name, part, location)?;
        if !file_name.contains('/') {
            reading.set_subfolder(folder, location)?;
        }
        for (number, caption) in captions.remove(id).unwrap_or_default() {
            reading.add_caption(image, caption, Location::Caption(number));
        }
    }
    let unknown = captions.into_iter().filter_map(|(id, texts)| Some((texts.first()?.0, id)));
    let Some((number, id)) = unknown.min_by_key(|(number, _)| *number) else { return Ok(()) };
    let id = match id {
        Id::Number(number) => number.to_string(),
        Id::Text(text) => printable(text).to_string(),
    };
    let problem = format!("is of image {id}, which the list `images` does not have");
    Err(LoadError::malformed(file, Location::Caption(number), problem))
}
