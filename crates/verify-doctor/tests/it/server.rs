//! The checks of a server: settings, archive, slots, objects.

use std::time::{Duration, Instant};

use fixtures::TestServer;
use fixtures::majors::installation;
use verify_core::finding::Verdict;
use verify_core::postgres::heartbeat;
use verify_doctor::{Facts, Missing, Selection, Source, examine};
use verify_local::server::{InitOptions, create_server_dir};

use crate::examined::{connect, examined, facts_of, findings, server, shown};

const MAJOR: u32 = 15;

/// A server as it should be, whose archive is the directory `archive` in its own.
const GOOD: [(&str, &str); 8] = [
    ("fsync", "on"),
    ("full_page_writes", "on"),
    ("synchronous_commit", "on"),
    ("wal_level", "logical"),
    ("archive_mode", "on"),
    ("archive_timeout", "60"),
    ("max_slot_wal_keep_size", "1GB"),
    ("max_logical_replication_workers", "0"),
];

/// A good server with other settings over them, with the heartbeat and a table in its database.
fn start(major: u32, settings: &[(&str, &str)]) -> TestServer {
    let settings = [&GOOD, settings].concat();
    let server = TestServer::start(&installation(major).unwrap(), &settings).unwrap();
    let archive = server.directory().join("archive");
    create_server_dir(&archive).unwrap();
    let absolute = format!(
        "ALTER SYSTEM SET archive_command = 'test ! -f {0}/%f && cp %p {0}/%f'; SELECT pg_reload_conf()",
        archive.display()
    );
    // What the test itself sets is on the command line, and wins.
    server.psql("postgres", &absolute).unwrap();
    let read =
        "SELECT setting <> '' OR source = 'command line' FROM pg_settings WHERE name = 'archive_command'";
    wait(&server, read);
    let mut connection = connect(&server.conninfo("postgres"));
    heartbeat::install(&mut connection).unwrap();
    heartbeat::beat(&mut connection, "test", 3_600_000).unwrap();
    server.psql("postgres", "CREATE TABLE t (id bigserial PRIMARY KEY, a int)").unwrap();
    server
}

/// Writes and archives so many WAL files, or some more.
fn archive(server: &TestServer, files: usize) {
    let mut last = String::new();
    for _ in 0..files {
        last = switch(server);
    }
    wait_switching(server, &mut |server| {
        let archived = format!("SELECT coalesce(last_archived_wal >= '{last}', false) FROM pg_stat_archiver");
        server.psql("postgres", &archived).unwrap() == "t" || {
            last = switch(server);
            false
        }
    });
}

/// Ends a WAL file, which wakes the archiver; returns its name.
fn switch(server: &TestServer) -> String {
    let switch = "INSERT INTO t (a) VALUES (1); SELECT pg_walfile_name(pg_switch_wal())";
    server.psql("postgres", switch).unwrap()
}

/// Asks once a second: an archiver that waits for its next turn, or has not read its settings yet, is woken by more WAL.
fn wait_switching(server: &TestServer, is_done: &mut dyn FnMut(&TestServer) -> bool) {
    let began = Instant::now();
    while !is_done(server) {
        assert!(began.elapsed() < Duration::from_secs(60));
        server.psql("postgres", "SELECT pg_sleep(1)").unwrap();
    }
}

/// Writes WAL until the archiver has come to something.
fn archive_until(server: &TestServer, query: &str) {
    wait_switching(server, &mut |server| {
        server.psql("postgres", query).unwrap() == "t" || {
            switch(server);
            false
        }
    });
}

fn wait(server: &TestServer, until: &str) {
    let began = Instant::now();
    while server.psql("postgres", until).unwrap() != "t" {
        assert!(began.elapsed() < Duration::from_secs(60), "{until}");
    }
}

fn with_rpo(test: &TestServer, rpo: &str) -> Facts {
    let mut facts = facts_of(server(test, "postgres"));
    facts.objectives.rpo = Some(rpo.parse().unwrap());
    facts
}

#[test]
fn a_good_server_is_silent() {
    for major in [13, 15, 18] {
        let test = start(major, &[]);
        archive(&test, 3);
        test.psql(
            "postgres",
            "CREATE INDEX ON t (a); ALTER TABLE t ADD CHECK (a > 0); CREATE SEQUENCE down INCREMENT -1;
             CREATE TABLE d (id int DEFAULT nextval('down')); ALTER SEQUENCE down OWNED BY d.id;
             INSERT INTO d DEFAULT VALUES; CREATE TABLE empty (id serial);
             CREATE TABLE \"x\"\"; DROP TABLE t; --\" (\"id\"\") FROM t; --\" serial);
             CREATE TABLE text (a text COLLATE \"C\" PRIMARY KEY)",
        )
        .unwrap();
        let examination = examined(&with_rpo(&test, "5m"), Source::Server);
        assert_eq!(shown(&examination), Vec::<String>::new(), "{major}");
        assert_eq!(examination.verdict, Verdict::Pass, "{major}");
        // A name is never more than a name.
        assert_eq!(test.psql("postgres", "SELECT to_regclass('public.t')").unwrap(), "t");
        for made in [
            "archive.gap",
            "archive.timeout",
            "archive.swallows",
            "sequence.behind",
            "index.invalid",
            "fsync",
        ] {
            assert!(examination.passed.contains(&made), "{major}: {made}: {examination:?}");
        }
    }
}

#[test]
fn settings_that_lose_data_are_found() {
    let init = InitOptions { checksums: false, ..InitOptions::default() };
    let settings = [
        ("wal_level", "minimal"),
        ("max_wal_senders", "0"),
        ("zero_damaged_pages", "on"),
        ("ignore_checksum_failure", "on"),
    ];
    let test = TestServer::initdb(&installation(MAJOR).unwrap(), &init, &settings).unwrap();
    assert_eq!(
        findings(&test, "postgres"),
        [
            "archive.off: archive_mode: is off",
            "checksums: data_checksums: is off",
            "damage-ignored: ignore_checksum_failure: is on",
            "damage-ignored: zero_damaged_pages: is on",
            "fsync: fsync: is off",
            "full-page-writes: full_page_writes: is off",
            "heartbeat.absent: heartbeat: has never beaten in this database",
            "synchronous-commit: synchronous_commit: is off",
            "wal-level: wal_level: is minimal",
        ]
    );
}

#[test]
fn an_archiver_that_fails_is_found() {
    let test = start(MAJOR, &[("archive_command", "/bin/false")]);
    archive_until(&test, "SELECT failed_count > 0 FROM pg_stat_archiver");
    let facts = facts_of(server(&test, "postgres"));
    let examination = examine(&facts, &only(&["archive.failing", "archive.swallows", "archive.unset"]));
    let found = shown(&examination);
    assert!(
        found.len() == 1
            && found[0].starts_with("archive.failing: archiver: failed on 0000000100000000000000")
            && found[0].contains("; nothing was ever archived"),
        "{found:?}"
    );
    assert_eq!(examination.passed, ["archive.unset", "archive.swallows"]);

    // It is mended, and archives again.
    let test = start(MAJOR, &[]);
    test.psql("postgres", "ALTER SYSTEM SET archive_command = 'false'; SELECT pg_reload_conf()").unwrap();
    archive_until(&test, "SELECT failed_count > 0 FROM pg_stat_archiver");
    let archive_ = test.directory().join("archive");
    test.psql(
        "postgres",
        &format!(
            "ALTER SYSTEM SET archive_command = 'cp %p {}/%f'; SELECT pg_reload_conf()",
            archive_.display()
        ),
    )
    .unwrap();
    archive_until(&test, "SELECT last_archived_time > last_failed_time FROM pg_stat_archiver");
    archive(&test, 1);
    assert_eq!(findings(&test, "postgres"), Vec::<String>::new());
}

#[test]
fn an_archive_without_a_command_is_found() {
    let test = start(MAJOR, &[("archive_command", "")]);
    let found = shown(&examine(&facts_of(server(&test, "postgres")), &only(&["archive"])));
    let expected =
        "archive.unset: archive_command: is empty although archive_mode is on: WAL is kept, and not archived";
    assert_eq!(found, [expected]);
}

#[test]
fn a_command_that_swallows_errors_is_found_and_so_is_what_it_lost() {
    for command in ["cp %p /nowhere/%f; true", "cp %p /nowhere/%f || true", "/bin/true"] {
        let test = start(MAJOR, &[("archive_command", command)]);
        archive_until(&test, "SELECT archived_count > 0 FROM pg_stat_archiver");
        let facts = facts_of(server(&test, "postgres"));
        let found = shown(&examine(&facts, &only(&["archive.swallows", "archive.failing"])));
        assert!(found.len() == 1 && found[0].starts_with("archive.swallows: archive_command: "), "{found:?}");
    }
}

#[test]
fn a_gap_in_the_archive_is_found() {
    let test = start(MAJOR, &[]);
    archive(&test, 5);
    assert_eq!(findings(&test, "postgres"), Vec::<String>::new());
    let directory = test.directory().join("archive");
    let mut files: Vec<String> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.len() == 24)
        .collect();
    files.sort();
    assert!(files.len() >= 5, "{files:?}");
    std::fs::remove_file(directory.join(&files[2])).unwrap();
    std::fs::remove_file(directory.join(files.last().unwrap())).unwrap();
    let place = directory.display();
    assert_eq!(
        findings(&test, "postgres"),
        [
            format!(
                "archive.gap: archive {place}: lacks {}, which the server has archived",
                files.last().unwrap()
            ),
            format!("archive.gap: archive {place}: lacks 1 file: {}", files[2]),
        ]
    );
    // Where nothing says where the archive is, nothing is claimed.
    let mut facts = facts_of(server(&test, "postgres"));
    facts.server.as_mut().unwrap().settings.values.insert("archive_command".into(), "wal-push %p".into());
    facts.server.as_mut().unwrap().archive_files = Err(Missing::unknown("it is not shown", "wal_archive"));
    let examination = examine(&facts, &only(&["archive.gap"]));
    assert_eq!(
        (examination.verdict, examination.inconclusive[0].needs.as_str()),
        (Verdict::Inconclusive, "wal_archive")
    );
}

#[test]
fn an_archive_timeout_longer_than_the_rpo_is_found() {
    let test = start(MAJOR, &[("archive_timeout", "0")]);
    let timeout = |facts: &Facts| shown(&examine(facts, &only(&["archive.timeout"])));
    assert_eq!(
        timeout(&with_rpo(&test, "5m")),
        [
            "archive.timeout: archive_timeout: is 0: a file that is not full is never archived, and the RPO is 5m"
        ]
    );
    let test = start(MAJOR, &[("archive_timeout", "600")]);
    assert_eq!(
        timeout(&with_rpo(&test, "5m")),
        ["archive.timeout: archive_timeout: is 10m, longer than the RPO of 5m"]
    );
    assert_eq!(timeout(&with_rpo(&test, "10m")), Vec::<String>::new());
}

#[test]
fn an_archive_that_may_drop_files_is_found() {
    let configured = |text: &str, command: &str| {
        let test = start(
            MAJOR,
            &[("archive_command", &format!("pgbackrest --stanza=main {command} archive-push %p"))],
        );
        let file = test.directory().join("pgbackrest.conf");
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        let mut facts = facts_of(server(&test, "postgres"));
        if command.is_empty() {
            // Read as the file that the command names.
            let named = format!("pgbackrest --config={} archive-push %p", file.display());
            let test = start(MAJOR, &[("archive_command", &named)]);
            facts = facts_of(server(&test, "postgres"));
        }
        shown(&examine(&facts, &only(&["archive.drops"])))
    };
    let expected = "archive.drops: archive-push-queue-max: is 4GiB: pgBackRest drops WAL that exceeds it, and reports success";
    assert_eq!(
        configured("[global]\nrepo1-cipher-pass=s3cret\narchive-push-queue-max = 4GiB\n", ""),
        [expected]
    );
    assert_eq!(configured("", "--archive-push-queue-max=4GiB"), [expected]);
    assert_eq!(
        configured("[global]\n# archive-push-queue-max=4GiB\nspool-path=/s\n", ""),
        Vec::<String>::new()
    );
}

#[test]
fn slots_that_are_lost_idle_or_without_limit_are_found() {
    let test = start(MAJOR, &[("max_slot_wal_keep_size", "1MB")]);
    test.psql("postgres", "SELECT pg_create_physical_replication_slot('far', true)").unwrap();
    archive(&test, 3);
    test.psql("postgres", "CHECKPOINT").unwrap();
    assert_eq!(findings(&test, "postgres"), ["slot.lost: slot far: is lost: WAL that it needs was removed"]);

    let test = start(MAJOR, &[("max_slot_wal_keep_size", "-1")]);
    assert_eq!(findings(&test, "postgres"), Vec::<String>::new(), "without a slot there is nothing to limit");
    test.psql("postgres", "SELECT pg_create_physical_replication_slot('near', true)").unwrap();
    let found = findings(&test, "postgres");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("slot.idle: slot near: is used by no client and holds back "), "{found:?}");
    assert_eq!(
        found[1],
        "slot.unlimited: max_slot_wal_keep_size: is -1: WAL is kept without limit for the slots near"
    );
}

#[test]
fn an_old_prepared_transaction_is_found() {
    let test = start(MAJOR, &[]);
    test.psql("postgres", "BEGIN; INSERT INTO t (a) VALUES (1); PREPARE TRANSACTION 'order 7'").unwrap();
    let mut facts = facts_of(server(&test, "postgres"));
    assert_eq!(shown(&examine(&facts, &only(&["prepared"]))), Vec::<String>::new());
    facts.server.as_mut().unwrap().read_at += jiff::SignedDuration::from_hours(3);
    assert_eq!(
        shown(&examine(&facts, &only(&["prepared"])))[0].split(" for ").next().unwrap(),
        "prepared.old: prepared transaction order 7: of database postgres has been prepared"
    );
}

#[test]
fn objects_that_a_restore_loses_are_found() {
    let test = start(18, &[]);
    let space = test.directory().join("space");
    create_server_dir(&space).unwrap();
    test.psql("postgres", &format!("CREATE TABLESPACE far LOCATION '{}'", space.display())).unwrap();
    assert_eq!(
        findings(&test, "postgres"),
        [format!(
            "tablespace.elsewhere: tablespace far: is outside the data directory, in {}",
            space.display()
        )]
    );
    test.psql(
        "postgres",
        "DROP TABLESPACE far; CREATE UNLOGGED TABLE \"Sessions\" (id int);
         INSERT INTO t (a) VALUES (-1), (-1); ALTER TABLE t ADD CONSTRAINT positive CHECK (a > 0) NOT VALID;
         ALTER TABLE t ADD CONSTRAINT small CHECK (a < 9) NOT ENFORCED;
         SELECT setval('t_id_seq', 1, true);
         CREATE SEQUENCE down INCREMENT -1; CREATE TABLE d (id int DEFAULT nextval('down'));
         ALTER SEQUENCE down OWNED BY d.id; INSERT INTO d VALUES (-5);",
    )
    .unwrap();
    let failed = test.psql("postgres", "CREATE UNIQUE INDEX CONCURRENTLY twice ON t (a)").unwrap_err();
    assert!(format!("{failed:#}").contains("could not create unique index"), "{failed:#}");
    assert_eq!(
        findings(&test, "postgres"),
        [
            "constraint.not-valid: positive of public.t: is NOT VALID: existing rows were never checked",
            "constraint.not-valid: small of public.t: is NOT ENFORCED: rows are never checked",
            "index.invalid: public.twice: index of public.t is not valid",
            "sequence.behind: public.down: returns -1 next, but public.d.id already holds -5",
            "sequence.behind: public.t_id_seq: returns 2 next, but public.t.id already holds 2",
            "table.unlogged: public.\"Sessions\": is unlogged",
        ]
    );
    // A table that is locked for it may have the index in the making.
    let mut session = connect(&test.conninfo("postgres"));
    session.execute("BEGIN; LOCK TABLE public.t IN SHARE UPDATE EXCLUSIVE MODE").unwrap();
    let examination = examine(&facts_of(server(&test, "postgres")), &only(&["index.invalid"]));
    assert_eq!(examination.verdict, Verdict::Inconclusive);
    assert_eq!(examination.inconclusive[0].object.as_deref(), Some("public.twice"));
}

#[test]
fn a_collation_of_another_version_is_found() {
    for major in [15, 18] {
        let test = start(major, &[]);
        let collation = "SELECT collname FROM pg_collation WHERE collversion IS NOT NULL \
                         AND pg_collation_actual_version(oid) = collversion ORDER BY collprovider DESC, 1 LIMIT 1";
        let collation = test.psql("postgres", collation).unwrap();
        test.psql("postgres", &format!("CREATE TABLE names (a text COLLATE \"{collation}\")")).unwrap();
        assert_eq!(findings(&test, "postgres"), Vec::<String>::new(), "{major}");
        let change = format!("UPDATE pg_collation SET collversion = '0' WHERE collname = '{collation}'");
        test.psql("postgres", &change).unwrap();
        let found = findings(&test, "postgres");
        assert!(found.len() == 1 && found[0].starts_with("collation.drift: "), "{major}: {found:?}");
        test.psql("postgres", "DROP TABLE names; UPDATE pg_database SET datcollversion = '0'").unwrap();
        let found = findings(&test, "postgres");
        let database = test.psql("postgres", "SELECT pg_database_collation_actual_version(oid) IS NOT NULL FROM pg_database WHERE datname = 'postgres'").unwrap();
        assert_eq!(found.len(), usize::from(database == "t"), "{major}: {found:?}");
    }
}

#[test]
fn a_heartbeat_that_stopped_is_found() {
    let test = start(MAJOR, &[]);
    test.psql(
        "postgres",
        "UPDATE state_lab.heartbeat SET interval_ms = 1000, written_at = written_at - interval '1 hour'",
    )
    .unwrap();
    let found = findings(&test, "postgres");
    assert!(
        found.len() == 1 && found[0].starts_with("heartbeat.stale: heartbeat: has not beaten for 1h"),
        "{found:?}"
    );
    test.psql("postgres", "DROP TABLE state_lab.heartbeat").unwrap();
    assert_eq!(
        findings(&test, "postgres"),
        ["heartbeat.absent: heartbeat: has never beaten in this database"]
    );
}

#[test]
fn what_a_clone_would_run_is_found() {
    let test = start(MAJOR, &[]);
    test.psql(
        "postgres",
        "CREATE SUBSCRIPTION feed CONNECTION 'host=nowhere password=s3cret' PUBLICATION p WITH (connect = false, slot_name = 's');
         CREATE SCHEMA cron; CREATE TABLE cron.job (jobid bigserial, schedule text, command text, active bool);
         INSERT INTO cron.job (schedule, command, active) VALUES ('@daily', 'SELECT 1', false);",
    )
    .unwrap();
    assert_eq!(findings(&test, "postgres"), Vec::<String>::new(), "what is disabled does nothing");
    test.psql(
        "postgres",
        "ALTER SUBSCRIPTION feed ENABLE; INSERT INTO cron.job (schedule, command, active) VALUES ('@daily', 's3cret', true);
         CREATE FOREIGN DATA WRAPPER w; CREATE SERVER \"Ledger\" FOREIGN DATA WRAPPER w;",
    )
    .unwrap();
    assert_eq!(
        findings(&test, "postgres"),
        [
            "clone.cron: job 2: is an active job of pg_cron",
            "clone.foreign-server: \"Ledger\" (w): is a foreign server",
            "clone.subscription: feed: is an enabled subscription",
        ]
    );
}

#[test]
fn what_the_role_may_not_read_is_inconclusive_with_the_grant() {
    let test = start(MAJOR, &[]);
    archive(&test, 1);
    test.psql(
        "postgres",
        "CREATE ROLE low LOGIN; CREATE SCHEMA cron; CREATE TABLE cron.job (jobid bigserial, active bool)",
    )
    .unwrap();
    let low = test.conninfo("postgres").replace("user=postgres", "user=low");
    let gathered = verify_doctor::postgres::gather(&mut connect(&low)).unwrap();
    let examination = examined(&facts_of(gathered), Source::Server);
    assert_eq!(examination.verdict, Verdict::Inconclusive);
    let gaps: Vec<String> = examination
        .inconclusive
        .iter()
        .map(|gap| format!("{} {}: {}", gap.code, gap.object.as_deref().unwrap_or("-"), gap.needs))
        .collect();
    assert_eq!(
        gaps,
        [
            "archive.gap -: GRANT pg_read_server_files, and EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text, boolean, boolean)",
            "sequence.behind cron.job_jobid_seq: GRANT pg_read_all_data (PostgreSQL 14 and later), or SELECT on it",
            "sequence.behind public.t_id_seq: GRANT pg_read_all_data (PostgreSQL 14 and later), or SELECT on it",
            "sequence.behind state_lab.heartbeat_id_seq: GRANT pg_read_all_data (PostgreSQL 14 and later), or SELECT on it",
            "heartbeat.absent -: GRANT USAGE ON SCHEMA state_lab and SELECT ON state_lab.heartbeat",
            "heartbeat.stale -: GRANT USAGE ON SCHEMA state_lab and SELECT ON state_lab.heartbeat",
            "clone.cron -: GRANT USAGE ON SCHEMA cron and SELECT ON cron.job",
        ]
    );
    assert_eq!(examination.findings, []);
    // With the grants, there is an answer to everything.
    test.psql(
        "postgres",
        "GRANT EXECUTE ON FUNCTION pg_ls_dir(text, boolean, boolean) TO low; GRANT pg_read_all_data, pg_read_server_files TO low",
    )
    .unwrap();
    let gathered = verify_doctor::postgres::gather(&mut connect(&low)).unwrap();
    let examination = examined(&facts_of(gathered), Source::Server);
    assert_eq!(examination.inconclusive, []);
}

fn only(codes: &[&str]) -> Selection {
    Selection { only: codes.iter().map(|code| (*code).to_owned()).collect(), ..Selection::default() }
}
