//! Connection parameters of state-lab's connections and of the programs that it runs.

/// A server whose machine fails silently is given up: with unacknowledged data, and while waiting for it.
pub const PATIENCE: [(&str, &str); 4] = [
    ("keepalives_idle", "10"),
    ("keepalives_interval", "5"),
    ("keepalives_count", "4"),
    ("tcp_user_timeout", "30000"),
];
