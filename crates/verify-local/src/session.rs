//! Sessions on a restored server, unaffected by the settings that its databases and roles carry.

use anyhow::Result;
use verify_core::postgres::{Environment, Settings};

use crate::server::Server;
use verify_drill::interrupt;

/// Settings of each session: name, value, and the first major version that has the setting.
///
/// `ALTER DATABASE` and `ALTER ROLE` keep such settings with the data, and options of a session override them. With the
/// source's values a restore fails, is cut short, loads libraries or runs code of the source, or reads other rows.
const OPTIONS: [(&str, &str, u32); 20] = [
    ("default_transaction_read_only", "off", 0),
    ("default_transaction_deferrable", "off", 0),
    ("default_transaction_isolation", "read committed", 0),
    ("statement_timeout", "0", 0),
    ("lock_timeout", "0", 0),
    ("idle_in_transaction_session_timeout", "0", 0),
    ("idle_session_timeout", "0", 14),
    ("transaction_timeout", "0", 17),
    ("role", "none", 0),
    // Event triggers do not run when a materialized view is refreshed, nor those of an extension's configuration tables.
    ("session_replication_role", "replica", 0),
    ("event_triggers", "off", 17),
    ("session_preload_libraries", "", 0),
    ("local_preload_libraries", "", 0),
    ("default_tablespace", "", 0),
    ("temp_tablespaces", "", 0),
    ("default_table_access_method", "heap", 0),
    ("standard_conforming_strings", "on", 0),
    ("zero_damaged_pages", "off", 0),
    ("ignore_checksum_failure", "off", 0),
    // Messages are searched for words.
    ("lc_messages", "C", 0),
];

/// The connection settings of a database of a server of this run, without the environment, which is for other servers.
pub(super) fn settings(server: &Server, role: &str, database: &str) -> Result<Settings> {
    let conninfo = server.conninfo_as(role, database);
    // Backslashes are doubled inside the quotes of a connection string.
    let options = options(server.major()).replace('\\', "\\\\");
    let settings = Settings::parse(&format!("{conninfo} options='{options}'"), &Environment::default())?;
    Ok(settings.with_stop(interrupt::asked))
}

fn options(major: u32) -> String {
    let known = OPTIONS.iter().filter(|(_, _, first)| *first <= major);
    let option = |(name, value, _): &(&str, &str, u32)| format!("-c {name}={}", value.replace(' ', "\\ "));
    known.map(option).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_gets_the_settings_that_it_knows() {
        let of = |major| options(major);
        assert!(of(13).contains("-c default_transaction_isolation=read\\ committed -c statement_timeout=0"));
        let versioned = ["idle_session_timeout", "transaction_timeout", "event_triggers"];
        let known = |major| versioned.map(|name| of(major).contains(&format!("-c {name}=")));
        assert_eq!([known(13), known(14), known(17)], [[false; 3], [true, false, false], [true; 3]]);
    }
}
