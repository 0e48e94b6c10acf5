//! A command in a container: lines to it, lines from it, and how it ended.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::api::AttachParams;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{MissedTickBehavior, interval};

use super::agent_pod::CONTAINER;
use super::kind::Kind;
use verify_drill::interrupt::{self, interrupted};
use verify_drill::runtime::{block_on, runtime, unless_interrupted};

/// Bytes under way in each direction.
const BUFFER_BYTES: usize = 1 << 20;
/// The last lines of standard error that an error quotes.
const STDERR_LINES: usize = 15;
/// Maximum length of a line of the agent.
const LINE_BYTES_MAX: usize = 16 << 20;
/// Time limit of the API server and the kubelet to start a command.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Interval at which a wait for output checks for a signal.
const POLL: Duration = Duration::from_millis(100);

/// A running command. It loses its standard input when this value goes.
pub struct Session {
    orders: UnboundedSender<String>,
    said: Receiver<Said>,
    stderr: Arc<Mutex<VecDeque<String>>>,
}

/// Output of a command.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// A line of its standard output.
    Line(String),
    /// No output within the time limit.
    Nothing,
    /// The command terminated, or the connection to it was closed: `None` where it succeeded, else why not.
    Ended(Option<String>),
}

impl Session {
    /// Starts a command in the container of one of our pods.
    ///
    /// # Errors
    ///
    /// If the pod is not there, not running, or access is denied.
    pub fn start(pods: &Kind<Pod>, pod: &str, command: &[&str]) -> Result<Self> {
        Self::start_in(pods, pod, CONTAINER, command)
    }

    /// Starts a command in any container.
    pub fn start_in(pods: &Kind<Pod>, pod: &str, container: &str, command: &[&str]) -> Result<Self> {
        let doing =
            || format!("failed to run {} in the container {container} of the pod {pod}", command.join(" "));
        let params = AttachParams::default()
            .container(container)
            .stdin(true)
            .stdout(true)
            .stderr(true)
            .max_stdin_buf_size(BUFFER_BYTES)
            .max_stdout_buf_size(BUFFER_BYTES);
        let started = async {
            tokio::time::timeout(START_TIMEOUT, pods.api().exec(pod, command.iter().copied(), &params)).await
        };
        let started = block_on(unless_interrupted(started))?.with_context(|| {
            let after = START_TIMEOUT.as_secs();
            format!("{}: the API server {} did not answer within {after} s", doing(), pods.server())
        })?;
        let mut process = started.with_context(doing)?;
        let (orders, to_send) = unbounded_channel();
        let (sender, said) = channel();
        let stderr = Arc::new(Mutex::new(VecDeque::new()));
        let (input, output, error) = (process.stdin(), process.stdout(), process.stderr());
        let Some(((input, output), error)) = input.zip(output).zip(error) else {
            bail!("{}: it has no streams", doing());
        };
        runtime().spawn(send(to_send, input));
        let tail = Arc::clone(&stderr);
        let drained = runtime().spawn(read_lines(error, move |line| {
            let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
            if tail.len() == STDERR_LINES {
                tail.pop_front();
            }
            tail.push_back(line);
            true
        }));
        runtime().spawn(async move {
            let line_sender = sender.clone();
            read_lines(output, move |line| line_sender.send(Said::Line(line)).is_ok()).await;
            let _ = drained.await;
            let status = match process.take_status() {
                Some(status) => status.await,
                None => None,
            };
            let _ = sender.send(Said::Ended(match status {
                Some(status) if status.status.as_deref() == Some("Success") => None,
                Some(status) => Some(status.message.unwrap_or_else(|| "it failed".to_owned())),
                None => Some("the connection to it broke".to_owned()),
            }));
        });
        Ok(Self { orders, said, stderr })
    }

    /// Sends a line.
    ///
    /// # Errors
    ///
    /// If the command has ended.
    pub fn send(&self, line: String) -> Result<()> {
        self.orders.send(line).ok().context("the command in the pod has exited")
    }

    /// Sends the same line again and again, until this value goes.
    pub fn keep_sending(&self, line: String, period: Duration) {
        let orders = self.orders.downgrade();
        runtime().spawn(async move {
            let mut signs = interval(period);
            signs.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                signs.tick().await;
                // Only asked for a moment: the command's input ends when the session goes.
                let sent = orders.upgrade().is_some_and(|orders| orders.send(line.clone()).is_ok());
                if !sent {
                    return;
                }
            }
        });
    }

    /// Waits for what it says next.
    pub fn next(&self, timeout: Duration) -> Said {
        match self.said.recv_timeout(timeout) {
            Ok(said) => said,
            Err(RecvTimeoutError::Timeout) => Said::Nothing,
            Err(RecvTimeoutError::Disconnected) => Said::Ended(Some("it had already terminated".to_owned())),
        }
    }

    /// The end of its standard error.
    pub fn stderr(&self) -> String {
        let tail = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        tail.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

/// Runs a command to its end; its standard output.
///
/// # Errors
///
/// If it cannot be run, fails, or takes longer than `timeout` between two lines.
pub fn output_of(
    pods: &Kind<Pod>,
    pod: &str,
    container: &str,
    command: &[&str],
    timeout: Duration,
) -> Result<String> {
    let session = Session::start_in(pods, pod, container, command)?;
    let (mut output, mut received_at) = (String::new(), Instant::now());
    loop {
        match session.next(POLL) {
            Said::Line(line) => {
                output.push_str(&line);
                output.push('\n');
                received_at = Instant::now();
            }
            Said::Nothing if interrupt::asked() => return Err(interrupted().into()),
            Said::Nothing if received_at.elapsed() < timeout => {}
            Said::Nothing => {
                bail!("{} in the pod {pod} sent nothing for {} s", command.join(" "), timeout.as_secs())
            }
            Said::Ended(None) => return Ok(output),
            Said::Ended(Some(reason)) => {
                bail!("{} in the pod {pod} failed: {reason}\n{}", command.join(" "), session.stderr())
            }
        }
    }
}

async fn send(mut lines: UnboundedReceiver<String>, mut to: impl tokio::io::AsyncWrite + Unpin) {
    while let Some(mut line) = lines.recv().await {
        line.push('\n');
        if to.write_all(line.as_bytes()).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
    // The end of its input ends the command.
    let _ = to.shutdown().await;
}

/// Hands each line to `take` until that has had enough.
async fn read_lines(from: impl AsyncRead + Unpin, mut take: impl FnMut(String) -> bool) {
    let mut from = BufReader::with_capacity(BUFFER_BYTES, from);
    let mut line = Vec::new();
    loop {
        line.clear();
        match from.read_until(b'\n', &mut line).await {
            Ok(read) if read > 0 && line.len() <= LINE_BYTES_MAX => {}
            _ => return,
        }
        let text = String::from_utf8_lossy(&line);
        if !take(text.trim_end_matches(['\n', '\r']).to_owned()) {
            return;
        }
    }
}
