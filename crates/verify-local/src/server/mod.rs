//! The one place that starts and stops PostgreSQL on this machine.
//!
//! An [`Installation`] is a directory of programs. [`Server::init`] makes a data directory with it, [`Server::start`]
//! runs `postgres` on one, and a dropped [`Server`] is stopped. PostgreSQL refuses to run as root, so when we are root
//! everything that touches a data directory runs as another user, see [`run_as_server_user`].

mod account;
mod data_directory;
mod installation;
mod options;
mod postmaster;
mod running;

pub(crate) use account::user;
pub use account::{ServerUser, create_server_dir, give_to_server_user, run_as_server_user, server_user};
pub use data_directory::InitOptions;
pub use installation::{Installation, client_program, newest_client_major};
pub use options::{Listen, StartOptions, Stop, Wait};
pub use postmaster::stop_servers_below;
pub use running::Server;
