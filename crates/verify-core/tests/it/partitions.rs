//! Partitioned tables that were loaded through their topmost table: rows are where the target puts them.

use anyhow::Result;
use verify_core::capture::capture;
use verify_core::compare::Comparison;
use verify_core::event;
use verify_core::finding::{Code, Verdict};
use verify_core::plan::Plan;
use verify_core::verify::{compare_databases, verify};

use crate::measure::{postgres, summary};

/// Types get other object ids in each database, and `lines` other collations.
const TABLES: &str = "
    CREATE TYPE lane AS ENUM ('red', 'green', 'blue', 'amber', 'grey', 'black');
    CREATE TABLE parcels (id int, lane lane, note text, PRIMARY KEY (id, lane)) PARTITION BY HASH (lane);
    CREATE TABLE parcels_0 PARTITION OF parcels FOR VALUES WITH (MODULUS 3, REMAINDER 0);
    CREATE TABLE parcels_1 PARTITION OF parcels FOR VALUES WITH (MODULUS 3, REMAINDER 1);
    CREATE TABLE parcels_2 PARTITION OF parcels FOR VALUES WITH (MODULUS 3, REMAINDER 2);
    CREATE TABLE events (day date, lane lane, n int) PARTITION BY RANGE (day);
    CREATE TABLE events_24 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY HASH (lane);
    CREATE TABLE events_24_0 PARTITION OF events_24 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE events_24_1 PARTITION OF events_24 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    CREATE TABLE events_rest PARTITION OF events DEFAULT PARTITION BY HASH (lane);
    CREATE TABLE events_rest_0 PARTITION OF events_rest FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE events_rest_1 PARTITION OF events_rest FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    CREATE TABLE lines (word text COLLATE collation, id int) PARTITION BY RANGE (word);
    CREATE TABLE lines_a PARTITION OF lines FOR VALUES FROM (MINVALUE) TO ('m');
    CREATE TABLE lines_m PARTITION OF lines FOR VALUES FROM ('m') TO (MAXVALUE);";

const ROWS: &str = "
    INSERT INTO parcels SELECT i, (enum_range(NULL::lane))[1 + i % 6], 'parcel ' || i FROM generate_series(1, 9000) i;
    INSERT INTO events SELECT '2024-06-01'::date + i * 10, (enum_range(NULL::lane))[1 + i % 6], i FROM generate_series(1, 60) i;
    INSERT INTO lines SELECT w, i FROM unnest(ARRAY['apple', 'Zebra', 'zoo', 'Mango']) WITH ORDINALITY u(w, i);";

fn finding(comparison: &Comparison, code: Code) -> Vec<String> {
    let findings = comparison.findings().iter().filter(|finding| finding.code() == code);
    findings
        .map(|finding| {
            let rows = finding.rows.as_ref().map_or(String::new(), |rows| rows.named.join("; "));
            format!("{} {rows}", finding.object)
        })
        .collect()
}

/// What is found besides the definitions, in which the two differ.
fn of_rows(comparison: &Comparison) -> Vec<String> {
    summary(comparison).into_iter().filter(|line| !line.starts_with("catalog.")).collect()
}

#[test]
fn rows_lie_where_the_restored_server_puts_them_and_lost_ones_are_named() -> Result<()> {
    let server = fixtures::server(15)?;
    for (database, collation) in [("source", "\"C\""), ("restored", "\"en-x-icu\"")] {
        server.create_database(database)?;
        server.psql(database, &TABLES.replace("collation", collation))?;
        server.psql(database, ROWS)?;
    }
    let (source, restored) = (postgres(&server, "source")?, postgres(&server, "restored")?);
    let manifest = capture(&source, &Plan::default(), &event::ignore)?;
    let judged = || -> Result<Comparison> {
        let verified = verify(&manifest, &restored, &Plan::default(), &event::ignore)?;
        let compared = compare_databases(&source, &restored, &Plan::default(), &event::ignore)?;
        assert_eq!(verified, compared);
        Ok(verified)
    };
    let comparison = judged()?;
    assert_eq!(of_rows(&comparison), Vec::<String>::new(), "{comparison:#?}");
    let moved = ["public.events ", "public.lines ", "public.parcels "];
    assert_eq!(finding(&comparison, Code::PartitionMoved), moved, "{comparison:#?}");
    assert_eq!((comparison.coverage().tables, comparison.coverage().rows), (9, 9064));

    server.psql(
        "restored",
        "DELETE FROM parcels WHERE id = 7; UPDATE parcels SET note = NULL WHERE id = 8;
         INSERT INTO parcels VALUES (9999, 'red'); DELETE FROM events WHERE n = 5; DELETE FROM lines WHERE id = 2",
    )?;
    let comparison = judged()?;
    assert_eq!(
        finding(&comparison, Code::RowMissing),
        [
            "public.events day=2024-07-21, lane=black, n=5",
            "public.lines id=2, word=Zebra",
            "public.parcels id=7, lane=green",
        ],
        "{comparison:#?}"
    );
    assert_eq!(finding(&comparison, Code::RowChanged), ["public.parcels id=8, lane=blue"]);
    assert_eq!(finding(&comparison, Code::RowAdded), ["public.parcels id=9999, lane=red"]);
    Ok(())
}

#[test]
fn partitions_whose_files_were_swapped_are_damaged() -> Result<()> {
    let server = fixtures::server(15)?;
    server.create_database("source")?;
    server.psql("source", &format!("{} {ROWS}", TABLES.replace("collation", "\"C\"")))?;
    server.psql("postgres", "CREATE DATABASE restored TEMPLATE source")?;
    server.psql(
        "restored",
        "SET allow_system_table_mods = on;
         CREATE TEMP TABLE f AS SELECT relname, relfilenode FROM pg_class WHERE relname IN ('parcels_0', 'parcels_1');
         UPDATE pg_class c SET relfilenode = f.relfilenode FROM f
         WHERE c.relname LIKE 'parcels__' AND f.relname LIKE 'parcels__' AND c.relname <> f.relname
           AND c.relname IN ('parcels_0', 'parcels_1')",
    )?;
    let manifest = capture(&postgres(&server, "source")?, &Plan::default(), &event::ignore)?;
    let restored = postgres(&server, "restored")?;
    let comparison = verify(&manifest, &restored, &Plan::default(), &event::ignore)?;
    assert_eq!(comparison.verdict(), Verdict::Fail, "{comparison:#?}");
    assert!(summary(&comparison).contains(&"row.missing public.parcels_0".to_owned()), "{comparison:#?}");
    assert_eq!(finding(&comparison, Code::PartitionMoved), Vec::<String>::new());
    Ok(())
}

#[test]
fn functions_of_the_database_are_not_run_to_look_where_rows_belong() -> Result<()> {
    let server = fixtures::server(15)?;
    let half = |divisor: u32| {
        format!(
            "CREATE FUNCTION half(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 / {divisor}';
             CREATE TABLE t (id int) PARTITION BY LIST ((public.half(id) % 2));
             CREATE TABLE t_0 PARTITION OF t FOR VALUES IN (0);
             CREATE TABLE t_1 PARTITION OF t FOR VALUES IN (1);
             INSERT INTO t SELECT generate_series(0, 99)"
        )
    };
    for (database, divisor) in [("source", 2), ("restored", 3)] {
        server.create_database(database)?;
        server.psql(database, &half(divisor))?;
    }
    let manifest = capture(&postgres(&server, "source")?, &Plan::default(), &event::ignore)?;
    let comparison = verify(&manifest, &postgres(&server, "restored")?, &Plan::default(), &event::ignore)?;
    assert_eq!(of_rows(&comparison), ["partition.moved public.t"], "{comparison:#?}");
    assert_eq!(
        summary(&comparison),
        ["catalog.differs function public.half(integer)", "partition.moved public.t"]
    );
    assert!(format!("{comparison:?}").contains("which are not run"), "{comparison:#?}");
    Ok(())
}
