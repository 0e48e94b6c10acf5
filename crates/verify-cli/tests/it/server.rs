//! Starting and stopping real servers.

use std::fs;
use std::process::Command;
use std::time::Duration;

use verify_local::scratch::Scratch;
use verify_local::server::{
    InitOptions, Installation, Listen, Server, StartOptions, Stop, Wait, client_program,
};

fn select(conninfo: &str, password: Option<&str>, query: &str) -> Result<String, String> {
    let mut psql = Command::new(client_program("psql", 0).unwrap());
    psql.args(["-X", "-A", "-t", "-d", conninfo, "-c", query]);
    if let Some(password) = password {
        psql.env("PGPASSWORD", password);
    }
    let output = psql.output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[test]
fn a_server_answers_on_its_socket_stops_and_starts_again() {
    let scratch = Scratch::create("server").unwrap();
    let installation = Installation::newest().unwrap();
    let data = scratch.path().join("data");
    Server::init(&installation, &data, &InitOptions::default()).unwrap();
    let options = StartOptions::in_directory(scratch.path()).set("fsync", "off").set("work_mem", "12MB");
    let mut server = Server::start(&installation, &data, &options).unwrap();
    let query = "select current_setting('work_mem'), current_setting('data_checksums'), \
                 current_setting('listen_addresses'), current_setting('server_version_num')::int / 10000";
    let expected = format!("12MB|on||{}", installation.major);
    assert_eq!(select(&server.conninfo("postgres"), None, query), Ok(expected));
    assert_eq!(server.tcp_conninfo("postgres"), None);

    server.stop(Stop::Fast).unwrap();
    assert!(!data.join("postmaster.pid").exists());
    server.stop(Stop::Fast).unwrap();

    let mut server = Server::start(&installation, &data, &options).unwrap();
    server.kill().unwrap();
    assert!(data.join("postmaster.pid").exists(), "a killed server cannot tidy up");
    let mut server = Server::start(&installation, &data, &options).unwrap();
    let recovered = select(&server.conninfo("postgres"), None, "select pg_is_in_recovery()");
    assert_eq!(recovered, Ok("f".to_owned()));
    server.stop(Stop::Immediate).unwrap();
}

#[test]
fn over_tcp_a_server_wants_its_password() {
    let scratch = Scratch::create("tcp").unwrap();
    let installation = Installation::newest().unwrap();
    let data = scratch.path().join("data");
    let init =
        InitOptions { password: Some("s3cret".to_owned()), checksums: false, ..InitOptions::default() };
    Server::init(&installation, &data, &init).unwrap();
    let options = StartOptions { listen: Listen::Tcp(0), ..StartOptions::in_directory(scratch.path()) };
    let server = Server::start(&installation, &data, &options).unwrap();
    let conninfo = server.tcp_conninfo("postgres").unwrap();
    assert_eq!(select(&conninfo, Some("s3cret"), "select 1"), Ok("1".to_owned()));
    let refused = select(&conninfo, Some("wrong"), "select 1").unwrap_err();
    assert!(refused.contains("password authentication failed"), "{refused}");
}

#[test]
fn a_failed_start_quotes_the_log_and_leaves_no_process() {
    let scratch = Scratch::create("fail").unwrap();
    let installation = Installation::newest().unwrap();
    let data = scratch.path().join("data");
    Server::init(&installation, &data, &InitOptions::default()).unwrap();
    let options = StartOptions::in_directory(scratch.path()).set("shared_buffers", "lots");
    let error = format!("{:#}", Server::start(&installation, &data, &options).unwrap_err());
    assert!(error.contains(r#"invalid value for parameter "shared_buffers": "lots""#), "{error}");
    assert!(!data.join("postmaster.pid").exists());
}

#[test]
fn a_standby_is_up_for_those_who_accept_one() {
    let scratch = Scratch::create("standby").unwrap();
    let installation = Installation::newest().unwrap();
    let data = scratch.path().join("data");
    Server::init(&installation, &data, &InitOptions::default()).unwrap();
    fs::write(data.join("standby.signal"), "").unwrap();
    let ready =
        StartOptions { timeout: Duration::from_secs(2), ..StartOptions::in_directory(scratch.path()) };
    let error = format!("{:#}", Server::start(&installation, &data, &ready).unwrap_err());
    assert!(error.contains("did not finish its recovery within 2 s"), "{error}");
    assert!(!data.join("postmaster.pid").exists(), "a server that is not up in time is stopped");

    // It first syncs its files after the crash, which may take longer on a busy disk.
    let timeout = StartOptions::in_directory(scratch.path()).timeout;
    let standby = StartOptions { wait: Wait::ReadyOrStandby, timeout, ..ready };
    let server = Server::start(&installation, &data, &standby).unwrap();
    assert_eq!(select(&server.conninfo("postgres"), None, "select pg_is_in_recovery()"), Ok("t".to_owned()));
}

#[test]
fn a_cluster_with_rules_of_its_own_lets_us_in_over_a_trusted_socket() {
    let scratch = Scratch::create("trust").unwrap();
    let installation = Installation::newest().unwrap();
    let data = scratch.path().join("data");
    Server::init(&installation, &data, &InitOptions::default()).unwrap();
    fs::write(data.join("pg_hba.conf"), "local all all reject\n").unwrap();
    let options = StartOptions::in_directory(scratch.path());
    let server = Server::start(&installation, &data, &options).unwrap();
    let refused = select(&server.conninfo("postgres"), None, "select 1").unwrap_err();
    assert!(refused.contains("pg_hba.conf rejects"), "{refused}");
    drop(server);

    let options = StartOptions { trust_socket: true, ..options };
    let server = Server::start(&installation, &data, &options).unwrap();
    assert_eq!(select(&server.conninfo("postgres"), None, "select 1"), Ok("1".to_owned()));
}

#[test]
fn a_killed_server_leaves_no_shared_memory_once_its_directory_is_gone() {
    let scratch = Scratch::create("kill").unwrap();
    let installation = Installation::newest().unwrap();
    let data = scratch.path().join("data");
    Server::init(&installation, &data, &InitOptions::default()).unwrap();
    let options = StartOptions::in_directory(scratch.path()).set("dynamic_shared_memory_type", "mmap");
    let mut server = Server::start(&installation, &data, &options).unwrap();
    let postmaster = server.pid().to_string();
    let segments = || {
        // Key, id, permissions, size, creator: the postmaster's own.
        let table = fs::read_to_string("/proc/sysvipc/shm").unwrap();
        table.lines().filter(|line| line.split_whitespace().nth(4) == Some(&postmaster)).count()
    };
    server.kill().unwrap();
    assert_eq!(segments(), 1, "a killed server cannot free its segment");
    drop(scratch);
    assert_eq!(segments(), 0);
}
