//! Events of a capture, for a progress display; a callback can only stop the work.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::table::TableName;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// Waiting for transactions that are older than the capture.
    Waiting {
        /// Reason of the wait.
        reason: String,
    },
    /// The server sent a warning: of the collation's version, for example.
    ServerWarning {
        /// Its text, printable and of limited size.
        message: String,
    },
    /// Something that limits what the measurement will be good for.
    Notice {
        /// The limit, in a sentence.
        message: String,
    },
    /// The snapshot is fixed; reading begins.
    Started {
        /// Tables to read.
        tables: u64,
        /// Their size on disk in bytes, as the server estimates it.
        bytes_estimate: u64,
    },
    /// More rows were read, of whichever tables.
    Read {
        /// Rows since the last such event.
        rows: u64,
        /// Bytes of canonical rows since the last such event.
        bytes: u64,
        /// The part of the table's estimated disk bytes that these represent.
        estimate_done: u64,
    },
    /// What limits the speed of reading has changed, or is the same as a second ago.
    Limited {
        /// The limit of the plan, in a sentence. None: as fast as the server and this machine are.
        by: Option<String>,
    },
    /// A table is done.
    TableRead {
        /// The table.
        table: TableName,
        /// Its rows.
        rows: u64,
    },
    /// Differences were found in a table, whose rows are read once more to name or confirm them.
    SecondPass {
        /// The table.
        table: TableName,
    },
}

/// Callback for events. Breaking stops the work with [`ErrorKind::Cancelled`].
pub type OnEvent<'a> = &'a (dyn Fn(Event) -> ControlFlow<()> + Sync);

/// Sends an event, and turns the wish to stop into an error.
pub(crate) fn send(on_event: OnEvent<'_>, event: Event) -> Result<()> {
    match on_event(event) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::new(ErrorKind::Cancelled, "finish: interrupted")),
    }
}

/// Shows nothing and never stops.
pub fn ignore(_: Event) -> ControlFlow<()> {
    ControlFlow::Continue(())
}
