//! General hints, for errors without one of their own.

use std::io;

use crate::error::{Error, ErrorKind, causes};

impl Error {
    /// The hint for its SQLSTATE, its kind, or what the operating system refused, where there is one.
    pub(crate) fn general_hint(&self) -> Option<&'static str> {
        if let Some(sqlstate) = self.sqlstate() {
            return server_hint(sqlstate);
        }
        let refused = self.cause().into_iter().flat_map(causes);
        kind_hint(self.kind()).or_else(|| refused.filter_map(|cause| file_hint(cause.downcast_ref()?)).last())
    }
}

/// The hint for any error of this kind, where there is one.
fn kind_hint(kind: &ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::Connection => {
            "check that the server is up: `pg_isready` with the same connection string shows it, and the server's log \
             has the reason for a closed connection"
        }
        ErrorKind::Authentication => REFUSED_LOGIN,
        ErrorKind::Manifest => {
            "a file that is truncated or modified cannot be used: use another copy of it, or capture again"
        }
        ErrorKind::PoolExhausted => {
            "a pooler needs a connection for each job and one more in the pool of this database and user: use fewer jobs \
             (`--jobs`, `Plan::jobs`), raise its pool_size, or connect to the server itself"
        }
        ErrorKind::Blocked => {
            "end what blocks it (SELECT pg_terminate_backend(PROCESS), or COMMIT PREPARED or ROLLBACK PREPARED in its database), or \
             wait longer (`--wait`, `Limits::anchor_timeout_ms`)"
        }
        ErrorKind::LimitReached => {
            "raise the limit (`--max-snapshot-age`, `Limits::max_snapshot_age_ms`) or the rate, use more jobs, or read a standby"
        }
        _ => return None,
    })
}

const REFUSED_LOGIN: &str = "check user and password, and the entries of the server's pg_hba.conf";

fn server_hint(sqlstate: &str) -> Option<&'static str> {
    Some(match sqlstate {
        "42501" => {
            "grant the role what it reads: GRANT pg_read_all_data TO the role (PostgreSQL 14 and later), or \
             GRANT USAGE ON each SCHEMA and GRANT SELECT ON ALL TABLES and ALL SEQUENCES in it"
        }
        "28P01" | "28000" => REFUSED_LOGIN,
        "3D000" => "correct dbname: the server has no such database; `psql -l` lists those that it has",
        "53300" => {
            "the server has no free connection: use one job (`--jobs`, `Plan::jobs`), or raise max_connections"
        }
        "53100" => "free some space on the server's disk",
        "55P03" => {
            "another session holds a lock, for example a migration or VACUUM FULL: try again later, or raise the lock \
             timeout (`--lock-timeout`, `Limits::lock_timeout_ms`)"
        }
        "57014" => {
            "try again, or raise statement_timeout: it expired, or another session cancelled the statement"
        }
        "57P01" | "57P02" => {
            "an administrator ended the session or stopped the server: run it again when a primary accepts connections"
        }
        "57P03" => {
            "the server is starting up or recovering: wait until `pg_isready` reports that it accepts connections"
        }
        "25006" => {
            "use a server that accepts writes: this one is a standby, or default_transaction_read_only is on"
        }
        "08P01" => {
            "through a connection pooler (PgBouncer), use session or transaction pooling and no `options` (PGOPTIONS), or \
             connect to the server itself"
        }
        "40001" | "40P01" | "72000" => {
            "a standby cancelled the query for its recovery: set hot_standby_feedback = on there, or raise its \
             max_standby_streaming_delay; or read it when its primary removes fewer rows"
        }
        _ => return None,
    })
}

/// The hint for what the operating system refused.
pub fn file_hint(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("free some space, or write to another file system")
        }
        io::ErrorKind::FileTooLarge => {
            Some("raise the limit on the size of files (`ulimit -f`), or write to another file system")
        }
        io::ErrorKind::ReadOnlyFilesystem => Some("write to another file system: this one is read-only"),
        io::ErrorKind::PermissionDenied => {
            Some("run as a user that may do this, or change the permissions of the file or its directory")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kind of an error without a SQLSTATE; a new one does not compile until it is listed.
    fn kinds() -> Vec<ErrorKind> {
        let all = [
            ErrorKind::Settings,
            ErrorKind::Connection,
            ErrorKind::Timeout,
            ErrorKind::Authentication,
            ErrorKind::Privilege,
            ErrorKind::Protocol,
            ErrorKind::Version,
            ErrorKind::Unsuitable,
            ErrorKind::Manifest,
            ErrorKind::File,
            ErrorKind::PoolExhausted,
            ErrorKind::Blocked,
            ErrorKind::LimitReached,
            ErrorKind::Cancelled,
        ];
        let listed = |kind: &ErrorKind| match kind {
            ErrorKind::Settings
            | ErrorKind::Connection
            | ErrorKind::Timeout
            | ErrorKind::Authentication
            | ErrorKind::Privilege
            | ErrorKind::Protocol
            | ErrorKind::Version
            | ErrorKind::Unsuitable
            | ErrorKind::Manifest
            | ErrorKind::File
            | ErrorKind::PoolExhausted
            | ErrorKind::Blocked
            | ErrorKind::LimitReached
            | ErrorKind::Cancelled => true,
            ErrorKind::Server { .. } => false,
        };
        all.into_iter().filter(listed).collect()
    }

    #[test]
    fn every_kind_and_sqlstate_has_its_hint() {
        let mut lines = Vec::new();
        let mut line =
            |name: &str, hint: Option<&str>| lines.push(format!("{name}: {}", hint.unwrap_or("-")));
        for kind in kinds() {
            let name = format!("{kind:?}");
            line(&name, Error::new(kind, "do it").hint());
        }
        for sqlstate in [
            "42501", "28P01", "28000", "3D000", "53300", "53100", "55P03", "57014", "57P01", "57P02",
            "57P03", "25006", "08P01", "40001", "72000", "42P01",
        ] {
            let kind = ErrorKind::Server { sqlstate: sqlstate.to_owned() };
            line(sqlstate, Error::new(kind, "do it").hint());
        }
        for kind in [
            io::ErrorKind::StorageFull,
            io::ErrorKind::QuotaExceeded,
            io::ErrorKind::FileTooLarge,
            io::ErrorKind::ReadOnlyFilesystem,
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::NotFound,
        ] {
            let error = Error::with_source(ErrorKind::File, "do it", io::Error::from(kind));
            line(&format!("File, {kind:?}"), error.hint());
        }
        insta::assert_snapshot!(lines.join("\n"));
    }
}
