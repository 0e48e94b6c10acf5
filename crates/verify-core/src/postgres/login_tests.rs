//! Tests of the login against servers that do not play fair.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use super::*;
use crate::postgres::Environment;
use crate::postgres::buffer::message;
use crate::postgres::stream::Stream;

const OK: [u8; 4] = 0_u32.to_be_bytes();
const CLEARTEXT: [u8; 4] = 3_u32.to_be_bytes();

fn demand(body: &[u8]) -> Vec<u8> {
    message(b'R', body)
}

fn sasl(mechanisms: &str) -> Vec<u8> {
    demand(&[&10_u32.to_be_bytes(), mechanisms.as_bytes(), b"\0\0"].concat())
}

/// Logs in at a server that says `script`, whatever we say; the outcome and what it got to hear after the start-up message.
fn log_in_at(script: &[u8], more: &str, binding: Option<Vec<u8>>) -> (Result<()>, Vec<u8>) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(script).unwrap();
    theirs.shutdown(Shutdown::Write).unwrap();
    let text = format!("host=/s user=u password=hunter2 {more}");
    let settings = Settings::parse(&text, &Environment::default()).unwrap();
    let buffer = ReadBuffer::new(Stream::Unix(ours), settings.silence());
    let ready = Ready { buffer, binding, host: &settings.hosts[0] };
    let outcome = log_in(ready, &settings, &SessionOptions::new(), Start::Full).map(drop);
    let mut received = Vec::new();
    theirs.read_to_end(&mut received).unwrap();
    let (length, _) = received.split_first_chunk::<4>().unwrap();
    let received = received.split_off(u32::from_be_bytes(*length) as usize);
    (outcome, received)
}

fn refused(script: &[Vec<u8>], more: &str, binding: Option<Vec<u8>>) -> String {
    let (outcome, received) = log_in_at(&script.concat(), more, binding);
    assert!(!received.windows(7).any(|part| part == b"hunter2"), "the password was sent: {more}");
    let error = outcome.unwrap_err();
    assert!(!error.to_string().contains("hunter2"));
    error.to_string()
}

#[test]
fn a_fair_server_gets_the_password() {
    // A server may say more than it must, at any time.
    let notice = message(b'N', b"SWARNING\0C01000\0Mhear this\0\0");
    let script = [demand(&CLEARTEXT), notice.clone(), demand(&OK), notice, message(b'Z', b"I")].concat();
    let (outcome, received) = log_in_at(&script, "", None);
    outcome.unwrap();
    assert_eq!(received, b"p\0\0\0\x0chunter2\0X\0\0\0\x04");
}

#[test]
fn no_trick_gets_the_password_or_a_login() {
    let bound = Some(vec![1; 32]);
    let plus = sasl("SCRAM-SHA-256-PLUS\0SCRAM-SHA-256");
    let require = "channel_binding=require";
    let table = [
        // After the promise of channel binding, a demand that cannot be bound.
        (vec![plus.clone(), demand(&CLEARTEXT)], require, bound.clone(), "second proof"),
        (vec![plus.clone(), demand(&OK)], require, bound.clone(), "without a signature"),
        (vec![sasl("SCRAM-SHA-256"), demand(&OK)], "", None, "without a signature"),
        (vec![sasl("SCRAM-SHA-256")], require, bound.clone(), "SCRAM-SHA-256-PLUS"),
        (vec![plus.clone()], require, None, "needs TLS"),
        (vec![demand(&CLEARTEXT)], require, bound, "cannot be bound"),
        (vec![demand(&CLEARTEXT)], "require_auth=scram-sha-256", None, "require_auth"),
        (vec![demand(&OK)], "require_auth=scram-sha-256", None, "require_auth"),
        (vec![sasl("SCRAM-SHA-256-PLUS")], "", None, "no SASL mechanism"),
        (vec![sasl("OAUTHBEARER")], "", None, "no SASL mechanism"),
        (vec![demand(&7_u32.to_be_bytes())], "", None, "GSSAPI"),
        (vec![demand(&11_u32.to_be_bytes())], "", None, "before it began"),
        (vec![demand(&12_u32.to_be_bytes())], "", None, "before it began"),
        (vec![demand(&99_u32.to_be_bytes())], "", None, "unknown method"),
        (vec![demand(&[0])], "", None, "cut"),
        (vec![demand(&[0, 0, 0, 5, 1])], "", None, "salt"),
        (vec![b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()], "", None, "announced"),
        (vec![], "", None, "the server closed it"),
    ];
    for (script, more, binding, expected) in table {
        let text = refused(&script, more, binding);
        assert!(text.contains(expected), "{expected}: {text}");
    }
}
