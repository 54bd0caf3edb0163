//! Names of data sets, for people.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::corpus::Corpus;

/// File in the folder of a drawn data set, next to its captions.
pub const DRAWN_FILE: &str = "scenes.txt";

/// Beginning of [`DRAWN_FILE`].
pub const DRAWN_MARK: &str = "drawn by capsmith";

/// Name of a data set of drawn pictures.
pub const DRAWN_NAME: &str = "drawn pictures";

/// Returns true if capsmith drew the data set in `folder`.
#[must_use]
pub fn is_drawn(folder: &Path) -> bool {
    let mut start = [0; DRAWN_MARK.len()];
    File::open(folder.join(DRAWN_FILE)).is_ok_and(|mut file| file.read_exact(&mut start).is_ok())
        && start == *DRAWN_MARK.as_bytes()
}

impl Corpus {
    /// Returns a name: a known data set's by its image names and their number, or the folder's.
    #[must_use]
    pub fn name(&self) -> String {
        if is_drawn(&self.root) {
            return DRAWN_NAME.to_owned();
        }
        let names = self.images.iter().map(|image| image.file_name.as_str());
        let known = known_name(self.images.len(), names).map(str::to_owned);
        known.unwrap_or_else(|| {
            let folder = self.root.canonicalize();
            let folder = folder.as_deref().unwrap_or(&self.root);
            folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned()
        })
    }
}

/// Returns the name of the data set that has `count` images with such names.
fn known_name<'n>(count: usize, mut names: impl Iterator<Item = &'n str>) -> Option<&'static str> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match count {
        // 8,000 images of Karpathy's file, 8,091 of Kaggle's, 8,092 of the original one.
        8_000..=8_092 => names
            .all(|name| {
                let name = name.strip_suffix(".jpg").and_then(|name| name.split_once('_'));
                name.is_some_and(|(id, secret)| is_number(id) && secret.len() >= 10)
            })
            .then_some("Flickr8k"),
        // 31,783 images, of which Karpathy's file has 31,014.
        31_000..=31_783 => names
            .all(|name| name.strip_suffix(".jpg").is_some_and(is_number))
            .then_some("Flickr30k"),
        _ => names.all(|name| name.starts_with("COCO_")).then_some("COCO").filter(|_| count > 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flickrs_sets_are_known_by_their_images() {
        let name = |count: usize, name: &str| {
            let names = (0..count).map(|number| name.replace('#', &number.to_string()));
            let names: Vec<String> = names.collect();
            known_name(count, names.iter().map(String::as_str))
        };
        assert_eq!(name(8_091, "10002682#_693b08cb0e.jpg"), Some("Flickr8k"));
        assert_eq!(name(8_000, "10002682#_693b08cb0e_m.jpg"), Some("Flickr8k"));
        assert_eq!(name(8_091, "scene-#.jpg"), None);
        assert_eq!(name(240, "10002682#_693b08cb0e.jpg"), None);
        assert_eq!(name(31_783, "10000#.jpg"), Some("Flickr30k"));
        assert_eq!(name(5, "COCO_val2014_#.jpg"), Some("COCO"));
        assert_eq!(name(0, ""), None);
    }

    #[test]
    fn a_folder_is_drawn_if_its_note_says_so() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_drawn(folder.path()));
        for (text, expected) in [
            ("drawn by", false),
            ("drawn by hand, in 1920", false),
            ("drawn by capsmith, edition 1\n", true),
        ] {
            std::fs::write(folder.path().join(DRAWN_FILE), text).unwrap();
            assert_eq!(is_drawn(folder.path()), expected, "{text}");
        }
    }
}
