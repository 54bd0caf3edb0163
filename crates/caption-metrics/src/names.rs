//! Values that are chosen by name.

/// A name that is none of the known ones.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {kind} {name:?}; known are {known}")]
pub struct UnknownName {
    kind: &'static str,
    name: String,
    known: String,
}

/// Returns the value of a name among those of one kind.
pub(crate) fn parse<T: Copy>(
    kind: &'static str,
    name: &str,
    known: &[(&str, T)],
) -> Result<T, UnknownName> {
    let found = known.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let known = known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        UnknownName { kind, name: name.to_owned(), known }
    })
}
