//! Images that runs were evaluated on, looked up in their data sets.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use maud::Markup;
use pictures::PictureFile;

use crate::error::Error;
use crate::pictures::{Pictures, missing};
use crate::run::{Captioned, Run};

/// Images of the page, and the data sets that they come from.
pub(super) struct RunImages {
    pub pictures: Pictures,
    /// Image files by name, for each data set that exists.
    sets: HashMap<PathBuf, HashMap<String, PictureFile>>,
}

impl RunImages {
    /// Loads the data sets of the runs.
    pub fn load(runs: &[Run]) -> Result<Self, Error> {
        let mut sets = HashMap::new();
        for run in runs {
            let data = &run.config.data;
            let source = data.source().map_err(runs::Error::from)?;
            if source.exists() && !sets.contains_key(&data.dataset) {
                let corpus = source.load()?;
                let named = corpus.images.iter().enumerate();
                let files =
                    named.map(|(index, image)| (image.file_name.clone(), corpus.picture(index)));
                sets.insert(data.dataset.clone(), files.collect());
            }
        }
        Ok(Self { pictures: Pictures::default(), sets })
    }

    /// Returns the markup of the image that a caption of `run` describes.
    pub fn picture(&mut self, run: &Run, one: &Captioned) -> Markup {
        let description = one.references.first().map_or("", String::as_str);
        let large = run.large_images.as_ref().map(|folder| folder.join(&one.picture));
        if let Some(large) = large.filter(|large| large.is_file()) {
            return self.pictures.show(&large.into(), description);
        }
        let set = self.sets.get(&run.config.data.dataset);
        match set.and_then(|files| files.get(&one.picture)) {
            Some(file) => self.pictures.show(file, description),
            None => missing(Path::new(&one.picture)),
        }
    }

    /// Returns the first data set of the runs that is missing.
    pub fn missing_data_set<'a>(&self, runs: &'a [Run]) -> Option<&'a Path> {
        let mut data_sets = runs.iter().map(|run| run.config.data.dataset.as_path());
        data_sets.find(|data_set| !self.sets.contains_key(*data_set))
    }
}
