//! Dotted keys: listing, type checks against the defaults, and suggestions for misspelt ones.

use foreign_text::nearest;
use toml::{Table, Value};

use crate::error::ConfigError;
use crate::kinds::{keys_of_kind, kinds};

/// Refuses keys that neither `defaults` nor a kind of section has, and values of wrong types.
pub(crate) fn check(table: &Table, defaults: &Table) -> Result<(), ConfigError> {
    let mut known = defaults.clone();
    for (section, kinds) in kinds() {
        if find(defaults, section).is_some() {
            let key = format!("{section}.kind");
            let names: Vec<&str> =
                kinds.iter().filter_map(|kind| kind.get("kind")?.as_str()).collect();
            let kind = find(table, &key)
                .filter(|kind| !kind.as_str().is_some_and(|kind| names.contains(&kind)));
            if let Some(kind) = kind {
                let (value, expected) = (kind.to_string(), names.join(" or "));
                return Err(ConfigError::OutOfRange { key, value, expected });
            }
            for kind in kinds {
                add(&mut known, nested(section, Value::Table(kind)));
            }
        }
    }
    let mut keys = dotted_keys(table);
    // A kind is named before the keys that its defaults added.
    keys.sort_by_key(|key| key.rsplit('.').next() != Some("kind"));
    for key in keys {
        let (Some(value), Some(example)) = (find(table, &key), find(&known, &key)) else {
            let suggestion = nearest(&in_full(&key), &dotted_keys(&known)).map(str::to_owned);
            return Err(ConfigError::UnknownKey { key, suggestion });
        };
        check_type(&key, value, example)?;
        check_kind(table, &key)?;
    }
    Ok(())
}

/// Returns a key with PyTorch's abbreviations written out, which resemble no key of a config.
fn in_full(key: &str) -> String {
    const SHORT: [(&str, &str); 4] =
        [("lr", "learning_rate"), ("wd", "weight_decay"), ("eps", "epsilon"), ("bs", "batch_size")];
    let (section, name) = key.rsplit_once('.').map_or(("", key), |(section, name)| (section, name));
    match SHORT.iter().find(|(short, _)| *short == name) {
        Some((_, full)) if section.is_empty() => (*full).to_owned(),
        Some((_, full)) => format!("{section}.{full}"),
        None => key.to_owned(),
    }
}

/// Adds the keys that `table` lacks.
fn add(table: &mut Table, more: Table) {
    for (key, value) in more {
        match (table.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(more)) => add(below, more),
            (Some(_), _) => {}
            (None, value) => {
                table.insert(key, value);
            }
        }
    }
}

/// Refuses a key that only other kinds of its section have.
fn check_kind(table: &Table, key: &str) -> Result<(), ConfigError> {
    let Some((section, name)) = key.rsplit_once('.') else { return Ok(()) };
    let Some(kind) = find(table, &format!("{section}.kind")) else { return Ok(()) };
    let keys = keys_of_kind(section, kind);
    if keys.is_empty() || keys.iter().any(|known| known == name) {
        return Ok(());
    }
    Err(ConfigError::NotOfKind { key: key.to_owned(), kind: kind.to_string() })
}

/// Refuses a value that is not of the type of `example`.
fn check_type(key: &str, value: &Value, example: &Value) -> Result<(), ConfigError> {
    let (fits, expected) = match example {
        Value::Integer(_) => {
            (value.as_integer().is_some_and(|value| value >= 0), "a whole number from 0")
        }
        Value::Float(_) => (value.is_float() || value.is_integer(), "a number"),
        Value::Boolean(_) => (value.is_bool(), "true or false"),
        Value::String(_) => (value.is_str(), "a text"),
        Value::Array(_) => (value.is_array(), "a list"),
        Value::Table(_) => (value.is_table(), "a section"),
        Value::Datetime(_) => (true, ""),
    };
    if fits {
        return Ok(());
    }
    let (key, value) = (key.to_owned(), value.to_string());
    Err(ConfigError::OutOfRange { key, value, expected: expected.to_owned() })
}

/// Returns the dotted keys of a table, with those of its sections.
pub(crate) fn dotted_keys(table: &Table) -> Vec<String> {
    let mut keys = Vec::new();
    for (name, value) in table {
        match value {
            Value::Table(section) => {
                keys.extend(dotted_keys(section).into_iter().map(|key| format!("{name}.{key}")));
            }
            _ => keys.push(name.clone()),
        }
    }
    keys
}

/// Returns the keys and values of a table, as TOML writes them.
pub(crate) fn flatten(table: &Table) -> Vec<(String, String)> {
    let value = |key: &String| find(table, key).map_or_else(String::new, ToString::to_string);
    dotted_keys(table).into_iter().map(|key| (key.clone(), value(&key))).collect()
}

/// Returns a table with one value, under a dotted key.
pub(crate) fn nested(key: &str, value: Value) -> Table {
    let (key, value) = match key.split_once('.') {
        Some((section, rest)) => (section, Value::Table(nested(rest, value))),
        None => (key, value),
    };
    Table::from_iter([(key.to_owned(), value)])
}

/// Returns the value of a dotted key.
pub(crate) fn find<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        Some((section, rest)) => find(table.get(section)?.as_table()?, rest),
        None => table.get(key),
    }
}
