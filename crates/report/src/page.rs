//! HTML skeleton of every page: style, script, heading, footer.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::footer::Footer;
use crate::palette::PALETTE;

const STYLES: [&str; 2] = [PALETTE, include_str!("style.css")];
const SCRIPTS: [&str; 3] = [
    include_str!("script/tables.js"),
    include_str!("script/plots.js"),
    include_str!("script/cards.js"),
];

/// Returns a whole HTML page with this heading.
///
/// The page follows the reader's light or dark scheme, fits a phone, can be read without
/// JavaScript and makes no requests to a server.
#[must_use]
pub fn page(title: &str, body: &Markup, footer: &Footer) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // Keeps browsers from requesting /favicon.ico.
                link rel="icon" href="data:,";
                title { (title) }
                style { @for style in STYLES { (PreEscaped(style)) } }
            }
            body {
                main {
                    h1 { (title) }
                    (body)
                }
                (footer.markup())
                script { (PreEscaped("\"use strict\";\n")) @for script in SCRIPTS { (PreEscaped(script)) } }
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
        let page = page("<b>&", &html! { p { "body" } }, &Footer::of_command("capsmith"));
        assert!(page.contains("<h1>&lt;b&gt;&amp;</h1>") && page.contains("<p>body</p>"), "{page}");
        assert!(!page.contains("http"), "nothing is asked of a server");
    }
}
