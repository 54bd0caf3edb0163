//! Stack and values of the machine, with limits on both.

use std::fmt::Display;

use super::machine::Machine;
use super::{Id, Node};
use crate::error::Problem;

/// Most values of a pickle (1 GiB of them).
const MAX_VALUES: usize = 1 << 25;

impl Machine<'_> {
    /// Charges for work and memory, so that neither outgrows the pickle's length.
    pub(super) fn charge(&mut self, cost: usize) -> Result<(), Problem> {
        self.budget = self.budget.checked_sub(cost).ok_or_else(|| {
            Problem::limit(format_args!(
                "at byte {} the pickle has built far more than its length can hold, as only \
                 hostile ones do",
                self.opcode_offset
            ))
        })?;
        Ok(())
    }

    /// Adds a value and pushes it on the stack.
    pub(super) fn push_new(&mut self, node: Node) -> Result<(), Problem> {
        self.charge(1)?;
        if self.pickle.nodes.len() == MAX_VALUES {
            return Err(Problem::limit(format_args!("it holds more than {MAX_VALUES} values")));
        }
        self.stack.push(self.pickle.nodes.len() as Id);
        self.pickle.nodes.push(node);
        Ok(())
    }

    pub(super) fn top(&self) -> Result<Id, Problem> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.last() {
            Some(&id) if self.stack.len() > floor => Ok(id),
            _ => Err(self.invalid("wants a value, but there is none on the stack")),
        }
    }

    pub(super) fn pop(&mut self) -> Result<Id, Problem> {
        let id = self.top()?;
        self.stack.pop();
        Ok(id)
    }

    pub(super) fn pop_many(&mut self, count: usize) -> Result<Vec<Id>, Problem> {
        let mut ids = (0..count).map(|_| self.pop()).collect::<Result<Vec<Id>, Problem>>()?;
        ids.reverse();
        Ok(ids)
    }

    pub(super) fn pop_to_mark(&mut self) -> Result<Vec<Id>, Problem> {
        let Some(mark) = self.marks.pop() else {
            return Err(self.invalid("wants a mark, but there is none on the stack"));
        };
        let items = self.stack.split_off(mark);
        self.charge(items.len())?;
        Ok(items)
    }

    /// Returns the value of an id; ids only ever refer to existing values.
    pub(super) fn node(&self, id: Id) -> &Node {
        self.pickle.node(id)
    }

    pub(super) fn set(&mut self, id: Id, node: Node) {
        self.pickle.nodes[id as usize] = node;
    }

    pub(super) fn str(&self, id: Id) -> Result<&str, Problem> {
        match self.node(id) {
            Node::Str(text) => Ok(text),
            other => Err(self.invalid(format_args!("wants a str, finds a {}", other.kind()))),
        }
    }

    pub(super) fn int(&self, id: Id) -> Result<i128, Problem> {
        match self.node(id) {
            &Node::Int(value) => Ok(value),
            other => Err(self.invalid(format_args!("wants an int, finds a {}", other.kind()))),
        }
    }

    /// Returns the items of a list or tuple.
    pub(super) fn items(&self, id: Id) -> Result<&[Id], Problem> {
        match self.node(id) {
            Node::List(items) | Node::Tuple(items) => Ok(items),
            other => {
                Err(self.invalid(format_args!("wants a list or tuple, finds a {}", other.kind())))
            }
        }
    }

    /// Names the kinds of values for an error.
    pub(super) fn kinds(&self, ids: &[Id]) -> String {
        let kinds: Vec<&str> = ids.iter().take(8).map(|&id| self.node(id).kind()).collect();
        kinds.join(", ")
    }

    /// Returns an error about the current opcode.
    pub(super) fn invalid(&self, reason: impl Display) -> Problem {
        Problem::pickle(self.opcode_offset, reason)
    }
}
