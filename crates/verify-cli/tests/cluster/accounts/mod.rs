//! The accounts of deploy/nightly do their work, and all other requests of theirs are refused.

mod account;
mod backup;
mod deployed;
mod objects;
mod pods;
mod prey;
mod restore;

use std::time::Duration;

use account::{Account, Request};
use deployed::Deployed;
use prey::Prey;

use crate::support::{Database, Leftovers, get, kubectl, tried};

/// A request that must be refused, and what the refusal has to say: who refuses, and why.
struct Escape {
    what: &'static str,
    request: Request,
    by: &'static str,
    why: &'static str,
}

/// Roles allow no such request.
const ROLE: &str = "is forbidden: User \"system:serviceaccount:";

fn escape(what: &'static str, request: Request, by: &'static str, why: &'static str) -> Escape {
    Escape { what, request, by, why }
}

/// Fails unless all of `escapes` are refused for their reason, and all of `work` is accepted.
fn expect_bounds(account: &Account, work: &[(&str, Request)], escapes: &[Escape]) {
    let mut wrong = Vec::new();
    for (what, request) in work {
        if let Err(refusal) = account.tries(request) {
            wrong.push(format!("{what} is refused: {refusal}"));
        }
    }
    for Escape { what, request, by, why } in escapes {
        match account.tries(request) {
            Ok(()) => wrong.push(format!("{what} is accepted")),
            Err(refusal) if refusal.contains(by) && refusal.contains(why) => {}
            Err(refusal) => wrong.push(format!("{what}: not by {by} because of {why:?}: {refusal}")),
        }
    }
    assert!(
        escapes.len() >= 20 && wrong.is_empty(),
        "{} of {}:\n{}",
        account.name,
        escapes.len(),
        wrong.join("\n")
    );
    println!("{}: {} requests accepted, {} escapes refused", account.name, work.len(), escapes.len());
}

#[test]
fn every_escape_of_the_nightly_accounts_is_refused() {
    if std::env::var_os("KUBECONFIG").is_none() {
        return eprintln!("skipped: every_escape: needs a cluster with Velero (KUBECONFIG)");
    }
    let prey = Prey::create();
    let _deployed = Deployed::for_database(&prey.database, "", "pg", "basebackup");
    let restore = Account::of_service("state-lab", "state-lab-restore");
    deployed::await_policies(&restore, &prey);
    expect_bounds(&restore, &restore::work(&prey), &restore::escapes(&prey));
    let backup = Account::of_service("state-lab", "state-lab-backup");
    expect_bounds(&backup, &backup::work(&prey), &backup::escapes(&prey));
    // Another name and another namespace, with the same role.
    let renamed = Deployed::renamed_restore();
    let evil = objects::namespace("state-lab-evil", &prey.run);
    let refusal = renamed.tries(&Request::create("/api/v1/namespaces", &evil)).unwrap_err();
    assert!(refusal.contains("validation namespaces only"), "{refusal}");
    renamed.tries(&restore::work(&prey)[0].1).unwrap();
}

#[test]
fn the_nightly_jobs_pass_with_their_accounts() {
    let Some(database) = Database::shared("the_nightly_jobs_pass") else { return };
    let before = Leftovers::before();
    let _deployed = Deployed::for_database(&database.namespace, &database.settings, "pg", "basebackup");
    // The files of a base backup need all of it: the claim, the resource modifier, the pod that Velero restores.
    for method in ["csi", "fs"] {
        let name = database.new_name();
        deployed::run_job("state-lab-nightly-backup", &["backup", "--name", &name, "--method", method]);
        deployed::run_job("state-lab-nightly", &["restore", "--snapshot", &name]);
        let events =
            ["-n", "velero", "get", "events", "-o", "jsonpath={.items[*].reason}", "--field-selector"];
        let of_backup = format!("involvedObject.name={name}");
        assert_eq!(kubectl(&[&events[..], &[&of_backup]].concat()), "RestoreProven");
    }
    before.expect_none();
}

/// What a run of a Job printed, once it has passed.
fn await_job(namespace: &str, job: &str, longest: Duration) {
    let began = std::time::Instant::now();
    let logs =
        || tried(&["-n", namespace, "logs", &format!("job/{job}"), "--tail=60"]).unwrap_or_else(|why| why);
    loop {
        let status = &get(&["-n", namespace, "job", job])["status"];
        if status["succeeded"] == 1 {
            break;
        }
        assert!(status["failed"].is_null(), "{job} failed: {}", logs());
        assert!(began.elapsed() < longest, "{job} has not ended: {}", logs());
        std::thread::sleep(Duration::from_millis(500));
    }
    let logs = logs();
    assert!(!logs.contains("not removed") && !logs.contains("not told"), "{job}: {logs}");
}
