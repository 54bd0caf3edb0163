//! Paths in a configuration: of data, and of models that a path or a hub name can name.

use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::sections::Data;
use crate::systems::{Keywords, Sbg, System};

/// Keys of paths; digests show whether the files have changed.
pub(crate) const PATHS: [&str; 5] =
    ["data.dataset", "data.captions", "data.images", "data.embeddings", "keywords.selected"];

/// Keys of paths, and of models that a path or a hub name can name; digests compare their files.
pub(crate) const PATHS_AND_MODELS: [&str; 9] = [
    "data.dataset",
    "data.captions",
    "data.images",
    "data.embeddings",
    "gpt2.model",
    "keywords.selected",
    "keywords.labels",
    "keywords.encyclopedia",
    "reranking.clip",
];

impl Config {
    /// Replaces each path by `data`, and each name of a model, which may be a path, by `model`.
    #[must_use]
    pub fn with_paths(
        mut self,
        data: &dyn Fn(&Path) -> PathBuf,
        model: &dyn Fn(&Path) -> PathBuf,
    ) -> Self {
        let (mut paths, mut models) = (Vec::new(), Vec::new());
        let Data { dataset, captions, images, embeddings, .. } = &mut self.data;
        paths.extend([dataset, embeddings]);
        // Both are empty where they are found in the data set.
        paths.extend([captions, images].into_iter().filter(|path| !path.as_os_str().is_empty()));
        match &mut self.system {
            System::ClipPrefix(system) => models.push(&mut system.gpt2.model),
            System::Sbg(Sbg { gpt2, keywords, reranking, .. }) => {
                let Keywords { selected, labels, encyclopedia } = keywords;
                paths.extend([selected, labels, encyclopedia]);
                models.extend([&mut gpt2.model, &mut reranking.clip]);
            }
            System::MergeRnn(_) => {}
        }
        for path in paths {
            *path = data(path);
        }
        for name in models {
            *name = model(Path::new(name)).display().to_string();
        }
        self
    }

    /// Returns dotted keys and their values, as TOML writes them, but paths and models.
    ///
    /// Digests identify their files, which may move.
    #[must_use]
    pub fn values_without_paths(&self) -> Vec<(String, String)> {
        let mut values = self.values();
        values.retain(|(key, _)| !PATHS_AND_MODELS.contains(&key.as_str()));
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::reference;

    #[test]
    fn every_path_of_the_data_is_replaced_but_those_that_are_not_set() {
        let paths = |sets: &[&str]| {
            let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
            let config =
                Config::parse(&reference("merge-rnn"), Path::new("c.toml"), &sets).unwrap();
            let moved = config.with_paths(&|path| Path::new("/new").join(path), &Path::to_owned);
            let Data { captions, images, .. } = moved.data;
            [captions, images].map(|path| path.display().to_string())
        };
        assert_eq!(paths(&[]), ["", ""]);
        let set = ["data.captions=a.csv", "data.images=photos"];
        assert_eq!(paths(&set), ["/new/a.csv", "/new/photos"]);
    }
}
