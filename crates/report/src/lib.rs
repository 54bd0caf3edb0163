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
//! let footer = report::Footer::of_command("capsmith report runs/*");
//! let html = report::page(&report::title(&runs), &report::sections(&runs)?, &footer);
//! # Ok(())
//! # }
//! ```

mod error;
mod footer;
mod meanings;
mod names;
mod page;
mod palette;
pub mod pictures;
pub mod plot;
mod resampled;
mod run;
mod sections;
pub mod table;

pub use error::Error;
pub use footer::{Footer, duration};
pub use meanings::meanings;
pub use names::names;
pub use page::page;
pub use palette::PALETTE;
pub use resampled::{Resampled, difference_text};
pub use run::Run;
pub use sections::{machines, sections, serve_command, study_sections, title};
