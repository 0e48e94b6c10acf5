//! Tests of the wire against servers that send more than they may, and less.

use std::io::Read;

use proptest::prelude::*;

use super::super::buffer::message;
use super::super::scripted_server::{READY, connect};

#[test]
fn an_answer_is_read_to_its_end_and_the_farewell_sent() {
    let row = message(b'D', b"\0\x01\0\0\0\x01x");
    let columns = message(b'T', &[b"\0\x01name\0", &[0; 18][..]].concat());
    let done = message(b'C', b"SELECT 1\0");
    let (connection, mut theirs) = connect([columns, row, done, READY.to_vec()].concat());
    let mut connection = connection.unwrap();
    assert_eq!(connection.backend_pid(), 7);
    let rows = connection.query("SELECT name").unwrap();
    assert_eq!(rows[0].get(0), Some("x"));
    assert!(!connection.is_closed());
    drop(connection);
    let mut received = Vec::new();
    theirs.read_to_end(&mut received).unwrap();
    assert!(received.ends_with(b"Q\0\0\0\x10SELECT name\0X\0\0\0\x04"), "{received:?}");
}

#[test]
fn what_is_too_large_is_refused_before_it_is_kept() {
    let announced = |tag: u8, length: u32| [&[tag][..], &length.to_be_bytes()].concat();
    let parameters: Vec<u8> =
        (0..200_u8).flat_map(|i| message(b'S', &[&[b'a' + i % 20; 9_000][..], b"\0\0"].concat())).collect();
    for (script, expected) in [
        (announced(b'D', 257 << 20), "read a result: it is larger than 256 MiB"),
        (announced(b'E', 257 << 20), "read a result: it is larger than 256 MiB"),
        (announced(b'T', u32::MAX), "read a message: the server announced one of 4294967295 bytes"),
        (parameters, "read an answer: the message 'S' is malformed or out of place"),
    ] {
        let (connection, _theirs) = connect(script);
        let mut connection = connection.unwrap();
        assert_eq!(connection.query("SELECT 1").unwrap_err().to_string(), expected);
        assert!(connection.is_closed());
        let again = connection.query("SELECT 1").unwrap_err();
        assert_eq!(again.to_string(), "send to the server: the connection is closed");
    }
}

#[test]
fn an_error_that_is_followed_by_the_end_is_reported() {
    let said = message(b'E', b"SFATAL\0C57P01\0Mgone\0\0");
    let (connection, _theirs) = connect(said);
    let mut connection = connection.unwrap();
    assert_eq!(connection.query("SELECT 1").unwrap_err().to_string(), "FATAL: gone [57P01]");
    assert!(connection.is_closed());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a server says, each statement ends.
    #[test]
    fn no_answer_panics_or_hangs(
        tags in prop::collection::vec((prop::sample::select(b"TDCZEINSA123nstGHWdcRK\0".to_vec()), prop::collection::vec(any::<u8>(), 0..40)), 0..8),
        tail in prop::collection::vec(any::<u8>(), 0..16),
    ) {
        let mut script: Vec<u8> = tags.iter().flat_map(|(tag, body)| message(*tag, body)).collect();
        script.extend(tail);
        let (connection, theirs) = connect(script);
        if let Ok(mut connection) = connection {
            let _ = connection.query("SELECT 1");
            let _ = connection.query_with("SELECT $1", &[(&1_i32, tokio_postgres::types::Type::INT4)]);
            let _ = connection.query("SELECT 2");
        }
        drop(theirs);
    }
}
