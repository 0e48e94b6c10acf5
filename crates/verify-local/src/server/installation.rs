//! Directories of PostgreSQL's programs on this machine, and their version.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Folders below which installers put one folder per version, and what each version's folder is called.
const VERSIONED: [(&str, &str); 4] = [
    ("/usr/lib/postgresql", ""),
    ("/usr", "pgsql-"),
    ("/opt/homebrew/opt", "postgresql"),
    ("/usr/local/opt", "postgresql"),
];

/// A directory of PostgreSQL's programs that holds a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// The directory of `postgres` and `initdb`.
    pub bin: PathBuf,
    /// Major version, such as 15.
    pub major: u32,
    /// Full version, such as `15.18`.
    pub version: String,
    /// Directory of the client programs of the same major version, if `bin` lacks them.
    client_bin: Option<PathBuf>,
}

impl Installation {
    /// Every server on this machine, the newest first.
    pub fn find_all() -> Vec<Self> {
        let bins: BTreeSet<PathBuf> =
            program_dirs().iter().flat_map(|dir| real_dirs_of_server_programs(dir)).collect();
        let mut found: Vec<Self> = bins.iter().filter_map(|bin| Self::at(bin).ok()).collect();
        found.sort_by_key(|one| std::cmp::Reverse(version_key(&one.version)));
        found
    }

    /// The newest server on this machine.
    pub fn newest() -> Result<Self> {
        Self::find_all().into_iter().next().with_context(|| {
            format!(
                "found no PostgreSQL server (the programs `postgres` and `initdb`) in {}; install one, for example \
                 `apt-get install postgresql`, `dnf install postgresql-server` or `brew install postgresql`, \
                 or put its `bin` directory on the PATH",
                searched()
            )
        })
    }

    /// The newest server of one major version on this machine.
    pub fn of_major(major: u32) -> Result<Self> {
        let all = Self::find_all();
        let versions: Vec<&str> = all.iter().map(|one| one.version.as_str()).collect();
        let present = if versions.is_empty() { "none".to_owned() } else { versions.join(", ") };
        all.iter().find(|one| one.major == major).cloned().with_context(|| {
            format!(
                "found no PostgreSQL {major} server in {} (found: {present}); install it, for example \
                 `apt-get install postgresql-{major}` or `dnf install postgresql{major}-server`, or put its `bin` \
                 directory on the PATH",
                searched()
            )
        })
    }

    /// The server whose programs are in the directory `bin`.
    pub fn at(bin: &Path) -> Result<Self> {
        let bin = bin.canonicalize().with_context(|| {
            format!("failed to open the directory {} of PostgreSQL's programs", bin.display())
        })?;
        for program in ["postgres", "initdb"] {
            if !bin.join(program).is_file() {
                bail!("{} is not a PostgreSQL server: it lacks the program `{program}`", bin.display());
            }
        }
        let version = version_of(&bin.join("postgres"))?;
        let major = major_of(&version)
            .with_context(|| format!("failed to read the version `{version}` of {}", bin.display()))?;
        Ok(Self { bin, major, version, client_bin: None })
    }

    /// The same server, with the client programs that it lacks taken from `client_bin`.
    ///
    /// They have to be of the same major version: some, such as `pg_waldump`, read no other.
    #[must_use]
    pub fn with_client_programs(mut self, client_bin: PathBuf) -> Self {
        self.client_bin = Some(client_bin);
        self
    }

    /// The path of one of this installation's programs, such as `pg_dump`.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        [Some(&self.bin), self.client_bin.as_ref()]
            .into_iter()
            .flatten()
            .map(|dir| dir.join(name))
            .find(|path| path.is_file())
            .with_context(|| {
                format!(
                    "PostgreSQL {} in {} lacks the program `{name}`; install the client programs of version {}, for \
                     example `apt-get install postgresql-client-{}` or `dnf install postgresql{}`",
                    self.version,
                    self.bin.display(),
                    self.major,
                    self.major,
                    self.major
                )
            })
    }

    /// Names of the extensions that can be created.
    ///
    /// # Errors
    ///
    /// If the program `pg_config` of this installation is missing, or the directory cannot be read.
    pub fn extensions(&self) -> Result<BTreeSet<String>> {
        file_stems(&self.directory("--sharedir")?.join("extension"), ".control")
    }

    /// Names of the libraries that a server can load.
    ///
    /// # Errors
    ///
    /// As [`Self::extensions`].
    pub fn libraries(&self) -> Result<BTreeSet<String>> {
        file_stems(&self.directory("--pkglibdir")?, ".so")
    }

    /// A directory, as `pg_config` prints it.
    fn directory(&self, option: &str) -> Result<PathBuf> {
        let program = self.program("pg_config")?;
        let doing = || format!("failed to run {} {option}", program.display());
        let output = Command::new(&program).arg(option).output().with_context(doing)?;
        match String::from_utf8(output.stdout) {
            Ok(path) if output.status.success() => Ok(PathBuf::from(path.trim_end())),
            _ => bail!("{}: {}", doing(), output.status),
        }
    }
}

/// Names of the files in a directory that end with `suffix`, without it.
fn file_stems(directory: &Path, suffix: &str) -> Result<BTreeSet<String>> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("failed to list {}", directory.display()))?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.filter_map(|name| name.strip_suffix(suffix).map(str::to_owned)).collect())
}

/// Finds a client program such as `pg_dump` whose major version is at least `major_min`, the newest first.
///
/// A newer `pg_dump`, `pg_restore`, `psql` or `pg_basebackup` serves older servers too, never the other way round.
pub fn client_program(name: &str, major_min: u32) -> Result<PathBuf> {
    match newest_client(name) {
        Some((version, path)) if major_of(&version).is_some_and(|major| major >= major_min) => Ok(path),
        Some((version, path)) => bail!(
            "`{name}` of version {major_min} or newer is needed, but the newest found is {} of version {version}; \
             install `postgresql-client-{major_min}` or newer",
            path.display()
        ),
        None => bail!(
            "found no program `{name}` in {}; install PostgreSQL's client programs, for example \
             `apt-get install postgresql-client`, or put their directory on the PATH",
            searched()
        ),
    }
}

/// The major version of the newest client program of this name; none where this machine has none.
pub fn newest_client_major(name: &str) -> Option<u32> {
    major_of(&newest_client(name)?.0)
}

/// The newest client program of this name, with its version.
fn newest_client(name: &str) -> Option<(String, PathBuf)> {
    // Of the same version the program itself goes before a script around it, such as Debian's, which would choose
    // another version by rules of its own.
    program_dirs()
        .iter()
        .map(|dir| dir.join(name))
        .filter(|path| path.is_file())
        .filter_map(|path| Some((version_of(&path).ok()?, path)))
        .max_by_key(|(version, path)| (version_key(version), !is_script(path)))
}

fn searched() -> String {
    "the PATH, /usr/lib/postgresql/*/bin, /usr/pgsql-*/bin, /usr/local/pgsql/bin and Homebrew's folders"
        .to_owned()
}

/// The directories to look in, those of the PATH first.
fn program_dirs() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).filter(|dir| dir.is_absolute()).collect();
    for (parent, prefix) in VERSIONED {
        let mut versions: Vec<PathBuf> = fs::read_dir(parent)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
            .map(|entry| entry.path().join("bin"))
            .filter(|bin| bin.is_dir())
            .collect();
        versions.sort();
        dirs.extend(versions);
    }
    dirs.push(PathBuf::from("/usr/local/pgsql/bin"));
    dirs
}

/// The directories in which the server's programs of `dir` really are: behind symbolic links and wrapper scripts.
fn real_dirs_of_server_programs(dir: &Path) -> Vec<PathBuf> {
    ["postgres", "pg_ctl", "initdb"]
        .iter()
        .filter_map(|program| {
            let path = dir.join(program).canonicalize().ok()?;
            let path = behind_wrapper(&path).unwrap_or(path);
            Some(path.parent()?.to_path_buf())
        })
        .collect()
}

/// The program that a shell script of the same name calls, when `path` is such a script.
fn behind_wrapper(path: &Path) -> Option<PathBuf> {
    if !is_script(path) {
        return None;
    }
    let mut start = Vec::new();
    fs::File::open(path).ok()?.take(64 * 1024).read_to_end(&mut start).ok()?;
    String::from_utf8_lossy(&start)
        .split(|c: char| c.is_whitespace() || "'\";()".contains(c))
        .map(Path::new)
        .find(|word| {
            word.is_absolute() && word.file_name() == path.file_name() && *word != path && word.is_file()
        })
        .and_then(|word| word.canonicalize().ok())
}

fn is_script(path: &Path) -> bool {
    let mut mark = [0; 2];
    fs::File::open(path).and_then(|mut file| file.read_exact(&mut mark)).is_ok() && mark == *b"#!"
}

/// Asks a program for its version: `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` is `15.18`.
fn version_of(program: &Path) -> Result<String> {
    let output = Command::new(program)
        .arg("--version")
        .env("LC_ALL", "C")
        .output()
        .with_context(|| format!("failed to run {} --version", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    match version_in(&text) {
        Some(version) if output.status.success() => Ok(version.to_owned()),
        _ => bail!(
            "failed to find the version of {}: it printed `{}` ({})",
            program.display(),
            [text.trim(), String::from_utf8_lossy(&output.stderr).trim()].join(" ").trim(),
            output.status
        ),
    }
}

fn version_in(text: &str) -> Option<&str> {
    let rest = text.lines().next()?.split_once("(PostgreSQL)")?.1;
    rest.split_whitespace().next().filter(|word| word.starts_with(|c: char| c.is_ascii_digit()))
}

fn major_of(version: &str) -> Option<u32> {
    let end = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    version[..end].parse().ok()
}

/// Numbers to sort versions by; `19beta1` is 19, 0, 1, hence older than 19.1 and newer than 18.4.
fn version_key(version: &str) -> Vec<u32> {
    let release = version.replace("beta", ".0.").replace("rc", ".0.");
    release.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_the_programs_print_them() {
        assert_eq!(version_in("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some("15.18"));
        assert_eq!(version_in("pg_dump (PostgreSQL) 19beta1\n"), Some("19beta1"));
        assert_eq!(version_in("postgres: command not found"), None);
        assert_eq!(major_of("15.18"), Some(15));
        assert_eq!(major_of("19beta1"), Some(19));
        let mut versions = ["9.6.24", "19beta1", "18.4", "19.1", "18.10"];
        versions.sort_by_key(|version| version_key(version));
        assert_eq!(versions, ["9.6.24", "18.4", "18.10", "19beta1", "19.1"]);
    }

    #[test]
    fn a_wrapper_script_leads_to_the_program_that_it_calls() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap().join("real");
        fs::create_dir(&real).unwrap();
        fs::write(real.join("postgres"), "\u{7f}ELF").unwrap();
        let script = dir.path().join("postgres");
        fs::write(&script, format!("#!/bin/sh\nexec \"{}/postgres\" \"$@\"\n", real.display())).unwrap();
        assert_eq!(behind_wrapper(&script), Some(real.join("postgres")));
        assert_eq!(behind_wrapper(&real.join("postgres")), None);
        assert!(real_dirs_of_server_programs(dir.path()).contains(&real));
    }

    #[test]
    fn a_directory_without_a_server_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let error = Installation::at(dir.path()).unwrap_err().to_string();
        assert!(error.contains("lacks the program `postgres`"), "{error}");
    }
}
