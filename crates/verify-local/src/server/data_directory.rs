//! A new data directory, made with `initdb`.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::account::{give_to_server_user, run_as_server_user};
use super::installation::Installation;
use verify_drill::interrupt::interrupted;
use verify_drill::process_group;

/// Options of a new data directory.
#[derive(Clone, Debug)]
pub struct InitOptions {
    /// Name of the first role.
    pub superuser: String,
    /// True for pages with checksums.
    pub checksums: bool,
    /// Locale of the first databases. `C.UTF-8` where the system has it.
    pub locale: String,
    /// Encoding of the first databases.
    pub encoding: String,
    /// The superuser's password over TCP. Without one, TCP connections are refused.
    ///
    /// The socket needs no password: the socket's directory is closed to other users instead.
    pub password: Option<String>,
    /// Asked while `initdb` runs, whether to give up.
    pub asked: fn() -> bool,
}

impl Default for InitOptions {
    fn default() -> Self {
        // Other systems than Linux need not have C.UTF-8; the order of strings is the same in C.
        let locale = if cfg!(target_os = "linux") { "C.UTF-8" } else { "C" };
        Self {
            superuser: "postgres".to_owned(),
            checksums: true,
            locale: locale.to_owned(),
            encoding: "UTF8".to_owned(),
            password: None,
            asked: || false,
        }
    }
}

/// Creates `data_dir`, which must not exist or be empty, in a directory that exists.
pub(super) fn init(installation: &Installation, data_dir: &Path, options: &InitOptions) -> Result<()> {
    if !data_dir.exists() {
        // As root: the server's user may not be allowed to create it in its parent.
        super::create_server_dir(data_dir)?;
    }
    let password_file = options.password.as_deref().map(password_file).transpose()?;
    let mut command = Command::new(installation.program("initdb")?);
    command
        .arg("--pgdata")
        .arg(data_dir)
        .args(["--username", &options.superuser])
        .args(["--locale", &options.locale])
        .args(["--encoding", &options.encoding])
        .args(["--auth-local", "trust"])
        .args(["--auth-host", if password_file.is_some() { "scram-sha-256" } else { "reject" }])
        .arg("--no-sync")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Its own group: a Ctrl-C in the terminal is for us, and we stop the program in our own order.
        .process_group(0);
    if options.checksums {
        command.arg("--data-checksums");
    } else if installation.major >= 18 {
        command.arg("--no-data-checksums");
    }
    if let Some(file) = &password_file {
        command.arg("--pwfile").arg(file.path());
    }
    forget_environment(&mut command);
    run_as_server_user(&mut command)?;
    let doing = || {
        format!(
            "failed to run initdb of PostgreSQL {} in {}",
            installation.version,
            installation.bin.display()
        )
    };
    let mut child = command.spawn().with_context(doing)?;
    if process_group::wait(&mut child, Duration::MAX, options.asked).with_context(doing)?.is_none() {
        process_group::end(&mut child, process_group::TERM_TIMEOUT);
        return Err(interrupted().into());
    }
    // It says less than a pipe holds.
    let output = child.wait_with_output().with_context(doing)?;
    if !output.status.success() {
        bail!(
            "initdb of PostgreSQL {} failed to create {} ({}): {}",
            installation.version,
            data_dir.display(),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// Takes libpq's and the server's variables away from a child: what the user set for other servers is not for ours.
pub(super) fn forget_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        // The `restore_command` of a copy may call pgBackRest.
        if text.starts_with("PG") && !text.starts_with("PGBACKREST_") {
            command.env_remove(name);
        }
    }
    // Messages stay readable by us, whatever the user's language.
    command.env("LC_ALL", "C");
}

/// A file that only the server's user can read: an argument would show in the list of processes.
fn password_file(password: &str) -> Result<tempfile::NamedTempFile> {
    let mut file =
        tempfile::NamedTempFile::new().context("failed to create a file for the superuser's password")?;
    writeln!(file, "{password}").context("failed to write the file for the superuser's password")?;
    give_to_server_user(file.path())?;
    Ok(file)
}
