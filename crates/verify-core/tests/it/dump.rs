//! Dumps under the capture's own snapshot, restored into the same and into newer servers: silent, row for row.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use fixtures::{TestServer, datasets, dpkg};
use verify_core::capture::{capture_snapshot, complete};
use verify_core::event;
use verify_core::finding::{Code, Verdict};
use verify_core::manifest::Manifest;
use verify_core::plan::Plan;
use verify_core::verify::verify;
use verify_local::server;

use crate::measure::{postgres, summary};

/// A client program that serves `major` and, as far as dumps go, the older ones.
pub(crate) fn program(name: &str, major: u32) -> Result<PathBuf> {
    if major > 15 {
        Ok(fixtures::majors::client_programs(18)?.join(name))
    } else {
        server::client_program(name, 15)
    }
}

pub(crate) fn run(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    // What the data sets hold on purpose and no dump can carry: comments on, or privileges of, extension objects.
    ensure!(output.status.success(), "{command:?}: {errors}");
    Ok(())
}

/// Captures `source` while it is dumped, and restores the dump into a new database of `target`.
fn dumped_and_restored(source: &TestServer, target: &TestServer, options: &[&str]) -> Result<Manifest> {
    let snapshot = postgres(source, "source")?.begin(&Plan::default(), &event::ignore)?;
    let dump = source.directory().join("dump");
    run(Command::new(program("pg_dump", target.major())?)
        .args(["-Fd", "-j", "2", "--no-sync", "--snapshot", snapshot.exported()])
        .args(options)
        .arg("-f")
        .arg(&dump)
        .args(["-d", &source.conninfo("source")]))?;
    let mut manifest = capture_snapshot(&snapshot, &Plan::default(), &event::ignore)?;
    complete(&snapshot, &mut manifest)?;
    if target.psql("postgres", "SELECT count(*) FROM pg_database WHERE datname = 'restored'")? == "0" {
        target.create_database("restored")?;
    }
    run(Command::new(program("pg_restore", target.major())?)
        .args(["-j", "2", "-d", &target.conninfo("restored")])
        .arg(&dump))?;
    std::fs::remove_dir_all(&dump)?;
    Ok(manifest)
}

fn every_type_survives(from: u32, to: u32) -> Result<()> {
    let source = fixtures::server(from)?;
    datasets::load_all(&source, "source")?;
    let target = fixtures::server(to)?;
    target.psql("postgres", "CREATE ROLE odd_owner")?;
    let manifest = dumped_and_restored(&source, &target, &[])?;
    let restored = postgres(&target, "restored")?;
    let comparison = verify(&manifest, &restored, &Plan::default(), &event::ignore)?;
    // A dump leaves out what an extension owns, and this table holds rows that were somebody's.
    let lost = "table.missing odd.extension_owned".to_owned();
    let found = (comparison.verdict(), summary(&comparison));
    assert_eq!(found, (Verdict::Fail, vec![lost]), "{from} to {to}: {comparison:#?}");
    target.psql(
        "restored",
        "CREATE TABLE odd.extension_owned (id int PRIMARY KEY, setting text);
         INSERT INTO odd.extension_owned VALUES (1, 'a'), (2, 'b'); ALTER EXTENSION hstore ADD TABLE odd.extension_owned",
    )?;
    let comparison = verify(&manifest, &restored, &Plan::default(), &event::ignore)?;
    let found = (comparison.verdict(), summary(&comparison));
    assert_eq!(found, (Verdict::Pass, vec![]), "{from} to {to}: {comparison:#?}");
    Ok(())
}

#[test]
fn every_type_survives_13_to_18() -> Result<()> {
    every_type_survives(13, 18)
}

/// The hash of an enum's value is that of its object id, and pg_dump loads such a table through its root by itself.
#[test]
fn rows_that_a_dump_loads_into_other_partitions_are_no_difference() -> Result<()> {
    let source = fixtures::server(15)?;
    source.create_database("source")?;
    source.psql(
        "source",
        "CREATE TYPE lane AS ENUM ('red', 'green', 'blue', 'amber', 'grey', 'black');
         CREATE TABLE parcels(id int, lane lane, note text, PRIMARY KEY (id, lane)) PARTITION BY HASH (lane);
         CREATE TABLE parcels_0 PARTITION OF parcels FOR VALUES WITH (MODULUS 3, REMAINDER 0);
         CREATE TABLE parcels_1 PARTITION OF parcels FOR VALUES WITH (MODULUS 3, REMAINDER 1);
         CREATE TABLE parcels_2 PARTITION OF parcels FOR VALUES WITH (MODULUS 3, REMAINDER 2);
         INSERT INTO parcels SELECT i, (enum_range(NULL::lane))[1 + i % 6], 'parcel ' || i FROM generate_series(1, 600) i;
         CREATE TABLE words (word text, n int) PARTITION BY HASH (word);
         CREATE TABLE words_0 PARTITION OF words FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE words_1 PARTITION OF words FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         INSERT INTO words SELECT md5(i::text), i FROM generate_series(1, 5000) i",
    )?;
    for (to, options) in [(15, &[][..]), (18, &["--load-via-partition-root"])] {
        let target = fixtures::server(to)?;
        // Types made before give the enum other object ids.
        target.psql("template1", "CREATE TYPE shift AS ENUM ('a', 'b', 'c')")?;
        target.psql("postgres", "CREATE DATABASE restored TEMPLATE template1")?;
        let manifest = dumped_and_restored(&source, &target, options)?;
        target.psql("restored", "DROP TYPE shift")?;
        let restored = postgres(&target, "restored")?;
        let comparison = verify(&manifest, &restored, &Plan::default(), &event::ignore)?;
        assert_eq!(
            (comparison.verdict(), summary(&comparison)),
            (Verdict::Pass, vec![]),
            "{to}: {comparison:#?}"
        );
        assert_eq!(comparison.findings().len(), 1, "{to}: {comparison:#?}");
        assert_eq!(comparison.findings()[0].code(), Code::PartitionMoved);

        target.psql("restored", "DELETE FROM parcels WHERE id = 7; DELETE FROM words WHERE n = 9")?;
        let comparison = verify(&manifest, &restored, &Plan::default(), &event::ignore)?;
        let named: Vec<_> =
            comparison.findings().iter().filter_map(|finding| finding.rows.as_ref()).collect();
        assert_eq!(named.len(), 2, "{comparison:#?}");
        assert_eq!(named[1].named, ["id=7, lane=green"]);
    }
    Ok(())
}

#[test]
fn every_type_survives_15_to_15() -> Result<()> {
    every_type_survives(15, 15)
}

#[test]
fn every_type_survives_18_to_18() -> Result<()> {
    every_type_survives(18, 18)
}

#[test]
fn the_package_database_of_this_machine_survives_and_a_lost_package_is_named() -> Result<()> {
    let source = fixtures::server(15)?;
    source.create_database("source")?;
    let rows = dpkg::load(&source, "source")?;
    let target = fixtures::server(15)?;
    let manifest = dumped_and_restored(&source, &target, &[])?;
    let restored = postgres(&target, "restored")?;
    let comparison = verify(&manifest, &restored, &Plan::default(), &event::ignore)?;
    assert_eq!((comparison.verdict(), summary(&comparison)), (Verdict::Pass, vec![]));
    assert!(comparison.coverage().rows >= rows as u64, "{rows} of {:?}", comparison.coverage());

    target
        .psql("restored", "UPDATE dpkg.packages SET description = description || ' ' WHERE name = 'bash'")?;
    let comparison = verify(&manifest, &restored, &Plan::default(), &event::ignore)?;
    assert_eq!(comparison.verdict(), Verdict::Fail);
    let finding = &comparison.findings()[0];
    let ids =
        target.psql("restored", "SELECT id FROM dpkg.packages WHERE name = 'bash' ORDER BY id::text")?;
    let named: Vec<String> = ids.lines().map(|id| format!("id={id}")).collect();
    assert_eq!((finding.code(), finding.object.as_str()), (Code::RowChanged, "dpkg.packages"));
    assert_eq!(finding.rows.as_ref().map(|rows| &rows.named), Some(&named));
    Ok(())
}
