//! Edits of a token's text before it is lower-cased.

use std::borrow::Cow;

/// A change of a token's text.
#[derive(Clone, Copy, Debug)]
pub(super) enum Edit {
    None,
    /// The whole text becomes this one.
    Become(&'static str),
    /// Soft hyphens go; a token of nothing else becomes a hyphen.
    DropSoftHyphens,
    /// Spaces become no-break spaces.
    Join,
    /// [`Edit::Join`] and [`Edit::RoundBrackets`].
    Phone,
    /// `&amp;` becomes `&`.
    Ampersand,
    /// Single quotes, double quotes and guillemets become LaTeX quotes.
    Quotes,
    /// `( )` become `-LRB- -RRB-`.
    RoundBrackets,
    /// Brackets, fractions and currencies become what the treebank wrote for them.
    Treebank,
    /// A run of three or four becomes two.
    Dash,
}

impl Edit {
    pub(super) fn apply(self, token: &str) -> Cow<'_, str> {
        match self {
            Self::None => Cow::Borrowed(token),
            Self::Become(text) => Cow::Borrowed(text),
            Self::DropSoftHyphens => drop_soft_hyphens(token),
            Self::Join => Cow::Owned(token.replace(' ', "\u{a0}")),
            Self::Phone => Cow::Owned(round_brackets(&token.replace(' ', "\u{a0}"))),
            Self::Ampersand => Cow::Owned(replace_entity(token, "&amp;", "&")),
            Self::Quotes => Cow::Owned(quotes(token)),
            Self::RoundBrackets => Cow::Owned(round_brackets(token)),
            Self::Treebank => Cow::Borrowed(treebank(token)),
            Self::Dash => Cow::Borrowed(if matches!(token.len(), 3 | 4) { "--" } else { token }),
        }
    }
}

fn drop_soft_hyphens(token: &str) -> Cow<'_, str> {
    const SOFT_HYPHEN: char = '\u{ad}';
    if !token.contains(SOFT_HYPHEN) {
        return Cow::Borrowed(token);
    }
    let rest = token.replace(SOFT_HYPHEN, "");
    Cow::Owned(if rest.is_empty() { "-".to_owned() } else { rest })
}

/// Replaces an entity in any case of its letters.
fn replace_entity(token: &str, entity: &str, by: &str) -> String {
    let mut out = String::with_capacity(token.len());
    let mut rest = token;
    while let Some(at) = rest.find('&') {
        let (before, tail) = rest.split_at(at);
        out.push_str(before);
        match tail.get(..entity.len()) {
            Some(head) if head.eq_ignore_ascii_case(entity) => {
                out.push_str(by);
                rest = &tail[entity.len()..];
            }
            _ => {
                out.push('&');
                rest = &tail[1..];
            }
        }
    }
    out + rest
}

fn quotes(token: &str) -> String {
    let token = replace_entity(token, "&apos;", "'");
    let mut out = String::with_capacity(token.len());
    for c in token.chars() {
        match c {
            '\u{2018}' | '\u{201b}' | '\u{2039}' | '\u{91}' => out.push('`'),
            '\u{2019}' | '\u{203a}' | '\u{92}' => out.push('\''),
            '\u{201c}' | '\u{ab}' | '\u{93}' => out.push_str("``"),
            '\u{201d}' | '\u{bb}' | '\u{94}' => out.push_str("''"),
            other => out.push(other),
        }
    }
    out
}

fn round_brackets(token: &str) -> String {
    token.replace('(', "-LRB-").replace(')', "-RRB-")
}

fn treebank(token: &str) -> &str {
    match token {
        "{" => "-LCB-",
        "}" => "-RCB-",
        "[" => "-LSB-",
        "]" => "-RSB-",
        "(" => "-LRB-",
        ")" => "-RRB-",
        "\u{bc}" => "1/4",
        "\u{bd}" => "1/2",
        "\u{be}" => "3/4",
        "\u{2153}" => "1/3",
        "\u{2154}" => "2/3",
        "\u{a2}" => "cents",
        "\u{a3}" => "#",
        "\u{80}" | "\u{a4}" | "\u{20a0}" | "\u{20ac}" => "$",
        other => other,
    }
}
