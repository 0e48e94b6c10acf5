//! Snapshots of the server's volume that a command takes while nobody can write.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::drill::{Drill, list};
use crate::program::{Running, outcome, state_lab};

/// Stops all processes of the server, which a storage system has no need to, and copies its files: those that a crash leaves.
const SNAPSHOT: &str = r#"
PATH=/usr/bin:/bin
postmaster=$(head -n 1 "$1/postmaster.pid")
kill -STOP "$postmaster"
children=$(cat "/proc/$postmaster/task/$postmaster/children")
kill -STOP $children
sleep 0.1
cp -a "$1" "$2"
copied=$?
kill -CONT $children "$postmaster"
exit $copied
"#;

/// A source, with commands that take its snapshots and restore them.
fn drill() -> Drill {
    let drill = Drill::new(15);
    let script = drill.directory().join("snapshot.sh");
    fs::write(&script, SNAPSHOT).unwrap();
    let data = drill.source.server().data_dir().display();
    let (script, home) = (script.display(), drill.directory().display());
    configure(
        &drill,
        &format!(
            "snapshot = ['/bin/sh', '{script}', '{data}', '{home}/{{backup}}']\n\
             restore = ['cp', '-a', '{home}/{{backup}}/.', '{{directory}}']\n"
        ),
    );
    drill
}

fn configure(drill: &Drill, commands: &str) {
    fs::write(drill.directory().join("state-lab.toml"), format!("[tools.command]\n{commands}")).unwrap();
}

fn back_up(drill: &Drill, name: &str) -> Command {
    let shop = drill.source.conninfo("shop");
    drill.command(&["backup", "--name", name, "--method", "snapshot", &shop])
}

/// Writes to a table that a fence would keep the writer out of.
fn write(drill: &Drill) {
    drill.source.psql("shop", "SET lock_timeout = '5s'; INSERT INTO ledger (account) VALUES (1)").unwrap();
}

/// Waits until the fence stands.
fn fenced(drill: &Drill) {
    let locked =
        "SELECT count(*) FROM pg_locks WHERE mode = 'ShareLock' AND granted AND locktype = 'relation'";
    let deadline = Instant::now() + Duration::from_secs(30);
    while drill.source.psql("shop", locked).unwrap() == "0" {
        assert!(Instant::now() < deadline, "it does not stand");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_snapshot_that_is_taken_under_load_is_proven() {
    let drill = drill();
    let taken = drill.under_load(&["shop"], || {
        std::thread::sleep(Duration::from_millis(200));
        outcome(&back_up(&drill, "monday").output().unwrap())
    });
    assert_eq!(taken.status, Some(0), "{taken:?}");
    assert!(taken.out.contains("method: volume snapshot"), "{}", taken.out);
    write(&drill);
    let manifests = list(&drill.store().join("monday/manifests"));
    let [manifest] = manifests.as_slice() else { panic!("{manifests:?}") };
    let mut restore = state_lab(drill.directory());
    restore.env("TMPDIR", drill.directory()).env("PATH", std::env::var_os("PATH").unwrap());
    restore.args(["restore", "--with", "command", "--snapshot", "monday", "--manifest"]).arg(manifest);
    let restored = outcome(&restore.output().unwrap());
    assert_eq!(restored.status, Some(0), "{restored:?}");
    assert!(restored.out.contains("consistency fence\n"), "{}", restored.out);
    assert_eq!(drill.left(), Vec::<PathBuf>::new());

    let refused = drill.run(&["restore", "--snapshot", "monday"]);
    assert_eq!(refused.status, Some(2), "{refused:?}");
    assert!(
        refused.err.contains("hint: state-lab restore --with command --snapshot monday --manifest "),
        "{}",
        refused.err
    );
}

#[test]
fn writers_go_on_when_the_command_fails_or_hangs_or_state_lab_is_killed() {
    let drill = drill();
    let restore = "restore = ['false']";
    configure(
        &drill,
        &format!("snapshot = ['/bin/sh', '-c', 'echo the pool is full >&2; exit 3']\n{restore}"),
    );
    let failed = outcome(&back_up(&drill, "a").output().unwrap());
    assert_eq!(failed.status, Some(2), "{failed:?}");
    assert!(failed.err.contains("the pool is full"), "{}", failed.err);
    write(&drill);

    configure(&drill, &format!("snapshot = ['/bin/sleep', '30']\n{restore}"));
    let killed = Running::start(&mut back_up(&drill, "a"));
    fenced(&drill);
    assert_eq!(killed.end(Signal::KILL).status, None);
    write(&drill);

    let hung = Running::start(&mut back_up(&drill, "a"));
    fenced(&drill);
    let hung = hung.outcome();
    assert_eq!(hung.status, Some(2), "{hung:?}");
    assert!(hung.err.contains("did not end within 10 s") && hung.err.contains("hint: "), "{}", hung.err);
    write(&drill);

    configure(&drill, restore);
    let lacking = outcome(&back_up(&drill, "a").output().unwrap());
    assert_eq!(lacking.status, Some(2), "{lacking:?}");
    assert!(
        lacking.err.contains("has no command") && lacking.err.contains("[tools.command]"),
        "{}",
        lacking.err
    );
    assert_eq!(drill.left(), Vec::<PathBuf>::new());
}
