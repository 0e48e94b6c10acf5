//! The adapter to PostgreSQL servers: the only place that names the wire protocol.
