//! A PostgreSQL server that runs because we started it.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use verify_core::postgres::conninfo_value;
use verify_drill::process_group;
use verify_drill::until::{Check, Pace, Waited, never, until};

use super::account::{create_server_dir, give_to_server_user, run_as_server_user};
use super::data_directory::{self, InitOptions, forget_environment};
use super::installation::Installation;
use super::options::{Listen, StartOptions, Stop, Wait};
use super::postmaster::{self, PidFile};

/// The longest path of a socket that every system accepts (`sun_path` less its final zero), in bytes.
const SOCKET_PATH_BYTES_MAX: usize = 103;
/// Number of log lines that an error quotes.
const LOG_TAIL_LINES: usize = 15;
/// Number of attempts to find a free TCP port: another program may take it first.
const PORT_ATTEMPTS: u32 = 5;
/// Time limit of a stop: the server writes a checkpoint first.
const STOP_TIMEOUT: Duration = Duration::from_secs(300);

/// A running server. It is stopped at once (as by a crash, hence with recovery at the next start) when dropped.
#[derive(Debug)]
pub struct Server {
    installation: Installation,
    postmaster: Child,
    data_dir: PathBuf,
    socket_dir: PathBuf,
    log_file: PathBuf,
    port: u16,
    listen: Listen,
    state: State,
}

/// Remaining work when a [`Server`] is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    Stopped,
    Detached,
}

impl Server {
    /// Creates a data directory with `initdb`; its parent has to exist.
    pub fn init(installation: &Installation, data_dir: &Path, options: &InitOptions) -> Result<()> {
        data_directory::init(installation, data_dir, options)
    }

    /// Starts a server on a data directory and waits as `options` say.
    ///
    /// # Errors
    ///
    /// With the end of the server's log when it stops or does not come up in time; it is stopped then.
    pub fn start(installation: &Installation, data_dir: &Path, options: &StartOptions) -> Result<Self> {
        let data_dir = data_dir
            .canonicalize()
            .with_context(|| format!("failed to open the data directory {}", data_dir.display()))?;
        if !options.socket_dir.exists() {
            create_server_dir(&options.socket_dir)?;
        }
        if options.trust_socket {
            write_trusting_rules(&options.socket_dir)?;
        }
        let mut attempt = 1;
        loop {
            let port = choose_port(options)?;
            let log_start = fs::metadata(&options.log_file).map_or(0, |metadata| metadata.len());
            let mut server = Self::spawn(installation, &data_dir, options, port)?;
            let Err(error) = server.wait_until_up(options) else { return Ok(server) };
            let log = log_since(&options.log_file, log_start);
            let port_taken = options.listen == Listen::Tcp(0) && log.contains("Address already in use");
            if !port_taken || attempt == PORT_ATTEMPTS {
                return Err(error.context(format!("the end of its log:\n{}", tail(&log))));
            }
            attempt += 1;
        }
    }

    fn spawn(
        installation: &Installation,
        data_dir: &Path,
        options: &StartOptions,
        port: u16,
    ) -> Result<Self> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&options.log_file)
            .with_context(|| format!("failed to open the server's log {}", options.log_file.display()))?;
        let mut command = Command::new(installation.program("postgres")?);
        command.arg("-D").arg(data_dir).args(["-p", &port.to_string()]).arg("-k").arg(&options.socket_dir);
        let addresses = if options.listen == Listen::SocketOnly { "" } else { "127.0.0.1" };
        // The log is read after a failed start, so it has to come to us and not to a file of the collector's.
        for setting in ["logging_collector=off", "log_destination=stderr"] {
            command.args(["-c", setting]);
        }
        command.args(["-c", &format!("listen_addresses={addresses}")]);
        if options.trust_socket {
            let rules = trusting_rules(&options.socket_dir);
            command.args(["-c", &format!("hba_file={}", rules.display())]);
        }
        for (name, value) in &options.settings {
            command.args(["-c", &format!("{name}={value}")]);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().context("failed to share the log")?).stderr(log);
        // Its own group: a Ctrl-C in the terminal is for us, and we stop the server in our own order.
        command.process_group(0);
        forget_environment(&mut command);
        run_as_server_user(&mut command)?;
        let postmaster = command.spawn().with_context(|| {
            format!(
                "failed to start PostgreSQL {} in {}; as root it runs as another user, who needs access to that \
                 directory",
                installation.version,
                installation.bin.display()
            )
        })?;
        Ok(Self {
            installation: installation.clone(),
            postmaster,
            data_dir: data_dir.to_path_buf(),
            socket_dir: options.socket_dir.clone(),
            log_file: options.log_file.clone(),
            port,
            listen: options.listen,
            state: State::Running,
        })
    }

    fn wait_until_up(&mut self, options: &StartOptions) -> Result<()> {
        let place = self.data_dir.display().to_string();
        let up = until(options.timeout, Pace::LOCAL, options.asked, || {
            // Before the file is read, or a server that ended right after it wrote would count as up.
            let ended = self.postmaster.try_wait().context("failed to poll the server")?;
            if let Some(status) = ended {
                self.state = State::Stopped;
                bail!("the server on {place} stopped while it started ({status})");
            }
            let accepts_connections = PidFile::read(&self.data_dir)
                .is_some_and(|file| file.pid.cast_unsigned() == self.pid() && file.accepts_connections);
            let enough = options.wait == Wait::ReadyOrStandby || postmaster::recovery_is_over(&self.data_dir);
            if accepts_connections && enough {
                return Ok(Check::Done(()));
            }
            if let Some(reason) = (options.in_vain)(&self.data_dir, &self.log_file) {
                bail!("the server on {place} will never accept connections: {reason}");
            }
            let missing = match accepts_connections {
                true => "did not finish its recovery",
                false => "did not accept connections",
            };
            Ok(Check::Waiting(missing))
        })?;
        match up {
            Waited::Done(()) => Ok(()),
            Waited::Stopped => bail!("interrupted while waiting for the server on {place}"),
            Waited::TimedOut(missing) => bail!(
                "the server on {place} {missing} within {} s; it was stopped again",
                options.timeout.as_secs()
            ),
        }
    }

    /// Stops the server.
    ///
    /// # Errors
    ///
    /// When it still runs after five minutes; it goes on running then.
    pub fn stop(&mut self, how: Stop) -> Result<()> {
        if self.state != State::Running {
            return Ok(());
        }
        let signal = match how {
            Stop::Smart => Signal::TERM,
            Stop::Fast => Signal::INT,
            Stop::Immediate => Signal::QUIT,
        };
        self.signal(signal)?;
        let ended = process_group::wait(&mut self.postmaster, STOP_TIMEOUT, never);
        if ended.context("failed to poll the server")?.is_none() {
            bail!(
                "the server on {} did not stop within {} s; a client may still be connected, or its last checkpoint is \
                 slow. See its log {}",
                self.data_dir.display(),
                STOP_TIMEOUT.as_secs(),
                self.log_file.display()
            );
        }
        self.state = State::Stopped;
        Ok(())
    }

    /// Stops the server and starts it again.
    ///
    /// # Errors
    ///
    /// As for [`Server::stop`] and [`Server::start`]; then it may be stopped.
    pub fn restart(&mut self, options: &StartOptions) -> Result<()> {
        self.stop(Stop::Fast)?;
        let installation = self.installation.clone();
        *self = Self::start(&installation, &self.data_dir.clone(), options)?;
        Ok(())
    }

    /// Kills the server and its children without warning, as a power failure would, and waits until all have ended.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.postmaster.wait().context("failed to wait for the killed server")?;
        self.state = State::Stopped;
        postmaster::kill_processes_in(&self.data_dir)
    }

    /// Sends a signal to the postmaster unless it ended.
    fn signal(&mut self, signal: Signal) -> Result<()> {
        // Not waited for yet, so the id is still the child's, even if it just ended.
        if self.postmaster.try_wait().context("failed to poll the server")?.is_none()
            && let Some(pid) = Pid::from_raw(self.pid().cast_signed())
        {
            kill_process(pid, signal)
                .with_context(|| format!("failed to signal the server, process {}", self.pid()))?;
        }
        Ok(())
    }

    /// Lets the server outlive this value and this process.
    pub fn detach(mut self) {
        self.state = State::Detached;
    }

    /// A libpq connection string to `database` over the socket, as the superuser `postgres`.
    pub fn conninfo(&self, database: &str) -> String {
        self.conninfo_as("postgres", database)
    }

    /// The same as another role.
    pub fn conninfo_as(&self, role: &str, database: &str) -> String {
        let host = conninfo_value(&self.socket_dir.to_string_lossy());
        format!("host={host} port={} user={} dbname={}", self.port, plain(role), conninfo_value(database))
    }

    /// The same over TCP; `None` when the server listens on its socket alone.
    pub fn tcp_conninfo(&self, database: &str) -> Option<String> {
        let conninfo =
            format!("host=127.0.0.1 port={} user=postgres dbname={}", self.port, conninfo_value(database));
        (self.listen != Listen::SocketOnly).then_some(conninfo)
    }

    /// Port number, which is also part of the socket's name.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Directory of the socket.
    pub fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    /// The data directory, without symbolic links.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The file that the server's log goes to.
    pub fn log_file(&self) -> &Path {
        &self.log_file
    }

    /// Process id of the postmaster.
    pub fn pid(&self) -> u32 {
        self.postmaster.id()
    }

    /// Major version.
    pub fn major(&self) -> u32 {
        self.installation.major
    }

    /// The programs that the server runs from.
    pub fn installation(&self) -> &Installation {
        &self.installation
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.state == State::Running {
            // No caller is left for a report; the next sweep of scratch directories finds the rest.
            let _ = self.signal(Signal::QUIT);
            let _ = postmaster::stop_server_of(&self.data_dir);
            let _ = self.signal(Signal::KILL);
            let _ = self.postmaster.wait();
        }
    }
}

fn trusting_rules(socket_dir: &Path) -> PathBuf {
    socket_dir.join("pg_hba.conf")
}

fn write_trusting_rules(socket_dir: &Path) -> Result<()> {
    let path = trusting_rules(socket_dir);
    fs::write(&path, "local all all trust\nlocal replication all trust\n")
        .with_context(|| format!("failed to write {}", path.display()))?;
    give_to_server_user(&path)
}

fn choose_port(options: &StartOptions) -> Result<u16> {
    let port = match options.listen {
        Listen::Tcp(0) => TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .context("failed to find a free TCP port on 127.0.0.1")?
            .port(),
        Listen::Tcp(port) => port,
        // Only names the socket, so it need not be free on this machine but in this directory.
        Listen::SocketOnly => (5432..5532)
            .find(|port| {
                !socket_path(&options.socket_dir, *port).with_extension(format!("{port}.lock")).exists()
            })
            .context("found no free name for a socket")?,
    };
    let socket = socket_path(&options.socket_dir, port);
    if socket.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        bail!(
            "the socket's path {} has {} bytes, and the system allows {SOCKET_PATH_BYTES_MAX}; set TMPDIR to a \
             shorter directory, such as /tmp",
            socket.display(),
            socket.as_os_str().len()
        );
    }
    Ok(port)
}

fn socket_path(socket_dir: &Path, port: u16) -> PathBuf {
    socket_dir.join(format!(".s.PGSQL.{port}"))
}

/// A value of a libpq connection string, quoted where it has to be.
fn plain(value: &str) -> String {
    let plain = !value.is_empty() && value.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if plain { value.to_owned() } else { conninfo_value(value) }
}

fn log_since(log_file: &Path, start: u64) -> String {
    let mut bytes = Vec::new();
    let read = File::open(log_file).and_then(|mut file| {
        file.seek(SeekFrom::Start(start))?;
        file.read_to_end(&mut bytes)
    });
    match read {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => format!("({} cannot be read: {error})", log_file.display()),
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conninfo_values_survive_quotes_and_backslashes() {
        assert_eq!(conninfo_value(r"o'brien\ x"), r"'o\'brien\\ x'");
        assert_eq!(conninfo_value(""), "''");
    }

    #[test]
    fn a_socket_path_that_no_system_accepts_is_refused_with_the_way_out() {
        let options = StartOptions::in_directory(Path::new(&format!("/{}", "x".repeat(100))));
        let error = choose_port(&options).unwrap_err().to_string();
        assert!(error.contains("set TMPDIR"), "{error}");
    }

    #[test]
    fn an_error_quotes_the_end_of_the_log() {
        let log: String = (1..=20).map(|n| format!("line {n}\n")).collect();
        assert_eq!(tail(&log).lines().next(), Some("line 6"));
        assert_eq!(tail("one"), "one");
    }
}
