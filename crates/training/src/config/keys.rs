//! Dotted keys: overriding them, listing them, and finding the one that was meant.

use super::{Config, ConfigError};

/// The configuration that names every key: the paper's own.
pub(super) const REFERENCE: &str =
    include_str!("../../../../configs/flickr8k/prefix-gradient-clipping.toml");

pub(super) fn apply_override(table: &mut toml::Table, argument: &str) -> Result<(), ConfigError> {
    let malformed = || ConfigError::Override(argument.to_owned());
    let (key, text) = argument.split_once('=').ok_or_else(malformed)?;
    let (key, text) = (key.trim(), text.trim());
    if key.is_empty() || key.split('.').any(str::is_empty) {
        return Err(malformed());
    }
    // Anything that is not a TOML value is meant as a string: paths need no quotes.
    let value = format!("value = {text}")
        .parse::<toml::Table>()
        .ok()
        .filter(|parsed| parsed.len() == 1)
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| toml::Value::String(text.to_owned()));
    let (sections, name) = key.rsplit_once('.').unwrap_or(("", key));
    let mut place = table;
    for section in sections.split('.').filter(|section| !section.is_empty()) {
        place = place
            .entry(section)
            .or_insert_with(|| toml::Value::Table(toml::Table::new()))
            .as_table_mut()
            .ok_or_else(malformed)?;
    }
    place.insert(name.to_owned(), value);
    Ok(())
}

/// Keys that only kinds have which the paper's own configuration does not use.
const KEYS_OF_OTHER_KINDS: [&str; 9] = [
    "tokenizer.vocab_size",
    "mapper.clip_length",
    "mapper.layers",
    "decoding.strategy.beams",
    "decoding.strategy.samples",
    "decoding.strategy.temperature",
    "decoding.strategy.top_k",
    "decoding.strategy.top_p",
    "decoding.strategy.seed",
];

pub(super) fn known_keys() -> Vec<String> {
    let paper = REFERENCE.parse::<toml::Table>().map(|table| dotted_keys(&table));
    let others = KEYS_OF_OTHER_KINDS.map(str::to_owned);
    paper.unwrap_or_default().into_iter().chain(others).collect()
}

pub(super) fn dotted_keys(table: &toml::Table) -> Vec<String> {
    let mut keys = Vec::new();
    for (name, value) in table {
        match value {
            toml::Value::Table(section) => {
                keys.extend(dotted_keys(section).into_iter().map(|key| format!("{name}.{key}")));
            }
            _ => keys.push(name.clone()),
        }
    }
    keys
}

pub(super) fn flatten(config: &Config) -> Vec<(String, String)> {
    let table = toml::Table::try_from(config).unwrap_or_default();
    dotted_keys(&table)
        .into_iter()
        .map(|key| {
            let value = lookup(&table, &key);
            (key, value)
        })
        .collect()
}

fn lookup(table: &toml::Table, key: &str) -> String {
    match key.split_once('.') {
        Some((section, rest)) => table
            .get(section)
            .and_then(toml::Value::as_table)
            .map_or_else(String::new, |inner| lookup(inner, rest)),
        None => table.get(key).map_or_else(String::new, ToString::to_string),
    }
}

/// The known key that is nearest in spelling, by its last part or as a whole.
pub(super) fn nearest(key: &str, known: &[String]) -> Option<String> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
    known
        .iter()
        .map(|candidate| {
            let whole = strsim::jaro_winkler(key, candidate);
            let part = strsim::jaro_winkler(&last(key), &last(candidate));
            (whole.max(part), candidate)
        })
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate.clone())
}
