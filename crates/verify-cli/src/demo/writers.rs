//! Clients of the shop that write until the server stops, and remember which commits were acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use verify_core::postgres::{Connection, SessionOptions, Settings, heartbeat};

use super::traffic;
use verify_drill::until::{never, pause};

/// Number of writers.
pub(crate) const WRITERS: u32 = 3;
/// The pause between two transactions of one writer.
const PAUSE: Duration = Duration::from_millis(20);
/// The pause between two beats.
pub(crate) const BEAT: Duration = Duration::from_millis(500);

/// A commit that the server acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    /// The row of `shop.acknowledged` that it wrote.
    pub(crate) id: i64,
    /// Time of the answer, by the wall clock.
    pub(crate) at: Timestamp,
}

/// The writers and the heartbeat, while they run. Dropped, they stop by themselves.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    /// The heart is among them; it acknowledges nothing.
    threads: Vec<JoinHandle<Result<Vec<Acknowledged>>>>,
}

impl Writers {
    /// Connects and starts them; the first beat is written already.
    pub(crate) fn start(settings: &Settings) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicU64::new(0));
        let mut heart = connect(settings)?;
        heartbeat::install(&mut heart)?;
        write_beat(&mut heart)?;
        let stop_heart = Arc::clone(&stop);
        let beating = move || beat(&mut heart, &stop_heart).map(|()| Vec::new());
        let mut threads = vec![spawn("heartbeat", beating)?];
        for number in 1..=WRITERS {
            let mut connection = connect(settings)?;
            let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
            threads.push(spawn("writer", move || write(&mut connection, number, &stop, &count))?);
        }
        Ok(Self { stop, count, threads })
    }

    /// Number of transactions acknowledged up to now.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Returns whether one of them stopped, which does not happen while the server runs.
    pub(crate) fn any_ended(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Stops them, or waits until they noticed that the server died; what was acknowledged, by time.
    ///
    /// # Errors
    ///
    /// If the server refused a transaction. That it stopped is not an error.
    pub(crate) fn end(mut self) -> Result<Vec<Acknowledged>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for thread in self.threads.drain(..) {
            all.extend(joined(thread)?);
        }
        all.sort_by_key(|acknowledged| (acknowledged.at, acknowledged.id));
        Ok(all)
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Writes one beat, as the demonstration's heart.
pub(crate) fn write_beat(connection: &mut Connection) -> verify_core::Result<i64> {
    heartbeat::beat(connection, "demo", BEAT.as_millis() as i64)
}

/// A session of a client.
pub(crate) fn connect(settings: &Settings) -> verify_core::Result<Connection> {
    let session =
        SessionOptions::new().with("application_name", "state-lab demo").with("lock_timeout", "10s");
    Connection::open(settings, &session)
}

fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).spawn(work).context("failed to start a thread")
}

fn joined<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    match thread.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn write(
    connection: &mut Connection,
    writer: u32,
    stop: &AtomicBool,
    count: &AtomicU64,
) -> Result<Vec<Acknowledged>> {
    let mut acknowledged = Vec::new();
    for turn in 1.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let purchase = traffic::Purchase { writer, turn };
        match purchase.run(connection) {
            Ok(()) => acknowledged.push(Acknowledged { id: purchase.id(), at: Timestamp::now() }),
            // The server was killed: this commit was not acknowledged.
            Err(_) if connection.is_closed() => break,
            Err(error) => {
                return Err(error).with_context(|| format!("writer {writer} failed in its turn {turn}"));
            }
        }
        count.fetch_add(1, Ordering::Relaxed);
        pause(PAUSE, never);
    }
    Ok(acknowledged)
}

fn beat(connection: &mut Connection, stop: &AtomicBool) -> Result<()> {
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        if next <= Instant::now() {
            next += BEAT;
            match write_beat(connection) {
                Ok(_) => {}
                Err(_) if connection.is_closed() => break,
                Err(error) => bail!(anyhow::Error::from(error).context("the heartbeat failed")),
            }
        }
        // Short, so that a wait for the end does not wait for a beat.
        pause(PAUSE, never);
    }
    Ok(())
}
