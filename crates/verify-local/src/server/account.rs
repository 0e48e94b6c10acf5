//! The operating system's user that servers run as: ourselves, or a plain user when we are root.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The user that servers run as when we are root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUser {
    /// Its login name.
    pub name: String,
    /// Its user id.
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
    /// Its home directory.
    pub home: PathBuf,
}

/// The user that servers have to run as, or `None` when they run as ourselves.
///
/// As root it is `postgres` where that user exists, else `nobody`.
pub fn server_user() -> Result<Option<ServerUser>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let passwd = passwd()?;
    match user_named(&passwd, "postgres").or_else(|| user_named(&passwd, "nobody")) {
        Some(user) => Ok(Some(user)),
        None => bail!(
            "PostgreSQL refuses to run as root, and there is neither a user `postgres` nor a user `nobody`; \
             create one (`useradd --system postgres`) or run state-lab as a plain user"
        ),
    }
}

/// The user of this name, unless it is root.
///
/// # Errors
///
/// If `/etc/passwd` cannot be read.
pub(crate) fn user(name: &str) -> Result<Option<ServerUser>> {
    Ok(user_named(&passwd()?, name))
}

fn passwd() -> Result<String> {
    fs::read_to_string("/etc/passwd").context("failed to read the users in /etc/passwd")
}

fn user_named(passwd: &str, name: &str) -> Option<ServerUser> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next()?;
        let uid: u32 = fields.nth(1)?.parse().ok()?;
        let gid: u32 = fields.next()?.parse().ok()?;
        let home = PathBuf::from(fields.nth(1).unwrap_or("/"));
        (found == name && uid != 0).then(|| ServerUser { name: name.to_owned(), uid, gid, home })
    })
}

/// Makes `command` run as the user that owns data directories, which matters only when we are root.
///
/// For programs that write next to a server, such as `pg_basebackup`. As root the program's working directory becomes
/// `/`, because ours may be closed to that user and PostgreSQL's programs give up then: pass absolute paths.
pub fn run_as_server_user(command: &mut Command) -> Result<()> {
    if let Some(user) = server_user()? {
        command.uid(user.uid).gid(user.gid).current_dir("/");
    }
    Ok(())
}

/// Gives `path`, and all below it, to the user that servers run as; does nothing unless we are root.
///
/// For files that we wrote or unpacked ourselves and that a server is to be started on. Symbolic links are given
/// away themselves, never what they point to.
pub fn give_to_server_user(path: &Path) -> Result<()> {
    match server_user()? {
        Some(user) => give_tree(path, &user),
        None => Ok(()),
    }
}

fn give_tree(path: &Path, user: &ServerUser) -> Result<()> {
    let context = || format!("failed to give {} to the user `{}`", path.display(), user.name);
    let metadata = fs::symlink_metadata(path).with_context(context)?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path).with_context(context)? {
            give_tree(&entry.with_context(context)?.path(), user)?;
        }
    }
    if (metadata.uid(), metadata.gid()) != (user.uid, user.gid) {
        lchown(path, Some(user.uid), Some(user.gid)).with_context(context)?;
    }
    Ok(())
}

/// Creates the directory `path`, closed to everybody but the user that servers run as. Its parent has to exist.
pub fn create_server_dir(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .mode(0o700)
        .create(path)
        .with_context(|| format!("failed to create the directory {}", path.display()))?;
    give_to_server_user(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_user_by_its_whole_name_and_never_root() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\npostgres2:x:7:7::/:\npostgres:x:101:104:,,,:/var/lib:/bin/sh\n";
        let postgres =
            ServerUser { name: "postgres".to_owned(), uid: 101, gid: 104, home: PathBuf::from("/var/lib") };
        assert_eq!(user_named(passwd, "postgres"), Some(postgres));
        assert_eq!(user_named(passwd, "nobody"), None);
        assert_eq!(user_named(passwd, "root"), None);
    }
}
