//! The adapter to PostgreSQL servers: the only place that names the wire protocol.
//!
//! tokio-postgres logs in, runs statements and cancels, over a blocking socket and without a runtime; bulk COPY is read past
//! it over the same socket. [`Settings`] are read from a connection string and the caller's [`Environment`]; a
//! [`Connection`] is opened with them and with the [`SessionOptions`] that make values read the same on every server.

mod anchor;
mod authentication;
mod buffer;
mod cancel;
mod catalogue;
#[cfg(feature = "tls")]
mod channel_binding;
pub mod clone;
mod config;
mod connection;
mod conninfo;
pub mod constraints;
mod crew;
mod definitions;
pub mod durability;
mod environment;
mod fence;
pub mod heartbeat;
mod host;
pub mod integrity;
mod invariants;
mod link;
mod login;
mod nap;
mod open;
mod options;
mod outside;
mod passfile;
mod paused;
mod paused_copy;
mod placement;
mod printable;
mod reader;
mod require_auth;
mod row_sums;
mod rows;
mod sandbox;
mod savepoint;
mod scratch_database;
#[cfg(test)]
mod scripted_server;
mod secret;
pub mod self_test;
mod sequences;
mod server;
mod server_error;
mod server_hint;
mod service;
mod session;
mod settings;
mod shortened;
mod snapshot;
mod snapshot_file;
mod snapshot_id;
mod socket;
mod standby;
mod statements;
mod stream;
#[cfg(feature = "tls")]
mod tls;
#[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "parsed all the same, and read by TLS alone"))]
mod tls_settings;
mod transcode;
mod traveller;
mod types;
mod unchanged;
mod wait;
mod wire;

use crate::database::Database;
use crate::manifest::{Consistency, Manifest};

pub use anchor::TransactionSnapshot;
pub use cancel::CancelHandle;
pub use connection::{Connection, Parameter};
pub use conninfo::conninfo_value;
pub use environment::Environment;
pub use fence::Fence;
pub use options::connection_variables;
pub use paused::PausedReplay;
pub use paused_copy::PausedCopy;
pub use rows::{Row, Rows};
pub use server::Postgres;
pub use session::SessionOptions;
pub use settings::Settings;
pub use snapshot::PostgresSnapshot;
pub use snapshot_id::SnapshotId;
pub use standby::Chosen;
pub use tokio_postgres::types::Type;
pub use traveller::TimeTraveller;

/// The restored database that `settings` lead to, as of a manifest's snapshot, where the manifest says how to find that again.
pub fn restored(settings: &Settings, manifest: &Manifest) -> Box<dyn Database> {
    let settings = settings.clone();
    match manifest.header.consistency {
        Consistency::SharedSnapshot | Consistency::ImportedSnapshot | Consistency::StandbySnapshot(_) => {
            Box::new(Postgres::new(settings))
        }
        Consistency::TimeTravel(_) | Consistency::PausedStandby(_) | Consistency::Fence(_) => {
            Box::new(TimeTraveller::new(settings, manifest))
        }
        Consistency::CommitOrder(_) => Box::new(PausedCopy::new(settings, manifest)),
    }
}
