//! The caption files that come with Flickr8k and Flickr30k.

use std::io::BufRead;

use super::loader::Loader;

/// Layout of a caption file, which its first line shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// `image.jpg#0`, a tab, the caption: `Flickr8k.token.txt` and `results_20130124.token`.
    Token,
    /// `image_name| comment_number| comment`: Flickr30k's `results.csv`.
    Bars,
}

impl Layout {
    /// Returns the layout that a first line shows; `None` for a table with another header.
    pub(super) fn of(first_line: &str) -> Option<Self> {
        let names: Vec<&str> = first_line.split('|').map(str::trim).collect();
        if names == ["image_name", "comment_number", "comment"] {
            return Some(Self::Bars);
        }
        token_line(first_line).map(|_| Self::Token)
    }

    /// Adds the captions of all lines. `first_line` was read from `rest` already.
    pub(super) fn read(
        self,
        first_line: &str,
        mut rest: impl BufRead,
        loader: &mut Loader,
    ) -> Result<(), String> {
        let mut line = match self {
            Self::Token => first_line.to_owned(),
            Self::Bars => String::new(),
        };
        for number in 1.. {
            if !line.trim().is_empty() {
                let (pair, expected) = match self {
                    Self::Token => (token_line(&line), "`image#number`, a tab and a caption"),
                    Self::Bars => (bars_line(&line), "`image| number| caption`"),
                };
                let added = match pair {
                    Some((image, caption)) => loader.row(image, caption),
                    None => Err(format!("expected {expected}")),
                };
                added.map_err(|message| format!("line {number}: {message}"))?;
            }
            line.clear();
            if rest.read_line(&mut line).map_err(|error| error.to_string())? == 0 {
                break;
            }
        }
        Ok(())
    }
}

/// Returns the image and the caption of `image#number`, a tab, `caption`.
fn token_line(line: &str) -> Option<(&str, &str)> {
    let (name, caption) = line.trim_end_matches(['\n', '\r']).split_once('\t')?;
    let (image, number) = name.rsplit_once('#')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !image.is_empty()).then_some((image, caption))
}

/// Returns the image and the caption of `image| number| caption`, without blanks around them.
///
/// Line 19,999 of Flickr30k's file lacks the second bar.
fn bars_line(line: &str) -> Option<(&str, &str)> {
    let (image, rest) = line.split_once('|')?;
    let rest = rest.trim_start();
    let caption = rest.trim_start_matches(|character: char| character.is_ascii_digit());
    let is_separated = caption.len() < rest.len() && caption.starts_with([' ', '|']);
    let caption = caption.trim_start();
    is_separated.then(|| (image.trim(), caption.strip_prefix('|').unwrap_or(caption).trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_known_by_their_first_line() {
        for (line, layout) in [
            ("a.jpg#0\tA dog .\n", Some(Layout::Token)),
            ("a.jpg#x\tA dog .\n", None),
            ("image_name| comment_number| comment\r\n", Some(Layout::Bars)),
            ("image,caption\n", None),
            ("image_id\tcaption\n", None),
        ] {
            assert_eq!(Layout::of(line), layout, "{line:?}");
        }
    }

    #[test]
    fn a_missing_bar_is_passed_over_and_other_lines_are_refused() {
        assert_eq!(bars_line("a.jpg| 4   A dog .\n"), Some(("a.jpg", "A dog .")));
        assert_eq!(bars_line("a.jpg| 4| A | B\n"), Some(("a.jpg", "A | B")));
        assert_eq!(bars_line("a.jpg| A dog"), None);
        assert_eq!(bars_line("a.jpg, 4, A dog"), None);
    }
}
