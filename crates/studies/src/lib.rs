//! Many runs at once: each is made by `capsmith` commands that are started as processes of their own, so
//! that one that fails or is killed takes nothing with it.

pub mod stages;
pub mod sweep;
