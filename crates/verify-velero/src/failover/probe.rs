//! The probe: writers that insert numbered rows through the Service, again and again until one is acknowledged.
//!
//! It is independent: it continues while its node is disconnected, and ends at a stop file or its own limit.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use verify_core::Error;
use verify_core::postgres::{Connection, SessionOptions, Settings};

use super::record::{Attempt, Entry, Recorder};
use super::table::{APPLICATION, ProbeTable, Standing, standing};
use crate::agent::Conninfo;
use verify_drill::until::pause;

/// After a failed attempt.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Writers that are stuck in a statement are not waited for longer.
const END_TIMEOUT: Duration = Duration::from_secs(8);
/// A statement that takes longer has failed.
const STATEMENT_TIMEOUT: &str = "5s";
/// A server that does not answer is given up: while connecting, with data under way, and while idle.
const PATIENCE: [(&str, &str); 5] = [
    ("connect_timeout", "2"),
    ("tcp_user_timeout", "3000"),
    ("keepalives_idle", "2"),
    ("keepalives_interval", "1"),
    ("keepalives_count", "2"),
];
/// An error's text in the record is cut to so many characters.
const ERROR_CHARS_MAX: usize = 300;

/// Parameters of the probe.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProbeOrder {
    pub run: String,
    /// Through the Service, as the application connects.
    pub database: Conninfo,
    pub writers: u32,
    /// Writes per second, all writers together.
    pub rate_hz: u32,
    /// The file of the record.
    pub record: PathBuf,
    /// Time after which the probe stops by itself.
    pub limit: Duration,
}

impl ProbeOrder {
    /// The run's table.
    pub fn table(&self) -> ProbeTable {
        ProbeTable::of(&self.run)
    }

    /// The file whose being there ends the probe.
    pub fn stop_file(&self) -> PathBuf {
        self.record.with_extension("stop")
    }

    /// A session that gives up as soon as a careful application would, and only with a server that takes writes.
    pub fn connect(&self) -> Result<Connection> {
        Ok(open(&self.settings()?, &self.run)?)
    }

    fn settings(&self) -> Result<Settings> {
        self.database.clone().with_all(&PATIENCE).with("target_session_attrs", "read-write").settings()
    }
}

fn open(settings: &Settings, run: &str) -> Result<Connection, Error> {
    let session = SessionOptions::new()
        .with("application_name", format!("{APPLICATION} {run}"))
        .with("statement_timeout", STATEMENT_TIMEOUT);
    Connection::open(settings, &session)
}

/// Writes and records until `asked`, the stop file, or the limit.
///
/// # Errors
///
/// If there is a record already, or it cannot be written: then no record would show what was acknowledged.
pub fn write(order: &ProbeOrder, asked: fn() -> bool) -> Result<()> {
    let began = Instant::now();
    let settings = order.settings()?;
    let recorder = Arc::new(Recorder::begin(&order.record)?);
    let stop = Arc::new(AtomicBool::new(false));
    let period = Duration::from_secs_f64(f64::from(order.writers) / f64::from(order.rate_hz.max(1)));
    let mut threads = Vec::new();
    for number in 1..=order.writers {
        let writer = Writer {
            number,
            period,
            table: order.table(),
            run: order.run.clone(),
            settings: settings.clone(),
            recorder: Arc::clone(&recorder),
            stop: Arc::clone(&stop),
        };
        let first = began + period.mul_f64(f64::from(number - 1) / f64::from(order.writers));
        let spawned =
            thread::Builder::new().name(format!("writer {number}")).spawn(move || writer.work(first));
        threads.push(spawned.context("failed to start a thread")?);
    }
    let stop_file = order.stop_file();
    // Where a thread has finished, only the record can have failed. The others must not go on without it either.
    let over = || asked() || stop_file.exists() || threads.iter().any(JoinHandle::is_finished);
    pause(order.limit.saturating_sub(began.elapsed()), over);
    stop.store(true, Ordering::Relaxed);
    pause(END_TIMEOUT, || threads.iter().all(JoinHandle::is_finished));
    for thread in threads.into_iter().filter(JoinHandle::is_finished) {
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    }
    recorder.add(&Entry::Ended { at_us: recorder.now_us() }).with_context(|| unwritable(&order.record))
}

fn unwritable(record: &Path) -> String {
    format!("failed to write the probe's record {}", record.display())
}

/// One client.
struct Writer {
    number: u32,
    /// Between the beginnings of two of its writes.
    period: Duration,
    table: ProbeTable,
    run: String,
    settings: Settings,
    recorder: Arc<Recorder>,
    stop: Arc<AtomicBool>,
}

impl Writer {
    fn work(&self, first: Instant) -> Result<()> {
        let mut connection = None;
        let mut next = first;
        for number in 1.. {
            if self.wait_until(next) {
                break;
            }
            // What an outage kept from being written is not made up for.
            next = (next + self.period).max(Instant::now());
            for attempt in 1.. {
                let asked_us = self.recorder.now_us();
                let attempt = Attempt { writer: self.number, number, attempt, asked_us };
                let entry = self.attempt(&mut connection, attempt);
                let over = matches!(entry, Entry::Acknowledged { .. });
                self.recorder.add(&entry).context("failed to write the probe's record")?;
                if over || self.wait_until(Instant::now() + RETRY_PAUSE) {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Tries to write, over a new connection if necessary. A connection on which anything failed is given up.
    fn attempt(&self, connection: &mut Option<Connection>, attempt: Attempt) -> Entry {
        let mut sent = false;
        let written = match connection.take() {
            Some(open) => Ok(open),
            None => self.connect(),
        };
        let written = written.and_then(|mut open| {
            sent = true;
            self.table.write(&mut open, &attempt)?;
            Ok(open)
        });
        let at_us = self.recorder.now_us();
        match written {
            Ok(open) => {
                *connection = Some(open);
                Entry::Acknowledged { attempt, at_us }
            }
            Err(error) => {
                let error = error.to_string().chars().take(ERROR_CHARS_MAX).collect();
                Entry::Failed { attempt, at_us, sent, error }
            }
        }
    }

    fn connect(&self) -> Result<Connection, Error> {
        let mut connection = open(&self.settings, &self.run)?;
        let Standing { server, timeline } = standing(&mut connection)?;
        let at_us = self.recorder.now_us();
        let entry = Entry::Connected { writer: self.number, at_us, server, timeline };
        // Should this fail, so does the next line, which counts.
        let _ = self.recorder.add(&entry);
        Ok(connection)
    }

    /// Waits; whether to stop.
    fn wait_until(&self, then: Instant) -> bool {
        pause(then.saturating_duration_since(Instant::now()), || self.stop.load(Ordering::Relaxed))
    }
}

/// The probe writes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Begun {
    /// The server that it met first, which was open for writing.
    pub standing: Standing,
    /// The pod's clock as this was said.
    pub now: Timestamp,
}

#[cfg(test)]
mod tests {
    use std::fs;

    use fixtures::{Stop, TestServer};

    use super::super::impact::{Impact, Span, writes};
    use super::super::record::Record;
    use super::*;

    const MAJOR: u32 = 15;

    fn order(server: &TestServer, limit: Duration) -> ProbeOrder {
        let conninfo = server.conninfo("postgres");
        let settings = Settings::parse(&conninfo, &verify_core::postgres::Environment::default()).unwrap();
        let variable = |name: &str| {
            let variables = settings.child_environment();
            variables.into_iter().find(|(found, _)| found == name).map_or(String::new(), |(_, value)| value)
        };
        let port = variable("PGPORT").parse().unwrap();
        ProbeOrder {
            run: "0a1b2c".to_owned(),
            database: Conninfo::new(&variable("PGHOST"), port, &variable("PGUSER"), "", "postgres"),
            writers: 3,
            rate_hz: 300,
            record: server.directory().join("probe.record"),
            limit,
        }
    }

    fn impact(order: &ProbeOrder) -> Impact {
        let record = Record::parse(&fs::read_to_string(&order.record).unwrap()).unwrap();
        let stored = order.table().read(&mut order.connect().unwrap()).unwrap();
        Impact::of(&record, 0, &stored)
    }

    #[test]
    fn a_server_that_is_started_again_loses_nothing_and_what_is_removed_is_missed() {
        let mut server = fixtures::server(MAJOR).unwrap();
        let order = order(&server, Duration::from_secs(60));
        order.table().create(&mut order.connect().unwrap()).unwrap();
        let writing = order.clone();
        let probe = thread::spawn(move || write(&writing, || false));
        let acknowledged = |least: usize| {
            let began = Instant::now();
            loop {
                let text = fs::read_to_string(&order.record).unwrap_or_default();
                if text.matches("{\"a\":").count() >= least {
                    return text.matches("{\"a\":").count();
                }
                assert!(began.elapsed() < Duration::from_secs(30), "{text}");
                thread::sleep(Duration::from_millis(20));
            }
        };
        let before = acknowledged(50);
        server.restart_after(Stop::Fast, |_| Ok(())).unwrap();
        acknowledged(before + 50);
        fs::write(order.stop_file(), "").unwrap();
        probe.join().unwrap().unwrap();

        let healthy = impact(&order);
        assert!(healthy.is_exact() && healthy.recorded_to_end, "{healthy:?}");
        assert!(healthy.acknowledged >= 100 && healthy.errors > 0 && healthy.retries > 0, "{healthy:?}");
        assert!(healthy.outage_ms >= 100 && healthy.first_write_after_ms.is_some(), "{healthy:?}");
        assert_eq!(healthy.timelines, [1]);

        let name = order.table().name();
        server
            .psql("postgres", &format!("DELETE FROM {name} WHERE writer = 2 AND number IN (4, 5)"))
            .unwrap();
        let twice = format!("INSERT INTO {name} SELECT * FROM {name} WHERE writer = 1 AND number = 3");
        server.psql("postgres", &twice).unwrap();
        let harmed = impact(&order);
        assert_eq!(harmed.lost, [Span { writer: 2, first: 4, last: 5 }]);
        assert_eq!(
            (harmed.duplicated, writes(&harmed.lost)),
            (vec![Span { writer: 1, first: 3, last: 3 }], 2)
        );

        let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'state_lab'";
        assert_eq!(server.psql("postgres", schemas).unwrap().trim(), "1");
        order.table().remove(&mut order.connect().unwrap()).unwrap();
        assert_eq!(
            server.psql("postgres", schemas).unwrap().trim(),
            "0",
            "the objects of the run are deleted"
        );
    }

    #[test]
    fn the_table_of_a_dead_run_goes_and_somebody_elses_schema_stays() {
        let server = fixtures::server(MAJOR).unwrap();
        server
            .psql("postgres", "CREATE SCHEMA state_lab; CREATE TABLE state_lab.probe_mine (n int)")
            .unwrap();
        let connect = || order(&server, Duration::ZERO).connect().unwrap();
        ProbeTable::of("dead").create(&mut connect()).unwrap();
        let next = ProbeTable::of("next");
        next.create(&mut connect()).unwrap();
        let tables = "SELECT relname FROM pg_class WHERE relname LIKE 'probe%' ORDER BY 1";
        let known = |text: String| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(known(server.psql("postgres", tables).unwrap()), ["probe_mine", "probe_next"]);
        next.remove(&mut connect()).unwrap();
        assert_eq!(known(server.psql("postgres", tables).unwrap()), ["probe_mine"]);
    }

    #[test]
    fn the_schema_that_a_dead_run_made_goes_with_the_next() {
        let server = fixtures::server(MAJOR).unwrap();
        let connect = || order(&server, Duration::ZERO).connect().unwrap();
        ProbeTable::of("dead").create(&mut connect()).unwrap();
        let next = ProbeTable::of("next");
        next.create(&mut connect()).unwrap();
        next.remove(&mut connect()).unwrap();
        let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'state_lab'";
        assert_eq!(server.psql("postgres", schemas).unwrap().trim(), "0");
    }
}
