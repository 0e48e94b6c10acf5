//! Captures under a snapshot that another session exported.

use std::process::Command;
use std::sync::Mutex;

use anyhow::Result;
use fixtures::TestServer;
use verify_core::ErrorKind;
use verify_core::capture::capture;
use verify_core::event::{self, Event};
use verify_core::finding::Verdict;
use verify_core::manifest::{Consistency, Content, Manifest};
use verify_core::plan::{Mode, Plan};
use verify_core::postgres::{Connection, Environment, SessionOptions, Settings, SnapshotId};
use verify_core::table::TableName;
use verify_core::verify::verify;

use crate::dump::{program, run};
use crate::measure::{postgres, summary};

/// A session that has exported a snapshot, and keeps it.
pub(crate) struct Exporter {
    session: Connection,
    pub(crate) id: SnapshotId,
    /// `pg_current_snapshot()`.
    snapshot: String,
}

impl Exporter {
    pub(crate) fn begin(server: &TestServer, database: &str) -> Result<Self> {
        let settings = Settings::parse(&server.conninfo(database), &Environment::default())?;
        let mut session = Connection::open(&settings, &SessionOptions::default())?;
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")?;
        let rows = session.query("SELECT pg_export_snapshot(), pg_current_snapshot()")?;
        let text = |column| rows.first().and_then(|row| row.get(column)).unwrap_or_default().to_owned();
        Ok(Self { session, id: text(0).parse()?, snapshot: text(1) })
    }
}

fn shop(major: u32) -> Result<TestServer> {
    let server = fixtures::server(major)?;
    server.create_database("source")?;
    server.psql(
        "source",
        "CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text);
         INSERT INTO orders (note) SELECT 'order ' || i FROM generate_series(1, 3000) i;
         CREATE TABLE emptied AS SELECT i FROM generate_series(1, 100) i; CREATE TABLE renamed AS TABLE emptied;
         CREATE TABLE swapped (a int, b int); INSERT INTO swapped VALUES (1, 2); CREATE TABLE dropped AS TABLE emptied;
         CREATE TABLE left_alone AS TABLE emptied",
    )?;
    Ok(server)
}

fn captured(server: &TestServer, id: &SnapshotId) -> Result<Manifest> {
    let source = postgres(server, "source")?.or_standby().under(id.clone());
    Ok(capture(&source, &Plan::default(), &event::ignore)?)
}

/// The session that exported it has ended by the time that the dump is restored, and everything was written to since.
#[test]
fn a_dump_under_the_same_snapshot_passes_and_a_damaged_row_of_it_is_named() -> Result<()> {
    for major in [13, 15, 18] {
        let server = shop(major)?;
        let exporter = Exporter::begin(&server, "source")?;
        server.psql("source", "INSERT INTO orders (note) SELECT 'later' FROM generate_series(1, 100)")?;
        let dump = server.directory().join("dump");
        run(Command::new(program("pg_dump", major)?)
            .args(["-Fc", "--snapshot", &exporter.id.to_string(), "-f"])
            .arg(&dump)
            .args(["-d", &server.conninfo("source")]))?;
        server.psql(
            "source",
            "UPDATE orders SET note = 'changed'; DELETE FROM left_alone;
             INSERT INTO orders (note) SELECT 'later' FROM generate_series(1, 100)",
        )?;
        let manifest = captured(&server, &exporter.id)?;
        assert_eq!(manifest.header.consistency, Consistency::ImportedSnapshot, "{major}");
        assert_eq!(manifest.header.snapshot, exporter.snapshot, "{major}");
        drop(exporter);
        server.create_database("restored")?;
        run(Command::new(program("pg_restore", major)?)
            .args(["-d", &server.conninfo("restored")])
            .arg(&dump))?;
        let restored = postgres(&server, "restored")?;
        let verified = || verify(&manifest, &restored, &Plan::default(), &event::ignore);
        let comparison = verified()?;
        let found = (comparison.verdict(), summary(&comparison));
        assert_eq!(found, (Verdict::Pass, vec![]), "{major}: {comparison:#?}");
        server.psql("restored", "UPDATE orders SET note = 'damaged' WHERE id = 77")?;
        let comparison = verified()?;
        let rows: Vec<_> = comparison.findings().iter().filter_map(|finding| finding.rows.as_ref()).collect();
        assert_eq!(comparison.verdict(), Verdict::Fail, "{major}");
        assert_eq!(rows.iter().flat_map(|rows| &rows.named).collect::<Vec<_>>(), ["id=77"], "{major}");
    }
    Ok(())
}

#[test]
fn tables_that_were_altered_since_the_export_are_not_taken_for_what_the_snapshot_sees() -> Result<()> {
    for major in [13, 18] {
        let server = shop(major)?;
        let exporter = Exporter::begin(&server, "source")?;
        server.psql(
            "source",
            "TRUNCATE emptied; ALTER TABLE renamed RENAME TO other; ALTER TABLE swapped RENAME a TO c;
             ALTER TABLE swapped RENAME b TO a; ALTER TABLE swapped RENAME c TO b; DROP TABLE dropped;
             CREATE TABLE dropped (i int); INSERT INTO dropped VALUES (1)",
        )?;
        let manifest = captured(&server, &exporter.id)?;
        let content = |name: &str| {
            let entry = manifest.table(&TableName::new("public", name));
            match entry.map(|entry| &entry.content) {
                Some(Content::Rows { digest, .. }) => format!("{} rows", digest.rows),
                Some(Content::Unreadable(reason)) => format!("unreadable: {reason}"),
                Some(Content::Rewritten(reason)) => format!("rewritten: {reason}"),
                Some(Content::Damaged(reason)) => format!("damaged: {reason}"),
                None => "absent".to_owned(),
            }
        };
        let altered = "unreadable: it was altered between the export of the snapshot and its import";
        assert_eq!(content("left_alone"), "100 rows", "{major}");
        assert_eq!(content("emptied"), "rewritten: it was truncated or rewritten meanwhile", "{major}");
        assert_eq!(content("renamed"), altered, "{major}");
        assert_eq!(content("swapped"), altered, "{major}");
        assert_eq!(content("dropped"), "rewritten: it was dropped meanwhile", "{major}");
        assert_eq!(content("other"), "absent", "{major}");
    }
    Ok(())
}

#[test]
fn a_snapshot_that_is_not_there_or_of_no_use_is_refused() -> Result<()> {
    let server = shop(15)?;
    let refused = |id: &SnapshotId, mode: Mode| -> Result<String> {
        let source = postgres(&server, "source")?.under(id.clone());
        let error = capture(&source, &Plan::default().with_mode(mode), &event::ignore).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Unsuitable, "{error}");
        Ok(format!("{error}\nhint: {}", error.hint().unwrap_or("none")))
    };
    let exporter = Exporter::begin(&server, "source")?;
    let of_files = refused(&exporter.id, Mode::TimeTravel)?;
    assert!(of_files.contains("it verifies no copy of files"), "{of_files}");
    let id = exporter.id.clone();
    drop(exporter);
    let ended = refused(&id, Mode::SharedSnapshot)?;
    assert!(ended.starts_with(&format!("import the snapshot {id}: ")), "{ended}");
    assert!(ended.contains("hint: keep the session open that ran SELECT pg_export_snapshot()"), "{ended}");
    server.create_database("other")?;
    let other = Exporter::begin(&server, "other")?;
    let foreign = refused(&other.id, Mode::SharedSnapshot)?;
    assert!(foreign.contains("different database"), "{foreign}");
    Ok(())
}

#[test]
fn the_time_of_the_capture_is_not_later_than_the_snapshot() -> Result<()> {
    let server = shop(15)?;
    let now = || -> Result<String> {
        server.psql("source", "SELECT extract(epoch FROM clock_timestamp()) * 1000000")
    };
    let microseconds = |text: &str| text.split('.').next().unwrap_or_default().parse::<i64>();
    let exporter = Exporter::begin(&server, "source")?;
    let after = microseconds(&now()?)?;
    let manifest = captured(&server, &exporter.id)?;
    assert!(manifest.header.captured_at.as_microsecond() <= after);
    // A role that may not see the other session says so.
    server.psql("source", "CREATE ROLE poor LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO poor")?;
    let notices = Mutex::new(Vec::new());
    let conninfo = format!("{} user=poor", server.conninfo("source"));
    let settings = Settings::parse(&conninfo, &Environment::default())?;
    let source = verify_core::postgres::Postgres::new(settings).under(exporter.id.clone());
    let manifest = capture(&source, &Plan::default(), &|event| {
        if let Event::Notice { message } = event {
            notices.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(message);
        }
        std::ops::ControlFlow::Continue(())
    })?;
    assert!(manifest.header.captured_at.as_microsecond() > after);
    let notices = notices.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    assert!(notices.len() == 1 && notices[0].starts_with("role poor may not see"), "{notices:?}");
    drop(exporter.session);
    Ok(())
}
