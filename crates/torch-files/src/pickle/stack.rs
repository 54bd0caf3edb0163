//! Stack and values of the machine, with limits on both.

use super::machine::Machine;
use super::{Draft, Id};
use crate::error::Problem;

/// Most values of a pickle (1 GiB of them).
const MAX_VALUES: usize = 1 << 25;

impl Machine<'_> {
    /// Charges for work and memory, so that neither outgrows the pickle's length.
    pub(super) fn pay(&mut self, cost: usize) -> Result<(), Problem> {
        match self.left_to_pay.checked_sub(cost) {
            Some(left) => self.left_to_pay = left,
            None => {
                return Err(Problem::Limit(format!(
                    "at byte {} the pickle has built far more than its length can hold, \
                     as only hostile ones do",
                    self.at
                )));
            }
        }
        Ok(())
    }

    /// Adds a value and pushes it on the stack.
    pub(super) fn make(&mut self, value: Draft) -> Result<(), Problem> {
        self.pay(1)?;
        self.values.push(value);
        at_most(self.values.len(), "holds")?;
        self.push(self.values.len() as Id - 1)
    }

    pub(super) fn push(&mut self, id: Id) -> Result<(), Problem> {
        self.stack.push(id);
        at_most(self.stack.len(), "stacks")
    }

    pub(super) fn top(&self) -> Result<Id, Problem> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.last() {
            Some(&id) if self.stack.len() > floor => Ok(id),
            _ => Err(self.wrong("wants a value, but there is none on the stack")),
        }
    }

    pub(super) fn pop(&mut self) -> Result<Id, Problem> {
        let id = self.top()?;
        self.stack.pop();
        Ok(id)
    }

    pub(super) fn pop_many(&mut self, count: usize) -> Result<Vec<Id>, Problem> {
        let mut ids = Vec::with_capacity(count);
        for _ in 0..count {
            ids.push(self.pop()?);
        }
        ids.reverse();
        Ok(ids)
    }

    pub(super) fn pop_to_mark(&mut self) -> Result<Vec<Id>, Problem> {
        let Some(mark) = self.marks.pop() else {
            return Err(self.wrong("wants a mark, but there is none on the stack"));
        };
        let items = self.stack.split_off(mark);
        self.pay(items.len())?;
        Ok(items)
    }

    /// Returns the value of an id; ids only ever refer to existing values.
    pub(super) fn get(&self, id: Id) -> &Draft {
        &self.values[id as usize]
    }

    pub(super) fn set(&mut self, id: Id, value: Draft) {
        self.values[id as usize] = value;
    }

    pub(super) fn str(&self, id: Id) -> Result<&str, Problem> {
        match self.get(id) {
            Draft::Str(text) => Ok(text),
            other => Err(self.wrong(format!("wants a str, finds a {}", other.kind()))),
        }
    }
}

/// Fails if `count` exceeds [`MAX_VALUES`].
pub(super) fn at_most(count: usize, verb: &str) -> Result<(), Problem> {
    if count > MAX_VALUES {
        return Err(Problem::Limit(format!("it {verb} more than {MAX_VALUES} values")));
    }
    Ok(())
}
