//! The models of the paper: short names and pinned commits.
//!
//! The pins come from public sources and were not verified by a download: no model hub could be
//! reached during development. A weights file whose SHA-256 no source gives has no pin; it is only
//! compared with the digest that the hub announces.

use crate::model_files::ModelFiles;

/// A model with a short name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KnownModel {
    /// Short name, also used in configs.
    pub name: &'static str,
    /// `OWNER/NAME`.
    pub repository: &'static str,
    /// Pinned commit.
    pub revision: &'static str,
    /// Files to fetch.
    pub files: ModelFiles,
    /// Single file to fetch, if the model is one file.
    pub file: Option<&'static str>,
    /// Pinned SHA-256 of that file or of `model.safetensors`, in hexadecimal.
    pub sha256: Option<&'static str>,
}

/// All models with a short name. The comments name the sources of the commits and digests.
pub(crate) const KNOWN_MODELS: [KnownModel; 7] = [
    // Commit and digest together in more than three public projects; digest also on huggingface.co
    // pages of copies of the repository.
    KnownModel {
        name: "clip-vit-large-patch14",
        repository: "openai/clip-vit-large-patch14",
        revision: "32bd64288804d66eefd0ccbe215aa642df71cc41",
        files: ModelFiles::Clip,
        file: None,
        sha256: Some("a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb"),
    },
    // Not main, which has no safetensors, but the hub's own conversion, pull request 15.
    // Commit and digest together in two public projects; digest in more.
    KnownModel {
        name: "clip-vit-base-patch32",
        repository: "openai/clip-vit-base-patch32",
        revision: "b33cedfd0df4e43b8238760678fcc89e1a0d38b3",
        files: ModelFiles::Clip,
        file: None,
        sha256: Some("99d28a652e6ec46629ab7047a0ac82c69b1fe11e0ce672c43af65d3a9a3fc05d"),
    },
    // Commit and digest together in more than three public projects; digest also on huggingface.co
    // pages of copies of the repository.
    KnownModel {
        name: "gpt2",
        repository: "openai-community/gpt2",
        revision: "607a30d783dfa663caf39e06633721c8d4cfcd7e",
        files: ModelFiles::LanguageModel,
        file: None,
        sha256: Some("248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707"),
    },
    // Commit in several public projects; digest on the repository's own huggingface.co page at
    // pull requests 5 and 8, the file unchanged since.
    KnownModel {
        name: "gpt2-medium",
        repository: "openai-community/gpt2-medium",
        revision: "6dcaa7a952f72f9298047fd5137cd6e4f05f41da",
        files: ModelFiles::LanguageModel,
        file: None,
        sha256: Some("fc5a354a19255ad494f3d71549390baca1ccf61d1d822b9408971705c687c9cd"),
    },
    // Commit and digest together in two public projects; digest also on the repository's own
    // huggingface.co page.
    KnownModel {
        name: "gpt2-large",
        repository: "openai-community/gpt2-large",
        revision: "32b71b12589c2f8d625668d2335a01cac3249519",
        files: ModelFiles::LanguageModel,
        file: None,
        sha256: Some("5f47f3e12f91cd33b662ce7e433b6150ad5512b5884a2cee961b50e9c3bbebce"),
    },
    // Commit and digest together in more than three public projects.
    KnownModel {
        name: "gpt2-xl",
        repository: "openai-community/gpt2-xl",
        revision: "15ea56dee5df4983c59b2538573817e1667135e2",
        files: ModelFiles::LanguageModel,
        file: None,
        sha256: Some("0f8b28eb05a8075f48b61b6f35332978c74fc7763fa9fb4051a1c30511736a6a"),
    },
    // Commit on the repository's own huggingface.co page. UNCONFIRMED: no public source gives the
    // file's digest.
    KnownModel {
        name: "clip-prefix",
        repository: "Anshler/clip-prefix",
        revision: "4cd0c0983d96beaeab5ea5cbdc5c0c663e9a60c6",
        files: ModelFiles::File,
        file: Some("flickr8k_gradient.pt"),
        sha256: None,
    },
];

/// Former and present names of repositories that the hub renamed to `OWNER/NAME`.
///
/// Older caches hold the models under their former names.
const FORMER_NAMES: [(&str, &str); 6] = [
    ("gpt2", "openai-community/gpt2"),
    ("gpt2-medium", "openai-community/gpt2-medium"),
    ("gpt2-large", "openai-community/gpt2-large"),
    ("gpt2-xl", "openai-community/gpt2-xl"),
    ("openai-gpt", "openai-community/openai-gpt"),
    ("distilgpt2", "distilbert/distilgpt2"),
];

/// `OpenAI`'s names of CLIP models, and the repositories with the same weights.
///
/// `OpenAI`'s package and ClipCap use these names.
const OPENAI_CLIPS: [(&str, &str); 4] = [
    ("ViT-B/32", "openai/clip-vit-base-patch32"),
    ("ViT-B/16", "openai/clip-vit-base-patch16"),
    ("ViT-L/14", "openai/clip-vit-large-patch14"),
    ("ViT-L/14@336px", "openai/clip-vit-large-patch14-336"),
];

/// Returns the former name of a renamed repository, or the present name of a former one.
pub(crate) fn other_name(repository: &str) -> Option<&'static str> {
    FORMER_NAMES.iter().find_map(|&(former, present)| match repository {
        name if name == former => Some(present),
        name if name == present => Some(former),
        _ => None,
    })
}

/// Returns the repository of a CLIP model by `OpenAI`'s own name.
pub(crate) fn openai_clip(name: &str) -> Option<&'static str> {
    OPENAI_CLIPS.iter().find(|(known, _)| *known == name).map(|(_, repository)| *repository)
}

/// Returns the model with this short name or repository id.
///
/// Former repository ids work if they are short names, such as `gpt2`.
pub(crate) fn by_name(name: &str) -> Option<&'static KnownModel> {
    // A model that is a single file does not stand for its whole repository.
    let is_whole = |known: &KnownModel| known.file.is_none() && known.repository == name;
    KNOWN_MODELS.iter().find(|known| known.name == name || is_whole(known))
}

/// Returns the pinned commit of a repository.
pub(crate) fn pinned_revision(repository: &str, file: Option<&str>) -> Option<&'static str> {
    let mut models = KNOWN_MODELS.iter().filter(|known| known.repository == repository);
    models.find(|known| known.file.is_none() || known.file == file).map(|known| known.revision)
}

/// Returns the pinned digest of a file at a commit.
pub(crate) fn pinned_sha256(repository: &str, commit: &str, file: &str) -> Option<&'static str> {
    let is_this = |known: &&KnownModel| {
        (known.repository, known.revision) == (repository, commit)
            && known.file.unwrap_or("model.safetensors") == file
    };
    KNOWN_MODELS.iter().find(is_this)?.sha256
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::is_commit;

    #[test]
    fn pins_are_whole_and_names_are_told_apart() {
        for known in &KNOWN_MODELS {
            assert!(is_commit(known.revision), "{}", known.name);
            if let Some(sha256) = known.sha256 {
                assert_eq!(sha256.len(), 64, "{}", known.name);
                assert!(sha256.bytes().all(|byte| byte.is_ascii_hexdigit()), "{}", known.name);
            }
            assert_eq!(by_name(known.name).unwrap().repository, known.repository);
        }
        let mut names: Vec<&str> = KNOWN_MODELS.iter().map(|known| known.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KNOWN_MODELS.len());
    }
}
