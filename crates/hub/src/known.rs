//! The models of the paper: short names and pinned commits.
//!
//! The pins come from public sources and were not verified by a download: no model hub could be
//! reached during development. `confirmed` describes the sources. A weights file whose SHA-256 no
//! source gives has no pin; it is only compared with the digest that the hub announces.

use crate::resolve::Wanted;

/// A model with a short name.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// Short name, also used in configs.
    pub name: &'static str,
    /// `OWNER/NAME`.
    pub repository: &'static str,
    /// Pinned commit.
    pub revision: &'static str,
    /// Files to fetch, unless [`file`](Self::file) names one.
    pub wanted: Wanted,
    /// Single file to fetch, if the model is one file.
    pub file: Option<&'static str>,
    /// Digests of its large files.
    pub pins: &'static [Pin],
    /// Sources of the commit and the digests.
    pub confirmed: &'static str,
}

/// A file's digest, known before the file is fetched.
#[derive(Debug, Clone, Copy)]
pub struct Pin {
    /// Path within the repository.
    pub file: &'static str,
    /// SHA-256 in hexadecimal.
    pub sha256: &'static str,
}

/// All models with a short name.
pub const KNOWN: [Known; 7] = [
    Known {
        name: "clip-vit-large-patch14",
        repository: "openai/clip-vit-large-patch14",
        revision: "32bd64288804d66eefd0ccbe215aa642df71cc41",
        wanted: Wanted::Clip,
        file: None,
        pins: &[Pin {
            file: "model.safetensors",
            sha256: "a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb",
        }],
        confirmed: "commit and digest together in more than three public projects; digest also on \
                    huggingface.co pages of copies of the repository",
    },
    Known {
        name: "clip-vit-base-patch32",
        repository: "openai/clip-vit-base-patch32",
        // Not main, which has no safetensors, but the hub's own conversion, pull request 15.
        revision: "b33cedfd0df4e43b8238760678fcc89e1a0d38b3",
        wanted: Wanted::Clip,
        file: None,
        pins: &[Pin {
            file: "model.safetensors",
            sha256: "99d28a652e6ec46629ab7047a0ac82c69b1fe11e0ce672c43af65d3a9a3fc05d",
        }],
        confirmed: "commit and digest together in two public projects; digest in more",
    },
    Known {
        name: "gpt2",
        repository: "openai-community/gpt2",
        revision: "607a30d783dfa663caf39e06633721c8d4cfcd7e",
        wanted: Wanted::LanguageModel,
        file: None,
        pins: &[Pin {
            file: "model.safetensors",
            sha256: "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
        }],
        confirmed: "commit and digest together in more than three public projects; digest also on \
                    huggingface.co pages of copies of the repository",
    },
    Known {
        name: "gpt2-medium",
        repository: "openai-community/gpt2-medium",
        revision: "6dcaa7a952f72f9298047fd5137cd6e4f05f41da",
        wanted: Wanted::LanguageModel,
        file: None,
        pins: &[Pin {
            file: "model.safetensors",
            sha256: "fc5a354a19255ad494f3d71549390baca1ccf61d1d822b9408971705c687c9cd",
        }],
        confirmed: "commit in several public projects; digest on the repository's own \
                    huggingface.co page at pull requests 5 and 8, the file unchanged since",
    },
    Known {
        name: "gpt2-large",
        repository: "openai-community/gpt2-large",
        revision: "32b71b12589c2f8d625668d2335a01cac3249519",
        wanted: Wanted::LanguageModel,
        file: None,
        pins: &[Pin {
            file: "model.safetensors",
            sha256: "5f47f3e12f91cd33b662ce7e433b6150ad5512b5884a2cee961b50e9c3bbebce",
        }],
        confirmed: "commit and digest together in two public projects; digest also on the \
                    repository's own huggingface.co page",
    },
    Known {
        name: "gpt2-xl",
        repository: "openai-community/gpt2-xl",
        revision: "15ea56dee5df4983c59b2538573817e1667135e2",
        wanted: Wanted::LanguageModel,
        file: None,
        pins: &[Pin {
            file: "model.safetensors",
            sha256: "0f8b28eb05a8075f48b61b6f35332978c74fc7763fa9fb4051a1c30511736a6a",
        }],
        confirmed: "commit and digest together in more than three public projects",
    },
    Known {
        name: "clip-prefix",
        repository: "Anshler/clip-prefix",
        revision: "4cd0c0983d96beaeab5ea5cbdc5c0c663e9a60c6",
        wanted: Wanted::File,
        file: Some("flickr8k_gradient.pt"),
        // UNCONFIRMED: no public source gives the file's digest.
        pins: &[],
        confirmed: "commit on the repository's own huggingface.co page; digest unconfirmed",
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
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Known> {
    // A model that is a single file does not stand for its whole repository.
    let is_whole = |known: &Known| known.file.is_none() && known.repository == name;
    KNOWN.iter().find(|known| known.name == name || is_whole(known))
}

/// Returns the pinned commit of a repository.
pub(crate) fn pinned_revision(repository: &str, file: Option<&str>) -> Option<&'static str> {
    KNOWN
        .iter()
        .find(|known| {
            known.repository == repository && (known.file.is_none() || known.file == file)
        })
        .map(|known| known.revision)
}

/// Returns the pinned digest of a file at a commit.
pub(crate) fn pinned_sha256(repository: &str, commit: &str, file: &str) -> Option<&'static str> {
    let known =
        KNOWN.iter().find(|known| known.repository == repository && known.revision == commit)?;
    known.pins.iter().find(|pin| pin.file == file).map(|pin| pin.sha256)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::is_commit;

    #[test]
    fn pins_are_whole_and_names_are_told_apart() {
        for known in &KNOWN {
            assert!(is_commit(known.revision), "{}", known.name);
            for pin in known.pins {
                assert_eq!(pin.sha256.len(), 64, "{}", known.name);
                assert!(pin.sha256.bytes().all(|byte| byte.is_ascii_hexdigit()), "{}", known.name);
            }
            assert_eq!(by_name(known.name).unwrap().repository, known.repository);
        }
        let mut names: Vec<&str> = KNOWN.iter().map(|known| known.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KNOWN.len());
    }
}
