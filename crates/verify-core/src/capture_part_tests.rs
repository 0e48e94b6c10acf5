//! Any division of tables among any number of readers gives the bytes of one reader.

use std::num::NonZeroUsize;

use anyhow::Result;
use fastrand::Rng;
use fixtures::TestServer;

use super::*;
use crate::check::Check;
use crate::digest::Digest;
use crate::event;
use crate::manifest::{Content, Manifest};
use crate::merge::merge;
use crate::names::Names;
use crate::postgres::{Environment, Postgres, PostgresSnapshot, Settings};
use crate::table::{CellWidth, TableName};
use crate::work::Pages;

/// Numbers of rows of which a list is kept, and of which a sketch; a table without a key, and an empty one.
const TABLES: &str = "
    CREATE TABLE listed (id int PRIMARY KEY, note text); INSERT INTO listed SELECT i, repeat('x', i % 90) FROM generate_series(1, 300) i;
    CREATE TABLE sketched (id int PRIMARY KEY, note text); INSERT INTO sketched SELECT i, 'n' || i FROM generate_series(1, 2200) i;
    CREATE TABLE keyless (v int, at timestamptz); INSERT INTO keyless SELECT i % 7, now() FROM generate_series(1, 200) i;
    CREATE TABLE empty (id int PRIMARY KEY);
    SELECT lo_from_bytea(0, 'large'); DELETE FROM listed WHERE id % 5 = 0; UPDATE sketched SET note = 'updated' WHERE id % 11 = 0";

fn snapshot(server: &TestServer) -> Result<PostgresSnapshot> {
    server.create_database("source")?;
    server.psql("source", TABLES)?;
    let settings = Settings::parse(&server.conninfo("source"), &Environment::default())?;
    Ok(Postgres::new(settings).begin(&Plan::default(), &event::ignore)?)
}

fn written(manifest: &Manifest) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    manifest.write(&mut file)?;
    Ok(file)
}

/// Cuts a table at random pages, if it can be, and deals the ranges out to parts.
fn deal(random: &mut Rng, pages: Option<u32>, parts: usize) -> Vec<Share> {
    let mut cuts: Vec<u32> = match pages {
        Some(pages) => (0..random.usize(0..6)).map(|_| random.u32(0..=pages + 1)).collect(),
        None => Vec::new(),
    };
    cuts.sort_unstable();
    let mut from = 0;
    let mut ranges: Vec<Pages> = Vec::new();
    for cut in cuts {
        ranges.push(Some((from, Some(cut))));
        from = cut;
    }
    ranges.push(if ranges.is_empty() && (pages.is_none() || random.bool()) {
        None
    } else {
        Some((from, None))
    });
    random.shuffle(&mut ranges);
    let mut shares = vec![Share { ranges: Vec::new(), bytes: 0 }; parts];
    for range in ranges {
        shares[random.usize(0..parts)].ranges.push(range);
    }
    shares
}

#[test]
fn a_thousand_divisions_give_the_same_bytes() -> Result<()> {
    let server = fixtures::server(15)?;
    let snapshot = snapshot(&server)?;
    let plan = Plan::default().without([Check::Definitions, Check::Cluster, Check::Sequences]);
    let whole = capture::capture_snapshot(&snapshot, &plan, &event::ignore)?;
    let hash = Hash { algorithm: whole.header.hash, key: whole.header.key };
    // In most cases the table with a sketch is left out: to write a sketch takes longer than all else.
    let mut listed = whole.clone();
    let is_sketched = |name: &TableName| name.name == "sketched";
    let content = Content::Rows { digest: Digest::default(), bytes: 0, names: Names::new(CellWidth::Narrow) };
    listed
        .tables
        .iter_mut()
        .filter(|entry| is_sketched(entry.name()))
        .for_each(|entry| entry.content = content.clone());
    let (all, listed) = (written(&whole)?, written(&listed)?);
    let mut random = Rng::with_seed(14);
    for case in 0..1_000 {
        let of = random.u32(1..4);
        // Per part, the share of each table.
        let mut shares: Vec<Vec<Share>> = vec![Vec::new(); of as usize];
        for found in snapshot.tables() {
            let dealt = match case % 10 > 0 && is_sketched(&found.table.name) {
                true => vec![Share { ranges: Vec::new(), bytes: 0 }; of as usize],
                false => deal(&mut random, found.pages, of as usize),
            };
            shares.iter_mut().zip(dealt).for_each(|(part, share)| part.push(share));
        }
        let mut parts = Vec::new();
        for (number, shares) in (1..).zip(&shares) {
            let jobs = NonZeroUsize::MIN.saturating_add(random.usize(0..2));
            let plan = plan.clone().with_jobs(jobs);
            let mut manifest = capture::nothing(&snapshot, hash);
            if number == 1 {
                manifest.pulse = whole.pulse.clone();
            }
            manifest.header.format = PARTIAL_FORMAT.to_owned();
            let order = Order { shares: Some(shares), ..Order::default() };
            let known = Known::default();
            manifest.tables = capture::measure_tables(&snapshot, order, hash, &known, &plan, &event::ignore)?;
            let part = PartNumber::new(number, of).expect("one of them");
            parts.push(PartialManifest { part, chunk_pages: CHUNK_PAGES, uncut: Vec::new(), manifest });
        }
        random.shuffle(&mut parts);
        let merged =
            merge(parts.into_iter().map(|part| Ok::<_, crate::Error>((part.part.to_string(), part))))?;
        let expected = if case % 10 > 0 { &listed } else { &all };
        assert!(written(&merged)? == *expected, "case {case}: {shares:?}");
    }
    Ok(())
}

/// All that a manifest has, by chunks of a few pages.
#[test]
fn the_parts_of_one_snapshot_give_the_whole_manifest() -> Result<()> {
    for major in [13, 15, 18] {
        let server = fixtures::server(major)?;
        let snapshot = snapshot(&server)?;
        let plan = Plan::default();
        let mut whole = capture::capture_snapshot(&snapshot, &plan, &event::ignore)?;
        capture::complete(&snapshot, &mut whole)?;
        let expected = written(&whole)?;
        let hash = Hash { algorithm: whole.header.hash, key: whole.header.key };
        for (of, chunk_pages) in [(1, 1), (2, 1), (3, 3), (7, 4), (3, CHUNK_PAGES)] {
            let parts = (1..=of).rev().map(|number| {
                let part = PartNumber::new(number, of).expect("one of them");
                let mut partial =
                    capture_chunks(&snapshot, part, None, hash, chunk_pages, &plan, &event::ignore)?;
                complete_part(&snapshot, &mut partial, &plan)?;
                Ok::<_, crate::Error>((part.to_string(), partial))
            });
            assert_eq!(written(&merge(parts)?)?, expected, "{major}: {of} parts, chunks of {chunk_pages}");
        }
    }
    Ok(())
}
