//! Whole-program tests: the `capsmith` binary as a person uses it, on pictures that it draws itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod cli {
    mod bad_input;
    mod damage;
    mod doctor;
    mod exchange;
    mod interruption;
    mod main_path;
    mod processes;
    mod reproduce;
    mod serve;
    mod stage;
    mod stops;
    mod sweep;
    mod systems;
}
