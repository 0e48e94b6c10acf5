//! A server for tests that says what it is given, whatever it is asked.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread;

use super::buffer::{ReadBuffer, message};
use super::connection::Connection;
use super::environment::Environment;
use super::login::{Ready, Start};
use super::session::SessionOptions;
use super::settings::Settings;
use super::stream::Stream;
use crate::error::Result;

pub(super) const READY: &[u8] = b"Z\0\0\0\x05I";

/// Opens a session with a server that says `script` after the login; with the server's end of the socket.
pub(super) fn connect(script: Vec<u8>) -> (Result<Connection>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut sender = theirs.try_clone().unwrap();
    thread::spawn(move || {
        let login = [&message(b'R', &[0; 4]), &message(b'K', &[0, 0, 0, 7, 1, 2, 3, 4]), READY].concat();
        // A client that refuses a message does not read the rest.
        let _ = sender.write_all(&login).and_then(|()| sender.write_all(&script));
        let _ = sender.shutdown(Shutdown::Write);
    });
    let settings = Settings::parse("host=/s user=u", &Environment::default()).unwrap();
    let buffer = ReadBuffer::new(Stream::Unix(ours), settings.silence());
    let ready = Ready { buffer, binding: None, host: &settings.hosts[0] };
    theirs.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    (Connection::begin(ready, settings.clone(), &SessionOptions::new(), Start::Full), theirs)
}
