//! Studies of many runs, as stages that are reused, resumed or run again.
//!
//! A study is a [`stages::Plan`] of `capsmith` commands in one folder. [`stages::run`] runs the
//! plan, several stages in parallel. [`reproduce`] plans the tables of the paper, [`sweep`]
//! hyperparameter searches.

pub mod reproduce;
pub mod stages;
mod statistics;
pub mod sweep;
