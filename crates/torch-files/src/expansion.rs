//! Limit on the size of a tree after every shared value is copied.

use crate::error::Problem;
use crate::tree::{Node, Tree};

/// Largest allowed ratio of expanded to original size, counted in values and letters.
const EXPANSION: u64 = 64;
/// Expanded size below which the ratio is not limited.
const SMALL: u64 = 1 << 20;

impl Tree {
    /// Fails if copying all shared values would take far more time and memory than the file
    /// justifies.
    pub(crate) fn check_expansion(&self) -> Result<(), Problem> {
        let mut expanded: Vec<u64> = Vec::with_capacity(self.nodes.len());
        let mut own = 0_u64;
        for node in &self.nodes {
            let of = |id: &u32| expanded[*id as usize];
            let add = |sum: u64, part: u64| sum.saturating_add(part);
            let (size, items) = match node {
                Node::Str(text) => (1 + text.len() as u64, 0),
                Node::List(ids) | Node::Tuple(ids) | Node::Set(ids) => {
                    (1 + ids.len() as u64, ids.iter().map(of).fold(0, add))
                }
                Node::Dict(entries) => (
                    1 + 2 * entries.len() as u64,
                    entries.iter().map(|(key, value)| add(of(key), of(value))).fold(0, add),
                ),
                _ => (1, 0),
            };
            own += size;
            expanded.push(add(size, items));
        }
        let whole = expanded.get(self.root as usize).copied().unwrap_or_default();
        if whole > own.saturating_mul(EXPANSION).max(SMALL) {
            return Err(Problem::Limit(format!(
                "it shares values so often that, written out, it would be more than {EXPANSION} times \
                 as large"
            )));
        }
        Ok(())
    }
}
