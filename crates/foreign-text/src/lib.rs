//! Text that other programs wrote: files, JSON from Python, and names that are safe to print.
//!
//! ```
//! use foreign_text::{printable, python_json};
//!
//! assert_eq!(python_json(r#"{"score": NaN, "name": "NaN"}"#), r#"{"score": null, "name": "NaN"}"#);
//! assert_eq!(printable("a\nb.jpg").to_string(), r"a\nb.jpg");
//! ```

mod file;
mod nearest;
mod print;
mod python;

pub use file::{open_regular, read_bytes, read_text};
pub use nearest::nearest;
pub use print::{
    PrintablePath, PrintableText, first_of, printable, printable_path, shell_command, shell_word,
};
pub use python::python_json;
