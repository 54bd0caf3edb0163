//! Whole-program tests: the `capsmith` binary as a person uses it, on pictures that it draws.

#![allow(clippy::unwrap_used, reason = "a failed step of a test ends the test")]

mod cli {
    mod bad_input;
    mod clip_scores;
    mod damage;
    pub mod doctor;
    mod encoders;
    mod exchange;
    mod follow;
    mod interruption;
    mod lit;
    mod main_path;
    mod mkl;
    mod old_versions;
    mod own_data;
    mod own_pictures;
    mod processes;
    pub mod reproduce;
    pub mod serve;
    pub mod stage;
    mod stops;
    mod sweep;
    mod systems;
    mod verbosity;
    pub mod workspace;
}

mod gpu {
    mod captions;
    mod counts;
    mod device;
    mod doctor;
    mod encoding;
    mod itself;
    mod limits;
    mod runs;
    mod study;
    mod training;
}
