//! Tests that a run leaves nothing behind, also after it was killed.
//!
//! The runs are processes of their own: this test program again, with a variable that makes it one. Each test has its
//! own temporary directory, so that no other test's sweep interferes.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use verify_local::scratch::{self, Scratch};
use verify_local::server::{InitOptions, Installation, Server, StartOptions};

const ROLE: &str = "STATE_LAB_TEST_ROLE";

/// Starts a run that makes a scratch directory, with or without a server, then waits to be killed.
struct Run {
    process: Child,
    directory: PathBuf,
    postmaster: Option<u32>,
    /// Kept open: the run writes to it when it ends by itself.
    _output: Lines<BufReader<ChildStdout>>,
}

impl Run {
    fn start(tmpdir: &Path, role: &str) -> Self {
        let mut process = play(tmpdir, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test starts itself");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = lines
            .find_map(|line| Some(line.unwrap().split_once("holds ")?.1.to_owned()))
            .expect("the run says so");
        let (directory, postmaster) = line.split_once(' ').unwrap();
        Self {
            process,
            directory: PathBuf::from(directory),
            postmaster: postmaster.parse().ok(),
            _output: lines,
        }
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.kill();
    }
}

fn play(tmpdir: &Path, role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--ignored", "--exact", "--nocapture", "scratch::plays_a_run"])
        .env("TMPDIR", tmpdir)
        .env(ROLE, role);
    command
}

/// The directories that a later run's sweep removes.
fn sweep(tmpdir: &Path, role: &str) -> Vec<PathBuf> {
    let output = play(tmpdir, role).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut swept: Vec<PathBuf> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| Some(PathBuf::from(line.split_once("swept ")?.1)))
        .collect();
    swept.sort();
    swept
}

#[test]
#[ignore = "the other tests start it as a process of its own"]
#[expect(clippy::print_stdout, reason = "the test that started this process reads it")]
fn plays_a_run() {
    let role = std::env::var(ROLE).unwrap_or_default();
    match role.as_str() {
        "sweep" => report_swept(&scratch::sweep()),
        "sweep-kept" => report_swept(&scratch::sweep_with_kept()),
        "keep-serving" => {
            let scratch = Scratch::create("keep").unwrap();
            let server = start_server(scratch.path());
            let postmaster = server.pid();
            server.detach();
            println!("\nholds {} {postmaster}", scratch.keep().unwrap().display());
        }
        "interrupted" => {
            let scratch = Scratch::create("interrupted").unwrap();
            let server = start_server(scratch.path());
            println!("\nholds {} {}", scratch.path().display(), server.pid());
            assert_eq!(scratch::remove_all(), [scratch.path()]);
            // As the handler of Ctrl-C does: nothing is dropped any more.
            std::process::exit(130);
        }
        "hold" => {
            let scratch = Scratch::create("hold").unwrap();
            println!("\nholds {} -", scratch.path().display());
            wait_for_end();
        }
        "serve" => {
            let scratch = Scratch::create("serve").unwrap();
            let server = start_server(scratch.path());
            println!("\nholds {} {}", scratch.path().display(), server.pid());
            wait_for_end();
        }
        _ => {}
    }
}

#[expect(clippy::print_stdout, reason = "the test that started this process reads it")]
fn report_swept(paths: &[PathBuf]) {
    for path in paths {
        println!("\nswept {}", path.display());
    }
}

/// Blocks until the test that started this process has ended or kills it.
fn wait_for_end() {
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

fn start_server(directory: &Path) -> Server {
    let installation = Installation::newest().unwrap();
    let data = directory.join("data");
    Server::init(&installation, &data, &InitOptions::default()).unwrap();
    Server::start(&installation, &data, &StartOptions::in_directory(directory).set("fsync", "off")).unwrap()
}

/// A temporary directory that a server's user may enter.
fn tmpdir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}/cwd")).read_link().is_ok()
}

#[test]
fn a_sweep_removes_the_server_and_directory_of_a_killed_run_and_spares_live_ones() {
    let tmpdir = tmpdir();
    let mut dead = Run::start(tmpdir.path(), "serve");
    let live = Run::start(tmpdir.path(), "serve");
    let (dead_server, live_server) = (dead.postmaster.unwrap(), live.postmaster.unwrap());
    dead.kill();
    assert!(is_alive(dead_server), "a server outlives the run that was killed");

    assert_eq!(sweep(tmpdir.path(), "sweep"), [dead.directory.clone()]);

    assert!(!is_alive(dead_server));
    assert!(!dead.directory.exists());
    assert!(is_alive(live_server));
    assert!(live.directory.join("data/PG_VERSION").exists());

    drop(live);
    assert_eq!(sweep(tmpdir.path(), "sweep").len(), 1);
    assert!(!is_alive(live_server));
}

#[test]
fn a_kept_directory_goes_only_when_asked_for() {
    let tmpdir = tmpdir();
    let mut kept = Run::start(tmpdir.path(), "keep-serving");
    kept.process.wait().unwrap();
    let server = kept.postmaster.unwrap();
    assert_eq!(sweep(tmpdir.path(), "sweep"), Vec::<PathBuf>::new());
    assert!(is_alive(server));
    assert_eq!(sweep(tmpdir.path(), "sweep-kept"), [kept.directory.clone()]);
    assert!(!is_alive(server));
    assert!(!kept.directory.exists());
}

#[test]
fn an_interrupted_run_removes_its_servers_and_directories() {
    let tmpdir = tmpdir();
    let mut run = Run::start(tmpdir.path(), "interrupted");
    assert_eq!(run.process.wait().unwrap().code(), Some(130));
    assert!(!is_alive(run.postmaster.unwrap()));
    assert!(!run.directory.exists());
}

#[test]
fn a_killed_run_without_a_server_is_swept_too() {
    let tmpdir = tmpdir();
    let mut run = Run::start(tmpdir.path(), "hold");
    fs::write(run.directory.join("left"), "over").unwrap();
    assert_eq!(sweep(tmpdir.path(), "sweep"), Vec::<PathBuf>::new());
    run.kill();
    assert_eq!(sweep(tmpdir.path(), "sweep"), [run.directory.clone()]);
}

#[test]
fn a_foreign_directory_of_our_name_is_refused() {
    let tmpdir = tmpdir();
    let root = tmpdir.path().join(format!("state-lab-{}", rustix::process::geteuid().as_raw()));
    fs::create_dir(&root).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o777)).unwrap();
    let output = play(tmpdir.path(), "hold").stdin(Stdio::null()).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("not owned solely by this user"));
}

#[test]
fn dropping_a_scratch_stops_a_server_that_is_still_held() {
    let scratch = Scratch::create("drop").unwrap();
    let directory = scratch.path().to_owned();
    let server = start_server(scratch.path());
    drop(scratch);
    assert!(!directory.exists());
    assert!(!is_alive(server.pid()));
}
