//! Restores: round trips under load, damage that is found, and nothing left behind.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::drill::{Drill, list};
use crate::program::RunResult;

const MAJOR: u32 = 15;

fn restore(drill: &Drill) -> RunResult {
    drill.run(&["restore", "--snapshot", "b"])
}

/// The four lines whose form is promised.
fn head(outcome: &RunResult) -> Vec<&str> {
    outcome.out.lines().take(4).collect()
}

fn assert_passed(drill: &Drill, outcome: &RunResult) {
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    let head = head(outcome);
    assert_eq!(head[..2], ["restore_status: success", "integrity_checks: pass"]);
    assert!(head[2].starts_with("rto: ") && head[2].ends_with('s'), "{head:?}");
    assert!(head[3].starts_with("rpo: "), "{head:?}");
    assert_eq!(drill.left(), Vec::<PathBuf>::new());
}

/// Two databases of one server, backed up and restored while both are written to.
fn round_trip(major: u32, method: &str) {
    let drill = Drill::new(major);
    drill.source.psql("postgres", "CREATE DATABASE \"Café 2\" TEMPLATE shop").unwrap();
    let (shop, cafe) = (drill.source.conninfo("shop"), drill.source.conninfo("Café 2"));
    let backed_up = drill.under_load(&["shop", "Café 2"], || {
        drill.beat("shop");
        drill.run(&["backup", "--name", "b", "--method", method, &shop, &cafe])
    });
    assert_eq!(backed_up.status, Some(0), "{backed_up:?}");
    let restored = drill.under_load(&["shop"], || restore(&drill));
    assert_passed(&drill, &restored);
    let reports = list(&drill.store().join("b/reports"));
    assert_eq!(reports.len(), 2);
    // The heartbeat is in one of the dumps only; the capture bounds the other.
    let bound = head(&restored)[3].to_owned();
    assert!(bound.starts_with("rpo: <="), "{bound}");
}

#[test]
fn a_base_backup_of_13_passes() {
    round_trip(13, "physical");
}

#[test]
fn a_base_backup_of_15_passes() {
    round_trip(15, "physical");
}

#[test]
fn a_base_backup_of_18_passes() {
    round_trip(18, "physical");
}

#[test]
fn a_dump_of_13_passes() {
    round_trip(13, "logical");
}

#[test]
fn a_dump_of_15_passes() {
    round_trip(15, "logical");
}

#[test]
fn a_dump_of_18_passes() {
    round_trip(18, "logical");
}

#[test]
fn what_a_killed_restore_leaves_goes_with_the_next() {
    let drill = Drill::new(MAJOR);
    drill.back_up("b", "physical");
    let serving = || drill.left().iter().any(|path| path.join("socket").is_dir());
    let mut run = drill.start(&["restore", "--snapshot", "b"], serving);
    run.kill().unwrap();
    run.wait().unwrap();
    let left = drill.left();
    assert_eq!(left.len(), 1);
    assert_passed(&drill, &restore(&drill));
    assert!(!left[0].exists());
    assert_eq!(servers_below(drill.directory()), Vec::<PathBuf>::new());
}

/// Processes that work below a directory.
fn servers_below(directory: &Path) -> Vec<PathBuf> {
    list(Path::new("/proc"))
        .into_iter()
        .filter(|path| path.join("cwd").read_link().is_ok_and(|cwd| cwd.starts_with(directory)))
        .collect()
}

#[test]
fn an_interrupted_restore_leaves_nothing() {
    let drill = Drill::new(MAJOR);
    drill.back_up("b", "physical");
    let serving = || drill.left().iter().any(|path| path.join("socket").is_dir());
    let mut run = drill.start(&["restore", "--snapshot", "b"], serving);
    crate::drill::signal(&run, rustix::process::Signal::TERM);
    assert_eq!(run.wait().unwrap().code(), Some(130));
    assert_eq!(drill.left(), Vec::<PathBuf>::new());
    assert_eq!(servers_below(drill.directory()), Vec::<PathBuf>::new());
}

#[test]
fn a_changed_manifest_refuses_the_restore() {
    let drill = Drill::new(MAJOR);
    drill.back_up("b", "logical");
    let path = drill.store().join("b/manifests/shop.manifest");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let refused = restore(&drill);
    assert_eq!((refused.status, refused.out.as_str()), (Some(2), "restore_status: failed\n"));
    assert!(refused.err.contains("it is not the one that was written with the backup"), "{}", refused.err);
    assert_eq!(drill.left(), Vec::<PathBuf>::new());
}

/// Backs `shop` up, changes the stored file of its largest table, and restores.
fn damage(change: impl FnOnce(&Path)) -> RunResult {
    let drill = Drill::new(MAJOR);
    // A reader marks rows as committed, which writes whole pages into the WAL, and that would repair the damage.
    drill.source.psql("shop", "CHECKPOINT; VACUUM FREEZE accounts; CHECKPOINT").unwrap();
    drill.back_up("b", "physical");
    let file = drill.source.psql("shop", "SELECT pg_relation_filepath('accounts')").unwrap();
    change(&drill.store().join("b/data").join(file));
    let outcome = restore(&drill);
    assert_eq!(drill.left(), Vec::<PathBuf>::new());
    outcome
}

#[test]
fn a_zeroed_page_in_the_stored_copy_is_found() {
    let failed = damage(|file| {
        let mut bytes = fs::read(file).unwrap();
        bytes[8192..16384].fill(0);
        fs::write(file, bytes).unwrap();
    });
    assert_eq!(failed.status, Some(1), "{failed:?}");
    assert_eq!(head(&failed)[..2], ["restore_status: success", "integrity_checks: fail"]);
    for expected in ["[backup.damaged]", "[row.missing]"] {
        assert!(failed.out.contains(expected), "{expected}: {}", failed.out);
    }
}

#[test]
fn a_cut_file_in_the_stored_copy_is_found() {
    let failed = damage(|file| {
        let whole = fs::metadata(file).unwrap().len();
        fs::File::options().write(true).open(file).unwrap().set_len(whole / 8192 / 2 * 8192).unwrap();
    });
    assert_eq!(failed.status, Some(1), "{failed:?}");
    for expected in ["[backup.damaged]", "[row.missing]"] {
        assert!(failed.out.contains(expected), "{expected}: {}", failed.out);
    }
}

#[test]
fn a_missed_objective_fails_although_the_data_pass() {
    let drill = Drill::new(MAJOR);
    drill.back_up("b", "logical");
    fs::write(drill.directory().join("state-lab.toml"), "[objectives]\nrto = \"1ms\"\n").unwrap();
    let late = restore(&drill);
    assert_eq!(late.status, Some(1), "{late:?}");
    assert_eq!(head(&late)[1], "integrity_checks: pass");
    assert!(late.out.contains("[objective.missed]"), "{}", late.out);
}

#[test]
fn a_kept_server_runs_until_cleanup() {
    let drill = Drill::new(MAJOR);
    drill.back_up("b", "logical");
    let kept = drill.run(&["restore", "--snapshot", "b", "--keep"]);
    assert_eq!(kept.status, Some(0), "{kept:?}");
    assert!(kept.err.contains("psql \"host="), "{}", kept.err);
    assert!(!servers_below(drill.directory()).is_empty());
    let cleaned = drill.run(&["cleanup"]);
    assert!(cleaned.out.starts_with("removed: "), "{cleaned:?}");
    assert_eq!(servers_below(drill.directory()), Vec::<PathBuf>::new());
    assert_eq!(drill.run(&["cleanup"]).out, "nothing was left behind on this machine\n");
}

/// Tests that a copy of files, which has the source's system identifier, is tested where state-lab has started it itself.
#[test]
fn a_self_test_of_a_restore_is_in_its_report() {
    let drill = Drill::new(MAJOR);
    for method in ["physical", "logical"] {
        drill.back_up(method, method);
        let restored = drill.run(&["restore", "--snapshot", method, "--self-test=5", "--output", "json"]);
        assert_eq!(restored.status, Some(0), "{restored:?}");
        let json: serde_json::Value = serde_json::from_str(&restored.out).unwrap();
        let test = &json["reports"][0]["comparison"]["self_test"];
        assert_eq!(test["seed"], 5, "{json}");
        let damages = test["damages"].as_array().unwrap();
        let kinds: Vec<&str> = damages.iter().map(|damage| damage["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["row-lost", "row-added", "row-changed", "index-dropped"]);
        assert!(damages.iter().all(|damage| damage["seen"] == true), "{test}");
        assert_eq!(drill.left(), Vec::<PathBuf>::new());
    }
}

#[test]
fn without_a_heartbeat_the_capture_bounds_the_loss() {
    let drill = Drill::new(MAJOR);
    drill.source.psql("shop", "DROP SCHEMA IF EXISTS state_lab CASCADE").unwrap();
    drill.back_up("b", "physical");
    let incident = jiff::Timestamp::now() + std::time::Duration::from_secs(3_600);
    let restored =
        drill.run(&["restore", "--snapshot", "b", "--incident", &incident.to_string(), "--output", "json"]);
    assert_eq!(restored.status, Some(0), "{restored:?}");
    let json: serde_json::Value = serde_json::from_str(&restored.out).unwrap();
    assert_eq!(json["rpo"]["evidence"], "capture");
    assert_eq!(json["rpo"]["recovered_until"], json["reports"][0]["manifest"]["captured_at"]);
    let until: jiff::Timestamp = json["rpo"]["recovered_until"].as_str().unwrap().parse().unwrap();
    let bound_ms = i128::from(json["rpo"]["at_most_ms"].as_i64().unwrap());
    let error_ms = i128::from(json["rpo"]["clock_error_ms"].as_i64().unwrap());
    let lost_ms = incident.duration_since(until).as_millis();
    // Both clocks are the same one here, so what is added is the error of reading it.
    assert!((lost_ms..=lost_ms + 2 * error_ms + 1).contains(&bound_ms), "{lost_ms} ms: {json:#}");
}

/// Exchanges the base backups of two backups in the store; their records and manifests stay.
fn swap_base_backups(drill: &Drill, from: &str, to: &str) {
    let data = |name: &str| drill.store().join(name).join("data");
    let aside = drill.directory().join("aside");
    fs::rename(data(to), &aside).unwrap();
    fs::rename(data(from), data(to)).unwrap();
    fs::rename(&aside, data(from)).unwrap();
}

#[test]
fn an_older_base_backup_fails_and_its_rpo_is_its_own() {
    let drill = Drill::new(MAJOR);
    drill.back_up("a", "physical");
    drill
        .source
        .psql(
            "shop",
            "INSERT INTO accounts VALUES (20001, 1, 'new'); CREATE TABLE later AS SELECT 1 AS id; CHECKPOINT",
        )
        .unwrap();
    drill.back_up("b", "physical");
    swap_base_backups(&drill, "a", "b");
    let stale = restore(&drill);
    assert_eq!(stale.status, Some(1), "{stale:?}");
    assert_eq!(head(&stale)[..2], ["restore_status: success", "integrity_checks: fail"]);
    assert!(head(&stale)[3].starts_with("rpo: unknown (the copy has no heartbeat "), "{stale:?}");
    let fails = |outcome: &RunResult| -> Vec<String> {
        let lines = outcome.out.lines().filter(|line| line.starts_with("fail: "));
        lines.filter_map(|line| line.rsplit_once(" [")).map(|(_, code)| format!("[{code}")).collect()
    };
    assert_eq!(fails(&stale), ["[copy.older]", "[table.missing]", "[row.missing]"], "{}", stale.out);
    for claim in ["recovered until", "proven", "[table.rewritten]"] {
        assert!(!stale.out.contains(claim), "{claim}: {}", stale.out);
    }
    assert_eq!(drill.left(), Vec::<PathBuf>::new());
    swap_base_backups(&drill, "a", "b");
    let passed = restore(&drill);
    assert_passed(&drill, &passed);
    assert!(passed.out.contains(", by the capture, as of which every row is verified\n"), "{}", passed.out);

    // Where the older copy has a heartbeat, that is how far it reaches.
    drill.beat("shop");
    drill.back_up("c", "physical");
    let beat = drill.source.psql("shop", "SELECT max(written_at) FROM state_lab.heartbeat").unwrap();
    drill.beat("shop");
    drill.back_up("d", "physical");
    swap_base_backups(&drill, "c", "d");
    let stale = drill.run(&["restore", "--snapshot", "d", "--output", "json"]);
    assert_eq!(stale.status, Some(1), "{stale:?}");
    let json: serde_json::Value = serde_json::from_str(&stale.out).unwrap();
    assert_eq!((&json["verdict"], &json["rpo"]["evidence"]), (&"fail".into(), &"heartbeat".into()));
    let until = json["rpo"]["recovered_until"].as_str().unwrap();
    let until = drill.source.psql("shop", &format!("SELECT timestamptz '{until}'")).unwrap();
    assert_eq!(until, beat);
    assert_eq!(json["rpo"], json["reports"][0]["rpo"]);
}

#[test]
fn a_damaged_copy_claims_no_recovery_up_to_its_capture() {
    let drill = Drill::new(MAJOR);
    drill.back_up("b", "logical");
    let incident = (jiff::Timestamp::now() + std::time::Duration::from_secs(60)).to_string();
    let arguments = ["restore", "--snapshot", "b", "--incident", &incident, "--output", "json"];
    let rpo = |outcome: &RunResult| -> serde_json::Value {
        let json: serde_json::Value = serde_json::from_str(&outcome.out).unwrap();
        json["rpo"].clone()
    };
    let passed = drill.run(&arguments);
    assert_eq!((passed.status, &rpo(&passed)["evidence"]), (Some(0), &"capture".into()), "{passed:?}");
    fs::write(
        drill.directory().join("state-lab.toml"),
        "[[invariants]]\nname = 'none'\nsql = 'SELECT 1'\nexpect = 'no-rows'\n",
    )
    .unwrap();
    let failed = drill.run(&arguments);
    assert_eq!((failed.status, rpo(&failed)), (Some(1), serde_json::Value::Null), "{failed:?}");
}

#[test]
fn metrics_have_the_verdict_and_stay_unchanged_without_one() {
    let drill = Drill::new(MAJOR);
    drill.back_up("b", "logical");
    let file = drill.directory().join("restore.prom");
    let path = file.to_str().unwrap();
    let passed = drill.run(&["restore", "--snapshot", "b", "--metrics", path]);
    assert_passed(&drill, &passed);
    let text = fs::read_to_string(&file).unwrap();
    let success = "\nstatelab_verify_last_success_timestamp_seconds{database=\"shop\",backup=\"b\"} ";
    assert!(text.contains(success) && text.ends_with("\n# EOF\n"), "{text}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
    let failed = drill.run(&["restore", "--snapshot", "none", "--metrics", path]);
    assert_eq!(failed.status, Some(2), "{failed:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    let latest = drill.run(&["restore", "--latest"]);
    assert!(latest.status == Some(2) && latest.err.contains("--latest requires Velero"), "{latest:?}");
}

#[test]
fn tablespaces_are_copied_and_never_lead_back_to_the_source_or_the_store() {
    let drill = Drill::new(MAJOR);
    let place = drill.source.directory().join("space = 1");
    verify_local::server::create_server_dir(&place).unwrap();
    let create = format!("CREATE TABLESPACE space LOCATION '{}'", place.display());
    drill.source.psql("shop", &create).unwrap();
    drill.source.psql("shop", "CREATE TABLE far TABLESPACE space AS SELECT 1 AS id").unwrap();
    let oid = drill.source.psql("shop", "SELECT oid FROM pg_tablespace WHERE spcname = 'space'").unwrap();
    drill.back_up("b", "physical");
    let kept = drill.run(&["restore", "--snapshot", "b", "--keep"]);
    assert_eq!(kept.status, Some(0), "{kept:?}");
    let scratch = drill.left().pop().unwrap();
    let link = fs::read_link(scratch.join("data/pg_tblspc").join(&oid)).unwrap();
    assert_eq!(link, scratch.join("tablespaces").join(&oid));
    assert!(drill.run(&["cleanup"]).out.starts_with("removed: "));
    assert!(drill.store().join("b/tablespaces").join(&oid).is_dir());
    assert_eq!(drill.source.psql("shop", "SELECT count(*) FROM far").unwrap(), "1");
}

/// Removes what `gone` chooses from the base backup in the store, and restores.
fn restore_without(drill: &Drill, folder: &str, gone: impl Fn(&str) -> bool) -> RunResult {
    drill.back_up("b", "physical");
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    for path in list(&drill.store().join("b/data").join(folder)).iter().filter(|path| gone(&name(path))) {
        fs::remove_file(path).unwrap();
    }
    let outcome = restore(drill);
    assert_eq!(drill.left(), Vec::<PathBuf>::new());
    outcome
}

/// A foreign key marked valid with an orphan, which no comparison of rows with an equally broken source shows.
#[test]
fn a_violated_constraint_of_the_source_is_a_notice_unless_it_is_newer_than_the_capture() {
    let drill = Drill::new(MAJOR);
    let orphan = "SET session_replication_role = replica; INSERT INTO child VALUES";
    let create = "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent)";
    drill.source.psql("shop", &format!("{create}; {orphan} (1, 7)")).unwrap();
    for method in ["physical", "logical"] {
        drill.back_up(method, method);
        let outcome = drill.run(&["restore", "--snapshot", method]);
        if method == "logical" {
            // pg_restore refuses the foreign key.
            assert_eq!(outcome.status, Some(2), "{outcome:?}");
            continue;
        }
        assert_passed(&drill, &outcome);
        let notice =
            "notice: constraint child_parent_fkey of public.child: 1 row referencing no row of public.parent";
        assert!(outcome.out.contains(notice), "{}", outcome.out);
        assert!(outcome.out.contains("    id=1: parent=7\n"), "{}", outcome.out);
    }
    // Written after the snapshot, and before the copy is complete: the comparison does not see it.
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let ids = (2..).take_while(|_| !done.load(Ordering::SeqCst));
            ids.for_each(|id| drop(drill.source.psql("shop", &format!("{orphan} ({id}, 7)")).unwrap()));
        });
        let shop = drill.source.conninfo("shop");
        let backed_up = drill.run(&["backup", "--name", "newer", "--method", "physical", &shop]);
        done.store(true, Ordering::SeqCst);
        assert_eq!(backed_up.status, Some(0), "{backed_up:?}");
    });
    let newer = drill.run(&["restore", "--snapshot", "newer"]);
    assert_eq!(newer.status, Some(1), "{newer:?}");
    assert!(newer.out.contains("fail: constraint child_parent_fkey of public.child: "), "{}", newer.out);
    assert!(!newer.out.contains("[row."), "{}", newer.out);
}

#[test]
fn missing_wal_is_an_error_and_not_an_endless_wait() {
    let drill = Drill::new(MAJOR);
    let failed = restore_without(&drill, "pg_wal", |name| name.starts_with('0'));
    assert_eq!((failed.status, failed.out.as_str()), (Some(2), "restore_status: failed\n"));
    assert!(failed.err.contains("it waits for the WAL file 0000000"), "{}", failed.err);
    let parsed = verify_local::server::Installation::of_major(MAJOR).unwrap().program("pg_waldump").is_ok();
    assert_eq!(failed.err.contains("WAL parsing failed"), parsed, "{}", failed.err);
}

#[test]
fn without_the_servers_list_the_files_are_not_covered_and_not_damaged() {
    let drill = Drill::new(MAJOR);
    let passed = restore_without(&drill, "", |name| name == "backup_manifest");
    assert_eq!(passed.status, Some(0), "{passed:?}");
    assert!(passed.out.contains("    files of the base backup: the server's list"), "{}", passed.out);
}

#[test]
fn without_the_servers_list_an_index_that_lacks_rows_is_found() {
    // Nothing writes once the backup has begun: pages that it logged would repair the damage.
    let drill = Drill::with_settings(MAJOR, &[("autovacuum", "off")]);
    drill.source.psql("shop", "CHECKPOINT").unwrap();
    let index = drill.source.psql("shop", "SELECT pg_relation_filepath('accounts_pkey')").unwrap();
    let older = fs::read(drill.source.server().data_dir().join(&index)).unwrap();
    drill.source.psql("shop", "INSERT INTO accounts VALUES (20001, 1, 'new'); CHECKPOINT").unwrap();
    drill.back_up("b", "physical");
    let data = drill.store().join("b/data");
    fs::remove_file(data.join("backup_manifest")).unwrap();
    fs::write(data.join(&index), older).unwrap();
    let failed = restore(&drill);
    assert_eq!(failed.status, Some(1), "{failed:?}");
    assert_eq!(head(&failed)[..2], ["restore_status: success", "integrity_checks: fail"]);
    let fails: Vec<&str> = failed.out.lines().filter(|line| line.trim().starts_with("fail: ")).collect();
    // Every row is there: no comparison of rows would have failed.
    let [line] = fails[..] else { panic!("{}", failed.out) };
    let start = "fail: public.accounts_pkey: an index of public.accounts is damaged: ";
    assert!(line.trim().starts_with(start) && line.ends_with("[integrity.damaged]"), "{line}");
    assert_eq!(drill.left(), Vec::<PathBuf>::new());
}

/// Tests that rows of transactions which the copy's WAL does not have are found once the copy is used: a volume of data that is newer
/// than its volume of WAL.
fn newer_data(major: u32) {
    let drill = Drill::with_settings(major, &[("autovacuum", "off")]);
    // Read before the backup, which would log the page otherwise.
    let create = "SET synchronous_commit = on; CREATE TABLE late (id int PRIMARY KEY); INSERT INTO late VALUES (1); VACUUM late; CHECKPOINT";
    drill.source.psql("shop", create).unwrap();
    drill.back_up("b", "physical");
    // Reading the new rows notes in them that their transaction has committed.
    let later = "SET synchronous_commit = on; INSERT INTO late SELECT generate_series(2, 20); SELECT count(*) FROM late; CHECKPOINT";
    drill.source.psql("shop", later).unwrap();
    let table = drill.source.psql("shop", "SELECT pg_relation_filepath('late')").unwrap();
    let data = drill.store().join("b/data");
    fs::remove_file(data.join("backup_manifest")).unwrap();
    fs::copy(drill.source.server().data_dir().join(&table), data.join(&table)).unwrap();

    let without = drill.run(&["restore", "--snapshot", "b", "--skip", "heap,indexes,durability"]);
    assert_eq!(without.status, Some(0), "{without:?}");
    let failed = drill.run(&["restore", "--snapshot", "b", "--skip", "heap,indexes"]);
    assert_eq!(failed.status, Some(1), "{failed:?}");
    let fails: Vec<&str> = failed.out.lines().filter(|line| line.trim().starts_with("fail: ")).collect();
    let late = "fail: public.late: after 10000 transactions, a vacuum and a checkpoint rows are there that were not before: at least 19 \
         [durability.failed]";
    assert_eq!(fails, [late], "{}", failed.out);
    assert!(failed.out.contains("\n    id=20\n"), "{}", failed.out);
    let checks = failed.out.lines().find(|line| line.starts_with("checks: ")).unwrap();
    assert!(checks.contains(", durability "), "{checks}");
    assert_eq!(drill.left(), Vec::<PathBuf>::new());
}

#[test]
fn data_newer_than_wal_are_found_on_13() {
    newer_data(13);
}

#[test]
fn data_newer_than_wal_are_found_on_15() {
    newer_data(15);
}

#[test]
fn data_newer_than_wal_are_found_on_18() {
    newer_data(18);
}
