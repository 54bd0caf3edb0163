//! Stack machine that interprets the opcodes.

use std::collections::HashMap;

use bytes::Bytes;

use super::globals::Global;
use super::opcodes as op;
use super::reader::Reader;
use super::{Container, Id, Node, Pickle};
use crate::error::{Problem, shown};

/// Cost that a pickle may incur per byte of its length.
///
/// A new value, a copied reference, and a byte copied or read again cost one each. All files that
/// Python, numpy and PyTorch wrote for the tests stay below 1.
const COST_PER_BYTE: usize = 4;
const LATEST_PROTOCOL: u8 = 5;

pub(super) struct Machine<'a> {
    pub(super) reader: Reader<'a>,
    pub(super) container: Container,
    /// Position of the current opcode.
    pub(super) opcode_offset: usize,
    pub(super) pickle: Pickle,
    pub(super) stack: Vec<Id>,
    /// Length of the stack at each MARK.
    pub(super) marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// Cost that may still be charged.
    pub(super) budget: usize,
}

impl Pickle {
    /// Runs the pickle that begins at byte `start`.
    pub(crate) fn read(input: &Bytes, start: usize, container: Container) -> Result<Self, Problem> {
        Machine::new(input, start, container).run()
    }
}

impl<'a> Machine<'a> {
    fn new(input: &'a Bytes, start: usize, container: Container) -> Self {
        Self {
            reader: Reader::new(input, start),
            container,
            opcode_offset: start,
            pickle: Pickle::default(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            budget: (input.len() - start).saturating_mul(COST_PER_BYTE),
        }
    }

    fn run(mut self) -> Result<Pickle, Problem> {
        loop {
            self.opcode_offset = self.reader.offset();
            let opcode = self.reader.u8()?;
            if opcode == op::STOP {
                break;
            }
            match self.literal(opcode)? {
                Some(node) => self.push_new(node)?,
                None => self.step(opcode)?,
            }
        }
        self.pickle.root = self.pop()?;
        self.pickle.end = self.reader.offset();
        if !self.stack.is_empty() || !self.marks.is_empty() {
            return Err(self.invalid("stops with values left over"));
        }
        Ok(self.pickle)
    }

    /// Reads the new value that an opcode pushes, or returns `None` for other opcodes.
    fn literal(&mut self, opcode: u8) -> Result<Option<Node>, Problem> {
        Ok(Some(match opcode {
            op::NONE => Node::None,
            op::NEWFALSE => Node::Bool(false),
            op::NEWTRUE => Node::Bool(true),
            op::BININT | op::BININT1 | op::BININT2 | op::LONG1 | op::LONG4 => {
                self.binary_integer(opcode)?
            }
            op::BINFLOAT => Node::Float(self.reader.array().map(f64::from_be_bytes)?),
            op::INT | op::LONG | op::FLOAT => self.decimal_number(opcode)?,
            op::UNICODE
            | op::BINUNICODE
            | op::SHORT_BINUNICODE
            | op::BINUNICODE8
            | op::BINSTRING
            | op::SHORT_BINSTRING => self.text(opcode)?,
            op::BINBYTES | op::SHORT_BINBYTES | op::BINBYTES8 | op::BYTEARRAY8 => {
                let length = self.length(opcode)?;
                Node::Bytes(self.reader.share(length)?.into())
            }
            op::EMPTY_LIST => Node::List(Vec::new()),
            op::EMPTY_TUPLE => Node::Tuple(Vec::new()),
            op::EMPTY_SET => Node::Set(Vec::new()),
            op::EMPTY_DICT => Node::Dict(Vec::new()),
            op::LIST => Node::List(self.pop_to_mark()?),
            op::TUPLE => Node::Tuple(self.pop_to_mark()?),
            op::TUPLE1 | op::TUPLE2 | op::TUPLE3 => {
                Node::Tuple(self.pop_many(usize::from(opcode - op::TUPLE1) + 1)?)
            }
            op::FROZENSET => Node::Set(self.pop_to_mark()?),
            op::DICT => {
                let items = self.pop_to_mark()?;
                self.check_pairs(&items)?;
                Node::Dict(items)
            }
            op::GLOBAL => {
                let module = String::from_utf8_lossy(self.reader.line()?);
                let name = String::from_utf8_lossy(self.reader.line()?);
                Node::Global(self.named(&module, &name)?)
            }
            op::STACK_GLOBAL => {
                let [name, module] = [self.pop()?, self.pop()?];
                Node::Global(self.named(self.str(module)?, self.str(name)?)?)
            }
            op::BINPERSID => self.persistent_storage()?,
            _ => return Ok(None),
        }))
    }

    fn step(&mut self, opcode: u8) -> Result<(), Problem> {
        match opcode {
            op::PROTO => {
                let protocol = self.reader.u8()?;
                if protocol > LATEST_PROTOCOL {
                    return Err(
                        self.invalid(format_args!("pickle protocol {protocol} is not known"))
                    );
                }
            }
            // Frames only help reading ahead.
            op::FRAME => {
                let length = self.reader.u64()?;
                self.reader.check(length)?;
            }
            op::APPEND | op::APPENDS | op::ADDITEMS | op::SETITEM | op::SETITEMS => {
                self.fill_container(opcode)?;
            }
            op::GET | op::BINGET | op::LONG_BINGET => {
                let key = self.memo_key(opcode)?;
                let Some(&id) = self.memo.get(&key) else {
                    let reason = format_args!("takes memo {key}, which was never put");
                    return Err(self.invalid(reason));
                };
                self.stack.push(id);
            }
            op::PUT | op::BINPUT | op::LONG_BINPUT | op::MEMOIZE => {
                let key = self.memo_key(opcode)?;
                self.memo.insert(key, self.top()?);
            }
            op::MARK => self.marks.push(self.stack.len()),
            op::POP if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()),
            op::POP => drop(self.pop()?),
            op::POP_MARK => drop(self.pop_to_mark()?),
            op::DUP => self.stack.push(self.top()?),
            op::NEWOBJ => self.new_object()?,
            op::REDUCE => self.reduce()?,
            op::BUILD => self.build()?,
            _ => {
                return Err(self.invalid(format_args!(
                    "the pickle opcode {} is not read here; nothing was run",
                    op::name_of_refused(opcode)
                )));
            }
        }
        Ok(())
    }

    fn memo_key(&mut self, opcode: u8) -> Result<u32, Problem> {
        match opcode {
            op::BINGET | op::BINPUT => Ok(self.reader.u8()?.into()),
            op::LONG_BINGET | op::LONG_BINPUT => self.reader.u32(),
            op::MEMOIZE => Ok(self.memo.len() as u32),
            _ => {
                let line = String::from_utf8_lossy(self.reader.line()?);
                line.parse().map_err(|_| {
                    self.invalid(format_args!("\"{}\" is not a number in the memo", shown(&line)))
                })
            }
        }
    }

    fn fill_container(&mut self, opcode: u8) -> Result<(), Problem> {
        let mut items = match opcode {
            op::APPEND => self.pop_many(1)?,
            op::SETITEM => self.pop_many(2)?,
            _ => self.pop_to_mark()?,
        };
        self.charge(items.len())?;
        if matches!(opcode, op::SETITEM | op::SETITEMS) {
            self.check_pairs(&items)?;
        }
        let container = self.top()? as usize;
        match (opcode, &mut self.pickle.nodes[container]) {
            (op::APPEND | op::APPENDS, Node::List(ids))
            | (op::ADDITEMS, Node::Set(ids))
            | (op::SETITEM | op::SETITEMS, Node::Dict(ids)) => ids.append(&mut items),
            (_, other) => {
                let kind = other.kind();
                return Err(self.invalid(format_args!("cannot add items to a {kind}")));
            }
        }
        Ok(())
    }

    fn check_pairs(&self, items: &[Id]) -> Result<(), Problem> {
        if items.len().is_multiple_of(2) {
            return Ok(());
        }
        Err(self.invalid("a dict's key without a value"))
    }

    fn named(&self, module: &str, name: &str) -> Result<Global, Problem> {
        Global::of_name(module, name).ok_or_else(|| Problem::ForbiddenName {
            name: shown(&format!("{module:.80}.{name:.80}")),
            offset: self.opcode_offset,
        })
    }
}
