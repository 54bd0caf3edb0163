//! Mapping of the names in a file to ClipCap's.

use std::collections::BTreeSet;

pub(crate) const HEAD: &str = "gpt.lm_head.weight";
pub(crate) const EMBEDDING: &str = "gpt.transformer.wte.weight";

/// Modules that wrap a model or a part of it: of `DataParallel` and `DeepSpeed`, `torch.compile`,
/// FSDP, activation checkpointing, and Lightning's strategies.
const WRAPPERS: [&str; 5] = [
    "module",
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "_forward_module",
];
/// Weight that identifies a GPT-2: every one has it, and it is not tied to another.
const POSITIONS: &str = "transformer.wpe.weight";
const LANGUAGE_MODEL: &str = "gpt.";
const MAPPER: &str = "clip_project.";

/// Prefixes of the parts of captioners in a file.
#[derive(Debug, Default)]
pub(super) struct PartPrefixes {
    /// Prefixes of GPT-2s: `gpt.`, or another such as `model.gpt2.`.
    language_models: BTreeSet<String>,
    mappers: BTreeSet<String>,
}

impl PartPrefixes {
    /// Finds the parts to which `names` belong.
    pub(super) fn find<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut parts = Self::default();
        for name in names.map(without_wrappers) {
            if let Some(before) = name.strip_suffix(POSITIONS).filter(|before| is_module(before)) {
                parts.language_models.insert(before.to_owned());
            }
            let mapper = name.match_indices(MAPPER).find(|&(start, _)| is_module(&name[..start]));
            if let Some((start, _)) = mapper {
                parts.mappers.insert(name[..start + MAPPER.len()].to_owned());
            }
        }
        parts
    }

    /// Returns true if there is at least one whole captioner.
    pub(super) fn are_complete(&self) -> bool {
        !self.language_models.is_empty() && !self.mappers.is_empty()
    }

    /// Returns the reason if the parts are not those of exactly one captioner.
    pub(super) fn fault(&self) -> Option<String> {
        let listed = |parts: &BTreeSet<String>| {
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
            (1, _) => format!("it has several mappers: {}", listed(&self.mappers)),
            _ => format!("it has several GPT-2s: {}", listed(&self.language_models)),
        })
    }

    /// Returns ClipCap's name for a name in the file, or `None` if it belongs to neither part.
    pub(super) fn clipcap_name(&self, name: &str) -> Option<String> {
        let name = without_wrappers(name);
        // The mapper comes first: a GPT-2 at the top of the file takes every other name.
        [(MAPPER, &self.mappers), (LANGUAGE_MODEL, &self.language_models)].iter().find_map(
            |(clipcap, prefixes)| {
                let rest = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix.as_str()))?;
                Some(format!("{clipcap}{rest}"))
            },
        )
    }
}

/// Returns a name without the modules that wrap its parts.
fn without_wrappers(name: &str) -> String {
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

    fn parts(names: &[&str]) -> PartPrefixes {
        PartPrefixes::find(names.iter().copied())
    }

    #[test]
    fn parts_are_recognised_by_the_ends_of_names() {
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
            assert!(parts.are_complete() && parts.fault().is_none(), "{language_model}");
            assert_eq!(parts.clipcap_name(&matrix), Some(format!("gpt.{MATRIX}")));
            assert_eq!(parts.clipcap_name(&bias).as_deref(), Some("clip_project.model.0.bias"));
            if !language_model.is_empty() {
                assert_eq!(parts.clipcap_name("clip.visual.proj"), None);
            }
        }
        let inside = "gpt.transformer.h.0._checkpoint_wrapped_module.attn.c_attn.weight";
        assert_eq!(
            parts(&["gpt.transformer.wpe.weight"]).clipcap_name(inside),
            Some(format!("gpt.{MATRIX}"))
        );
    }

    #[test]
    fn other_than_one_captioner_is_refused() {
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
