//! A copy of an unknown point in time: what is equal is verified, what time may explain is no failure, damage is.

use anyhow::{Context, Result};
use fixtures::TestServer;
use verify_core::capture::capture;
use verify_core::compare::Comparison;
use verify_core::event;
use verify_core::finding::{Code, Finding, Severity, Verdict};
use verify_core::manifest::Manifest;
use verify_core::plan::Plan;
use verify_core::verify::verify;

use crate::measure::{postgres, summary};
use crate::standby::{LOAD, SCHEMA, loops};

fn bounded(server: &TestServer, manifest: &Manifest) -> Result<Comparison> {
    let plan = Plan::default().of_unknown_instant();
    Ok(verify(manifest, &postgres(server, "restored")?, &plan, &event::ignore)?)
}

#[test]
fn a_copy_of_an_unknown_time_neither_passes_nor_fails_and_damage_fails() -> Result<()> {
    let server = fixtures::server(15)?;
    server.create_database("app")?;
    server.psql("app", SCHEMA)?;
    server.psql(
        "app",
        "CREATE TABLE fixed (id int PRIMARY KEY); INSERT INTO fixed SELECT generate_series(1, 100)",
    )?;
    let (mut inconclusive, mut alarms) = (0, 0);
    for run in 0..loops() {
        // Before the manifest, or after it.
        let copy = || server.copy_database("app", "restored");
        let load = || server.psql("app", LOAD);
        let manifest = if run % 2 == 0 {
            copy()?;
            load()?;
            capture(&postgres(&server, "app")?, &Plan::default(), &event::ignore)?
        } else {
            let manifest = capture(&postgres(&server, "app")?, &Plan::default(), &event::ignore)?;
            load()?;
            copy()?;
            manifest
        };
        let comparison = bounded(&server, &manifest)?;
        assert_eq!(comparison.verdict(), Verdict::Inconclusive, "{comparison:#?}");
        let changed = comparison.findings().iter().find(|finding| finding.code() == Code::RowChanged);
        let changed = changed.with_context(|| format!("rows by key: {comparison:#?}"))?;
        assert_eq!(
            (changed.object.as_str(), changed.severity()),
            ("public.accounts", Severity::Inconclusive)
        );
        assert!(
            changed.rows.as_ref().is_some_and(|rows| rows.at_least > 0 && rows.named[0].starts_with("id="))
        );
        assert_eq!(comparison.coverage().tables, 4);
        inconclusive += 1;

        // The control: taken for a copy of the manifest's snapshot, it is a false alarm.
        let taken = verify(&manifest, &postgres(&server, "restored")?, &Plan::default(), &event::ignore)?;
        assert_eq!(taken.verdict(), Verdict::Fail);
        alarms += 1;
    }
    println!("bounded: {inconclusive} inconclusive, {alarms} of {alarms} false alarms without it");

    let manifest = capture(&postgres(&server, "app")?, &Plan::default(), &event::ignore)?;
    server.copy_database("app", "restored")?;
    // Equal in all, and still no pass.
    let equal = bounded(&server, &manifest)?;
    assert_eq!(
        (equal.verdict(), summary(&equal)),
        (Verdict::Inconclusive, vec!["snapshot.unproven snapshot".to_owned()])
    );
    // What no point in time explains.
    server.psql("restored", "SELECT setval('ledger_id_seq', 1)")?;
    let damaged = bounded(&server, &manifest)?;
    let failed: Vec<Code> = damaged
        .findings()
        .iter()
        .filter(|finding| finding.severity() == Severity::Fail)
        .map(Finding::code)
        .collect();
    assert_eq!((damaged.verdict(), failed), (Verdict::Fail, vec![Code::SequenceCollides]), "{damaged:#?}");
    // A page that the server cannot read.
    let file = server.psql("restored", "CHECKPOINT; SELECT pg_relation_filepath('fixed')")?;
    let file = server.server().data_dir().join(file);
    let mut server = server;
    server.restart_after(fixtures::Stop::Fast, |_| {
        let mut bytes = std::fs::read(&file)?;
        bytes[12..24].fill(0xff);
        Ok(std::fs::write(&file, bytes)?)
    })?;
    let damaged = bounded(&server, &manifest)?;
    assert!(
        damaged
            .findings()
            .iter()
            .any(|finding| finding.code() == Code::TableDamaged && finding.severity() == Severity::Fail),
        "{damaged:#?}"
    );
    Ok(())
}
