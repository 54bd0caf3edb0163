//! Whole-program tests: the `capsmith` binary as a person uses it, on pictures that it draws itself.

mod cli {
    mod bad_input;
    mod interruption;
    mod main_path;
    mod stage;
}
