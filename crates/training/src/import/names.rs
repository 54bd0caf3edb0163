//! From the names in a file to ClipCap's.

use std::collections::BTreeSet;

/// Modules that are put around a model or a part of it: by `DataParallel` and `DeepSpeed`, by
/// `torch.compile`, by FSDP, by activation checkpointing, and by Lightning's strategies.
const WRAPPERS: [&str; 5] = [
    "module",
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "_forward_module",
];
/// The weight that tells how a GPT-2 is called: every one has it, and no other is tied to it.
const POSITIONS: &str = "transformer.wpe.weight";
const LANGUAGE_MODEL: &str = "gpt.";
const MAPPER: &str = "clip_project.";

/// Names of the parts of captioners in a file.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// Prefixes of GPT-2s: `gpt.`, or another such as `model.gpt2.`.
    language_models: BTreeSet<String>,
    /// Prefixes of mappers.
    mappers: BTreeSet<String>,
}

impl Parts {
    /// Looks for the parts that `names` speak of.
    pub(super) fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut parts = Self::default();
        for name in names.map(plain) {
            if let Some(before) = name.strip_suffix(POSITIONS).filter(|before| is_module(before)) {
                parts.language_models.insert(before.to_owned());
            }
            let mapper = name.match_indices(MAPPER).find(|&(place, _)| is_module(&name[..place]));
            if let Some((place, _)) = mapper {
                parts.mappers.insert(name[..place + MAPPER.len()].to_owned());
            }
        }
        parts
    }

    /// Returns true if there is a whole captioner, or several.
    pub(super) fn are_whole(&self) -> bool {
        !self.language_models.is_empty() && !self.mappers.is_empty()
    }

    /// Returns why the parts are not those of exactly one captioner.
    pub(super) fn fault(&self) -> Option<String> {
        let several = |parts: &BTreeSet<String>| {
            let parts: Vec<String> =
                parts.iter().map(|part| part.escape_debug().to_string()).collect();
            parts.join(", ")
        };
        Some(match (self.language_models.len(), self.mappers.len()) {
            (1, 1) => return None,
            (0, 0) => "it has neither a GPT-2 (gpt.…) nor a mapper (clip_project.…)".to_owned(),
            (0, _) => {
                "it has a mapper (clip_project.…), but no GPT-2 (gpt.…) that it was trained with"
                    .to_owned()
            }
            (_, 0) => "it has a GPT-2, but no mapper (clip_project.…)".to_owned(),
            (1, _) => format!("it has several mappers: {}", several(&self.mappers)),
            _ => format!("it has several GPT-2s: {}", several(&self.language_models)),
        })
    }

    /// Returns ClipCap's name for a name in the file; none where it is of neither part.
    pub(super) fn ours(&self, name: &str) -> Option<String> {
        let name = plain(name);
        // A GPT-2 at the top of the file takes every other name.
        [(MAPPER, &self.mappers), (LANGUAGE_MODEL, &self.language_models)].iter().find_map(
            |(ours, theirs)| {
                let rest = theirs.iter().find_map(|theirs| name.strip_prefix(theirs.as_str()))?;
                Some(format!("{ours}{rest}"))
            },
        )
    }
}

/// A name without the modules around its parts.
fn plain(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').filter(|part| !WRAPPERS.contains(part)).collect();
    parts.join(".")
}

/// Returns true if a module's name can follow `before`.
fn is_module(before: &str) -> bool {
    before.is_empty() || before.ends_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    const MATRIX: &str = "transformer.h.0.attn.c_attn.weight";

    fn parts(names: &[&str]) -> Parts {
        Parts::of(names.iter().copied())
    }

    #[test]
    fn names_are_told_by_what_they_end_in() {
        for (language_model, mapper) in [
            ("gpt.", "clip_project."),
            ("gpt2.", "clip_project."),
            ("module.gpt.", "module.clip_project."),
            ("module._orig_mod.gpt.", "module._orig_mod.clip_project."),
            ("_forward_module.model.gpt.", "_forward_module.model.clip_project."),
            ("gpt._orig_mod.", "clip_project.module."),
            ("net.language_model.", "net.clip_project."),
            ("", "clip_project."),
        ] {
            let [positions, matrix] =
                [POSITIONS, MATRIX].map(|name| language_model.to_owned() + name);
            let bias = format!("{mapper}model.0.bias");
            let parts = parts(&[&positions, &bias]);
            assert!(parts.are_whole() && parts.fault().is_none(), "{language_model}");
            assert_eq!(parts.ours(&matrix), Some(format!("gpt.{MATRIX}")));
            assert_eq!(parts.ours(&bias).as_deref(), Some("clip_project.model.0.bias"));
            if !language_model.is_empty() {
                assert_eq!(parts.ours("clip.visual.proj"), None);
            }
        }
        let inside = "gpt.transformer.h.0._checkpoint_wrapped_module.attn.c_attn.weight";
        assert_eq!(
            parts(&["gpt.transformer.wpe.weight"]).ours(inside),
            Some(format!("gpt.{MATRIX}"))
        );
    }

    #[test]
    fn what_is_not_one_captioner_says_so() {
        for (names, words) in [
            (&["a.weight"][..], "neither a GPT-2"),
            (&["my_clip_project.model.0.bias", "xtransformer.wpe.weight"], "neither a GPT-2"),
            (&["clip_project.prefix_const"], "no GPT-2"),
            (&["gpt.transformer.wpe.weight", "mapper.0.weight"], "no mapper"),
            (
                &[
                    "model.gpt.transformer.wpe.weight",
                    "ema.module.gpt.transformer.wpe.weight",
                    "model.clip_project.model.0.bias",
                ],
                "several GPT-2s: ema.gpt., model.gpt.",
            ),
            (
                &["gpt.transformer.wpe.weight", "clip_project.a", "ema.clip_project.a"],
                "several mappers: clip_project., ema.clip_project.",
            ),
        ] {
            let fault = parts(names).fault().unwrap();
            assert!(fault.contains(words), "{fault}");
        }
    }
}
