//! Connection parameters of our own connections and of those of the programs that we run.

/// A server whose machine dies without a word is given up: with data under way, and while we wait for it.
pub const PATIENCE: [(&str, &str); 4] = [
    ("keepalives_idle", "10"),
    ("keepalives_interval", "5"),
    ("keepalives_count", "4"),
    ("tcp_user_timeout", "30000"),
];
