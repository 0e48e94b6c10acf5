//! The program, run with a configuration of the test's own.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// No run of a test takes longer, whatever breaks.
const LONGEST: Duration = Duration::from_secs(400);

/// A folder with a `state-lab.toml`, in which the program runs.
pub(crate) struct StateLab {
    folder: tempfile::TempDir,
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Ended {
    /// None where a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

/// A run at work.
pub(crate) struct Running {
    child: Child,
    began: Instant,
    stdout: Option<JoinHandle<String>>,
    heard: Arc<Mutex<String>>,
    stderr: Option<JoinHandle<()>>,
}

impl StateLab {
    pub(crate) fn new(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("state-lab.toml"), settings).unwrap();
        Self { folder }
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).end()
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        let program =
            std::env::var("STATE_LAB_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_state-lab").to_owned());
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.folder.path()).env("HOME", self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("STATE_LAB_BIN runs");
        let mut stdout = child.stdout.take().unwrap();
        let stderr = child.stderr.take().unwrap();
        let heard = Arc::new(Mutex::new(String::new()));
        let hears = Arc::clone(&heard);
        Running {
            child,
            began: Instant::now(),
            stdout: Some(std::thread::spawn(move || {
                let mut text = String::new();
                stdout.read_to_string(&mut text).unwrap();
                text
            })),
            heard,
            stderr: Some(std::thread::spawn(move || {
                for line in BufReader::new(stderr).lines() {
                    let line = line.unwrap();
                    let mut heard = hears.lock().unwrap();
                    heard.push_str(&line);
                    heard.push('\n');
                }
            })),
        }
    }
}

impl Running {
    /// Waits until it has told this on standard error.
    pub(crate) fn await_told(&mut self, what: &str) {
        while !self.heard.lock().unwrap().contains(what) {
            self.expect_in_time(what);
            if let Some(status) = self.child.try_wait().unwrap() {
                let ended = self.collect(status);
                assert!(ended.stderr.contains(what), "it ended before it told {what:?}: {ended:#?}");
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ctrl-C.
    pub(crate) fn interrupt(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
    }

    /// Ends it without giving it a chance.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            self.expect_in_time("its end");
            std::thread::sleep(Duration::from_millis(10));
        };
        self.collect(status)
    }

    fn expect_in_time(&mut self, what: &str) {
        if self.began.elapsed() > LONGEST {
            self.child.kill().unwrap();
            panic!("no {what} within {} s: {}", LONGEST.as_secs(), self.heard.lock().unwrap());
        }
    }

    fn collect(&mut self, status: ExitStatus) -> Ended {
        let stdout = self.stdout.take().map(|thread| thread.join().unwrap()).unwrap_or_default();
        self.stderr.take().into_iter().for_each(|thread| thread.join().unwrap());
        let stderr = self.heard.lock().unwrap().clone();
        Ended { code: status.code(), stdout, stderr, took: self.began.elapsed() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing is to run on when a test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Fails unless the backup or restore passed in every respect.
    #[track_caller]
    pub(crate) fn expect_pass(&self) {
        let lines: Vec<&str> = self.stdout.lines().collect();
        let first = |count: usize| lines.iter().take(count).copied().collect::<Vec<_>>();
        let passed = match first(1)[..] {
            ["backup_status: success"] => true,
            ["restore_status: success"] => {
                lines.get(1) == Some(&"integrity_checks: pass")
                    && lines.get(2).is_some_and(|line| line.starts_with("rto: "))
                    && lines.get(3).is_some_and(|line| line.starts_with("rpo: <="))
            }
            _ => false,
        };
        assert!(passed && self.code == Some(0), "{}", self.told());
        assert!(!self.stderr.contains("not removed"), "{}", self.told());
    }

    /// Fails unless it ended with this code, first printed this line, and told all of these.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32, first: &str, told: &[&str]) {
        assert_eq!(
            (self.code, self.stdout.lines().next().unwrap_or_default()),
            (Some(code), first),
            "{}",
            self.told()
        );
        for words in told {
            assert!(
                self.stdout.contains(words) || self.stderr.contains(words),
                "{words:?} was not told: {}",
                self.told()
            );
        }
        assert!(!self.stderr.contains("not removed"), "{}", self.told());
        assert!(!self.stderr.contains("panicked"), "{}", self.told());
    }

    pub(crate) fn told(&self) -> String {
        format!("exit {:?} after {:.1?}\n{}\n{}", self.code, self.took, self.stdout, self.stderr)
    }
}
