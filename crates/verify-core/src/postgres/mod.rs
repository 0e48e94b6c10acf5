//! The adapter to PostgreSQL servers: the only place that names the wire protocol.
//!
//! One blocking client serves control queries and bulk COPY. [`Settings`] are read from a connection string and
//! the caller's [`Environment`]; a [`Connection`] is opened with them and with the [`SessionOptions`] that make
//! values read the same on every server.

mod buffer;
mod cancel;
mod channel_binding;
mod connection;
mod conninfo;
mod environment;
mod host;
mod login;
mod nap;
mod open;
mod options;
mod passfile;
mod printable;
mod require_auth;
mod rows;
mod secret;
mod server_error;
mod service;
mod session;
mod settings;
mod socket;
mod stream;
mod tls;
mod tls_settings;

pub use cancel::CancelHandle;
pub use connection::Connection;
pub use environment::Environment;
pub use options::connection_variables;
pub use rows::{Row, Rows};
pub use session::SessionOptions;
pub use settings::Settings;
