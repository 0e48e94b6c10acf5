//! `doctor`: on a real server with real backups and restores.

use std::fs;

use serde_json::Value;

use crate::drill::Drill;
use crate::program::{RunResult, run};

#[test]
fn a_store_is_judged_by_its_backups_and_by_the_restores_that_proved_them() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let server = fixtures::server(15).unwrap();
    server.psql("postgres", "CREATE TABLE t AS SELECT i AS id FROM generate_series(1, 9) i").unwrap();
    let store = directory.path().join("store");
    let text = format!(
        "[databases.shop]\nconninfo = \"{}\"\n[backup]\nstore = \"{}\"\n[objectives]\nrpo = \"1h\"\n",
        server.conninfo("postgres"),
        store.display()
    );
    fs::write(directory.path().join("state-lab.toml"), text).unwrap();
    let doctor = |status: i32| {
        let backups = "backup,restore.unproven";
        let outcome = run(directory.path(), &["doctor", "--only", backups, "--output", "json", "-q"]);
        assert_eq!(outcome.status, Some(status), "{outcome:?}");
        let document: Value = serde_json::from_str(&outcome.out).unwrap();
        let schema = state_lab::document::schema();
        crate::json_schema::validate(&schema, &document)
            .unwrap_or_else(|error| panic!("{error}\n{document}"));
        let codes = document["findings"].as_array().unwrap().iter();
        codes.map(|finding| finding["code"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(doctor(1), ["backup.none", "restore.unproven"]);
    assert!(!store.exists(), "to examine creates nothing");
    let ran = |arguments: &[&str]| {
        let outcome = run(directory.path(), &[arguments, &["-q"]].concat());
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
    };
    ran(&["backup", "--name", "one", "--method", "logical", "shop"]);
    assert_eq!(doctor(1), ["restore.unproven"]);
    ran(&["restore", "--snapshot", "one"]);
    assert_eq!(doctor(0), Vec::<String>::new());
    // Without its roles a dump is half a backup.
    let globals = store.join("one/globals.sql");
    fs::rename(&globals, store.join("one/elsewhere")).unwrap();
    assert_eq!(doctor(1), ["backup.globals"]);
    fs::rename(store.join("one/elsewhere"), &globals).unwrap();
    // The backups of another server are none of this one.
    let other = fixtures::TestServer::initdb(
        &fixtures::majors::installation(15).unwrap(),
        &verify_local::server::InitOptions::default(),
        &[],
    )
    .unwrap();
    let database = other.conninfo("postgres");
    let foreign = run(directory.path(), &["doctor", "--only", "backup.none", "--database", &database, "-q"]);
    assert!(foreign.out.contains("no restorable backup is stored [backup.none]"), "{foreign:?}");
    // A manifest that was modified cannot prove anything.
    let manifest = fs::read_dir(store.join("one/manifests")).unwrap().next().unwrap().unwrap().path();
    fs::write(&manifest, "modified").unwrap();
    assert_eq!(doctor(1), ["backup.none", "backup.partial"]);
}

#[test]
fn what_changed_since_a_known_state_is_named_and_no_secret_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let server = fixtures::server(15).unwrap();
    let database = server.conninfo("postgres");
    let command = "ALTER SYSTEM SET restore_command = 'pull --token=s3cret-1 %p'; SELECT pg_reload_conf()";
    server.psql("postgres", command).unwrap();
    let doctor = |flags: &[&str], status: i32| {
        let outcome = run(
            directory.path(),
            &[&["doctor", "--database", &database, "--only", "wal-level", "-q"][..], flags].concat(),
        );
        assert_eq!(outcome.status, Some(status), "{outcome:?}");
        outcome.out
    };
    doctor(&["--save", "good.json"], 0);
    let saved = fs::read_to_string(directory.path().join("good.json")).unwrap();
    assert!(saved.contains("\"max_connections\": \"40\"") && !saved.contains("s3cret"), "{saved}");
    let unchanged = doctor(&["--against", "good.json"], 0);
    assert!(unchanged.contains(": 0 values\n"), "{unchanged}");
    server
        .psql(
            "postgres",
            "ALTER SYSTEM SET restore_command = 'pull --token=s3cret-2 %p'; ALTER SYSTEM SET work_mem = '9MB';
             SELECT pg_reload_conf(); UPDATE pg_extension SET extversion = '9' WHERE extname = 'plpgsql'",
        )
        .unwrap();
    let changed = doctor(&["--against", "good.json"], 1);
    let lines: Vec<&str> = changed.lines().filter(|line| line.contains(" -> ")).map(str::trim).collect();
    assert_eq!(lines.len(), 3, "{changed}");
    assert_eq!(lines[0], "extensions: plpgsql: 1.0 -> 9");
    assert!(
        lines[1].starts_with("settings: restore_command: (hash) ") && !changed.contains("s3cret"),
        "{changed}"
    );
    assert_eq!(lines[2], "settings: work_mem: 4096 -> 9216");
    // A role that sees less cannot say that nothing changed.
    server
        .psql("postgres", "ALTER SYSTEM RESET ALL; SELECT pg_reload_conf(); CREATE ROLE low LOGIN")
        .unwrap();
    let low = database.replace("user=postgres", "user=low");
    let flags = ["doctor", "--database", &low, "--only", "wal-level", "-q", "--against", "good.json"];
    let outcome = run(directory.path(), &flags);
    assert!(outcome.out.contains("settings: not compared: the role may not see all settings"), "{outcome:?}");

    fs::write(directory.path().join("bad.json"), "{}").unwrap();
    for (flags, expected) in [
        (["--against", "bad.json"], "write one with `state-lab doctor --save FILE`"),
        (["--against", "none.json"], "No such file"),
        (["--only", "archiv"], "there is no code \"archiv\""),
    ] {
        let outcome = run(directory.path(), &[&["doctor", "--database", &database][..], &flags].concat());
        assert_eq!(outcome.status, Some(2), "{outcome:?}");
        assert!(outcome.err.contains(expected), "{outcome:?}");
    }
}

#[test]
fn people_read_what_is_wrong_what_it_means_and_what_could_not_be_looked_at() {
    let directory = tempfile::tempdir().unwrap();
    let server = fixtures::server(15).unwrap();
    server
        .psql("postgres", "CREATE ROLE low LOGIN; CREATE SCHEMA cron; CREATE TABLE cron.job (active bool)")
        .unwrap();
    let low = server.conninfo("postgres").replace("user=postgres", "user=low");
    let only = "fsync,synchronous-commit,clone.cron,archive.failing,wal-level";
    let outcome = run(directory.path(), &["doctor", "--database", &low, "--only", only]);
    assert_eq!(outcome.status, Some(1), "{outcome:?}");
    let shown: Vec<&str> = outcome.out.lines().filter(|line| !line.starts_with("skipped: ")).collect();
    insta::assert_snapshot!(shown.join("\n"), @r"
    doctor: fail

    fail: fsync: is off [fsync]
        next restore: After a crash of the machine the data may be damaged beyond repair, and every later backup with them.
        fix: Set fsync = on.
    notice: synchronous_commit: is off [synchronous-commit]
        next restore: A crash loses commits that were acknowledged, up to three times wal_writer_delay.
        fix: Set synchronous_commit = on, and off only in the sessions that can bear the loss.

    not checked:
        clone.cron: the role may not read cron.job
            needs GRANT USAGE ON SCHEMA cron and SELECT ON cron.job

    checks: 1 passed; 1 failure, 1 notice; 1 not checked
    not applicable:
        archive_mode is off: archive.failing
    ");
    assert!(outcome.err.starts_with("examining low@"), "{outcome:?}");
    let silent = run(directory.path(), &["doctor", "-q"]);
    assert_eq!(silent.status, Some(2), "{silent:?}");
}

#[test]
fn a_wal_archive_that_the_command_hides_is_found_by_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let at = tempfile::tempdir().unwrap();
    fs::set_permissions(at.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let archive = at.path().join("archive");
    verify_local::server::create_server_dir(&archive).unwrap();
    let command = format!("sh -c 'cp %p {}/%f'", archive.display());
    let settings = [("archive_mode", "on"), ("archive_command", command.as_str())];
    let installation = fixtures::majors::installation(15).unwrap();
    let server = fixtures::TestServer::start(&installation, &settings).unwrap();
    let switch = "CREATE TABLE IF NOT EXISTS t (a int); INSERT INTO t VALUES (1); SELECT pg_switch_wal()";
    let began = std::time::Instant::now();
    while server.psql("postgres", "SELECT archived_count > 2 FROM pg_stat_archiver").unwrap() != "t" {
        assert!(began.elapsed() < std::time::Duration::from_secs(60));
        server.psql("postgres", &format!("{switch}; SELECT pg_sleep(0.3)")).unwrap();
    }
    let doctor = |status: i32| {
        let database = server.conninfo("postgres");
        let flags = ["doctor", "--database", &database, "--only", "archive.gap,archive.swallows", "-q"];
        let outcome = run(directory.path(), &flags);
        assert_eq!(outcome.status, Some(status), "{outcome:?}");
        outcome.out
    };
    assert!(doctor(3).contains("needs `wal_archive` in [doctor] of the configuration"));
    let config = format!("[doctor]\nwal_archive = \"{}\"\n", archive.display());
    fs::write(directory.path().join("state-lab.toml"), config).unwrap();
    doctor(0);
    let mut files: Vec<_> = fs::read_dir(&archive).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    fs::remove_file(&files[1]).unwrap();
    let missing = files[1].file_name().unwrap().to_str().unwrap();
    let found = doctor(1);
    assert!(found.contains(&format!("lacks 1 file: {missing} [archive.gap]")), "{found}");
}

/// A server on which the doctor finds nothing but perhaps a full disk of this machine, with a backup and a configuration.
fn healthy() -> Drill {
    let settings = [
        ("archive_mode", "on"),
        ("archive_command", "test ! -f ../wal/%f && cp %p ../wal/%f"),
        ("archive_timeout", "60"),
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
    ];
    let drill = Drill::with_settings(15, &settings);
    verify_local::server::create_server_dir(&drill.source.directory().join("wal")).unwrap();
    drill.beat("shop");
    drill.source.psql("shop", "UPDATE state_lab.heartbeat SET interval_ms = 3600000").unwrap();
    drill.back_up("b", "physical");
    let shop = drill.source.conninfo("shop");
    let archive = drill.source.directory().join("wal");
    let text = format!(
        "[databases.shop]\nconninfo = \"{shop}\"\n[doctor]\nwal_archive = \"{}\"\n[evidence]\nstore = 'evidence'\n",
        archive.display()
    );
    fs::write(drill.directory().join("state-lab.toml"), text).unwrap();
    drill
}

/// The document of a run, which passes, is as the schema says, and is stored as evidence whose verdict follows.
fn passed(drill: &Drill, result: &RunResult) -> Value {
    assert_eq!(result.status, Some(0), "{result:?}");
    let document: Value = serde_json::from_str(&result.out).unwrap();
    crate::json_schema::validate(&state_lab::document::schema(), &document)
        .unwrap_or_else(|error| panic!("{error}\n{document}"));
    assert_eq!(document["verdict"], "pass");
    let verified = run(drill.directory(), &["evidence", "verify"]);
    assert!(!verified.out.contains("report.verdict"), "{verified:?}");
    document
}

/// Codes of the doctor's findings in a document, except that of a disk which other tests fill.
fn codes(document: &Value) -> Vec<&str> {
    let findings = document["doctor"]["findings"].as_array().into_iter().flatten();
    findings.filter_map(|finding| finding["code"].as_str()).filter(|code| *code != "disk.full").collect()
}

#[test]
fn a_restore_reports_what_the_doctor_finds_and_its_verdict_is_its_own() {
    let mut drill = healthy();
    let restore = ["restore", "--snapshot", "b", "--output", "json"];
    let good = passed(&drill, &drill.run(&restore));
    assert_eq!((codes(&good), &good["doctor"]["not_checked"]), (vec![], &Value::Null), "{}", good["doctor"]);

    // The server of this machine is the restore side.
    let rename = |from: &str, to: &str| {
        let rename = format!("UPDATE pg_extension SET extname = '{to}' WHERE extname = '{from}'");
        drill.source.psql("shop", &rename).unwrap();
    };
    rename("plpgsql", "postgis_of_tomorrow");
    assert_eq!(codes(&passed(&drill, &drill.run(&restore))), ["side.extension"]);
    rename("postgis_of_tomorrow", "plpgsql");

    drill
        .source
        .psql(
            "shop",
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'accounts_pkey'::regclass;
             INSERT INTO ledger VALUES (9, 1, 1); CREATE UNLOGGED TABLE volatile (a int);
             ALTER SYSTEM SET zero_damaged_pages = on; SELECT pg_reload_conf()",
        )
        .unwrap();
    let bad = passed(&drill, &drill.run(&restore));
    assert_eq!(codes(&bad), ["damage-ignored", "index.invalid", "sequence.behind"], "{}", bad["doctor"]);
    let pages = fs::read_dir(drill.directory().join("evidence")).unwrap().count();
    let page = drill.directory().join(format!("evidence/{pages:06}/report.html"));
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("<h2>Doctor</h2>") && page.contains("<code>index.invalid</code>"), "{page}");
    assert!(bad["doctor"]["more"].as_u64().unwrap() >= 1, "{}", bad["doctor"]);
    let shown = drill.run(&["restore", "--snapshot", "b"]);
    let (report, doctor) = shown.out.split_once("\ndoctor, no part of the verdict:\n").unwrap();
    assert!(report.starts_with("restore_status: success\nintegrity_checks: pass\n"), "{report}");
    assert!(
        doctor.starts_with("fail: zero_damaged_pages: is on [damage-ignored]\n    next restore: "),
        "{doctor}"
    );
    assert!(doctor.contains("`state-lab doctor` lists them\n"), "{doctor}");

    // The source is lost: that is no finding, and no reason to be silent.
    drill.source.server_mut().stop(verify_local::server::Stop::Fast).unwrap();
    let lost = passed(&drill, &drill.run(&restore));
    assert_eq!(codes(&lost), Vec::<&str>::new());
    let line = lost["doctor"]["not_checked"].as_str().unwrap();
    assert!(line.contains(" checks could not be made: failed to examine postgres@"), "{line}");

    // Where no database is configured, the store of backups is examined, and the backup in it is good.
    fs::remove_file(drill.directory().join("state-lab.toml")).unwrap();
    let silent = drill.run(&["restore", "--snapshot", "b"]);
    assert!(silent.status == Some(0) && !silent.out.contains("doctor"), "{silent:?}");
}

#[test]
fn a_drill_reports_what_the_doctor_finds_in_its_database() {
    let drill = healthy();
    let query = r#"{ query: { database: shop, sql: "SELECT 1" } }, expect: "1", within: 9s"#;
    let file =
        format!("title: t\nsteady-state: []\nmethod:\n  - {{ name: q, do: {query} }}\nrollbacks: []\n");
    fs::write(drill.directory().join("drill.yaml"), file).unwrap();
    let examined = |form: &str| run(drill.directory(), &["drill", "drill.yaml", "--yes", "--output", form]);
    let good = passed(&drill, &examined("json"));
    assert_eq!((codes(&good), &good["doctor"]["not_checked"]), (vec![], &Value::Null), "{}", good["doctor"]);
    drill.source.psql("shop", "INSERT INTO ledger VALUES (9, 1, 1)").unwrap();
    let bad = passed(&drill, &examined("json"));
    assert_eq!(codes(&bad), ["sequence.behind"], "{}", bad["doctor"]);
    let shown = examined("text");
    assert!(shown.out.starts_with("verdict: pass\n"), "{shown:?}");
    assert!(shown.out.contains("\n\ndoctor, no part of the verdict:\nfail: "), "{shown:?}");
}

#[test]
fn a_source_that_never_answers_holds_up_no_restore() {
    let drill = healthy();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let text = format!("[databases.shop]\nconninfo = \"host=127.0.0.1 port={port} user=u dbname=shop\"\n");
    fs::write(drill.directory().join("state-lab.toml"), text).unwrap();
    let record = drill.store().join("b/backup.json");
    let mut of_backup: Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    of_backup["databases"][0]["place"] = format!("u@127.0.0.1:{port}/shop").into();
    fs::write(&record, of_backup.to_string()).unwrap();
    let began = std::time::Instant::now();
    let restored = drill.run(&["restore", "--snapshot", "b"]);
    let took = began.elapsed();
    assert!(
        restored.status == Some(0) && took < std::time::Duration::from_secs(30),
        "{took:?}: {restored:?}"
    );
    let line =
        "\nnot checked: no check was made: the examination took longer than 10 s; run `state-lab doctor`\n";
    assert!(restored.out.ends_with(line), "{restored:?}");
}

#[test]
fn stored_reports_are_proof_of_restores_and_a_modified_one_is_found() {
    let drill = healthy();
    let found = || {
        let flags = ["doctor", "--only", "restore.unproven,evidence", "--output", "json", "-q"];
        let document: Value = serde_json::from_str(&run(drill.directory(), &flags).out).unwrap();
        assert_eq!(document["inconclusive"], serde_json::json!([]));
        let findings = document["findings"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        findings.map(|one| format!("{} {}", text(&one["code"]), text(&one["severity"]))).collect::<Vec<_>>()
    };
    let keygen = run(drill.directory(), &["evidence", "keygen", "-o", "k", "--identity", "d@example.com"]);
    fs::write(drill.directory().join("signers"), keygen.out).unwrap();
    let config = drill.directory().join("state-lab.toml");
    let signed = "key = 'k'\nidentity = 'd@example.com'\nsigners = 'signers'\n";
    fs::write(&config, fs::read_to_string(&config).unwrap() + signed).unwrap();
    assert_eq!(found(), ["restore.unproven fail"]);
    assert!(!drill.directory().join("evidence").exists(), "to examine creates nothing");
    assert_eq!(drill.run(&["restore", "--snapshot", "none"]).status, Some(2));
    assert_eq!(found(), ["restore.unproven fail", "restore.unproven notice"]);
    // The reports beside the backup are in a store that this examination does not know.
    assert_eq!(drill.run(&["restore", "--snapshot", "b"]).status, Some(0));
    assert_eq!(found(), Vec::<String>::new());
    let report = drill.directory().join("evidence/000001/report.json");
    let text = fs::read_to_string(&report).unwrap();
    fs::write(&report, text.replace("none", "nine")).unwrap();
    let broken = found();
    assert!(broken.contains(&"evidence.broken fail".to_owned()), "{broken:?}");
    fs::write(&report, text).unwrap();
    fs::remove_file(report.with_extension("json.sig")).unwrap();
    assert_eq!(found(), ["evidence.broken notice"]);
}
