//! Patterns of file names, such as `shards/{000..100}.tar` and `shards/*.tar`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::LoadError;

/// Largest number of files that a pattern may stand for.
const MAX_FILES: usize = 1_000_000;

/// Characters that make a path a pattern.
const SPECIAL: [char; 3] = ['{', '*', '?'];

/// Returns true if a path is a pattern.
pub(crate) fn is_pattern(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.contains(SPECIAL))
}

/// Returns the folder above the first part of a pattern that stands for several names.
pub(crate) fn folder(pattern: &Path) -> PathBuf {
    let plain = pattern.iter().take_while(|part| !is_pattern(Path::new(part)));
    let folder: PathBuf = plain.collect();
    let is_whole = folder == pattern;
    let folder = if is_whole { folder.parent().unwrap_or(Path::new("")) } else { &folder };
    if folder.as_os_str().is_empty() { ".".into() } else { folder.to_owned() }
}

/// Returns the files that a pattern stands for: braces in the order given, wildcards sorted.
///
/// # Errors
/// Fails if a file in braces is missing, or if there is none.
pub(crate) fn expand(pattern: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let invalid =
        |problem: &str| LoadError::Pattern { pattern: pattern.to_owned(), problem: problem.into() };
    let text = pattern.to_str().ok_or_else(|| invalid("is not UTF-8"))?;
    let mut files = Vec::new();
    for name in braces(text).map_err(invalid)? {
        let path = PathBuf::from(&name);
        if name.contains(['*', '?']) {
            files.extend(matching(&path).map_err(invalid)?);
        } else if path.is_file() {
            files.push(path);
        } else {
            return Err(LoadError::Missing { path });
        }
    }
    if files.is_empty() {
        return Err(invalid("matches no file"));
    }
    Ok(files)
}

/// Expands `{a..b}` and `{a,b}` as a shell does; numbers keep their leading zeros.
fn braces(text: &str) -> Result<Vec<String>, &'static str> {
    let Some((before, rest)) = text.split_once('{') else { return Ok(vec![text.to_owned()]) };
    let (inner, after) = rest.split_once('}').ok_or("has a `{` without `}`")?;
    if inner.contains('{') {
        return Err("has braces within braces");
    }
    let choices: Vec<String> = match inner.split_once("..") {
        Some((first, last)) => {
            let number =
                |text: &str| text.parse::<usize>().map_err(|_| "has no numbers around `..`");
            let (from, to) = (number(first)?, number(last)?);
            if from > to || to - from >= MAX_FILES {
                return Err("has a range of numbers that is empty or too long");
            }
            let is_padded = |text: &str| text.len() > 1 && text.starts_with('0');
            let width =
                if is_padded(first) || is_padded(last) { first.len().max(last.len()) } else { 0 };
            (from..=to).map(|number| format!("{number:0width$}")).collect()
        }
        None => inner.split(',').map(str::to_owned).collect(),
    };
    let ends = braces(after)?;
    if choices.len().saturating_mul(ends.len()) > MAX_FILES {
        return Err("stands for too many files");
    }
    let joined = choices
        .iter()
        .flat_map(|choice| ends.iter().map(move |end| format!("{before}{choice}{end}")));
    Ok(joined.collect())
}

/// Returns the files whose names match the wildcards of the last part of `path`, sorted.
fn matching(path: &Path) -> Result<Vec<PathBuf>, &'static str> {
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    if is_pattern(folder) {
        return Err("has `*` or `?` in the name of a folder");
    }
    let pattern = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let entries = fs::read_dir(folder).map_err(|_| "is in a folder that cannot be read")?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.') && is_match(pattern.as_bytes(), name.as_bytes()))
        .collect();
    names.sort();
    Ok(names.iter().map(|name| folder.join(name)).filter(|path| path.is_file()).collect())
}

fn is_match(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', pattern @ ..], _) => (0..=name.len()).any(|skip| is_match(pattern, &name[skip..])),
        ([b'?', pattern @ ..], [_, name @ ..]) => is_match(pattern, name),
        ([first, pattern @ ..], [byte, name @ ..]) => first == byte && is_match(pattern, name),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_expand_as_in_a_shell() {
        let expanded = |text: &str| braces(text).map(|names| names.join(" "));
        assert_eq!(expanded("a.tar").unwrap(), "a.tar");
        assert_eq!(expanded("s/{08..11}.tar").unwrap(), "s/08.tar s/09.tar s/10.tar s/11.tar");
        assert_eq!(expanded("{8..11}").unwrap(), "8 9 10 11");
        assert_eq!(expanded("{a,b}/{0..1}.tar").unwrap(), "a/0.tar a/1.tar b/0.tar b/1.tar");
        for bad in ["{0..1", "{a..b}", "{2..1}", "{0..99999999}", "{a,{b}}"] {
            assert!(braces(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn wildcards_match_within_a_name() {
        for (pattern, name, expected) in [
            ("*.tar", "a.tar", true),
            ("*.tar", "a.tar.gz", false),
            ("a?.tar", "a1.tar", true),
            ("a?.tar", "a.tar", false),
            ("*a*", "bab", true),
        ] {
            assert_eq!(is_match(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
        assert_eq!(folder(Path::new("d/e/{0..1}.tar")), Path::new("d/e"));
        assert_eq!(folder(Path::new("d/e/0.tar")), Path::new("d/e"));
        assert_eq!(folder(Path::new("*.tar")), Path::new("."));
    }
}
