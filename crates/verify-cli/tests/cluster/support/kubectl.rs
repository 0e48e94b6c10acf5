//! The cluster of KUBECONFIG, by hand.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Runs kubectl; what it printed.
pub(crate) fn kubectl(arguments: &[&str]) -> String {
    tried(arguments).unwrap_or_else(|said| panic!("kubectl {}: {said}", arguments.join(" ")))
}

/// Runs kubectl; what it printed, or what it complained of.
pub(crate) fn tried(arguments: &[&str]) -> Result<String, String> {
    said(Command::new("kubectl").args(arguments).stdin(Stdio::null()).output().expect("kubectl is on PATH"))
}

/// Applies YAML, or one object as JSON.
pub(crate) fn apply(objects: &str) {
    let mut kubectl = Command::new("kubectl");
    kubectl.args(["apply", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut kubectl = kubectl.spawn().expect("kubectl is on PATH");
    kubectl.stdin.take().unwrap().write_all(objects.as_bytes()).unwrap();
    said(kubectl.wait_with_output().unwrap())
        .unwrap_or_else(|said| panic!("kubectl apply: {said}\n{objects}"));
}

/// An object, or a list of objects.
pub(crate) fn get(arguments: &[&str]) -> Value {
    let mut all = vec!["get", "-o", "json"];
    all.extend(arguments);
    serde_json::from_str(&kubectl(&all)).unwrap()
}

/// Asks again and again until there is an answer, and fails after so many seconds.
pub(crate) fn patiently<T>(seconds: u64, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < Duration::from_secs(seconds), "{what}: not within {seconds} s");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn said(output: Output) -> Result<String, String> {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}
