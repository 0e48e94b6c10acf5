//! The probe as an agent's work: it is begun, watched and read back by commands of their own, and outlives them all.

use std::convert::Infallible;
use std::env;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;

use super::message::{Message, parts};
use super::output::send;
use crate::failover::{self, Begun, ProbeOrder, Record, Tail, standing};
use verify_drill::interrupt::{self, interrupted};
use verify_drill::until::{Check, Pace, Waited, never, pause, until};

/// Interval between two messages of its progress.
const POLL: Duration = Duration::from_millis(200);
/// A network policy lets a new pod in when the network has learnt of it; the first session may wait that long.
const ADMISSION_TIMEOUT: Duration = Duration::from_secs(20);
/// The probe may be stuck in a statement when it gets the order to end.
const END_TIMEOUT: Duration = Duration::from_secs(15);
/// Time limit to find a primary from which everything can be read.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Creates the table and starts the writers as a process of their own.
pub(super) fn begin(order: &ProbeOrder) -> Result<()> {
    let mut connection = persistently(ADMISSION_TIMEOUT, || order.connect())?;
    order
        .table()
        .create(&mut connection)
        .with_context(|| format!("failed to create {}", order.table().name()))?;
    let standing = standing(&mut connection)?;
    drop(connection);
    let errors =
        File::create(order.record.with_extension("log")).context("failed to create the probe's log")?;
    let program = env::current_exe().context("failed to find the program's own executable")?;
    // Nothing of it hangs on us: the end of our streams, or a signal to our group, does not reach it.
    let mut child = Command::new(program)
        .args(["agent", "probe"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(errors)
        .process_group(0)
        .spawn()
        .context("failed to start the probe")?;
    let input = child.stdin.take().context("failed to start the probe: it has no input")?;
    serde_json::to_writer(input, order).context("failed to send the probe its order")?;
    let begun = until(ADMISSION_TIMEOUT, Pace::LOCAL, never, || {
        let (begun, ended) = (order.record.exists(), child.try_wait()?.is_some());
        anyhow::Ok(if begun || ended { Check::Done(begun) } else { Check::Waiting(()) })
    })?;
    if begun != Waited::Done(true) {
        bail!("failed to start the probe: {}", log_of(order));
    }
    send(&Message::Probing(Begun { standing, now: Timestamp::now() }));
    Ok(())
}

/// The probe's own process.
pub fn probe() -> Result<()> {
    let order: ProbeOrder =
        serde_json::from_reader(io::stdin()).context("failed to read the probe's order")?;
    failover::write(&order, interrupt::asked)
}

/// Reports the progress of the probe until the caller is lost.
pub(super) fn follow(order: &ProbeOrder) -> Result<()> {
    let mut tail = Tail::open(&order.record)?;
    while !pause(POLL, interrupt::asked) {
        send(&Message::Progress(tail.read()?));
    }
    Ok(())
}

/// Ends the probe and returns its record and the rows of the database.
pub(super) fn read_back(order: &ProbeOrder) -> Result<()> {
    end(order)?;
    let record = fs::read(&order.record).context("failed to read the probe's record")?;
    for part in parts(0, &record) {
        send(&Message::Manifest(part));
    }
    let stored = persistently(READ_TIMEOUT, || Ok(order.table().read(&mut order.connect()?)?));
    send(&Message::Stored(stored.with_context(|| format!("failed to read {} back", order.table().name()))?));
    Ok(())
}

/// Ends the probe and removes its table.
pub(super) fn discard(order: &ProbeOrder) -> Result<()> {
    end(order)?;
    persistently(ADMISSION_TIMEOUT, || Ok(order.table().remove(&mut order.connect()?)?))
        .with_context(|| format!("failed to drop {}", order.table().name()))
}

/// Orders the probe to end, and waits until it has, or cannot.
fn end(order: &ProbeOrder) -> Result<()> {
    File::create(order.stop_file()).context("failed to stop the probe")?;
    let _ = until(END_TIMEOUT, Pace::REMOTE, never, || {
        let read = || fs::read_to_string(&order.record).context("failed to read the probe's record");
        let ended = !order.record.exists() || Record::parse(&read()?)?.ended_us.is_some();
        anyhow::Ok(if ended { Check::Done(()) } else { Check::Waiting(()) })
    })?;
    Ok(())
}

/// Tries for so long.
fn persistently<T>(timeout: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let tried = until(timeout, Pace::REMOTE, interrupt::asked, || {
        Ok::<_, Infallible>(attempt().map_or_else(Check::Waiting, Check::Done))
    });
    match tried {
        Ok(Waited::Done(done)) => Ok(done),
        Ok(Waited::TimedOut(error)) => Err(error),
        Ok(Waited::Stopped) => Err(interrupted().into()),
    }
}

fn log_of(order: &ProbeOrder) -> String {
    fs::read_to_string(order.record.with_extension("log")).unwrap_or_default().trim().to_owned()
}
