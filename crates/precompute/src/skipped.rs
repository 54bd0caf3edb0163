//! Images that are left out.

use serde::{Deserialize, Serialize};

/// An image that has no embedding because it could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Name in the data set.
    pub name: String,
    /// Reason.
    pub reason: String,
}
