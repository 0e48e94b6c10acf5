//! A piece of work within an open transaction that may fail without aborting it.

use super::connection::Connection;
use super::reader::obstacle;
use crate::error::{Error, Result};

/// Runs `work` behind a savepoint; what the server refuses is undone and given as the inner error.
pub(super) fn guarded<T>(
    connection: &mut Connection,
    work: impl FnOnce(&mut Connection) -> Result<T>,
) -> Result<Result<T, Error>> {
    connection.execute("SAVEPOINT state_lab_guard")?;
    match work(connection) {
        Ok(done) => {
            connection.execute("RELEASE SAVEPOINT state_lab_guard")?;
            Ok(Ok(done))
        }
        Err(error) if error.sqlstate().is_some() && !connection.is_closed() => {
            // A session that the server ended says nothing of the work.
            obstacle(&error)?;
            connection.execute("ROLLBACK TO SAVEPOINT state_lab_guard; RELEASE SAVEPOINT state_lab_guard")?;
            Ok(Err(error))
        }
        Err(error) => Err(error),
    }
}
