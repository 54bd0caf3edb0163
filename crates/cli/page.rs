//! The demo's page: pictures, captions and scores that a person can look at.

use std::path::Path;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use training::evaluate::{Captioned, Scored};

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --ink2: #888; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 1.5rem; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .6rem; }
p { max-width: 46rem; margin: .3rem 0; }
table { border-collapse: collapse; } td, th { padding: .25rem .9rem .25rem 0; text-align: right; }
th:first-child, td:first-child { text-align: left; } thead th { border-bottom: 1px solid var(--line); }
td { font-variant-numeric: tabular-nums; }
.cards { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); }
figure { margin: 0; border: 1px solid var(--line); border-radius: .6rem; overflow: hidden; }
img { width: 100%; aspect-ratio: 1; object-fit: cover; display: block; background: var(--soft); }
figcaption { padding: .7rem .9rem .9rem; } figcaption strong { display: block; }
.control { color: var(--ink2); font-size: .9rem; } details { font-size: .9rem; margin-top: .4rem; }
ul { margin: .3rem 0 0; padding-left: 1.1rem; } footer { margin-top: 2.5rem; color: var(--ink2); font-size: .9rem; }
";

/// How many pictures the page shows.
const SHOWN: usize = 60;

/// Writes the page; pictures are linked from `images`, a folder named relative to the current one.
pub fn write(path: &Path, scored: &Scored, control: &Scored, images: &str) -> anyhow::Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let images = Path::new(images).strip_prefix(folder).unwrap_or(Path::new(images));
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "capsmith demo" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "capsmith demo" }
                p {
                    "Pictures drawn by capsmith, captioned by a CLIP-prefix model that was trained on this "
                    "machine minutes ago. CLIP has random weights and GPT-2 started from random ones: "
                    "nothing here is pretrained."
                }
                h2 { "Scores on " (scored.evaluation.n) " test pictures" }
                (scores(scored, control))
                p.control {
                    "The control captions each picture from another picture's embedding. Where it scores "
                    "lower, captions depend on the picture."
                }
                h2 { "Captions" }
                div.cards {
                    @for (one, other) in scored.captions.iter().zip(&control.captions).take(SHOWN) {
                        (card(one, other, images))
                    }
                }
                footer { "All files: " (scored.folder.display()) }
            }
        }
    };
    Ok(durable::write(path, page.into_string().as_bytes())?)
}

fn scores(scored: &Scored, control: &Scored) -> Markup {
    html! {
        table {
            thead { tr { th { "score" } th { "captioned" } th { "control" } } }
            tbody {
                @for (name, score) in scored.evaluation.corpus.iter() {
                    tr {
                        td { (name) }
                        td { (format!("{score:.3}")) }
                        td { (control.evaluation.corpus.get(name).map_or_else(String::new, |other| format!("{other:.3}"))) }
                    }
                }
            }
        }
    }
}

fn card(one: &Captioned, control: &Captioned, images: &Path) -> Markup {
    html! {
        figure {
            img src=(images.join(&one.file_name).display()) alt=(one.references.first().map_or("", String::as_str)) loading="lazy";
            figcaption {
                strong { (one.prediction) }
                span.control { "control: " (control.prediction) }
                details {
                    summary { "reference captions" }
                    ul { @for reference in &one.references { li { (reference) } } }
                }
            }
        }
    }
}
