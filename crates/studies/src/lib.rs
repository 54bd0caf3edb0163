//! Studies: many runs that belong together, each step of which is kept, resumed, or made anew.
//!
//! A study is a [`stages::Plan`] of `capsmith` commands in one folder. [`stages::run`] walks it with several
//! at a time. [`sweep`] plans trials of a config's values.

pub mod stages;
pub mod sweep;
