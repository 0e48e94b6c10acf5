//! Output of an agent: a line of JSON for each message.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use verify_core::event;

use super::message::Message;
use super::orders::SIGN_OF_LIFE;
use verify_drill::interrupt;
use verify_drill::until::{never, pause};
use verify_drill::watch::{Event, Watch};

/// Interval at which rows that were read are reported together.
const PERIOD: Duration = Duration::from_millis(250);

/// Sends the version, and from then on keepalive messages.
pub(super) fn begin() {
    send(&Message::hello());
    thread::spawn(|| {
        while !pause(SIGN_OF_LIFE, never) {
            send(&Message::Alive);
        }
    });
}

/// Sends a message. If standard output is closed, the work is interrupted.
pub(super) fn send(message: &Message) {
    let line = serde_json::to_string(message).map(|json| format!("{json}\n"));
    if line.is_err() || line.is_ok_and(|line| print(&line).is_err()) {
        interrupt::ask();
    }
}

/// Writes to standard output, which the caller reads.
fn print(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes())?;
    out.flush()
}

/// Does work whose events are sent.
pub(super) fn watched<T>(work: impl FnOnce(&Watch<'_>) -> Result<T>) -> Result<T> {
    let events = Events::new();
    work(&Watch { sink: &|event| events.take(event), asked: interrupt::asked })
}

/// Takes events and sends them, those of rows that were read added up.
struct Events {
    pending: Mutex<Pending>,
}

struct Pending {
    rows: u64,
    bytes: u64,
    estimate_done: u64,
    since: Instant,
}

impl Events {
    fn new() -> Self {
        Self { pending: Mutex::new(Pending { rows: 0, bytes: 0, estimate_done: 0, since: Instant::now() }) }
    }

    /// Takes an event.
    fn take(&self, event: Event) {
        match event {
            Event::Measure(event::Event::Read { rows, bytes, estimate_done }) => {
                let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
                pending.rows += rows;
                pending.bytes += bytes;
                pending.estimate_done += estimate_done;
                if pending.since.elapsed() >= PERIOD {
                    let Pending { rows, bytes, estimate_done, .. } = *pending;
                    *pending = Pending { rows: 0, bytes: 0, estimate_done: 0, since: Instant::now() };
                    drop(pending);
                    let read = event::Event::Read { rows, bytes, estimate_done };
                    send(&Message::Event(Event::Measure(read)));
                }
            }
            // One of each of a hundred thousand tables is more than anybody reads.
            Event::Measure(event::Event::TableRead { .. }) => {}
            other => send(&Message::Event(other)),
        }
    }
}
