//! Remedies for errors that one SQLSTATE alone does not distinguish: a login is refused for many reasons.

/// The remedy where another program answers.
pub(super) const NOT_POSTGRESQL: &str = "correct host and port: another program answers there";

/// The remedy for an error of the server. `routine` is the C function that raised it, which no translation of messages
/// changes; `message` distinguishes what one function raises, where the server's messages are English.
pub(super) fn server_hint(sqlstate: &str, routine: &str, message: &str) -> Option<&'static str> {
    Some(match (sqlstate, routine) {
        ("28000", "ClientAuthentication") if message.contains("client certificate") => {
            "the server asks for a client certificate: name it in sslcert, and its key in sslkey"
        }
        ("28000", "ClientAuthentication") => {
            "let a line of the server's pg_hba.conf admit this user, database, address and encryption, or connect as the \
             existing lines ask (user, host, sslmode)"
        }
        ("28000", "InitializeSessionUserId") if message.contains("not permitted to log in") => {
            "ALTER ROLE … LOGIN lets the role log in; or connect as another one"
        }
        ("28000", "InitializeSessionUserId") => {
            "correct user: the server has no such role, or it may not log in; `\\du` in psql lists the roles"
        }
        ("28000", "auth_failed") if message.contains("Peer") || message.contains("Ident") => {
            "run as the operating system's user of the role's name, or connect by TCP (host=localhost) with a password"
        }
        ("28000", "auth_failed") if message.contains("certificate") => {
            "use a client certificate whose common name is the role's, or map it in the server's pg_ident.conf"
        }
        ("53300", "InitializeSessionUserId") => {
            "raise the role's own limit (ALTER ROLE … CONNECTION LIMIT), end other sessions of it, or use fewer jobs"
        }
        ("53300", "CheckMyDatabase") => {
            "raise the database's own limit (ALTER DATABASE … CONNECTION LIMIT), end other sessions in it, or use fewer \
             jobs"
        }
        ("42501", "CheckMyDatabase") => "GRANT CONNECT ON DATABASE … TO the role",
        ("55000", "CheckMyDatabase") => {
            "ALTER DATABASE … ALLOW_CONNECTIONS true; a template that accepts none is not meant to be read"
        }
        ("57014", _) if message.contains("statement timeout") => {
            "it took longer than its limit: try again when the server is less busy, or when no lock is in the way"
        }
        ("57014", _) if message.contains("user request") => {
            "another session cancelled the statement (pg_cancel_backend): try again"
        }
        ("25P03" | "25P04" | "57P05", _) => {
            "the server ended the session for being idle or too long: raise idle_in_transaction_session_timeout, \
             transaction_timeout or idle_session_timeout for the role"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages of servers of 13 to 18 that a test server does not easily send.
    #[test]
    fn one_sqlstate_has_a_hint_for_each_reason() {
        for (sqlstate, routine, message, hint) in [
            ("28000", "ClientAuthentication", "connection requires a valid client certificate", "sslcert"),
            ("28000", "ClientAuthentication", "no pg_hba.conf entry for host \"::1\"", "pg_hba.conf admit"),
            ("28000", "ClientAuthentication", "pg_hba.conf lehnt ab", "pg_hba.conf admit"),
            ("28000", "InitializeSessionUserId", "role \"r\" is not permitted to log in", "LOGIN lets"),
            ("28000", "InitializeSessionUserId", "Rolle »r« existiert nicht", "no such role"),
            ("28000", "auth_failed", "Peer authentication failed for user \"r\"", "operating system's user"),
            ("28000", "auth_failed", "certificate authentication failed for user \"r\"", "common name"),
            ("53300", "InitializeSessionUserId", "too many connections for role \"r\"", "ALTER ROLE"),
            ("53300", "CheckMyDatabase", "too many connections for database \"d\"", "ALTER DATABASE"),
            ("42501", "CheckMyDatabase", "permission denied for database \"d\"", "GRANT CONNECT"),
            ("55000", "CheckMyDatabase", "database \"d\" is not currently accepting", "ALLOW_CONNECTIONS"),
            ("57014", "ProcessInterrupts", "canceling statement due to statement timeout", "longer than"),
            ("57014", "ProcessInterrupts", "canceling statement due to user request", "another session"),
            (
                "25P04",
                "ProcessInterrupts",
                "terminating connection due to transaction timeout",
                "for the role",
            ),
        ] {
            let found = server_hint(sqlstate, routine, message).unwrap_or_default();
            assert!(found.contains(hint), "{message}: {found}");
        }
        for (sqlstate, routine) in
            [("53300", "InitProcess"), ("42501", "aclcheck_error"), ("28P01", "auth_failed")]
        {
            assert_eq!(server_hint(sqlstate, routine, ""), None);
        }
    }
}
