//! The parameters that a session starts with.

use super::statements;

/// The parameter that has a place of its own in the start-up message.
const APPLICATION_NAME: &str = "application_name";

/// Parameters sent when the session starts, in order. There they win over what the role, the database and
/// PGOPTIONS say, and need no statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionOptions {
    parameters: Vec<(String, String)>,
}

impl SessionOptions {
    /// No parameters beyond the encoding, which is always UTF8.
    pub fn new() -> Self {
        Self::default()
    }

    /// A session whose values read the same on every server, and which neither waits nor runs for ever.
    /// Zero means no limit.
    pub fn verification(lock_timeout_ms: u32, statement_timeout_ms: u32) -> Self {
        Self::new()
            .with("DateStyle", "ISO, YMD")
            .with("IntervalStyle", "postgres")
            .with("TimeZone", "UTC")
            .with("extra_float_digits", "3")
            .with("bytea_output", "hex")
            // Names of types are compared as text.
            .with("quote_all_identifiers", "off")
            // An empty identifier, which no schema can have: an empty value would be lost in some poolers.
            .with("search_path", "\"\"")
            // A policy that hides rows becomes an error.
            .with("row_security", "off")
            .with("lock_timeout", lock_timeout_ms.to_string())
            .with("statement_timeout", statement_timeout_ms.to_string())
            .with("idle_in_transaction_session_timeout", "0")
            // Who died without a word is noticed within three minutes, not after the kernel's two hours: until then the
            // server would keep our snapshot and our locks. Sooner, it would end the session of a reader that was only
            // stopped for a while. Over a Unix-domain socket these do nothing.
            .with("tcp_keepalives_idle", "10")
            .with("tcp_keepalives_interval", "5")
            .with("tcp_keepalives_count", "3")
            .with("tcp_user_timeout", "180000")
            // Each pass reads a table from its start.
            .with("synchronize_seqscans", "off")
    }

    /// The same for a session that may write, in which no name is found that is not qualified.
    pub(super) fn checking(lock_timeout_ms: u32) -> Self {
        Self::verification(lock_timeout_ms, 0)
            .with("search_path", "pg_catalog")
            .with("default_transaction_read_only", "off")
    }

    /// The same with one parameter more; of a repeated one the last counts.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parameters.push((name.into(), value.into()));
        self
    }

    /// The same as statements for one transaction, for a pooler: it may give the next transaction another session.
    pub(super) fn statements(&self) -> String {
        // A pooler takes the name at the start, and is itself the peer of the server's socket.
        let in_transaction = |name: &str| name != APPLICATION_NAME && !name.starts_with("tcp_");
        let each = self.iter().filter(|(name, _)| in_transaction(name));
        each.map(|(name, value)| statements::set_local(name, value)).collect()
    }

    /// The same for the start-up message, which gives them to the server's command line: behind other options, so that
    /// they win.
    pub(super) fn options(&self) -> String {
        let others = self.iter().filter(|(name, _)| *name != APPLICATION_NAME);
        let escaped = |text: &str| -> String {
            let escape = |c: char| (c.is_ascii_whitespace() || c == '\\').then_some('\\');
            text.chars().flat_map(|c| escape(c).into_iter().chain([c])).collect()
        };
        others.map(|(name, value)| format!(" -c {}={}", escaped(name), escaped(value))).collect()
    }

    pub(super) fn application_name(&self) -> Option<&str> {
        self.iter().filter(|(name, _)| *name == APPLICATION_NAME).last().map(|(_, value)| value)
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_one_word_each() {
        let session = SessionOptions::new()
            .with("DateStyle", "ISO, YMD")
            .with("application_name", "a b")
            .with("x", "\\");
        assert_eq!(session.options(), " -c DateStyle=ISO,\\ YMD -c x=\\\\");
        assert_eq!(session.application_name(), Some("a b"));
    }

    #[test]
    fn a_pooler_is_sent_statements() {
        let session =
            SessionOptions::verification(1, 2).with("application_name", "a").with("work_mem", "it's");
        let text = session.statements();
        assert!(
            text.starts_with("SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL IntervalStyle = 'postgres'; "),
            "{text}"
        );
        assert!(
            text.ends_with("SET LOCAL synchronize_seqscans = 'off'; SET LOCAL work_mem = 'it''s'; "),
            "{text}"
        );
        // An empty identifier, as at the start.
        assert!(text.contains("; SET LOCAL search_path = ''; "), "{text}");
        assert!(!text.contains("application_name") && !text.contains("tcp_"), "{text}");
    }
}
