//! Dotted keys: overriding them, listing them, and finding the one that was meant.

use super::{Config, ConfigError};

/// Of each system the paper's own configuration, which names every key that it uses, and the keys that
/// only other kinds have.
const SYSTEMS: [(&str, &str, &[&str]); 3] = [
    (
        "clip-prefix",
        include_str!("../../../../configs/flickr8k/prefix-gradient-clipping.toml"),
        &["tokenizer.vocab_size", "mapper.clip_length", "mapper.layers"],
    ),
    ("sbg", include_str!("../../../../configs/flickr8k/sbg.toml"), &[]),
    ("merge-rnn", include_str!("../../../../configs/flickr8k/merge-rnn.toml"), &[]),
];

/// Numbers of sections that differ by their kind, of which the parser names the section alone; and whether
/// they are whole.
const NUMBERS: [(&str, bool); 10] = [
    ("tokenizer.vocab_size", true),
    ("mapper.prefix_length", true),
    ("mapper.clip_length", true),
    ("mapper.layers", true),
    ("decoding.strategy.beams", true),
    ("decoding.strategy.samples", true),
    ("decoding.strategy.top_k", true),
    ("decoding.strategy.seed", true),
    ("decoding.strategy.temperature", false),
    ("decoding.strategy.top_p", false),
];

/// What strategies of decoding have.
const STRATEGY_KEYS: [&str; 6] = ["beams", "samples", "temperature", "top_k", "top_p", "seed"];

/// The paper's own configuration of a system.
#[cfg(test)]
pub(super) fn reference(system: &str) -> &'static str {
    SYSTEMS.iter().find(|(name, ..)| *name == system).map_or("", |(_, text, _)| text)
}

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

/// Every key that a configuration of the table's system may have.
pub(super) fn known_keys(table: &toml::Table) -> Result<Vec<String>, ConfigError> {
    let name = table.get("system").map_or_else(|| "missing".to_owned(), ToString::to_string);
    let known = SYSTEMS.iter().find(|(system, ..)| name == format!("\"{system}\""));
    let (_, reference, others) = known.ok_or(ConfigError::System(name))?;
    let reference = reference.parse::<toml::Table>().unwrap_or_default();
    let strategies = STRATEGY_KEYS.map(|key| format!("decoding.strategy.{key}"));
    let others = others.iter().map(|key| (*key).to_owned());
    Ok(dotted_keys(&reference).into_iter().chain(others).chain(strategies).collect())
}

/// Refuses a value of another type where the parser would not name its key.
pub(super) fn check_numbers(table: &toml::Table) -> Result<(), ConfigError> {
    for (key, is_whole) in NUMBERS {
        let Some(value) = find(table, key) else { continue };
        let fits = match value {
            toml::Value::Integer(number) => *number >= 0,
            toml::Value::Float(_) => !is_whole,
            _ => false,
        };
        if !fits {
            let expected = if is_whole { "a whole number from 0" } else { "a number" }.to_owned();
            return Err(ConfigError::OutOfRange { key, value: value.to_string(), expected });
        }
    }
    Ok(())
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
            let value = find(&table, &key).map_or_else(String::new, ToString::to_string);
            (key, value)
        })
        .collect()
}

/// The value of a dotted key.
pub(super) fn find<'a>(table: &'a toml::Table, key: &str) -> Option<&'a toml::Value> {
    match key.split_once('.') {
        Some((section, rest)) => find(table.get(section)?.as_table()?, rest),
        None => table.get(key),
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
