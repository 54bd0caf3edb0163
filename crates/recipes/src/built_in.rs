//! Configs that are built into capsmith.

use std::path::Path;

use include_dir::{Dir, include_dir};

use crate::config::Config;
use crate::error::ConfigError;
use crate::layers::{ReadFile, with_bases, without_dots};

/// The folder `configs` at the time capsmith was built.
static BUILT_IN: Dir = include_dir!("$CARGO_MANIFEST_DIR/../../configs");

impl Config {
    /// Loads one of capsmith's built-in configs, such as `flickr8k/sbg.toml`.
    ///
    /// # Errors
    /// Same as [`Self::load`].
    pub fn built_in(name: &str, overrides: &[String]) -> Result<Self, ConfigError> {
        let path = Path::new("configs").join(name);
        let read: ReadFile = &|path| {
            let path = without_dots(path);
            let file = path.strip_prefix("configs").ok().and_then(|path| BUILT_IN.get_file(path));
            let text = file.and_then(include_dir::File::contents_utf8).map(str::to_owned);
            text.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound))
        };
        let text =
            read(&path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        Self::resolve(with_bases(&text, &path, read)?, &path, overrides)
    }

    /// Returns the text of a built-in file, such as `flickr8k/recipe.toml`.
    #[must_use]
    pub fn built_in_text(name: &str) -> Option<&'static str> {
        BUILT_IN.get_file(name).and_then(include_dir::File::contents_utf8)
    }
}
