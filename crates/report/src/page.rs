//! HTML skeleton of every page: style, script, heading.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::palette::PALETTE;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// Returns a whole HTML page with this heading.
///
/// The page follows the reader's light or dark scheme, fits a phone and makes no requests to a
/// server.
#[must_use]
pub fn page(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // Keeps browsers from requesting /favicon.ico.
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(PALETTE)) (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { (title) }
                    (body)
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_no_address_and_escapes_its_title() {
        let page = page("<b>&", &html! { p { "body" } });
        assert!(page.contains("<h1>&lt;b&gt;&amp;</h1>") && page.contains("<p>body</p>"), "{page}");
        assert!(!page.contains("http"), "nothing is asked of a server");
    }
}
