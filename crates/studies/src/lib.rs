//! Studies: many runs that belong together, each step of which is kept, resumed, or made anew.
//!
//! A study is a [`stages::Plan`] of `capsmith` commands in one folder. [`stages::run`] walks it with several
//! at a time. [`reproduce`] plans the tables of the paper, [`sweep`] trials of a config's values.

pub mod reproduce;
pub mod stages;
mod statistics;
pub mod sweep;
