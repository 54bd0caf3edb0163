//! Suggestions for misspelt names.

/// Least similarity of a suggestion.
const LEAST: f64 = 0.8;

/// Returns the known name that is nearest in spelling, by its last part after a dot or as a whole.
#[must_use]
pub fn nearest<'k>(name: &str, known: &'k [String]) -> Option<&'k str> {
    fn last(name: &str) -> &str {
        name.rsplit('.').next().unwrap_or(name)
    }
    known
        .iter()
        .map(|candidate| {
            let whole = strsim::jaro_winkler(name, candidate);
            let part = strsim::jaro_winkler(last(name), last(candidate));
            // Many sections have a key such as `kind`: the whole name decides among them.
            (whole.max(part), whole, candidate.as_str())
        })
        .filter(|(score, ..)| *score > LEAST)
        .max_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)))
        .map(|(.., candidate)| candidate)
}
