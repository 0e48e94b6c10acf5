//! The file systems of a server on this machine.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fixtures::majors::installation;
use fixtures::{Stop, TestServer};
use verify_core::finding::Verdict;
use verify_doctor::facts::{FileSystem, Machine};
use verify_doctor::{Fact, Facts, Missing, Source};

use crate::examined::{examined, facts_of, server, shown};

const MAJOR: u32 = 15;

fn look(test: &TestServer) -> (Facts, Fact<Machine>) {
    let gathered = server(test, "postgres");
    let machine =
        Machine::look(gathered.settings.get("data_directory").unwrap(), &gathered.system_identifier);
    (facts_of(gathered), machine)
}

fn findings(facts: Facts, machine: Machine) -> Vec<String> {
    shown(&examined(&Facts { machine: Ok(machine), ..facts }, Source::Machine))
}

/// A file system that is half full.
fn system(directory: &str, device: u64) -> FileSystem {
    let directory = PathBuf::from(directory);
    FileSystem { directory, device, network: None, used_bytes: 50, total_bytes: 100 }
}

#[test]
fn a_server_of_this_machine_is_looked_at_and_another_s_directory_is_not() {
    let test = fixtures::server(MAJOR).unwrap();
    let (facts, machine) = look(&test);
    let machine = machine.unwrap();
    assert_eq!((machine.data.device, machine.data.network), (machine.wal.device, None));
    assert!(machine.data.total_bytes > machine.data.used_bytes && machine.data.used_bytes > 0, "{machine:?}");
    let named = |file_system: FileSystem| FileSystem { used_bytes: 0, ..file_system };
    let machine = Machine { data: named(machine.data), wal: named(machine.wal) };
    assert_eq!(findings(facts, machine), Vec::<String>::new());

    let gathered = server(&test, "postgres");
    let directory = gathered.settings.get("data_directory").unwrap().to_owned();
    for (directory, identifier, expected) in [
        (directory.as_str(), Ok(1), "of this machine is another server's"),
        ("/nowhere", gathered.system_identifier.clone(), "is not readable here"),
    ] {
        let Err(Missing::Unknown { reason, needs }) = Machine::look(directory, &identifier) else { panic!() };
        assert!(reason.contains(expected) && needs.contains("on the server's machine"), "{reason}: {needs}");
    }
    // Without the right to read the identifier, the right is named.
    let missing = Missing::unknown("no", "GRANT");
    assert_eq!(Machine::look(&directory, &Err(missing.clone())), Err(missing));
}

#[test]
fn wal_on_a_file_system_of_its_own_is_found() {
    let mut test = TestServer::start(&installation(MAJOR).unwrap(), &[]).unwrap();
    let device = |path: &Path| std::fs::metadata(path).unwrap().dev();
    let is_other = |path: &&str| device(Path::new(path)) != device(&std::env::temp_dir());
    let elsewhere = ["/dev/shm", "/var/tmp"].into_iter().find(is_other).expect("another file system");
    let other = tempfile::Builder::new().prefix("state-lab-wal-").tempdir_in(elsewhere).unwrap();
    let run = |arguments: &[&str]| {
        let status = std::process::Command::new(arguments[0]).args(&arguments[1..]).status().unwrap();
        assert!(status.success(), "{arguments:?}");
    };
    test.restart_after(Stop::Fast, |data: &Path| {
        let (from, to) = (data.join("pg_wal"), other.path().join("wal"));
        run(&["chmod", "755", other.path().to_str().unwrap()]);
        run(&["cp", "-a", from.to_str().unwrap(), to.to_str().unwrap()]);
        run(&["rm", "-r", from.to_str().unwrap()]);
        run(&["ln", "-s", to.to_str().unwrap(), from.to_str().unwrap()]);
        Ok(())
    })
    .unwrap();
    let (facts, machine) = look(&test);
    let found = shown(&examined(&Facts { machine, ..facts }, Source::Machine));
    let wal = other.path().join("wal");
    assert!(
        found
            .iter()
            .any(|found| found.starts_with(&format!("wal.elsewhere: {}: wal is on another", wal.display()))),
        "{found:?}"
    );
}

#[test]
fn full_disks_and_network_file_systems_are_found() {
    let test = fixtures::server(MAJOR).unwrap();
    let (facts, _) = look(&test);
    let found = |data: FileSystem, wal: FileSystem| findings(facts.clone(), Machine { data, wal });
    assert_eq!(found(system("/d", 1), system("/d/pg_wal", 1)), Vec::<String>::new());
    let full = FileSystem { used_bytes: 71, ..system("/d", 1) };
    let at_limit = FileSystem { used_bytes: 70, ..system("/d", 1) };
    assert_eq!(found(at_limit, system("/d/pg_wal", 1)), Vec::<String>::new());
    let expected = ["disk.full: /d: its file system is 71 % full"];
    assert_eq!(found(full.clone(), FileSystem { directory: "/d/pg_wal".into(), ..full }), expected);
    let nfs = |file_system| FileSystem { network: Some("nfs"), ..file_system };
    assert_eq!(
        found(nfs(system("/d", 1)), nfs(system("/d/pg_wal", 1))),
        [
            "data.network: /d: is on a network file system (nfs)",
            "wal.network: /d/pg_wal: is on a network file system (nfs)",
        ]
    );
    let examination = examined(
        &Facts { machine: Ok(Machine { data: nfs(system("/d", 1)), wal: system("/w", 1) }), ..facts },
        Source::Machine,
    );
    assert_eq!(examination.verdict, Verdict::Pass, "it is a notice");
}
