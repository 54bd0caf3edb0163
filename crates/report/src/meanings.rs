//! Meaning of each score, in a line.

use maud::{Markup, html};

/// Returns the meaning of a score or measurement; `None` for any other name.
pub(crate) fn meaning(name: &str) -> Option<&'static str> {
    Some(match name {
        "BLEU-1" => {
            "Share of the captions' words that a reference has; short captions are penalised."
        }
        "BLEU-2" => "As BLEU-1, and the share of word pairs: their geometric mean.",
        "BLEU-3" => "As BLEU-2, with runs of up to three words.",
        "BLEU-4" => "As BLEU-3, with runs of up to four words; the usual BLEU. 0 to 1.",
        "METEOR" => {
            "Words matched with a reference, synonyms and stems included, and their order. 0 to 1."
        }
        "ROUGE_L" => {
            "Longest word sequence that caption and reference share, gaps allowed. 0 to 1."
        }
        "CIDEr" => "Shared runs of words, rare ones counting more; 0 to 10, people reach about 1.",
        "CLIPScore" => "How well CLIP thinks that caption and picture agree; needs no reference.",
        "RefCLIPScore" => "CLIPScore, joined with CLIP's likeness of caption and references.",
        "CLIPScore_torchmetrics" => {
            "CLIP's similarity of caption and picture times 100, as torchmetrics."
        }
        "validation-loss" => "Mean cross entropy per token of held-out captions; lower is better.",
        _ => return None,
    })
}

/// Returns the meanings of those of the names that have one, in a collapsed list.
pub fn meanings<'a>(names: impl IntoIterator<Item = &'a str>) -> Markup {
    let known = names.into_iter().filter_map(|name| Some((name, meaning(name)?)));
    let known: Vec<(&str, &str)> = known.collect();
    html! {
        @if !known.is_empty() {
            details {
                summary { "What the scores mean" }
                dl { @for (name, meaning) in known { dt { (name) } dd { (meaning) } } }
            }
        }
    }
}
