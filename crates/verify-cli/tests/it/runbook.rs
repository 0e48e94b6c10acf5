//! docs/runbook.md: each command for this machine is run, in order, and prints what the page says; those for a cluster are read by the real
//! command line.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::drill::{Drill, list};
use crate::program::{Running, outcome, run};

/// A block of commands of the page.
#[derive(Debug)]
struct Block {
    section: String,
    is_for_kubernetes: bool,
    commands: Vec<Promised>,
}

/// A command, and the first lines that it prints.
#[derive(Debug)]
struct Promised {
    command: String,
    lines: Vec<String>,
}

/// A drill that waits with its fault in place.
const WAITING: &str = r#"
title: killed
steady-state: []
method:
  - name: break
    do:
      fault:
        inject: { execute: { database: shop, sql: "CREATE TABLE public.broken (a int)" } }
        bites: { do: { query: { database: shop, sql: "SELECT pg_catalog.to_regclass('public.broken') IS NOT NULL" } }, expect: t }
        undo: { execute: { database: shop, sql: "DROP TABLE IF EXISTS public.broken" } }
    expect: bites
    within: 10s
  - { name: wait, do: { wait: 10m }, expect: done, within: 11m }
rollbacks: []
"#;

fn repository() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn blocks() -> Vec<Block> {
    let page = fs::read_to_string(repository().join("docs/runbook.md")).unwrap();
    let (mut blocks, mut section, mut indent) = (Vec::new(), String::new(), None);
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            heading.clone_into(&mut section);
        }
        let start = line.trim_start();
        match indent {
            Some(_) if start == "```" => indent = None,
            Some(spaces) => {
                let block: &mut Block = blocks.last_mut().unwrap();
                let text = line.get(spaces..).unwrap_or_default();
                match text.strip_prefix("$ ") {
                    Some(command) => {
                        block.commands.push(Promised { command: command.to_owned(), lines: Vec::new() });
                    }
                    None => block.commands.last_mut().unwrap().lines.push(text.to_owned()),
                }
            }
            None if start.starts_with("```") => {
                let kind = start.trim_start_matches('`');
                assert!(["console", "console kubernetes"].contains(&kind), "{section}: a block {kind:?}");
                indent = Some(line.len() - start.len());
                let is_for_kubernetes = kind != "console";
                blocks.push(Block { section: section.clone(), is_for_kubernetes, commands: Vec::new() });
            }
            None => {}
        }
    }
    assert!(indent.is_none(), "a block without an end");
    blocks
}

/// Whether a line is the promised one, in which `…` stands for anything.
fn fits(line: &str, promised: &str) -> bool {
    let mut parts = promised.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

struct OnCall {
    drill: Drill,
}

impl OnCall {
    fn new() -> Self {
        let drill = Drill::new(15);
        for database in ["new", "restored"] {
            let template = if database == "new" { "template0" } else { "shop" };
            drill
                .source
                .psql("postgres", &format!("CREATE DATABASE {database} TEMPLATE {template}"))
                .unwrap();
        }
        let directory = drill.directory();
        let key =
            run(directory, &["evidence", "keygen", "-o", "evidence.key", "--identity", "drills@example.com"]);
        fs::write(directory.join("allowed_signers"), key.out).unwrap();
        let (shop, restored) = (drill.source.conninfo("shop"), drill.source.conninfo("restored"));
        let config = format!(
            "[databases.shop]\nconninfo = \"{shop}\"\n[databases.restored]\nconninfo = \"{restored}\"\n\
             [backup]\nstore = 'store'\n[evidence]\nstore = 'evidence'\nkey = 'evidence.key'\n\
             signers = 'allowed_signers'\nidentity = 'drills@example.com'\n"
        );
        fs::write(directory.join("state-lab.toml"), config).unwrap();
        let new = drill.source.conninfo("new").replace(' ', "\n").replace('\'', "");
        fs::write(directory.join("services"), format!("[new]\n{new}\n")).unwrap();
        fs::copy(repository().join("deploy/gamedays/corrupt-rows.yaml"), directory.join("corrupt-rows.yaml"))
            .unwrap();
        drill.back_up("nightly-001", "physical");
        drill.back_up("nightly-002", "physical");
        let on_call = Self { drill };
        on_call.truncate_backup("nightly-002");
        on_call
            .shell(&["state-lab restore --snapshot nightly-001", "state-lab capture shop -o shop.manifest"]);
        on_call
    }

    /// Cuts the largest file of a backup.
    fn truncate_backup(&self, name: &str) {
        let base = self.drill.store().join(name).join("data/base");
        let files = list(&base).into_iter().flat_map(|directory| list(&directory));
        let largest = files.max_by_key(|file| fs::metadata(file).unwrap().len()).unwrap();
        fs::File::options().write(true).open(largest).unwrap().set_len(8192).unwrap();
    }

    /// Runs commands in one shell. Returns for each what it printed and its status.
    fn shell(&self, commands: &[&str]) -> Vec<(String, i32)> {
        const END: &str = "--end-of-a-command--";
        let mut script = String::new();
        for command in commands {
            script.push_str(&format!("{command}\ns=$?; echo; echo '{END}' $s; (exit $s)\n"));
        }
        let of_drill = self.drill.command(&[]);
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &script]).current_dir(self.drill.directory()).env_clear();
        for (name, value) in of_drill.get_envs() {
            let Some(value) = value else { continue };
            match name.to_str() {
                Some("PATH") => {
                    let program = Path::new(of_drill.get_program()).parent().unwrap();
                    let path = format!("{}:{}:/usr/bin:/bin", program.display(), value.to_str().unwrap());
                    shell.env("PATH", path);
                }
                _ => {
                    shell.env(name, value);
                }
            }
        }
        shell.env("PGSERVICEFILE", self.drill.directory().join("services"));
        let all = outcome(&shell.output().unwrap());
        let (mut results, mut printed) = (Vec::new(), String::new());
        for line in all.out.lines() {
            match line.strip_prefix(END) {
                Some(status) => {
                    results.push((std::mem::take(&mut printed), status.trim().parse().unwrap()));
                }
                None => printed.extend([line, "\n"]),
            }
        }
        assert_eq!(results.len(), commands.len(), "{all:?}");
        results
    }

    /// Runs a block. Returns the promises that were not kept.
    fn broken_promises(&self, block: &Block) -> Vec<String> {
        let commands: Vec<&str> = block.commands.iter().map(|promised| promised.command.as_str()).collect();
        let results = self.shell(&commands);
        let mut broken = Vec::new();
        for (index, (promised, (printed, status))) in block.commands.iter().zip(&results).enumerate() {
            let shows_status = commands.get(index + 1) == Some(&"echo $?");
            let lines: Vec<&str> = printed.lines().collect();
            let is_kept = promised
                .lines
                .iter()
                .enumerate()
                .all(|(number, promised)| lines.get(number).is_some_and(|line| fits(line, promised)));
            if !is_kept || (*status != 0 && !shows_status) {
                broken.push(format!("{}: $ {}\n(exit {status})\n{printed}", block.section, promised.command));
            }
        }
        broken
    }

    /// What has happened before a block is followed.
    fn happen(&self, block: &Block) {
        let shows = |text: &str| block.commands.iter().any(|of| of.lines.iter().any(|line| line == text));
        let directory = self.drill.directory();
        match block.section.as_str() {
            "Rows are missing: which?" => {
                self.drill.source.psql("restored", "DELETE FROM accounts WHERE id IN (42, 4711)").unwrap();
            }
            "Evidence verify fails" if shows("evidence: fail") => {
                let report = directory.join("evidence/000001/report.json");
                let text = fs::read_to_string(&report).unwrap();
                assert!(text.contains("nightly-001"));
                fs::write(report, text.replacen("nightly-001", "nightly-007", 1)).unwrap();
            }
            "A drill was killed" if block.commands.len() == 1 => {
                fs::write(directory.join("waiting.yaml"), WAITING).unwrap();
                let mut command = crate::program::state_lab(directory);
                command.args(["drill", "waiting.yaml", "--yes", "--no-evidence"]);
                let running = Running::start(&mut command);
                let began = Instant::now();
                while !self.is_broken() {
                    assert!(began.elapsed() < Duration::from_secs(60));
                    thread::sleep(Duration::from_millis(10));
                }
                running.end(Signal::KILL);
            }
            _ => {}
        }
    }

    fn is_broken(&self) -> bool {
        self.drill.source.psql("shop", "SELECT to_regclass('public.broken') IS NOT NULL").unwrap() == "t"
    }
}

#[test]
fn every_command_for_this_machine_prints_what_the_page_says() {
    let on_call = OnCall::new();
    let (mut broken, mut commands) = (Vec::new(), 0);
    for block in blocks().iter().filter(|block| !block.is_for_kubernetes) {
        on_call.happen(block);
        let was_broken = on_call.is_broken();
        broken.extend(on_call.broken_promises(block));
        commands += block.commands.len();
        if was_broken && block.commands.len() > 1 {
            assert!(!on_call.is_broken(), "the next drill undoes the fault of the killed one");
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(commands > 20, "{commands}");
    let copied = on_call.drill.source.psql("new", "SELECT count(*) FROM accounts").unwrap();
    assert_eq!(copied, "20000", "the page restores the lost database into the new server");
    assert!(on_call.drill.left().is_empty(), "{:?}", on_call.drill.left());
    // The same block on a damaged backup breaks its promise.
    on_call.truncate_backup("nightly-001");
    let blocks = blocks();
    let good =
        blocks.iter().find(|block| block.commands[0].command == "state-lab restore --snapshot nightly-001");
    assert_eq!(on_call.broken_promises(good.unwrap()).len(), 1);
}

#[test]
fn every_command_for_a_cluster_is_one_that_exists() {
    let directory = tempfile::tempdir().unwrap();
    let is_read = |command: &str| {
        let arguments: Vec<&str> = command.split(' ').skip(1).chain(["--help"]).collect();
        run(directory.path(), &arguments).status == Some(0)
    };
    let manifests: String = list(&repository().join("deploy/nightly"))
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let blocks = blocks();
    let commands: Vec<&str> = blocks
        .iter()
        .filter(|block| block.is_for_kubernetes)
        .flat_map(|block| &block.commands)
        .map(|promised| promised.command.as_str())
        .collect();
    assert!(commands.len() > 5, "{commands:?}");
    for command in commands {
        if command.starts_with("state-lab ") {
            assert!(is_read(command), "{command}");
            assert!(!is_read(&command.replace("--context", "--contxt")), "{command}");
            continue;
        }
        assert!(command.starts_with("kubectl -n state-lab "), "{command}");
        assert!(manifests.contains("name: state-lab\n"), "the namespace");
        if let Some((_, name)) = command.split_once("cronjob/") {
            let name = name.split(' ').next().unwrap();
            assert!(
                manifests
                    .contains(&format!("kind: CronJob\nmetadata: {{name: {name}, namespace: state-lab}}"))
            );
        }
    }
}

#[test]
fn a_promised_line_fits_only_what_it_says() {
    for (line, promised, expected) in [
        ("rto: 2.3s", "rto: …", true),
        ("rpo: 2.3s", "rto: …", false),
        ("pass", "pass", true),
        ("pass?", "pass", false),
        ("shop, cluster 7: 1 run", "shop, …: 1 run", true),
        ("shop, cluster 7: 2 runs", "shop, …: 1 run", false),
    ] {
        assert_eq!(fits(line, promised), expected, "{line} {promised}");
    }
}
