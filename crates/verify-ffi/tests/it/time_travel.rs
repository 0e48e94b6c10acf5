//! A physical copy that is taken between the steps of a capture is verified as of the capture's snapshot.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

use fixtures::TestServer;
use verify_core::cancellation::Cancellation;
use verify_core::finding::Verdict;
use verify_core::report::Report;
use verify_ffi::call::{self, Call};
use verify_ffi::progress::{CaptureStep, Progress};
use verify_local::scratch::Scratch;
use verify_local::server::{self, Server, StartOptions, Wait};

use crate::c::shop;
use crate::program::succeed;

fn base_backup(server: &TestServer, data: &Path) {
    let mut command = Command::new(server::client_program("pg_basebackup", 15).unwrap());
    command.arg("-D").arg(data).args(["-X", "stream", "-c", "fast", "-d", &server.conninfo("postgres")]);
    server::run_as_server_user(&mut command).unwrap();
    succeed(&mut command);
    fs::write(data.join("standby.signal"), "").unwrap();
    server::give_to_server_user(&data.join("standby.signal")).unwrap();
}

/// Starts a copy as a standby without a primary.
fn standby(server: &TestServer, copy: &Path) -> Server {
    let options = StartOptions { wait: Wait::ReadyOrStandby, ..StartOptions::in_directory(copy) };
    let mut options = options.set("restore_command", "/bin/false").set("fsync", "off");
    for (name, value) in [("max_prepared_transactions", "5"), ("max_locks_per_transaction", "256")] {
        // A standby refuses less than its primary had.
        options = options.set(name, value);
    }
    Server::start(server.server().installation(), &copy.join("data"), &options).unwrap()
}

#[test]
fn a_physical_copy_under_writes_is_verified_as_of_the_snapshot() {
    let (server, scratch) = (shop(), Scratch::create("embedding").unwrap());
    let copy = scratch.path().join("copy");
    server::create_server_dir(&copy).unwrap();
    let write = |sql: &str| server.psql("shop", sql).unwrap();
    let mut take = |progress: Option<&Progress>| {
        match progress {
            Some(Progress::Capture(CaptureStep::Snapshot { .. })) => {
                write("DELETE FROM orders WHERE id <= 500");
                write("INSERT INTO orders VALUES (5000, 1)");
                base_backup(&server, &copy.join("data"));
            }
            Some(Progress::Capture(CaptureStep::Measured { .. })) => {
                drop(write("UPDATE orders SET total = 0"));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    };
    let token = Cancellation::new();
    let call = Call { options: r#"{"mode": "time-travel"}"#, token: &token, on_progress: &mut take };
    let captured = call::capture(&server.conninfo("shop"), call).unwrap();
    assert_eq!(captured.verdict, Verdict::Pass);

    let clone = standby(&server, &copy);
    // Extensions cannot be created on a standby.
    let options = r#"{"skip": ["indexes", "heap", "visibility"]}"#;
    let verify = || {
        let mut ignore = |_: Option<&Progress>| ControlFlow::Continue(());
        let call = Call { options, token: &token, on_progress: &mut ignore };
        call::verify(&captured.document, &clone.conninfo("shop"), call)
    };
    let report: Report = serde_json::from_slice(&verify().unwrap().document).unwrap();
    assert_eq!(report.verdict(), Verdict::Pass, "{:?}", report.comparison().findings());
    // After recovery old rows may have been removed.
    let promote = ["-X", "-q", "-d", &clone.conninfo("postgres"), "-c", "SELECT pg_promote()"];
    succeed(Command::new(server::client_program("psql", 15).unwrap()).args(promote));
    assert_eq!(verify().unwrap().verdict, Verdict::Inconclusive);
}
