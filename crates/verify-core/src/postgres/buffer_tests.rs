//! Tests of the read buffer over a socket pair.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::thread;

use super::*;
use crate::postgres::wait::Stop;

/// A buffer that reads what a thread writes in pieces of `piece` bytes, and then the end.
fn fed(bytes: Vec<u8>, piece: usize) -> ReadBuffer {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    thread::spawn(move || bytes.chunks(piece).try_for_each(|chunk| theirs.write_all(chunk)));
    ReadBuffer::new(Stream::Unix(ours), Wait::silence(None, Stop::default()))
}

#[test]
fn messages_come_whole_whatever_the_pieces() {
    let bodies: Vec<Vec<u8>> =
        (0..200_usize).map(|i| vec![u8::try_from(i % 251).unwrap(); i * 37 % 9000]).collect();
    let stream: Vec<u8> = bodies.iter().flat_map(|body| message(b'd', body)).collect();
    for piece in [1009, 8192, 1 << 20] {
        for bulk in [false, true] {
            let mut buffer = fed(stream.clone(), piece);
            buffer.set_bulk(bulk);
            for body in &bodies {
                let (tag, length) = buffer.header().unwrap();
                assert_eq!((tag, length), (b'd', body.len()));
                assert_eq!(buffer.body(length).unwrap(), body.as_slice());
            }
            assert_eq!(buffer.header().unwrap_err().kind(), &ErrorKind::Connection);
            assert!(buffer.is_closed());
        }
    }
}

#[test]
fn a_body_larger_than_the_buffer_is_taken_in_pieces() {
    let body: Vec<u8> = (0..3 * CAPACITY + 17).map(|i| u8::try_from(i % 253).unwrap()).collect();
    let mut stream = message(b'd', &body);
    stream.extend(message(b'c', b""));
    let mut buffer = fed(stream.clone(), 8192);
    let (_, length) = buffer.header().unwrap();
    buffer.open_body();
    let mut seen = Vec::new();
    while seen.len() < length {
        seen.extend_from_slice(buffer.take(length - seen.len()).unwrap());
    }
    assert_eq!(seen, body);
    assert_eq!(buffer.header().unwrap(), (b'c', 0));

    let mut buffer = fed(stream.clone(), 8192);
    let (_, length) = buffer.header().unwrap();
    buffer.skip(length).unwrap();
    assert_eq!(buffer.header().unwrap(), (b'c', 0));

    let mut buffer = fed(stream, 8192);
    let (_, length) = buffer.header().unwrap();
    assert_eq!(buffer.body(length).unwrap_err().kind(), &ErrorKind::Protocol);
}

#[test]
fn the_largest_message_that_fits_comes_in_one_piece() {
    let body = vec![7; CAPACITY - HEADER];
    let mut stream = message(b'a', b"shift what follows");
    stream.extend(message(b'd', &body));
    let mut buffer = fed(stream, 50_000);
    let (_, length) = buffer.header().unwrap();
    buffer.body(length).unwrap();
    let (_, length) = buffer.header().unwrap();
    assert_eq!(buffer.body(length).unwrap(), body.as_slice());
}

#[test]
fn impossible_lengths_are_refused_and_close_the_buffer() {
    for length in [0_u32, 3, u32::MAX, (1 << 30) + 1025] {
        let mut stream = vec![b'd'];
        stream.extend(length.to_be_bytes());
        let mut buffer = fed(stream, 100);
        assert_eq!(buffer.header().unwrap_err().kind(), &ErrorKind::Protocol, "{length}");
        assert_eq!(buffer.fill().unwrap_err().kind(), &ErrorKind::Connection);
    }
}
