//! Game days on a real server: expected damage passes, a fault that does not bite never does, and nothing stays behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::drill::Drill;
use crate::json_schema::validate;
use crate::program::{RunResult, Running};

/// Damage of a restored copy, which `verify` has to name.
const CORRUPT_ROWS: &str = r#"
title: Rows are lost in the restored copy
hypothesis: a restored copy that lacks one row does not pass
steady-state:
  - name: the shop answers
    do: { query: { database: shop, sql: "SELECT count(*) FROM public.accounts" } }
    expect: "20000"
    within: 10s
method:
  - name: capture
    do: { state-lab: [capture, shop, -o, before.manifest] }
    expect: pass
    within: 2m
  - name: back up
    do: { state-lab: [backup, --name, gd, --method, logical, --store, store, shop] }
    expect: pass
    within: 2m
  - name: restore
    do: { state-lab: [restore, --snapshot, gd, --keep, --store, store] }
    expect: pass
    within: 2m
    save: { copy: /conninfo }
  - name: lose a row
    do:
      fault:
        inject: { execute: { database: "${copy}", sql: "INJECTION" } }
        bites: { do: { query: { database: "${copy}", sql: "SELECT count(*) FROM public.accounts" } }, expect: "19999" }
        undo: { nothing: the copy is removed }
    expect: bites
    within: 5s
  - name: verify the copy
    do: { state-lab: [verify, before.manifest, "${copy}"] }
    expect: fail
    within: 2m
rollbacks:
  - name: remove the copy
    do: { state-lab: [cleanup, --store, store] }
    expect: pass
    within: 1m
"#;

/// A fault in the source itself, whose undo must run whatever happens.
const BLOCKED: &str = r#"
title: A table that must not stay
steady-state: []
method:
  - name: block
    do:
      fault:
        inject: { execute: { database: shop, sql: "CREATE TABLE public.broken (a int)" } }
        bites: { do: { query: { database: shop, sql: "SELECT pg_catalog.to_regclass('public.broken') IS NOT NULL" } }, expect: t }
        undo: { execute: { database: shop, sql: "DROP TABLE IF EXISTS public.broken" } }
    expect: bites
    within: 10s
  - name: STEP
    do: ACTION
    expect: EXPECT
    within: WITHIN
rollbacks:
  - name: note it
    do: { execute: { database: shop, sql: "CREATE TABLE IF NOT EXISTS public.rolled_back (a int)" } }
    expect: done
    within: 10s
"#;

struct GameDay {
    drill: Drill,
}

impl GameDay {
    fn new() -> Self {
        let settings =
            [("autovacuum_naptime", "1s"), ("archive_mode", "on"), ("archive_command", "cp %p ../wal/%f")];
        let drill = Drill::with_settings(15, &settings);
        verify_local::server::create_server_dir(&drill.source.directory().join("wal")).unwrap();
        let shop = json!(drill.source.conninfo("shop"));
        let config = format!("[databases.shop]\nconninfo = {shop}\n");
        fs::write(drill.directory().join("state-lab.toml"), config).unwrap();
        Self { drill }
    }

    fn file(&self, text: &str) -> PathBuf {
        let path = self.drill.directory().join("drill.yaml");
        fs::write(&path, text).unwrap();
        path
    }

    fn command(&self, text: &str) -> Command {
        self.file(text);
        // `drill` takes no --store.
        let mut command = self.drill.command(&[]);
        let (program, path) = (command.get_program().to_owned(), self.drill.directory());
        let environment: Vec<_> =
            command.get_envs().map(|(k, v)| (k.to_owned(), v.map(ToOwned::to_owned))).collect();
        command = Command::new(program);
        command.env_clear().current_dir(path);
        command.envs(environment.into_iter().filter_map(|(name, value)| Some((name, value?))));
        let path =
            command.get_envs().find_map(|(name, value)| (name == "PATH").then(|| value?.to_str())).flatten();
        let path = format!("{}:/usr/bin:/bin", path.unwrap_or_default());
        command.env("PATH", path);
        command.args(["drill", "drill.yaml", "--yes", "--output", "json"]);
        command
    }

    fn run(&self, text: &str) -> RunResult {
        crate::program::outcome(&self.command(text).output().unwrap())
    }

    /// The value of a query in `shop`.
    fn value(&self, sql: &str) -> String {
        self.drill.source.psql("shop", sql).unwrap()
    }

    fn exists(&self, table: &str) -> bool {
        self.value(&format!("SELECT to_regclass('public.{table}') IS NOT NULL")) == "t"
    }

    fn journals(&self) -> usize {
        let directory = self.drill.directory().join(".local/state/state-lab/drills");
        fs::read_dir(directory).map_or(0, Iterator::count)
    }
}

/// Results of the steps, by name.
#[track_caller]
fn results(outcome: &RunResult) -> Vec<(String, String)> {
    let document: Value =
        serde_json::from_str(&outcome.out).unwrap_or_else(|error| panic!("{error}: {outcome:?}"));
    validate(&state_lab::document::schema(), &document)
        .unwrap_or_else(|error| panic!("{error}: {outcome:?}"));
    let verdict = verify_evidence::document::stated(&document).unwrap();
    assert_eq!(verify_evidence::document::derived(&document), Ok(Some(verdict)), "{outcome:?}");
    let text = |step: &Value, field: &str| step[field].as_str().unwrap().to_owned();
    let steps = document["steps"].as_array().unwrap();
    steps.iter().map(|step| (text(step, "name"), text(step, "result"))).collect()
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(name, result)| ((*name).to_owned(), (*result).to_owned())).collect()
}

#[test]
fn expected_damage_is_a_pass_and_a_fault_that_was_suppressed_is_inconclusive() {
    let day = GameDay::new();
    let bitten = day.run(&CORRUPT_ROWS.replace("INJECTION", "DELETE FROM public.accounts WHERE id = 42"));
    assert_eq!(bitten.status, Some(0), "{bitten:?}");
    let all = [
        "the shop answers",
        "capture",
        "back up",
        "restore",
        "lose a row",
        "verify the copy",
        "the shop answers",
    ];
    let mut expected: Vec<(&str, &str)> = all.iter().map(|name| (*name, "expected")).collect();
    expected.extend([("undo lose a row", "expected"), ("remove the copy", "expected")]);
    assert_eq!(results(&bitten), pairs(&expected));
    let document: Value = serde_json::from_str(&bitten.out).unwrap();
    let verified = &document["steps"][5]["document"]["comparison"]["findings"][0];
    assert_eq!(verified["rows"]["named"], json!(["id=42"]), "{verified}");
    assert!(day.drill.left().is_empty(), "{:?}", day.drill.left());

    fs::remove_dir_all(day.drill.store()).unwrap();
    fs::remove_file(day.drill.directory().join("before.manifest")).unwrap();
    let suppressed = day.run(&CORRUPT_ROWS.replace("INJECTION", "SELECT 1"));
    assert_eq!(suppressed.status, Some(3), "{suppressed:?}");
    let expected = [("lose a row", "not-bitten"), ("verify the copy", "not-run")];
    assert_eq!(results(&suppressed)[4..6], pairs(&expected));
    assert!(day.drill.left().is_empty() && day.journals() == 0);
}

#[test]
fn a_fault_is_undone_whatever_the_next_step_does() {
    let day = GameDay::new();
    for (action, expect, within, status, result) in [
        ("{ run: [/bin/true] }", "\"0\"", "9s", 0, "expected"),
        ("{ run: [/bin/false] }", "\"0\"", "9s", 1, "unexpected"),
        ("{ run: [/bin/sleep, \"60\"] }", "\"0\"", "1s", 1, "late"),
        ("{ run: [no-such-program] }", "\"0\"", "9s", 3, "unknown"),
        ("{ query: { database: shop, sql: \"SELECT 1\" } }", "\"2\"", "1s", 1, "unexpected"),
        ("{ query: { database: shop, sql: \"SELECT\" } }", "\"2\"", "1s", 1, "unexpected"),
        ("{ query: { database: shop, sql: \"CREATE TABLE x ()\" } }", "\"2\"", "1s", 3, "unknown"),
        ("{ state-lab: [verify, no-such.manifest, shop] }", "pass", "9s", 1, "unexpected"),
        ("{ state-lab: [verify, no-such.manifest, shop] }", "error", "9s", 0, "expected"),
        // There is no heartbeat.
        ("{ state-lab: [heartbeat, status, shop] }", "pass", "9s", 3, "unknown"),
        ("{ state-lab: [heartbeat, status, shop] }", "inconclusive", "9s", 0, "expected"),
        ("{ ask: { question: \"Did the page arrive?\", answer: \"no\" } }", "\"yes\"", "9s", 1, "unexpected"),
    ] {
        let text = BLOCKED.replace("STEP", "then").replace("ACTION", action);
        let text = text.replace("EXPECT", expect).replace("WITHIN", within);
        let outcome = crate::program::outcome(&day.command(&text).arg("--non-interactive").output().unwrap());
        assert_eq!(outcome.status, Some(status), "{action}: {outcome:?}");
        let expected =
            [("block", "expected"), ("then", result), ("undo block", "expected"), ("note it", "expected")];
        assert_eq!(results(&outcome), pairs(&expected), "{action}: {outcome:?}");
        assert!(!day.exists("broken") && day.exists("rolled_back") && day.journals() == 0, "{action}");
    }
}

#[test]
fn a_probe_that_holds_before_the_injection_shows_nothing() {
    let day = GameDay::new();
    day.value("CREATE TABLE public.broken (a int)");
    let outcome = day.run(&waiting("1s"));
    assert_eq!(outcome.status, Some(3), "{outcome:?}");
    // It was not injected, so that it is not undone: the table is somebody else's.
    assert_eq!(results(&outcome)[0].1, "not-bitten");
    assert!(day.exists("broken"));
}

fn waiting(time: &str) -> String {
    let text = BLOCKED.replace("STEP", "wait").replace("ACTION", &format!("{{ wait: {time} }}"));
    text.replace("EXPECT", "done").replace("WITHIN", "10m")
}

#[test]
fn ctrl_c_undoes_faults_and_a_killed_drill_is_rolled_back_by_the_next_one() {
    let day = GameDay::new();
    let begun = |running: &mut Command| {
        let running = Running::start(running);
        let began = Instant::now();
        while !day.exists("broken") {
            assert!(began.elapsed() < Duration::from_secs(60));
            thread::yield_now();
        }
        running
    };
    let interrupted = begun(&mut day.command(&waiting("10m"))).end(Signal::INT);
    assert_eq!(interrupted.status, Some(130), "{interrupted:?}");
    assert!(!day.exists("broken") && day.exists("rolled_back") && day.journals() == 0);

    day.value("DROP TABLE public.rolled_back");
    // Its rollback uses a value that a step saved.
    let saving = waiting("10m").replace(
        "method:\n",
        "method:\n  - { name: save, do: { run: [/bin/echo, rolled_back] }, expect: \"0\", within: 9s, save: { table: stdout } }\n",
    );
    let saving = saving.replace("EXISTS public.rolled_back", "EXISTS public.${table}");
    assert!(saving.contains("${table}") && saving.contains("save: {"));
    let killed = begun(&mut day.command(&saving)).end(Signal::KILL);
    assert_eq!(killed.status, None);
    assert!(day.exists("broken") && day.journals() > 0);
    let next = day.run("title: next\nsteady-state: []\nmethod:\n  - { name: look, do: { run: [/bin/true] }, expect: \"0\", within: 9s }\nrollbacks: []\n");
    assert_eq!(next.status, Some(0), "{next:?}");
    assert_eq!(
        results(&next),
        pairs(&[("undo block", "expected"), ("note it", "expected"), ("look", "expected")])
    );
    assert!(!day.exists("broken") && day.exists("rolled_back") && day.journals() == 0);
}

#[test]
fn without_a_steady_state_nothing_is_done() {
    let day = GameDay::new();
    let outcome =
        day.run(&CORRUPT_ROWS.replace("expect: \"20000\"\n    within: 10s", "expect: \"1\"\n    within: 1s"));
    assert_eq!(outcome.status, Some(3), "{outcome:?}");
    assert_eq!(results(&outcome), pairs(&[("the shop answers", "unexpected")]));
    assert!(!day.drill.store().exists() && day.journals() == 0);
}

#[test]
fn bad_files_are_refused_with_line_and_column_before_anything_is_touched() {
    let day = GameDay::new();
    let good = BLOCKED.replace("STEP", "then").replace("ACTION", "{ run: [/bin/true] }");
    let good = good.replace("EXPECT", "\"0\"").replace("WITHIN", "9s");
    let undo = "        undo: { execute: { database: shop, sql: \"DROP TABLE IF EXISTS public.broken\" } }\n";
    let run = "{ run: [/bin/true] }\n    expect: \"0\"";
    let mut wrong = Vec::new();
    for (from, to, line, reason) in [
        ("title:", "titel:", 2, "titel"),
        ("    expect: bites\n", "", 11, "expect"),
        ("    within: 10s\n  - name: then", "  - name: then", 11, "within"),
        ("rollbacks:", "rollback:", 17, "rollback"),
        (undo, "", 9, "undo"),
        ("expect: \"0\"", "expect: maybe", 13, "exit status"),
        ("expect: bites", "expect: done", 5, "bites"),
        (run, "{ state-lab: [agent] }\n    expect: pass", 13, "must begin with one of"),
        (run, "{ undo: nothing }\n    expect: done", 13, "no fault before it"),
        (run, "{ state-lab: [failover] }\n    expect: pass", 13, "names no `context`"),
        ("within: 9s", "within: soon", 16, "expected a number with a unit"),
        ("name: then", "name: block", 13, "two steps"),
    ] {
        assert!(good.contains(from), "{from}");
        let outcome = day.run(&good.replacen(from, to, 1));
        assert_eq!(outcome.status, Some(2), "{to}: {outcome:?}");
        let place = [format!("line {line}, column"), format!("line {line} column")];
        if !place.iter().any(|place| outcome.err.contains(place)) || !outcome.err.contains(reason) {
            wrong.push(format!("{to}: expected line {line}, {reason}: {}", outcome.err));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let elsewhere = good.replacen("steady-state", "context: elsewhere\nsteady-state", 1);
    let refused = day.run(&elsewhere);
    assert_eq!(refused.status, Some(2), "{refused:?}");
    assert!(
        refused.err.contains("it is for the context \"elsewhere\"") && refused.err.contains("hint:"),
        "{refused:?}"
    );
    assert!(!day.exists("broken") && !day.exists("rolled_back") && day.journals() == 0);
}

/// A game day as it is shipped.
fn shipped(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/gamedays").join(name);
    fs::read_to_string(path).unwrap()
}

#[test]
fn every_game_day_of_deploy_is_read_and_those_of_this_machine_pass_unless_the_fault_is_suppressed() {
    for name in
        ["primary-lost.yaml", "zone-lost.yaml", "store-lost.yaml", "ransom-velero.yaml", "pilot-light.yaml"]
    {
        verify_gameday::file::DrillFile::parse(&shipped(name))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let day = GameDay::new();
    for (name, fault, suppressed) in [
        ("corrupt-rows.yaml", "sql: \"DELETE FROM public.accounts WHERE id = 42\"", "sql: \"SELECT 1\""),
        (
            "bad-migration.yaml",
            "\"DELETE FROM public.gameday_migration WHERE amount > 1000; ALTER",
            "\"ALTER",
        ),
        ("ransom.yaml", "truncate, -s, \"16\"", "stat"),
    ] {
        let archive = day.drill.source.directory().join("wal");
        let text = shipped(name).replace("/var/lib/postgresql/wal", &archive.to_string_lossy());
        let outcome = day.run(&text);
        assert_eq!(outcome.status, Some(0), "{name}: {}", outcome.err);
        assert!(text.contains(fault), "{name}");
        let outcome = day.run(
            &text
                .replace(fault, suppressed)
                .replace("within: 1m", "within: 1s")
                .replace("within: 5m", "within: 4s"),
        );
        assert_eq!(outcome.status, Some(3), "{name}: {}", outcome.err);
        assert!(results(&outcome).iter().any(|(_, result)| result == "not-bitten"), "{name}: {outcome:?}");
        assert!(day.drill.left().is_empty() && day.journals() == 0, "{name}");
    }
    assert!(!day.exists("gameday_migration"));
}

#[test]
fn a_dry_run_does_nothing() {
    let day = GameDay::new();
    let mut command = day.command(&waiting("10m"));
    let outcome = crate::program::outcome(&command.arg("--dry-run").output().unwrap());
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    assert!(
        outcome.out.contains("block: inject: execute on shop: CREATE TABLE public.broken"),
        "{}",
        outcome.out
    );
    assert!(!day.exists("broken") && day.journals() == 0);
}
