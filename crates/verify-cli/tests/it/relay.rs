//! A relay before a server, which becomes a black hole: it takes connections and bytes, and hands nothing on.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use verify_local::server::Server;

/// Point at which the relay becomes silent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Silence {
    /// From the start.
    Always,
    /// Instead of forwarding a message with this text to the server.
    At(&'static str),
    /// After so many bytes from the server.
    After(u64),
}

/// Terminates the sessions of the server when it is dropped.
pub(crate) struct Relay {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: PathBuf,
    silence: Silence,
    /// True if later connections are relayed.
    old_ones_alone: bool,
    relayed: AtomicU64,
    silent: AtomicBool,
    dropped: AtomicBool,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.dropped.store(true, Ordering::SeqCst);
    }
}

impl Relay {
    pub(crate) fn new(server: &Server, silence: Silence) -> Self {
        Self::start(server, silence, false)
    }

    /// One that loses the connections that it has, and takes new ones.
    pub(crate) fn forgetful(server: &Server, silence: Silence) -> Self {
        Self::start(server, silence, true)
    }

    fn start(server: &Server, silence: Silence, old_ones_alone: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            upstream: server.socket_dir().join(format!(".s.PGSQL.{}", server.port())),
            silence,
            old_ones_alone,
            relayed: AtomicU64::new(0),
            silent: AtomicBool::new(matches!(silence, Silence::Always)),
            dropped: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            let mut kept = Vec::new();
            for client in listener.incoming().map_while(Result::ok) {
                let old = !accepting.silent.load(Ordering::SeqCst);
                if old || accepting.old_ones_alone {
                    accepting.clone().relay(client, old);
                } else {
                    kept.push(client);
                }
            }
        });
        Self { port, shared }
    }

    pub(crate) fn conninfo(&self, database: &str, more: &str) -> String {
        format!("host=127.0.0.1 port={} user=postgres dbname={database} {more}", self.port)
    }

    /// Waits until it has fallen silent.
    pub(crate) fn until_silent(&self) {
        let began = Instant::now();
        while !self.shared.silent.load(Ordering::SeqCst) {
            assert!(began.elapsed() < Duration::from_secs(30), "it never came to {:?}", self.shared.silence);
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Shared {
    fn relay(self: Arc<Self>, client: TcpStream, old: bool) {
        let server = UnixStream::connect(&self.upstream).unwrap();
        let (from_client, mut to_client) = (client.try_clone().unwrap(), client);
        let (from_server, mut to_server) = (server.try_clone().unwrap(), server);
        let there = Arc::clone(&self);
        thread::spawn(move || {
            there.pump(from_client, &mut to_server, old, true);
            let _ = to_server.shutdown(Shutdown::Both);
        });
        thread::spawn(move || {
            self.pump(from_server, &mut to_client, old, false);
            let _ = to_client.shutdown(Shutdown::Both);
        });
    }

    fn pump(&self, mut from: impl Read, to: &mut impl Write, old: bool, to_server: bool) {
        let mut piece = [0; 8192];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            let piece = &piece[..length];
            if old {
                let now = match self.silence {
                    Silence::Always => false,
                    Silence::At(text) => {
                        to_server && piece.windows(text.len()).any(|part| part == text.as_bytes())
                    }
                    Silence::After(limit) => {
                        !to_server
                            && self.relayed.fetch_add(length as u64, Ordering::SeqCst) + length as u64
                                >= limit
                    }
                };
                self.silent.fetch_or(now, Ordering::SeqCst);
                while self.silent.load(Ordering::SeqCst) {
                    thread::park_timeout(Duration::from_millis(50));
                    if self.dropped.load(Ordering::SeqCst) {
                        return;
                    }
                }
            }
            if to.write_all(piece).is_err() {
                return;
            }
        }
    }
}
