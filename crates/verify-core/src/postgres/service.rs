//! The connection service file: named groups of settings.

use std::fs;
use std::io::ErrorKind as IoKind;
use std::path::{Path, PathBuf};

use super::conninfo::Pairs;
use super::environment::Environment;
use super::printable::printable;
use crate::error::{Error, ErrorKind, Result};

/// Directory of Debian's packages if PGSYSCONFDIR is not set.
const SYSTEM_DIRECTORY: &str = "/etc/postgresql-common";

/// The settings of a service, from the user's file or else the system's.
pub(super) fn look_up(name: &str, file: Option<&str>, env: &Environment) -> Result<Pairs> {
    let user_file = file
        .or_else(|| env.variable("PGSERVICEFILE"))
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .or_else(|| env.in_home(".pg_service.conf"));
    let system_directory = env.variable("PGSYSCONFDIR").unwrap_or(SYSTEM_DIRECTORY);
    let system_file = Path::new(system_directory).join("pg_service.conf");
    let files: Vec<PathBuf> = user_file.into_iter().chain([system_file]).collect();
    for path in &files {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), IoKind::NotFound | IoKind::NotADirectory) => continue,
            Err(error) => {
                let doing = format!("read the service file {}", path.display());
                return Err(Error::with_source(ErrorKind::Settings, doing, error));
            }
        };
        if let Some(pairs) = find(&text, name)
            .map_err(|error| error.while_doing(format!("read the service file {}", path.display())))?
        {
            return Ok(pairs);
        }
    }
    let searched: Vec<_> = files.iter().map(|path| path.display().to_string()).collect();
    Err(Error::new(
        ErrorKind::Settings,
        format!("find the service \"{}\" in {}", printable(name, 60), searched.join(" or ")),
    ))
}

/// The pairs of one group; the first of a repeated keyword counts, as in libpq.
fn find(text: &str, name: &str) -> Result<Option<Pairs>> {
    let mut found: Option<Pairs> = None;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        let refuse = |why: &str| Error::new(ErrorKind::Settings, format!("use line {}: {why}", number + 1));
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with('[') {
            if found.is_some() {
                break;
            }
            if line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) == Some(name) {
                found = Some(Pairs::new());
            }
            continue;
        }
        let Some(pairs) = &mut found else { continue };
        if line.starts_with("ldap") {
            return Err(refuse("a service kept in LDAP is not supported; write its settings into the file"));
        }
        let Some((keyword, value)) = line.split_once('=') else {
            return Err(refuse("it has no \"=\""));
        };
        let keyword = keyword.trim_end();
        if keyword == "service" || keyword == "servicefile" {
            return Err(refuse("a service cannot name another service"));
        }
        if !pairs.iter().any(|(known, _)| known == keyword) {
            pairs.push((keyword.to_owned(), value.to_owned()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_ends_where_the_next_begins() {
        let text = "# c\n[a]\nhost=1\n\n[b]\nhost=2\nhost=3\npassword=x=y z\n[b]\nport=1\n";
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        assert_eq!(find(text, "a").unwrap(), Some(vec![pair("host", "1")]));
        assert_eq!(find(text, "b").unwrap(), Some(vec![pair("host", "2"), pair("password", "x=y z")]));
        assert_eq!(find(text, "c").unwrap(), None);
    }

    #[test]
    fn a_line_that_cannot_be_used_is_named_by_number_only() {
        for text in ["[a]\nhunter2", "[a]\nldap://hunter2", "[a]\nservice=hunter2"] {
            let error = find(text, "a").unwrap_err();
            assert!(error.to_string().contains("line 2"), "{}", error.to_string());
            assert!(!error.to_string().contains("hunter2"), "{}", error.to_string());
        }
    }

    #[test]
    fn a_missing_service_names_the_files_searched() {
        let error = look_up("nightly", Some("/nonexistent/pg_service.conf"), &Environment::default());
        assert!(
            error.unwrap_err().to_string().contains("\"nightly\" in /nonexistent/pg_service.conf or /etc")
        );
    }
}
