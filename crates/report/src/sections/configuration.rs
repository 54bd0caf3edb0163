//! Differences between the configurations of runs.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::parts::name;
use crate::run::Run;

pub(super) fn section(runs: &[Run]) -> Markup {
    html! {
        @if runs.len() > 1 { (differences(runs)) }
        @for (number, run) in runs.iter().enumerate() {
            details {
                summary { "full configuration of " (name(number, &run.name)) }
                pre tabindex="0" { (run.config.to_toml()) }
            }
        }
    }
}

fn differences(runs: &[Run]) -> Markup {
    let all: Vec<Vec<(String, String)>> = runs.iter().map(|run| run.config.values()).collect();
    let rows = differing(&all);
    html! {
        @if rows.is_empty() {
            p.note { "These runs have the same configuration." }
        } @else {
            details {
                summary { (rows.len()) " keys whose values differ between these runs" }
                div.scroll tabindex="0" {
                    table.settings {
                        thead {
                            tr {
                                th scope="col" { "key" }
                                @for (number, run) in runs.iter().enumerate() {
                                    th scope="col" { (name(number, &run.name)) }
                                }
                            }
                        }
                        tbody {
                            @for (key, values) in rows {
                                tr {
                                    th scope="row" { code { (key) } }
                                    @for value in values { td { (value.unwrap_or("–")) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Returns the keys whose values differ, sorted, with each configuration's value.
fn differing(all: &[Vec<(String, String)>]) -> Vec<(&str, Vec<Option<&str>>)> {
    let keys: BTreeSet<&str> = all.iter().flatten().map(|(key, _)| key.as_str()).collect();
    let rows = keys.into_iter().map(|key| {
        let values = all.iter().map(|values| {
            let found = values.iter().find(|(name, _)| name == key);
            found.map(|(_, value)| value.as_str())
        });
        (key, values.collect())
    });
    let mut rows: Vec<(&str, Vec<Option<&str>>)> = rows.collect();
    rows.retain(|(_, values)| values.iter().any(|value| *value != values[0]));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_differ_or_that_a_run_lacks_are_shown() {
        let of = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let all = [of(&[("a", "1"), ("b", "2")]), of(&[("a", "1"), ("b", "3"), ("c", "4")])];
        assert_eq!(
            differing(&all),
            [("b", vec![Some("2"), Some("3")]), ("c", vec![None, Some("4")])]
        );
    }
}
