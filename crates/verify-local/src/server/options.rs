//! Options to start and stop a server.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Address of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// On its socket alone.
    SocketOnly,
    /// On its socket and on 127.0.0.1 with this port; 0 takes a free one.
    Tcp(u16),
}

/// Condition that a start waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Connections are accepted and recovery has finished.
    Ready,
    /// Connections are accepted, perhaps still in recovery.
    ReadyOrStandby,
}

/// Options to start a server.
#[derive(Clone, Debug)]
pub struct StartOptions {
    /// Settings that override those of the data directory, in order.
    pub settings: Vec<(String, String)>,
    /// Address of the server.
    pub listen: Listen,
    /// Directory of its socket, created when absent, closed to other users.
    pub socket_dir: PathBuf,
    /// True if the data directory's own `pg_hba.conf` is not used: everyone who can reach the socket is admitted, no
    /// one else.
    ///
    /// For a restored cluster, whose own rules want passwords or certificates that we do not have.
    pub trust_socket: bool,
    /// File that its log is appended to.
    pub log_file: PathBuf,
    /// Condition that the start waits for.
    pub wait: Wait,
    /// Time limit of the wait.
    pub timeout: Duration,
    /// Asked while it waits, whether to give up: recovery may take long, and somebody may have pressed Ctrl-C.
    pub asked: fn() -> bool,
    /// Asked while it waits, with the data directory and the log: why waiting is in vain, once that shows.
    pub in_vain: fn(&Path, &Path) -> Option<String>,
}

impl StartOptions {
    /// A server with a socket alone, whose socket and log are in `directory`.
    pub fn in_directory(directory: &Path) -> Self {
        Self {
            settings: Vec::new(),
            listen: Listen::SocketOnly,
            socket_dir: directory.join("socket"),
            trust_socket: false,
            log_file: directory.join("server.log"),
            wait: Wait::Ready,
            timeout: Duration::from_secs(120),
            asked: || false,
            in_vain: |_, _| None,
        }
    }

    /// Adds a setting.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// Shutdown mode, in PostgreSQL's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Waits until all clients have disconnected.
    Smart,
    /// Ends the clients, writes a checkpoint.
    Fast,
    /// Ends at once; the next start recovers from WAL.
    Immediate,
}
