//! One HTML page of one or more runs, which needs nothing but itself: styles, script and small pictures
//! are in it.
//!
//! [`Run::open`] reads a run folder, [`sections`] shows runs beside each other, and [`page()`] makes a page
//! of that. Other pages are made of the same parts: [`plot`], [`pictures`] and [`table`].
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
pub mod pictures;
pub mod plot;
mod run;
mod sections;
pub mod table;

pub use error::Error;
pub use names::names;
pub use page::page;
pub use run::Run;
pub use sections::sections;
