//! Writers at the same time, and writers that are killed.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use verify_core::finding::Verdict;
use verify_drill::store::Folder;
use verify_evidence::chain::{Signer, append};
use verify_evidence::entry::{entries, folder};
use verify_evidence::key::SigningKey;
use verify_evidence::problem::Code;
use verify_evidence::signers::Signers;
use verify_evidence::verify::{Verification, verify};

use crate::samples::{IDENTITY, document, lost_rows, run};

/// Variables that make [`writer`] write: directory, name, number of reports.
const VARIABLES: [&str; 3] = ["EVIDENCE_TEST_DIRECTORY", "EVIDENCE_TEST_NAME", "EVIDENCE_TEST_REPORTS"];

/// A directory with a key, and a store in it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let generated = SigningKey::generate("").unwrap();
        std::fs::write(directory.path().join("key"), generated.file.reveal()).unwrap();
        Self(directory)
    }

    fn signer(directory: &Path) -> Signer {
        let key = SigningKey::parse(&std::fs::read(directory.join("key")).unwrap()).unwrap();
        Signer { key, identity: IDENTITY.to_owned() }
    }

    fn store(&self) -> Folder {
        Folder::new(self.0.path().join("evidence"))
    }

    fn verify(&self) -> Verification {
        let key = Self::signer(self.0.path()).key.public();
        let signers = Signers::parse(&format!("{IDENTITY} {}", key.to_openssh())).unwrap();
        verify(&self.store(), Some(&signers), None).unwrap()
    }

    fn runs(&self) -> BTreeSet<String> {
        let read = entries(&self.store()).unwrap();
        read.into_iter().map(|entry| entry.report.unwrap().envelope.run.id).collect()
    }

    /// Starts this program as a writer.
    fn start(&self, name: &str, reports: usize) -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "writers::writer", "--ignored", "--nocapture"]);
        command.env(VARIABLES[0], self.0.path()).env(VARIABLES[1], name);
        command.env(VARIABLES[2], reports.to_string());
        command.stdout(Stdio::null()).spawn().unwrap()
    }
}

fn write(directory: &Path, name: &str, reports: usize) {
    let (store, signer) = (Folder::new(directory.join("evidence")), Place::signer(directory));
    for i in 0..reports {
        let mut run = run(&format!("{name}-{i}"));
        (run.started_at, run.finished_at) = (Timestamp::now(), Timestamp::now());
        append(&store, &run, &document(lost_rows()), Some(&signer), &Timestamp::now).unwrap();
    }
}

#[test]
#[ignore = "it is a writer that the other tests start"]
fn writer() {
    let [directory, name, reports] = VARIABLES.map(|name| std::env::var(name).unwrap_or_default());
    if !directory.is_empty() {
        write(Path::new(&directory), &name, reports.parse().unwrap());
    }
}

/// Runs of two writers.
fn expected(reports: usize) -> BTreeSet<String> {
    ["a", "b"].iter().flat_map(|name| (0..reports).map(move |i| format!("{name}-{i}"))).collect()
}

#[test]
fn two_threads_lose_nothing() {
    let place = Place::new();
    thread::scope(|scope| {
        for name in ["a", "b"] {
            let directory = place.0.path();
            scope.spawn(move || write(directory, name, 20));
        }
    });
    let found = place.verify();
    assert_eq!((found.verdict, found.reports, found.signed), (Verdict::Pass, 40, 40), "{:?}", found.problems);
    assert_eq!(place.runs(), expected(20));
}

#[test]
fn two_processes_lose_nothing() {
    let place = Place::new();
    let children = ["a", "b"].map(|name| place.start(name, 20));
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let found = place.verify();
    assert_eq!((found.verdict, found.reports, found.signed), (Verdict::Pass, 40, 40), "{:?}", found.problems);
    assert_eq!(place.runs(), expected(20));
}

#[test]
fn a_writer_that_is_killed_leaves_whole_reports_and_at_most_one_unsigned() {
    let place = Place::new();
    write(place.0.path(), "first", 1);
    let (mut unsigned, mut reports) = (0, 1);
    for round in 0..30_u64 {
        let mut child = place.start(&format!("killed-{round}"), 1_000);
        // Not before it writes: until its first report, or folder of one, is there.
        let next = place.0.path().join("evidence").join(folder(reports + 1));
        while !next.exists() {
            thread::yield_now();
        }
        thread::sleep(Duration::from_micros(round * 977 % 5_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let found = place.verify();
        let other = found.problems.iter().find(|problem| problem.code != Code::SignatureMissing);
        assert_eq!(other, None, "round {round}");
        let now = found.reports - found.signed;
        assert!(now <= unsigned + 1, "round {round}: {:?}", found.problems);
        (unsigned, reports) = (now, found.reports + 1);
        // The next writer goes on, and signs.
        write(place.0.path(), &format!("next-{round}"), 1);
        let found = place.verify();
        assert_eq!((found.reports, found.signed), (reports, reports - unsigned), "round {round}");
    }
    assert!(unsigned > 0, "no writer was killed between a report and its signatures");
    assert_eq!(place.runs().iter().filter(|id| id.starts_with("next-")).count(), 30);
}
