//! What checks will read, before they run.

use schemars::JsonSchema;
use serde::Serialize;

use crate::check::Check;

/// What a check will read of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Cost {
    /// The check.
    pub check: Check,
    /// A table, an index, or the constraints that one query evaluates.
    pub object: String,
    /// Bytes on disk, as the server estimates them.
    pub bytes: u64,
}
