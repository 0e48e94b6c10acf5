//! Tasks of state-lab's pods: wait until the pod is isolated, install the program, and sleep.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context, Result, bail};
use rustix::process::{WaitOptions, wait};

use verify_drill::interrupt::{self, interrupted};
use verify_drill::until::{Check, Pace, Waited, never, pause, until};

/// The network policies are in force once so many attempts, one after the other, failed.
const REFUSALS: u32 = 3;
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(500);
const ATTEMPTS: Pace = Pace { least: Duration::from_millis(50), most: Duration::from_millis(500) };
/// A cluster that lets a pod out for so long enforces no network policies.
const GATE_TIMEOUT: Duration = Duration::from_secs(30);
/// Interval at which terminated children are reaped.
const REAP_PERIOD: Duration = Duration::from_millis(500);

/// Copies this program to `path`.
pub fn install(path: &Path) -> Result<()> {
    let doing = || format!("failed to install the program as {}", path.display());
    let own = env::current_exe().with_context(doing)?;
    fs::copy(own, path).with_context(doing)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).with_context(doing)
}

/// Waits until the API server, which every pod may reach unless a policy forbids it, cannot be reached any more.
///
/// A new pod is open until the cluster's network has learnt of it.
///
/// # Errors
///
/// If it stays open: then nothing that was restored must run here.
pub fn gate() -> Result<()> {
    let host = env::var("KUBERNETES_SERVICE_HOST");
    let host = host.context("failed to find the API server's address: is this a pod?")?;
    let port = env::var("KUBERNETES_SERVICE_PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(443);
    let address: SocketAddr = (host.as_str(), port)
        .to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next())
        .with_context(|| format!("failed to find the API server at {host}"))?;
    let began = Instant::now();
    let mut refused = 0;
    let isolated = until(Duration::MAX, ATTEMPTS, interrupt::asked, || {
        refused = match TcpStream::connect_timeout(&address, ATTEMPT_TIMEOUT) {
            Ok(_) => 0,
            Err(_) => refused + 1,
        };
        if began.elapsed() > GATE_TIMEOUT && refused == 0 {
            bail!(
                "failed to isolate the pod: {address} is still reachable after {} s; does the cluster's network enforce \
                 NetworkPolicies?",
                GATE_TIMEOUT.as_secs()
            );
        }
        Ok(if refused < REFUSALS { Check::Waiting(()) } else { Check::Done(()) })
    })?;
    match isolated {
        Waited::Done(()) => Ok(()),
        Waited::Stopped | Waited::TimedOut(()) => Err(interrupted().into()),
    }
}

/// Waits to be ended, and buries what other processes of the pod leave behind, as its first process has to.
pub fn rest() {
    while !pause(REAP_PERIOD, interrupt::asked) {
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
    }
    // Servers that were left running are given the moment that the pod has.
    pause(Duration::from_millis(100), never);
}
