//! References to models, as written in configs.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use crate::known;
use crate::packages::{self, PackagedModel};

/// Folders of a capsmith checkout. A path into one of them is local even if it does not exist.
const OWN_FOLDERS: [&str; 6] = ["weights", "data", "runs", "demo", "configs", "experiments"];

/// Extensions of weights files: `gpt2.safetensors` is a file, not a model of the hub.
const FILE_EXTENSIONS: [&str; 6] = ["safetensors", "pt", "pth", "bin", "ckpt", "json"];

/// A reference to a local, hub or packaged model.
///
/// ```
/// use hub::ModelReference;
/// # fn main() -> Result<(), hub::InvalidReference> {
/// assert!(matches!(ModelReference::parse("weights/gpt2")?, ModelReference::Local(_)));
/// let file = ModelReference::parse("hf:Anshler/clip-prefix/flickr8k_gradient.pt")?;
/// assert!(matches!(file, ModelReference::Hub(_)));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelReference {
    /// A folder or file on this machine.
    Local(PathBuf),
    /// A model of the hub, or one file of it.
    Hub(HubReference),
    /// A model that a Python package ships.
    Package(&'static PackagedModel),
}

/// A model of the hub, or one file of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubReference {
    /// `OWNER/NAME`, or `NAME` alone for the oldest models.
    pub repository: String,
    /// File in the repository, with `/` between folders.
    pub file: Option<String>,
    /// Branch, tag or commit. The default is the pinned commit of a known model, `main` of others.
    pub revision: Option<String>,
}

/// A text that is no valid reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` names no model: {problem}\nhint: give a folder such as weights/gpt2, a name such as \
     openai/clip-vit-large-patch14, or hf:OWNER/NAME/FILE; @REVISION may follow the last two"
)]
pub struct InvalidReference {
    /// The text.
    pub text: String,
    /// Reason.
    pub problem: String,
}

impl ModelReference {
    /// Parses a reference. The first rule that matches decides:
    ///
    /// 1. It starts with `hf:`: hub.
    /// 2. The path exists: local.
    /// 3. It is the short name of a packaged model, such as `efficientnet-lite2`: package.
    /// 4. It is one of `OpenAI`'s own names of CLIP models, such as `ViT-B/32` or `ViT-L/14`: hub.
    /// 5. It looks like a path: local. That is, it starts with `.`, `/` or `~`, ends with `/`, has
    ///    more than one `/` or a `\`, has the extension of a weights file (`.safetensors`, `.pt`,
    ///    …), or its first folder exists or is one of capsmith's own (`weights/`, `data/`, `runs/`,
    ///    …).
    /// 6. Otherwise: hub, as a known short name, `OWNER/NAME` or `NAME`.
    ///
    /// `@REVISION` may follow the name of a hub model. `~` is the home folder.
    ///
    /// # Errors
    /// The text is empty, or is neither a path nor a valid hub name.
    pub fn parse(text: &str) -> Result<Self, InvalidReference> {
        let text = text.trim();
        if text.is_empty() {
            return Err(invalid(text, "it is empty"));
        }
        if let Some(model) = packages::by_name(text).filter(|_| !Path::new(text).exists()) {
            return Ok(Self::Package(model));
        }
        let is_local = || {
            Path::new(text).exists() || (known::openai_clip(text).is_none() && looks_local(text))
        };
        if !text.starts_with("hf:") && is_local() {
            return Ok(Self::Local(expand_home(text)));
        }
        HubReference::parse(text).map(Self::Hub)
    }
}

impl fmt::Display for ModelReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => path.display().fmt(f),
            Self::Hub(reference) => reference.fmt(f),
            Self::Package(model) => model.name.fmt(f),
        }
    }
}

/// Always starts with `hf:`, so that it parses to the same reference whatever files exist.
impl fmt::Display for HubReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hf:{}", self.repository)?;
        if let Some(file) = &self.file {
            write!(f, "/{file}")?;
        }
        if let Some(revision) = &self.revision {
            write!(f, "@{revision}")?;
        }
        Ok(())
    }
}

fn looks_local(text: &str) -> bool {
    let first = text.split('/').next().unwrap_or_default();
    let is_nested = text.contains('/');
    let extension = Path::new(text).extension().and_then(OsStr::to_str);
    text.starts_with(['.', '/', '~'])
        || text.ends_with('/')
        || text.contains('\\')
        // Slashes of a revision such as refs/pr/15 do not count.
        || text.split('@').next().unwrap_or_default().matches('/').count() > 1
        || extension.is_some_and(|extension| FILE_EXTENSIONS.contains(&extension))
        || (is_nested && (OWN_FOLDERS.contains(&first) || Path::new(first).is_dir()))
}

/// Expands `~` and `~/…` to the home folder; leaves `~name/…` unchanged.
pub(crate) fn expand_home(text: &str) -> PathBuf {
    let rest = text.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/'));
    match rest.zip(env::home_dir()) {
        Some((rest, home)) => home.join(rest.trim_start_matches('/')),
        None => PathBuf::from(text),
    }
}

impl HubReference {
    /// Parses `[hf:]NAME[@REVISION]`, where `NAME` is a short name or `OWNER/NAME[/FILE]`.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidReference> {
        let name = text.strip_prefix("hf:").unwrap_or(text);
        if let Some(repository) = known::openai_clip(name) {
            return Ok(Self { repository: repository.to_owned(), file: None, revision: None });
        }
        let (name, revision) = match name.split_once('@') {
            Some((name, revision)) => (name, Some(revision.to_owned())),
            None => (name, None),
        };
        let is_revision =
            |text: &String| is_file(text) && text.bytes().all(|b| b.is_ascii_graphic());
        if !revision.iter().all(is_revision) {
            return Err(invalid(text, "the revision after @ is no branch, tag or commit"));
        }
        if let Some(known) = known::by_name(name) {
            let file = known.file.map(str::to_owned);
            return Ok(Self { repository: known.repository.to_owned(), file, revision });
        }
        let name = known::openai_clip(name).unwrap_or(name);
        let mut parts = name.splitn(3, '/');
        let repository: Vec<&str> = parts.by_ref().take(2).collect();
        let file = parts.next().map(str::to_owned);
        if !repository.iter().all(|part| is_name(part)) {
            return Err(invalid(text, "the hub's names are letters, digits, `-`, `_` and `.`"));
        }
        if file.as_deref().is_some_and(|file| !is_file(file)) {
            return Err(invalid(text, "what follows OWNER/NAME is no path within a repository"));
        }
        Ok(Self { repository: repository.join("/"), file, revision })
    }
}

/// Returns whether `part` is a valid owner or name by Hugging Face's rules.
fn is_name(part: &str) -> bool {
    !part.is_empty()
        && part.len() <= 96
        && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && !part.starts_with(['-', '.'])
        && !part.ends_with(['-', '.'])
        && !part.contains("--")
        && !part.contains("..")
}

/// Returns whether `path` stays within the folder it is joined to. Also checks a server's names.
pub(crate) fn is_file(path: &str) -> bool {
    !path.is_empty()
        && path.len() <= 1024
        && !path.ends_with('/')
        && !path.contains(['\\', '\0'])
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

/// Returns whether a revision is a commit, which never moves.
pub(crate) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn invalid(text: &str, problem: &str) -> InvalidReference {
    InvalidReference { text: text.to_owned(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(text: &str) -> HubReference {
        match ModelReference::parse(text).unwrap() {
            ModelReference::Hub(reference) => reference,
            other => panic!("{text} was taken for {other}"),
        }
    }

    #[test]
    fn names_of_the_hub() {
        let cases = [
            ("gpt2", "openai-community/gpt2", None, None),
            ("clip-vit-base-patch32", "openai/clip-vit-base-patch32", None, None),
            ("openai/clip-vit-large-patch14", "openai/clip-vit-large-patch14", None, None),
            ("someone/model@v1.0", "someone/model", None, Some("v1.0")),
            ("someone/model@refs/pr/15", "someone/model", None, Some("refs/pr/15")),
            ("hf:gpt2@main", "openai-community/gpt2", None, Some("main")),
            ("distilgpt2", "distilgpt2", None, None),
            ("clip-prefix", "Anshler/clip-prefix", Some("flickr8k_gradient.pt"), None),
            ("hf:weights/gpt2", "weights/gpt2", None, None),
            ("hf:a/b/c/d.pt@x", "a/b", Some("c/d.pt"), Some("x")),
            ("ViT-B/32", "openai/clip-vit-base-patch32", None, None),
            ("ViT-B/16", "openai/clip-vit-base-patch16", None, None),
            ("hf:ViT-L/14", "openai/clip-vit-large-patch14", None, None),
            ("ViT-L/14@336px", "openai/clip-vit-large-patch14-336", None, None),
            ("ViT-L/14@main", "openai/clip-vit-large-patch14", None, Some("main")),
        ];
        for (text, repository, file, revision) in cases {
            let reference = hub(text);
            assert_eq!(reference.repository, repository, "{text}");
            assert_eq!(reference.file.as_deref(), file, "{text}");
            assert_eq!(reference.revision.as_deref(), revision, "{text}");
        }
    }

    #[test]
    fn what_looks_like_a_path_is_local_though_it_is_not_there() {
        for text in [
            "weights/gpt2",
            "runs/a",
            "./gpt2",
            "../x",
            "/models/gpt2",
            "a/b/c",
            "gpt2/",
            "models\\gpt2",
            "gpt2.safetensors",
            "someone/clip.pt",
            "src/gpt2", // the tests run in this crate's folder, which has a folder src
        ] {
            let reference = ModelReference::parse(text).unwrap();
            assert_eq!(reference, ModelReference::Local(PathBuf::from(text)), "{text}");
        }
    }

    #[test]
    fn what_is_there_is_local() {
        assert_eq!(
            ModelReference::parse("src").unwrap(),
            ModelReference::Local(PathBuf::from("src"))
        );
    }

    #[test]
    fn packaged_models_have_short_names() {
        let reference = ModelReference::parse("efficientnet-lite2").unwrap();
        assert!(matches!(reference, ModelReference::Package(_)), "{reference:?}");
        assert_eq!(ModelReference::parse(&reference.to_string()).unwrap(), reference);
        hub("someone/efficientnet-lite2");
    }

    #[test]
    fn the_home_folder_is_put_in() {
        let home = env::home_dir().unwrap();
        assert_eq!(
            ModelReference::parse("~/models/gpt2").unwrap(),
            ModelReference::Local(home.join("models/gpt2"))
        );
    }

    #[test]
    fn what_is_neither_is_refused_with_the_forms_there_are() {
        for text in [
            "",
            "hf:",
            "hf:a/b/../c",
            "hf:a/b//etc",
            "hf:a/..",
            "a b",
            "gpt2@",
            "gpt2@../x",
            "-x",
            "a--b",
            "hf:a/b/",
            "hf:a/b@/x",
            "größe",
        ] {
            let error = ModelReference::parse(text).unwrap_err().to_string();
            assert!(error.contains("hint: give a folder"), "{text}: {error}");
        }
    }

    #[test]
    fn a_reference_is_written_as_it_is_read() {
        for text in ["hf:openai/clip-vit-large-patch14@main", "hf:a/b/c/d.pt", "/models/x"] {
            assert_eq!(ModelReference::parse(text).unwrap().to_string(), text);
        }
    }
}
