//! Self-contained HTML pages that compare runs: styles, script and small images are embedded.
//!
//! [`Run::open`] reads a run folder, [`sections`] shows runs side by side, and [`page()`] makes an
//! HTML page of the sections. Other pages can reuse [`plot`], [`pictures`] and [`table`].
//!
//! ```no_run
//! # fn main() -> Result<(), report::Error> {
//! let paths = ["runs/sbg".into(), "runs/clipping".into()];
//! let names = report::names(&paths)?;
//! let runs = paths.iter().zip(names).map(|(path, name)| report::Run::open(path, name));
//! let runs = runs.collect::<Result<Vec<_>, _>>()?;
//! let html: String = report::page("Two runs", &report::sections(&runs)?);
//! # Ok(())
//! # }
//! ```

mod error;
mod names;
mod page;
mod palette;
pub mod pictures;
pub mod plot;
mod run;
mod sections;
pub mod table;

pub use error::Error;
pub use names::names;
pub use page::page;
pub use palette::PALETTE;
pub use run::Run;
pub use sections::{sections, sections_around};
