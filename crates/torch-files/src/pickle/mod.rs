//! Restricted pickle machine: builds plain values, imports nothing and calls nothing.
//!
//! A pickle is a program for a stack machine. Here its GLOBAL opcodes can only name the entries of
//! `globals`, and REDUCE and BUILD only do what those stand for: build a tensor, an array or a dict
//! from parts that the pickle holds. Any other name is an error that names it.
//!
//! Values lie in one list and refer to each other by number. Sharing therefore costs nothing,
//! however often it is repeated, and dropping values never recurses. Memory is bounded by the
//! pickle's own length: each new value and each copied reference is charged.
//!
//! The crate `pytorch-reader` 0.23.0-pre.1 was tried on this crate's fixtures and is not used:
//! - It opens and reads 59 of the 155 hostile files that must be refused. A forbidden call becomes
//!   an opaque value instead of an error that names it.
//! - It reads 26 of the 29 sound checkpoints, and loses the order of tensors.
//! - It finds the embeddings in 1 of ClipCap's 42 pickles, since it reads neither numpy's arrays nor
//!   `_load_from_bytes`. This machine and the legacy format would stay; only `container::zip` goes.
//! - It copies each tensor, and so unties tied weights: all values of 528 MB take 1.3 s (zip) and
//!   1.1 s (legacy) instead of 0.6 s and 0.5 s.

mod array;
mod globals;
mod literals;
mod machine;
mod opcodes;
mod reader;
mod rebuild;
mod stack;
mod values;

pub(crate) use globals::Global;
pub(crate) use reader::Reader;
pub(crate) use values::{Container, Id, Node, Pickle, Storage};
