//! Services that accept a connection and never answer: one signal ends the wait for each within a second.

use std::fs;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::program::{outcome, state_lab};

/// Longest time from the signal to the end of the process.
const LIMIT: Duration = Duration::from_secs(1);

const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: 'http://ADDRESS'}}]
users: [{name: u, user: {}}]
";

#[test]
fn a_signal_ends_every_wait_for_a_service_that_never_answers() {
    let home = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    fs::write(home.path().join("kubeconfig"), KUBECONFIG.replace("ADDRESS", &address)).unwrap();
    let restore = ["restore", "--snapshot", "b", "--provider", "velero", "--image", "i"];
    for arguments in [&["show", "s3://bucket/report.json"][..], &restore, &["cleanup", "--context", "c"]] {
        let mut command = state_lab(home.path());
        command.env("AWS_ENDPOINT_URL", format!("http://{address}")).env("KUBECONFIG", "kubeconfig");
        command.env("AWS_ACCESS_KEY_ID", "id").env("AWS_SECRET_ACCESS_KEY", "secret");
        let mut run = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // The service has the connection: what follows is silence.
        let _connection = listener.accept().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(run.try_wait().unwrap(), None, "{arguments:?}");
        let began = Instant::now();
        kill_process(Pid::from_child(&run), Signal::TERM).unwrap();
        let ended = outcome(&run.wait_with_output().unwrap());
        let took = began.elapsed();
        assert!(ended.status == Some(130) && took < LIMIT, "{arguments:?}: {took:?} {ended:?}");
    }
}
