//! Checks of the values that a pickle's root reaches.

use std::collections::HashSet;

use crate::error::{Problem, shown};
use crate::pickle::{Global, Id, Node};

/// Greatest nesting depth of values. Code that walks a tree may therefore recurse.
const MAX_DEPTH: usize = 100;
/// Largest allowed ratio of expanded to original size, counted in values and letters.
pub(crate) const EXPANSION: u64 = 64;
/// Expanded size below which the ratio is not limited.
const SMALL: u64 = 1 << 20;

/// Checks all values that `root` reaches.
///
/// Returns true if copying every shared value would exceed [`EXPANSION`].
///
/// # Errors
/// Fails for values that contain themselves or nest too deep, repeated keys, keys that Python
/// cannot hash, and parts of tensors in place of tensors.
pub(crate) fn check(nodes: &[Node], root: Id) -> Result<bool, Problem> {
    let mut checker = Checker { nodes, sizes: vec![None; nodes.len()], own_size: 0 };
    // Walks depth first with an explicit stack of a value and the index of its next item.
    let mut path = vec![(root, 0)];
    while let Some((id, next)) = path.last_mut() {
        let items = nodes[*id as usize].items().unwrap_or_default();
        let Some(&item) = items.get(*next) else {
            checker.close(*id)?;
            path.pop();
            continue;
        };
        *next += 1;
        if checker.sizes[item as usize].is_some() {
            continue;
        }
        if path.iter().any(|&(id, _)| id == item) {
            return Err(Problem::limit("a value contains itself"));
        }
        if path.len() > MAX_DEPTH {
            return Err(too_deep());
        }
        path.push((item, 0));
    }
    let (_, expanded) = checker.size(root);
    Ok(expanded > checker.own_size.saturating_mul(EXPANSION).max(SMALL))
}

fn too_deep() -> Problem {
    Problem::limit(format_args!("its values nest deeper than {MAX_DEPTH}"))
}

struct Checker<'a> {
    nodes: &'a [Node],
    /// Depth of each checked value, and its size with every shared value copied.
    sizes: Vec<Option<(usize, u64)>>,
    /// Size of all values, each counted once.
    own_size: u64,
}

impl Checker<'_> {
    /// Checks a value whose items are all checked.
    fn close(&mut self, id: Id) -> Result<(), Problem> {
        let node = &self.nodes[id as usize];
        match node {
            Node::Global(Global::TensorType(_)) => {}
            Node::Storage(_) | Node::Global(_) | Node::ArrayType(_) | Node::UnfinishedArray => {
                return Err(Problem::Content(format!(
                    "holds a {} where a value is expected; only tensors, arrays and plain data are \
                     read",
                    node.kind()
                )));
            }
            Node::Dict(entries) => self.check_keys(entries)?,
            _ => {}
        }
        let size = match node {
            Node::Str(text) => 1 + text.len() as u64,
            _ => 1 + node.items().unwrap_or_default().len() as u64,
        };
        let (mut depth, mut expanded) = (usize::from(node.items().is_some()), size);
        for &item in node.items().unwrap_or_default() {
            let (item_depth, item_size) = self.size(item);
            depth = depth.max(item_depth + 1);
            expanded = expanded.saturating_add(item_size);
        }
        if depth > MAX_DEPTH {
            return Err(too_deep());
        }
        self.own_size += size;
        self.sizes[id as usize] = Some((depth, expanded));
        Ok(())
    }

    /// Returns the depth and expanded size of a checked value.
    fn size(&self, id: Id) -> (usize, u64) {
        self.sizes[id as usize].unwrap_or_default()
    }

    /// Checks that Python can hash the keys and that no text, integer or boolean is repeated.
    fn check_keys(&self, entries: &[Id]) -> Result<(), Problem> {
        let mut texts = HashSet::new();
        let mut numbers = HashSet::new();
        for &key in entries.iter().step_by(2) {
            let (is_new, name) = match &self.nodes[key as usize] {
                Node::Str(text) => (texts.insert(&**text), shown(text)),
                Node::Int(value) => (numbers.insert(*value), value.to_string()),
                Node::Bool(value) => (numbers.insert((*value).into()), value.to_string()),
                Node::List(_) | Node::Dict(_) | Node::Tensor(_) => {
                    return Err(Problem::content("a dict has a list, dict or tensor as a key"));
                }
                _ => continue,
            };
            if !is_new {
                return Err(Problem::Content(format!("a dict has the key {name} twice")));
            }
        }
        Ok(())
    }
}
