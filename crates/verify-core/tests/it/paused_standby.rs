//! A standby whose replay is paused while it is copied: the copy is exact at that position, and the replay is always resumed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fixtures::TestServer;
use verify_core::capture::{capture_snapshot, complete};
use verify_core::compare::Comparison;
use verify_core::event;
use verify_core::finding::{Code, Verdict};
use verify_core::manifest::{Consistency, Manifest};
use verify_core::plan::{Limits, Mode, Plan};
use verify_core::postgres::{Environment, PausedReplay, Settings};
use verify_core::report::Objectives;
use verify_drill::provider::{BackupRequest, RestoreRequest};
use verify_drill::watch::Watch;
use verify_local::scratch::Scratch;
use verify_local::{LocalProvider, Store};

use crate::measure::summary;
use crate::standby::{Pair, loops};
use crate::time_travel::{base_backup, start_clone_with, travel, unproven};

fn settings(server: &TestServer) -> Result<Settings> {
    Ok(Settings::parse(&server.conninfo("app"), &Environment::default())?)
}

/// Asks in another database than the one that is written to, where recovery cancels conflicting queries.
fn is_paused(server: &TestServer) -> Result<bool> {
    Ok(server.psql("postgres", "SELECT pg_is_wal_replay_paused()")? == "t")
}

/// Waits until the server has resumed the replay.
fn resumed(server: &TestServer) -> Result<()> {
    let began = Instant::now();
    // Recovery that catches up may cancel the question.
    while is_paused(server).unwrap_or(true) {
        ensure!(began.elapsed() < Duration::from_secs(20), "the replay stays paused");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Copies the standby while it is paused, under load; the manifest is of the same position.
fn copied(pair: &Pair, scratch: &Scratch) -> Result<(Manifest, std::path::PathBuf)> {
    let plan = Plan::default().with_mode(Mode::PausedStandby);
    pair.while_writing(|| {
        std::thread::sleep(Duration::from_millis(200));
        let paused = PausedReplay::begin(&settings(&pair.standby)?, plan.limits, &event::ignore)?;
        let snapshot = pair.source()?.begin(&plan, &event::ignore)?;
        // The primary writes on, and the standby receives it: the copy has WAL beyond the position.
        std::thread::sleep(Duration::from_millis(100));
        let data = base_backup(&pair.standby, scratch)?;
        let mut manifest = capture_snapshot(&snapshot, &plan, &event::ignore)?;
        complete(&snapshot, &mut manifest)?;
        assert_eq!(manifest.header.lsn, paused.position());
        paused.end()?;
        resumed(&pair.standby)?;
        Ok((manifest, data))
    })
}

fn restored(
    pair: &Pair,
    scratch: &Scratch,
    data: &std::path::Path,
    manifest: &Manifest,
    to: &[(&str, &str)],
) -> Result<Comparison> {
    let clone = start_clone_with(&pair.primary, scratch, data, to)?;
    travel(&clone, "app", manifest)
}

fn exact(major: u32, loops: u32) -> Result<()> {
    let pair = Pair::new(major, &[])?;
    let (mut exact, mut beyond) = (0, 0);
    for run in 0..loops {
        let scratch = Scratch::create("test")?;
        let (manifest, data) = copied(&pair, &scratch)?;
        let Consistency::PausedStandby(position) = &manifest.header.consistency else {
            anyhow::bail!("mode")
        };
        let target = [
            ("recovery_target_lsn", position.replay_lsn.as_str()),
            ("recovery_target_inclusive", "off"),
            ("recovery_target_action", "pause"),
        ];
        // A run in two is the negative control, which shows that the mode is what makes it exact.
        if run % 2 == 1 {
            let plain = restored(&pair, &scratch, &data, &manifest, &[])?;
            assert_eq!(plain.verdict(), Verdict::Inconclusive, "{major}: {plain:#?}");
            assert!(unproven(&plain)[0].contains("beyond"), "{major}: {plain:#?}");
            beyond += 1;
            continue;
        }
        let comparison = restored(&pair, &scratch, &data, &manifest, &target)?;
        assert_eq!(
            (comparison.verdict(), summary(&comparison)),
            (Verdict::Pass, vec![]),
            "{major}: {comparison:#?}"
        );
        assert_eq!(comparison.coverage().tables, 2);
        exact += 1;
    }
    println!(
        "paused-standby on {major}: {exact} exact, {beyond} of {beyond} plain starts replayed beyond it"
    );
    Ok(())
}

#[test]
fn a_copy_of_a_paused_standby_is_exact_on_13() -> Result<()> {
    exact(13, 2)
}

#[test]
fn a_copy_of_a_paused_standby_is_exact_on_15() -> Result<()> {
    exact(15, loops())
}

#[test]
fn a_copy_of_a_paused_standby_is_exact_on_18() -> Result<()> {
    exact(18, 2)
}

#[test]
fn a_backup_of_a_standby_is_restored_and_a_lost_row_is_found() -> Result<()> {
    let pair = Pair::new(15, &[])?;
    let directory = Scratch::create("test")?;
    let store = Store::open(&directory.path().join("store"))?;
    let provider = LocalProvider {
        store: store.clone(),
        databases: vec![settings(&pair.standby)?],
        point_in_time: None,
        command: None,
    };
    let name = |name: &str| name.parse().map_err(anyhow::Error::msg);
    let request = BackupRequest { name: name("b")?, method: None, plan: Plan::default() };
    pair.while_writing(|| verify_local::backup(&provider, &request, &Watch::silent()))?;
    assert!(!is_paused(&pair.standby)?);
    let restore = |store: &Store| {
        let request = RestoreRequest {
            name: name("b")?,
            plan: Plan::default(),
            objectives: Objectives::default(),
            incident: None,
            keep: false,
        };
        verify_local::restore(store, &request, &Watch::silent())
    };
    let restored = restore(&store)?;
    let comparison = restored.reports[0].comparison();
    assert_eq!((restored.verdict(), summary(comparison)), (Verdict::Pass, vec![]), "{comparison:#?}");
    assert!(restored.reports[0].rpo.is_some());

    // The twin: a page of a table is lost in the stored copy.
    let file = pair.standby.psql("app", "SELECT pg_relation_filepath('accounts')")?;
    let file = store.path().join("b/data").join(file);
    let mut bytes = std::fs::read(&file)?;
    bytes[..8_192].fill(0);
    std::fs::write(&file, bytes)?;
    let restored = restore(&store)?;
    assert_eq!(restored.verdict(), Verdict::Fail, "{:#?}", restored.reports[0].comparison());
    Ok(())
}

#[test]
fn the_replay_is_resumed_whatever_happens_unless_it_was_paused_before() -> Result<()> {
    for major in [13, 15] {
        let pair = Pair::new(major, &[])?;
        let begin = || {
            PausedReplay::begin(&settings(&pair.standby)?, Limits::default(), &event::ignore)
                .map_err(anyhow::Error::from)
        };
        // After an error, which drops it.
        let paused = begin()?;
        assert!(is_paused(&pair.standby)?);
        drop(paused);
        resumed(&pair.standby)?;

        // When our sessions end on the server, whichever of them.
        for which in ["= 'Client'", "= 'Lock'"] {
            let paused = begin()?;
            let ended = format!(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() \
                 AND backend_type = 'client backend' AND wait_event_type {which}"
            );
            assert_eq!(pair.standby.psql("postgres", &ended)?, "1", "{major}");
            if which == "= 'Client'" {
                resumed(&pair.standby)?;
                let error = paused.end().err().context("the copy is of no position")?;
                assert!(error.to_string().contains("was resumed meanwhile"), "{error}");
            } else {
                paused.end()?;
            }
            resumed(&pair.standby)?;
        }

        // Another client had paused it.
        pair.standby.psql("app", "SELECT pg_wal_replay_pause()")?;
        begin()?.end()?;
        drop(begin()?);
        assert!(is_paused(&pair.standby)?);
        pair.standby.psql("app", "SELECT pg_wal_replay_resume()")?;

        // Another client resumes it.
        let paused = begin()?;
        pair.standby.psql("app", "SELECT pg_wal_replay_resume()")?;
        let error = paused.end().err().context("the copy is of no position")?;
        assert!(error.to_string().contains("was resumed meanwhile"), "{error}");
        assert!(!is_paused(&pair.standby)?);

        // Commits on the primary would wait for the standby.
        pair.primary.psql("app", "ALTER DATABASE app SET synchronous_commit = remote_apply")?;
        pair.catch_up()?;
        let error = begin().err().context("refused")?;
        assert!(error.to_string().contains("remote_apply"), "{error}");
        assert!(!is_paused(&pair.standby)?);
        // No standby.
        let primary = PausedReplay::begin(&settings(&pair.primary)?, Limits::default(), &event::ignore);
        assert!(primary.err().context("refused")?.to_string().contains("not a standby"));
        let unpaused = pair.source()?.begin(&Plan::default().with_mode(Mode::PausedStandby), &event::ignore);
        assert!(unpaused.err().context("refused")?.to_string().contains("replay is paused"));
    }
    Ok(())
}

#[test]
fn a_copy_that_ends_before_the_position_or_was_promoted_is_no_pass() -> Result<()> {
    let pair = Pair::new(15, &[])?;
    let scratch = Scratch::create("test")?;
    let (manifest, data) = copied(&pair, &scratch)?;
    let Consistency::PausedStandby(position) = &manifest.header.consistency else { anyhow::bail!("mode") };
    let target = [
        ("recovery_target_lsn", position.replay_lsn.as_str()),
        ("recovery_target_inclusive", "off"),
        ("recovery_target_action", "pause"),
    ];
    let clone = start_clone_with(&pair.primary, &scratch, &data, &target)?;
    // The manifest of a later position: this copy is older.
    let mut later = manifest.clone();
    later.header.consistency =
        Consistency::PausedStandby(verify_core::manifest::Position { replay_lsn: "F/0".to_owned() });
    let older = travel(&clone, "app", &later)?;
    assert_eq!(older.verdict(), Verdict::Fail, "{older:#?}");
    assert!(older.findings().iter().any(|finding| finding.code() == Code::CopyOlder), "{older:#?}");
    crate::time_travel::clone_promote(&clone)?;
    let promoted = travel(&clone, "app", &manifest)?;
    assert_eq!(promoted.verdict(), Verdict::Inconclusive, "{promoted:#?}");
    assert!(unproven(&promoted)[0].contains("left recovery"), "{promoted:#?}");
    Ok(())
}
