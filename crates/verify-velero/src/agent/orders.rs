//! The orders as they come in, and the caller's signs of life.

use std::io::{self, BufRead};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::order::Order;
use verify_drill::interrupt::{self, interrupted};

/// Interval of keep-alive messages between caller and agent.
pub const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// Time without a message after which the peer is considered lost: nothing would close what is kept open for it.
pub const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Interval at which a wait checks for a request to stop.
const POLL: Duration = Duration::from_millis(20);

/// Orders that have not been read yet.
pub(super) struct Orders {
    received: Receiver<Order>,
}

impl Orders {
    /// Begins to listen. The work is interrupted when the caller is lost.
    pub(super) fn listen() -> Self {
        let (sender, lines) = channel();
        let (forward, received) = channel();
        thread::spawn(move || read(&sender));
        thread::spawn(move || watch(&lines, &forward));
        Self { received }
    }

    /// The next order.
    ///
    /// # Errors
    ///
    /// If the work is to stop.
    pub(super) fn next(&self) -> Result<Order> {
        self.next_unless(&interrupt::asked)
    }

    /// The next order, unless `stop` says so before.
    pub(super) fn next_unless(&self, stop: &dyn Fn() -> bool) -> Result<Order> {
        loop {
            match self.received.recv_timeout(POLL) {
                Ok(order) => return Ok(order),
                Err(RecvTimeoutError::Timeout) if !stop() => {}
                Err(_) => return Err(interrupted().into()),
            }
        }
    }
}

/// Reads lines until there are no more. A line that is not an order ends it as well: nothing after it can be trusted.
fn read(sender: &Sender<Order>) {
    for line in io::stdin().lock().lines() {
        let order = line.ok().and_then(|line| serde_json::from_str(&line).ok());
        if order.is_none_or(|order| sender.send(order).is_err()) {
            return;
        }
    }
}

/// Passes orders on, and asks the work to stop once none comes any more.
fn watch(lines: &Receiver<Order>, forward: &Sender<Order>) {
    while let Ok(order) = lines.recv_timeout(SILENCE_MAX) {
        if !matches!(order, Order::GoOn) && forward.send(order).is_err() {
            return;
        }
    }
    interrupt::ask();
}
