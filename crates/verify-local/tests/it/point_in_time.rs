//! Recovery of a base backup to a point in time.

use jiff::Timestamp;
use verify_core::finding::{Code, Verdict};
use verify_core::manifest::Consistency;
use verify_core::not_covered::Check;
use verify_core::plan::Plan;
use verify_local::RecoveryTarget;
use verify_local::lsn::Lsn;
use verify_local::server::Stop;

use crate::archived::{Archived, codes, query, refusal};

#[test]
fn a_capture_is_restored_from_an_archive_and_every_row_compared() {
    let archived = Archived::new(15);
    archived.psql("INSERT INTO ledger (account, amount) SELECT i, 7 FROM generate_series(1, 500) i");
    let manifest = archived.capture();
    archived.psql("DELETE FROM accounts WHERE id % 2 = 0; UPDATE ledger SET amount = 8");
    archived.archive();
    let target = RecoveryTarget::Capture(Box::new(manifest));
    let restored = archived.restore_with(Plan::default(), &archived.wal(), target, None).unwrap();
    let report = &restored.reports[0];
    assert_eq!(restored.verdict(), Verdict::Pass, "{report:?}");
    assert!(matches!(report.manifest.as_ref().unwrap().consistency, Consistency::CommitOrder(_)));
    assert!(report.recovered_to.as_ref().unwrap().target.starts_with("the capture of "));
    assert_eq!(report.comparison().coverage().rows, 2_501);
    assert_eq!(query(&restored, "SELECT count(*)::text FROM ledger WHERE amount = 7"), "500");
}

/// The next transaction of a server drops a column and deletes rows.
fn migrate(archived: &Archived) -> u64 {
    let xid = archived.psql(
        "BEGIN; ALTER TABLE accounts DROP COLUMN note; DELETE FROM ledger; SELECT pg_current_xact_id(); COMMIT",
    );
    xid.parse().unwrap()
}

#[test]
fn before_a_bad_migration_everything_is_there_and_after_it_is_lost() {
    let archived = Archived::new(15);
    archived.psql("INSERT INTO ledger (account, amount) SELECT i, 7 FROM generate_series(1, 500) i");
    let manifest = archived.capture();
    archived.psql(
        "UPDATE ledger SET amount = 8 WHERE account <= 10; SELECT pg_create_restore_point('release 12')",
    );
    let before = archived.psql("SELECT clock_timestamp()").parse::<Timestamp>().unwrap();
    let at = archived.psql("SELECT pg_current_wal_insert_lsn()").parse().unwrap();
    let xid = migrate(&archived);
    archived.psql("INSERT INTO ledger (account, amount) VALUES (1, 1)");
    archived.archive();
    let state = "SELECT (SELECT count(*) FROM ledger WHERE amount = 8) || ' of ' || (SELECT count(*) FROM ledger) || ', ' || \
                 (SELECT count(*) FROM pg_attribute WHERE attrelid = 'accounts'::regclass AND attname = 'note')";
    for target in [
        RecoveryTarget::BeforeTransaction(xid),
        RecoveryTarget::Time(before),
        RecoveryTarget::Lsn(at),
        RecoveryTarget::Name("release 12".to_owned()),
    ] {
        let named = target.to_string();
        let restored = archived.restore_with(Plan::default(), &archived.wal(), target, None).unwrap();
        assert_eq!(query(&restored, state), "10 of 500, 1", "{named}");
        let report = &restored.reports[0];
        assert_eq!(report.verdict(), Verdict::Inconclusive, "{report:?}");
        assert_eq!(codes(&restored), [Code::SnapshotUnproven], "{named}");
        assert_eq!((&report.manifest, report.comparison().coverage().rows), (&None, 0));
        assert_eq!(report.recovered_to.as_ref().unwrap().target, named);
        assert!(report.recovery_point().is_some(), "{named}");
        let gaps = &report.comparison().coverage().not_covered;
        let reason = format!("there is no manifest of {named}");
        for object in ["public.accounts", "public.ledger"] {
            assert!(
                gaps.iter()
                    .any(|gap| gap.check == Check::Rows && gap.object == object && gap.reason == reason),
                "{gaps:?}"
            );
        }
        let ran = report.comparison().ran().iter().flat_map(|ran| &ran.checks);
        let ran: Vec<_> = ran.copied().collect();
        for check in [Check::Constraints, Check::Heap, Check::IndexContents, Check::Durability, Check::Clone]
        {
            assert!(ran.contains(&check), "{check:?} of {ran:?}");
        }
    }
    // The capture from before the migration, restored exactly.
    let exact = archived.restore(RecoveryTarget::Capture(Box::new(manifest.clone()))).unwrap();
    assert_eq!(exact.verdict(), Verdict::Pass, "{:?}", exact.reports);
    // The control: after the migration the rows and the column are lost, and the comparison says so.
    let after = archived.psql("SELECT pg_current_wal_insert_lsn()").parse().unwrap();
    archived.archive();
    let lost = archived.restore(RecoveryTarget::Lsn(after)).unwrap();
    assert_eq!(query(&lost, state), "0 of 1, 0");
    let database = verify_core::postgres::Postgres::new(lost.databases[0].clone());
    let go_on = |_| std::ops::ControlFlow::Continue(());
    let comparison = verify_core::verify::verify(&manifest, &database, &Plan::default(), &go_on).unwrap();
    assert_eq!(comparison.verdict(), Verdict::Fail);
    let found: Vec<_> =
        comparison.findings().iter().map(|finding| (finding.code(), finding.object.as_str())).collect();
    assert!(found.contains(&(Code::TableColumns, "public.accounts")), "{found:?}");
    assert!(found.contains(&(Code::RowMissing, "public.ledger")), "{found:?}");
}

#[test]
fn a_tablespace_that_is_newer_than_the_base_backup_is_refused_and_the_source_keeps_its_files() {
    let mut archived = Archived::new(15);
    let tablespace = archived.source.directory().join("tablespace");
    verify_local::server::create_server_dir(&tablespace).unwrap();
    let before = archived.psql("SELECT pg_current_wal_insert_lsn()").parse().unwrap();
    archived.psql(&format!("CREATE TABLESPACE late LOCATION '{}'", tablespace.display()));
    archived.psql(
        "CREATE TABLE elsewhere TABLESPACE late AS SELECT i FROM generate_series(1, 10000) i; CHECKPOINT",
    );
    archived.psql("DELETE FROM elsewhere");
    let manifest = archived.capture();
    archived.psql("VACUUM elsewhere; INSERT INTO elsewhere SELECT i FROM generate_series(1, 5000) i");
    archived.archive();
    for target in [RecoveryTarget::Capture(Box::new(manifest)), RecoveryTarget::Latest] {
        let why = refusal(archived.restore(target));
        assert!(why.contains("the WAL creates a tablespace after the base backup"), "{why}");
    }
    let restored = archived.restore(RecoveryTarget::Lsn(before)).unwrap();
    assert_eq!(query(&restored, "SELECT count(*)::text FROM accounts"), "2000");
    // The server reads its own files again.
    archived.source.restart_after(Stop::Fast, |_| Ok(())).unwrap();
    assert_eq!(archived.psql("SELECT count(*) FROM elsewhere"), "5000");
}

#[test]
fn what_prevents_a_recovery_is_named() {
    let archived = Archived::new(15);
    let at =
        |archived: &Archived| archived.psql("SELECT pg_current_wal_insert_lsn()").parse::<Lsn>().unwrap();
    let write = |rows: u32| {
        archived.psql(&format!(
            "INSERT INTO ledger (account, amount) SELECT i, 1 FROM generate_series(1, {rows}) i"
        ))
    };
    write(10);
    let first = archived.archive();
    write(20);
    let middle = at(&archived);
    archived.archive();
    write(30);
    let manifest = archived.capture();
    write(1);
    archived.archive();
    let capture = || RecoveryTarget::Capture(Box::new(manifest.clone()));

    let refused = refusal(archived.restore(RecoveryTarget::Name("release 13".to_owned())));
    assert!(refused.contains("the restore point \"release 13\" is beyond the end of the WAL archive, whose next segment would be "), "{refused}");
    let future = RecoveryTarget::Time("2126-01-01T00:00:00Z".parse().unwrap());
    let refused = refusal(archived.restore(future));
    assert!(
        refused.contains("the time 2126-01-01T00:00:00Z is beyond the end of the WAL archive"),
        "{refused}"
    );
    let refused = refusal(archived.restore(RecoveryTarget::BeforeTransaction(4_000_000)));
    assert!(
        refused.contains("the commit of transaction 4000000 is beyond the end of the WAL archive"),
        "{refused}"
    );

    let refused = refusal(archived.restore(RecoveryTarget::Lsn(Lsn(1))));
    assert!(refused.contains("the target 0/1 is before the end of the base backup at "), "{refused}");
    let refused = refusal(archived.restore(RecoveryTarget::Time("2000-01-01T00:00:00Z".parse().unwrap())));
    assert!(
        refused.contains("the time 2000-01-01T00:00:00Z is before the end of the base backup"),
        "{refused}"
    );
    assert!(refused.ends_with("hint: use an older base backup, or a later target"), "{refused}");

    // The segment before the target's.
    let gap = archived.copy_of_wal("gap", |file| file != first);
    for (target, words) in [
        (capture(), format!("the WAL archive lacks the segment {first}")),
        (RecoveryTarget::Lsn(middle), format!("the WAL archive lacks the segment {first}, and has ")),
    ] {
        let refused = refusal(archived.restore_from(&gap, target, None));
        assert!(refused.contains(&words), "{refused}");
    }
    let short = archived.copy_of_wal("short", |file| file <= first.as_str());
    let refused = refusal(archived.restore_from(&short, capture(), None));
    assert!(refused.contains("the WAL archive lacks the segment "), "{refused}");

    let other = Archived::with_new_cluster();
    other.archive();
    for target in [capture(), RecoveryTarget::Lsn(middle)] {
        let refused = refusal(archived.restore_from(&other.wal(), target, None));
        assert!(refused.contains("is of another cluster: its system identifier is "), "{refused}");
    }
    let refused = refusal(archived.restore(RecoveryTarget::Capture(Box::new(other.capture()))));
    assert!(refused.contains("failed to use the manifest as target: it is of the cluster "), "{refused}");

    // A timeline that a promotion left before the target.
    let promoted = archived.restore(RecoveryTarget::Lsn(middle)).unwrap();
    let history = promoted.server.data_dir().join("pg_wal/00000002.history");
    let forked = archived.copy_of_wal("forked", |_| true);
    std::fs::copy(history, forked.join("00000002.history")).unwrap();
    verify_local::server::give_to_server_user(&forked.join("00000002.history")).unwrap();
    let beyond = at(&archived);
    archived.archive();
    let refused = refusal(archived.restore_from(&forked, RecoveryTarget::Lsn(beyond), None));
    assert!(
        refused.contains("the WAL archive has timeline 2, which left timeline 1 of the base backup at "),
        "{refused}"
    );
    assert!(
        refused.contains("hint: add --timeline 2 for what happened after that promotion, or --timeline 1"),
        "{refused}"
    );
    // The manifest says on which it was captured, and a position before the fork is on both.
    let restored = archived.restore_from(&forked, capture(), None).unwrap();
    assert_eq!(restored.verdict(), Verdict::Pass, "{:?}", restored.reports);
    archived.restore_from(&forked, RecoveryTarget::Lsn(Lsn(middle.0 - 64)), None).unwrap();
    let refused = refusal(archived.restore_from(&forked, RecoveryTarget::Lsn(beyond), Some(3)));
    assert!(
        refused.contains("the target is on timeline 3, of which the WAL archive has no history"),
        "{refused}"
    );
}
