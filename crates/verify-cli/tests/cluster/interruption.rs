//! Runs that are stopped, and runs that die, in the middle: what they made goes, at once or with the next run.

use std::time::{Duration, Instant};

use crate::support::{Database, Leftovers, StateLab, kubectl, patiently, tried};

const BACKUP_STEPS: [&str; 3] =
    ["starting a pod beside", "fixing an instant of", "asking Velero for the backup"];
const RESTORE_STEPS: [&str; 4] =
    ["making a namespace", "asking Velero to fill the volume", "recovering the copy", "comparing every row"];

/// Ends once the sources' sessions are gone.
fn await_no_sessions(database: &Database, seconds: u64) {
    // Ours, whatever they call themselves: they come from neither the writer nor the pod itself.
    let ours = "select count(*) from pg_stat_activity where backend_type in ('client backend', 'walsender') \
                and client_addr is not null and query not like '%writes%' and application_name <> 'psql'";
    patiently(seconds, "the end of the sessions of the agent", || (database.sql(ours) == "0").then_some(()));
}

#[test]
fn a_backup_that_is_interrupted_leaves_nothing() {
    let Some(database) = Database::shared("a_backup_that_is_interrupted") else { return };
    let before = Leftovers::before();
    for step in BACKUP_STEPS {
        let name = database.new_name();
        let mut backup = database.state_lab.start(&["backup", "--name", &name, "--method", "csi"]);
        backup.await_told(step);
        backup.interrupt();
        backup.end().expect(130, "backup_status: failed", &["stopping", "interrupted"]);
        before.expect_none();
        await_no_sessions(&database, 10);
    }
    // While Velero is at it, which deletes no backup before it has ended it. The name is free again each time.
    let name = database.new_name();
    for method in ["csi", "csi-move", "fs"] {
        let mut backup = database.state_lab.start(&["backup", "--name", &name, "--method", method]);
        backup.await_told(BACKUP_STEPS[2]);
        let phase = ["get", "-n", "velero", "backups.velero.io", &name, "-o", "jsonpath={.status.phase}"];
        patiently(60, "Velero's beginning", || (tried(&phase).ok()? == "InProgress").then_some(()));
        backup.interrupt();
        backup.end().expect(130, "backup_status: failed", &["stopping", "interrupted"]);
        before.expect_none();
        assert!(tried(&phase).is_err(), "{name} is still there");
    }
    database.try_backup(&name, "csi").expect_pass();
}

#[test]
fn a_restore_that_is_interrupted_leaves_nothing() {
    let Some(database) = Database::shared("a_restore_that_is_interrupted") else { return };
    let name = database.shared_backup("csi");
    let before = Leftovers::before();
    for step in RESTORE_STEPS {
        let mut restore = database.state_lab.start(&["restore", "--snapshot", &name]);
        restore.await_told(step);
        restore.interrupt();
        restore.end().expect(130, "restore_status: failed", &["stopping", "interrupted"]);
        before.expect_none();
    }
    database.restore(&name).expect_pass();
}

#[test]
fn what_killed_runs_left_goes_once_their_leases_are_over() {
    let Some(database) = Database::shared("what_killed_runs_left") else { return };
    let name = database.shared_backup("csi");
    let before = Leftovers::before();
    let kill_at = |arguments: &[&str], step: &str| {
        let mut run = database.state_lab.start(arguments);
        run.await_told(step);
        run.kill();
    };
    for step in BACKUP_STEPS {
        kill_at(&["backup", "--name", &database.new_name(), "--method", "csi"], step);
    }
    for step in [RESTORE_STEPS[1], RESTORE_STEPS[3]] {
        kill_at(&["restore", "--snapshot", &name], step);
    }
    let killed_at = Instant::now();
    let left = before.await_some();
    assert!(left.iter().any(|object| object.starts_with("Namespace ")), "{left:?}");
    // A run that is at work keeps what it has, and whoever looks now cannot tell that these are not.
    database.restore(&name).expect_pass();
    assert!(left.is_subset(&before.await_some()), "somebody removed what may be at work");
    await_no_sessions(&database, 90);
    std::thread::sleep(Duration::from_secs(100).saturating_sub(killed_at.elapsed()));
    let cleaned = database.state_lab.run(&["cleanup"]);
    assert!(
        cleaned.code == Some(0) && cleaned.stdout.contains("removed: Namespace state-lab-"),
        "{}",
        cleaned.told()
    );
    before.expect_none();
    database.restore(&name).expect_pass();
}

#[test]
fn an_agent_whose_pod_is_killed_is_named_with_the_reason() {
    let Some(database) = Database::shared("an_agent_whose_pod_is_killed") else { return };
    let before = Leftovers::before();
    let mut backup = database.state_lab.start(&["backup", "--name", &database.new_name(), "--method", "csi"]);
    backup.await_told("asking Velero for the backup");
    let selector = "--selector=app.kubernetes.io/managed-by=state-lab";
    let pod = kubectl(&["get", "pods", "-n", &database.namespace, selector, "-o", "name"]);
    // It ends every process of the container but the first.
    let _ = tried(&["exec", "-n", &database.namespace, &pod, "--", "sh", "-c", "kill -9 -1"]);
    let of_pod = format!("in the pod {}", pod.trim_start_matches("pod/"));
    backup.end().expect(2, "backup_status: failed", &[&of_pod, "exit code 137", "hint: it was killed"]);
    before.expect_none();
    let limits = "[velero.resources]\nlimits = { memory = \"8Mi\" }\n";
    let limited = StateLab::new(&format!("{}{limits}", database.settings));
    let killed = limited.run(&["backup", "--name", &database.new_name(), "--method", "csi"]);
    killed.expect(2, "backup_status: failed", &["OOMKilled", "hint: raise or leave out `limits` of memory"]);
    before.expect_none();
}
