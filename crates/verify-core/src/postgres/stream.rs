//! The byte stream to a server: a socket, or TLS over one.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;

#[cfg(feature = "tls")]
use rustls::{ClientConnection, StreamOwned};

/// rustls asks its socket for 4 KiB at a time; this many bytes are fetched for it at once.
#[cfg(feature = "tls")]
const TLS_READ: usize = 64 << 10;

pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<StreamOwned<ClientConnection, BufferedSocket>>),
}

impl Stream {
    #[cfg(feature = "tls")]
    pub(super) fn tls(client: ClientConnection, socket: TcpStream) -> Self {
        Self::Tls(Box::new(StreamOwned::new(client, BufferedSocket::new(socket))))
    }

    pub(super) fn is_tls(&self) -> bool {
        !matches!(self, Self::Unix(_) | Self::Tcp(_))
    }

    /// The address that was reached, for TCP.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Unix(_) => None,
            Self::Tcp(socket) => socket.peer_addr().ok(),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.sock.socket.peer_addr().ok(),
        }
    }
}

impl Read for Stream {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(socket) => socket.read(buffer),
            Self::Tcp(socket) => socket.read(buffer),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(socket) => socket.write(bytes),
            Self::Tcp(socket) => socket.write(bytes),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Unix(socket) => socket.flush(),
            Self::Tcp(socket) => socket.flush(),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.flush(),
        }
    }
}

/// A socket whose reads are made in large pieces.
#[cfg(feature = "tls")]
pub(super) struct BufferedSocket {
    socket: TcpStream,
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

#[cfg(feature = "tls")]
impl BufferedSocket {
    fn new(socket: TcpStream) -> Self {
        Self { socket, bytes: vec![0; TLS_READ].into_boxed_slice(), start: 0, end: 0 }
    }
}

#[cfg(feature = "tls")]
impl Read for BufferedSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.end = self.socket.read(&mut self.bytes)?;
        }
        let count = buffer.len().min(self.end - self.start);
        buffer[..count].copy_from_slice(&self.bytes[self.start..self.start + count]);
        self.start += count;
        Ok(count)
    }
}

#[cfg(feature = "tls")]
impl Write for BufferedSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}
