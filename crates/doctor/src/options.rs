//! Options of an examination.

/// Scope of an examination.
#[derive(Debug, Clone)]
pub struct Options {
    /// Device whose results are compared with the CPU's: `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// True to measure speed too.
    pub bench: bool,
}
