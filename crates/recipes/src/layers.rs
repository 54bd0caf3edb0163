//! Layers of a config: defaults, base files, the file itself, and overrides, as TOML tables.

use std::path::{Path, PathBuf};

use foreign_text::printable_path;
use toml::{Table, Value};

use crate::error::ConfigError;
use crate::keys::nested;
use crate::kinds::{defaults_of_kind, keys_of_kind, kinds};

/// Renamed keys: the name in version 0.1.0, and the present name.
const RENAMED: [(&str, &str); 6] = [
    ("training.accumulation_steps", "gradient_accumulation_steps"),
    ("training.keep_checkpoints", "save_total_limit"),
    ("optimizer.max_gradient_norm", "max_grad_norm"),
    ("decoding.max_tokens", "max_new_tokens"),
    ("decoding.strategy.beams", "num_beams"),
    ("decoding.strategy.samples", "num_return_sequences"),
];

/// Largest number of files in a chain of `base`.
const MAX_BASES: usize = 32;

/// Function that reads the text of a config file.
pub(crate) type ReadFile<'a> = &'a dyn Fn(&Path) -> std::io::Result<String>;

/// Parses a file's text and merges it over the files that its `base` names.
pub(crate) fn with_bases(text: &str, path: &Path, read: ReadFile) -> Result<Table, ConfigError> {
    tracing::debug!("config {}", printable_path(path));
    let mut chain = vec![path.to_owned()];
    let mut table = parse(text, path)?;
    while let Some(base) = table.remove("base") {
        let base = base_of(&base, &chain)?;
        tracing::debug!("config {} below it", printable_path(&base));
        let text =
            read(&base).map_err(|source| ConfigError::Read { path: base.clone(), source })?;
        let mut merged = parse(&text, &base)?;
        let next = merged.remove("base");
        merge(&mut merged, table, "");
        table = merged;
        if let Some(next) = next {
            table.insert("base".to_owned(), next);
        }
        chain.push(base);
    }
    Ok(table)
}

/// Resolves `base` relative to the last file of `chain`, and refuses a cycle.
fn base_of(base: &Value, chain: &[PathBuf]) -> Result<PathBuf, ConfigError> {
    let [.., file] = chain else { return Err(ConfigError::Override("base".to_owned())) };
    let invalid = |message: String| ConfigError::Invalid(message).in_file(file);
    let Value::String(base) = base else {
        return Err(invalid(format!("`base` is {base}, but must be the path of a config file")));
    };
    let path = file.parent().unwrap_or(Path::new("")).join(base);
    let is_cycle = chain.iter().any(|seen| without_dots(seen) == without_dots(&path));
    if is_cycle || chain.len() > MAX_BASES {
        return Err(invalid(format!(
            "`base` = \"{base}\" leads back to a file that is based on it"
        )));
    }
    Ok(path)
}

/// Returns `path` with `folder/..` removed, to compare paths by their names.
#[must_use]
pub fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir if plain.file_name().is_some() => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

fn parse(text: &str, path: &Path) -> Result<Table, ConfigError> {
    let invalid = |message: String| ConfigError::Invalid(message).in_file(path);
    let mut table: Table =
        text.parse().map_err(|error: toml::de::Error| invalid(error.to_string()))?;
    rename_old_keys(&mut table).map_err(|key| {
        invalid(format!("`{key}` is given under its name of version 0.1.0, too; keep one of both"))
    })?;
    Ok(table)
}

/// Parses `key=value` as a table of that one key.
pub(crate) fn parse_override(argument: &str) -> Result<Table, ConfigError> {
    let malformed = || ConfigError::Override(argument.to_owned());
    let (key, text) = argument.split_once('=').ok_or_else(malformed)?;
    let (key, text) = (key.trim(), text.trim());
    if key.is_empty() || key.split('.').any(str::is_empty) {
        return Err(malformed());
    }
    // A value that is not TOML is taken as a string: paths need no quotes.
    let value = format!("value = {text}")
        .parse::<Table>()
        .ok()
        .filter(|parsed| parsed.len() == 1)
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()));
    let mut table = nested(key, value);
    rename_old_keys(&mut table).map_err(|_| malformed())?;
    Ok(table)
}

/// Returns the section of this dotted name; `None` if there is none.
fn section_of<'t>(table: &'t mut Table, name: &str) -> Option<&'t mut Table> {
    name.split('.').try_fold(table, |table, part| table.get_mut(part)?.as_table_mut())
}

/// Renames old keys; fails with a key that is given under both names.
fn rename_old_keys(table: &mut Table) -> Result<(), &'static str> {
    for (old, new) in RENAMED {
        let Some((sections, old)) = old.rsplit_once('.') else { continue };
        let Some(section) = section_of(table, sections) else { continue };
        if let Some(value) = section.remove(old)
            && section.insert(new.to_owned(), value).is_some()
        {
            return Err(new);
        }
    }
    Ok(())
}

/// Merges `over` into `table`, key by key.
///
/// A section that changes its `kind` keeps the keys that both kinds have.
pub(crate) fn merge(table: &mut Table, over: Table, section: &str) {
    if let Some(kind) = over.get("kind").filter(|kind| table.get("kind") != Some(*kind)) {
        let keys = keys_of_kind(section, kind);
        table.retain(|key, _| keys.iter().any(|known| known == key));
    }
    for (key, value) in over {
        match (table.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => {
                let section = if section.is_empty() { key } else { format!("{section}.{key}") };
                merge(below, above, &section);
            }
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

/// Gives the sections of several kinds the defaults of the kind that they have.
pub(crate) fn fill_kinds(table: &mut Table) {
    for (name, _) in kinds() {
        let Some(section) = section_of(table, name) else { continue };
        let defaults = section.get("kind").and_then(|kind| defaults_of_kind(name, kind));
        for (key, value) in defaults.into_iter().flatten() {
            section.entry(key).or_insert(value);
        }
    }
}
