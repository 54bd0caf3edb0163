//! Cache, hub address and retry settings, from Hugging Face's environment variables.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::Error;
use crate::reference::expand_home;

/// Variables that name a cache.
const CACHES: [&str; 3] = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE"];

/// Default address of the hub, unless `HF_ENDPOINT` is set.
const ENDPOINT: &str = "https://huggingface.co";

/// Options for fetching.
#[derive(Debug, Clone)]
pub struct Options {
    /// Hub cache, shared with Python's `huggingface_hub`.
    pub cache: PathBuf,
    /// Further caches to search after `cache`; never written.
    pub other_caches: Vec<PathBuf>,
    /// Address of the hub, without a trailing slash.
    pub endpoint: String,
    /// Access token; sent to the hub only.
    pub token: Option<String>,
    /// True if the network must not be used.
    pub offline: bool,
    /// Maximum number of tries of a request that fails temporarily.
    pub max_tries: u32,
    /// Pause before the second try. Each further pause is twice as long.
    pub initial_backoff: Duration,
    /// Timeout for a server that sends nothing.
    pub read_timeout: Duration,
}

impl Options {
    /// Reads the options from environment variables, as Python's `huggingface_hub` does:
    ///
    /// | variable | meaning |
    /// | --- | --- |
    /// | `HF_HUB_CACHE` | the cache; else the next two; else `$HF_HOME/hub` |
    /// | `HUGGINGFACE_HUB_CACHE` | the same, its former name |
    /// | `TRANSFORMERS_CACHE` | the same for transformers 4 alone |
    /// | `HF_HOME` | else `$XDG_CACHE_HOME/huggingface`, else `~/.cache/huggingface` |
    /// | `HF_ENDPOINT` | the hub; else `https://huggingface.co` |
    /// | `HF_TOKEN` | the token; else the contents of `$HF_TOKEN_PATH`, else of `$HF_HOME/token` |
    /// | `HF_HUB_OFFLINE` | `1`, `ON`, `YES` or `TRUE`: the network is not used |
    /// | `TRANSFORMERS_OFFLINE` | the same where that one is not set |
    ///
    /// If several of the first three name a cache, the first is written to and all are searched:
    /// their precedence in Python depends on the library and its version.
    ///
    /// # Errors
    /// No cache folder is known, or a variable has an invalid value.
    pub fn from_environment() -> Result<Self, Error> {
        let home = path("HF_HOME")
            .or_else(|| path("XDG_CACHE_HOME").map(|folder| folder.join("huggingface")))
            .or_else(|| env::home_dir().map(|folder| folder.join(".cache").join("huggingface")));
        let mut caches: Vec<PathBuf> = CACHES.into_iter().filter_map(path).collect();
        if caches.is_empty() {
            caches.extend(home.as_ref().map(|home| home.join("hub")));
        }
        let mut caches = caches.into_iter();
        let cache = caches.next().ok_or_else(|| {
            let problem = "there is no folder for the cache\nhint: set HF_HOME to a folder";
            Error::Environment(problem.to_owned())
        })?;
        let token_file = path("HF_TOKEN_PATH").or_else(|| home.map(|home| home.join("token")));
        let token = text("HF_TOKEN")?
            .or_else(|| token_file.and_then(|file| fs::read_to_string(file).ok()))
            .map(|token| token.trim().to_owned())
            .filter(|token| !token.is_empty());
        if token.as_ref().is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            let problem = "HF_TOKEN (or the token file) has characters that no token has";
            return Err(Error::Environment(problem.to_owned()));
        }
        let endpoint = text("HF_ENDPOINT")?.unwrap_or_else(|| ENDPOINT.to_owned());
        if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
            let problem =
                format!("HF_ENDPOINT is {endpoint}, which is no address such as {ENDPOINT}");
            return Err(Error::Environment(problem));
        }
        let offline = text("HF_HUB_OFFLINE")?.or(text("TRANSFORMERS_OFFLINE")?);
        Ok(Self {
            cache,
            other_caches: caches.collect(),
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token,
            offline: offline.is_some_and(|value| is_true(&value)),
            max_tries: 5,
            initial_backoff: Duration::from_secs(1),
            read_timeout: Duration::from_mins(1),
        })
    }
}

fn path(variable: &'static str) -> Option<PathBuf> {
    let value = env::var_os(variable).filter(|value| !value.is_empty())?;
    Some(value.to_str().map_or_else(|| PathBuf::from(&value), expand_home))
}

fn text(variable: &'static str) -> Result<Option<String>, Error> {
    let value = env::var_os(variable).filter(|value| !value.is_empty());
    let text = value.map(OsString::into_string).transpose();
    text.map_err(|_| Error::Environment(format!("{variable} is not text")))
}

fn is_true(value: &str) -> bool {
    ["1", "on", "yes", "true"].iter().any(|word| value.eq_ignore_ascii_case(word))
}
