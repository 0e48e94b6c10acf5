//! The password file: `host:port:database:user:password`, one entry a line.

use std::fs;
use std::io::ErrorKind as IoKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::secret::Secret;
use crate::error::{Error, ErrorKind, Result};

/// Key of an entry.
pub(super) struct Wanted<'a> {
    pub(super) host: &'a str,
    pub(super) port: &'a str,
    pub(super) database: &'a str,
    pub(super) user: &'a str,
}

/// The password of the first entry that matches; `None` where no entry does or the file does not exist.
///
/// A file that others may read is refused. libpq ignores it with a warning, and then the login fails for a
/// hidden reason.
pub(super) fn look_up(path: &Path, wanted: &Wanted<'_>) -> Result<Option<Secret>> {
    let doing = || format!("use the password file {}", path.display());
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if matches!(error.kind(), IoKind::NotFound | IoKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(Error::with_source(ErrorKind::Settings, doing(), error)),
    };
    if !metadata.is_file() {
        return Err(Error::new(ErrorKind::Settings, format!("{}: it is not a regular file", doing())));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Error::new(
            ErrorKind::Settings,
            format!("{}: others may read it (mode {mode:04o})", doing()),
        )
        .with_hint(format!("run `chmod 0600 {}`", path.display())));
    }
    let text =
        fs::read_to_string(path).map_err(|error| Error::with_source(ErrorKind::Settings, doing(), error))?;
    Ok(find(&text, wanted))
}

fn find(text: &str, wanted: &Wanted<'_>) -> Option<Secret> {
    let expected = [wanted.host, wanted.port, wanted.database, wanted.user];
    text.lines().find_map(|line| {
        if line.starts_with('#') {
            return None;
        }
        let mut rest = line;
        for value in expected {
            let (pattern, after) = field(rest);
            // Only a bare asterisk is a wildcard; an escaped one means itself.
            let wildcard = rest.starts_with("*:");
            if !wildcard && pattern != value {
                return None;
            }
            rest = after?;
        }
        Some(Secret::new(field(rest).0))
    })
}

/// The text up to the first unescaped colon, unescaped, and what follows that colon.
fn field(text: &str) -> (String, Option<&str>) {
    let mut out = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            ':' => return (out, Some(&text[at + 1..])),
            '\\' => out.push(characters.next().map_or('\\', |(_, escaped)| escaped)),
            other => out.push(other),
        }
    }
    (out, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Wanted<'_> = Wanted { host: "h", port: "5432", database: "d:1", user: "u" };

    #[test]
    fn entries_match_in_order_with_wildcards_and_escapes() {
        let table = [
            ("h:5432:d\\:1:u:secret", Some("secret")),
            ("*:*:*:*:any", Some("any")),
            ("#*:*:*:*:comment\n*:*:*:u:second", Some("second")),
            ("other:*:*:*:no\nh:*:*:*:first\n*:*:*:*:later", Some("first")),
            ("*:*:*:u:a\\:b\\\\c", Some("a:b\\c")),
            ("*:*:*:u:cr\r\n", Some("cr")),
            ("h:5432:d:u:no", None),
            ("h:5432", None),
            ("\\*:*:*:*:no", None),
            ("h*:*:*:*:no", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(find(text, &WANTED), expected.map(Secret::new), "{text}");
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_by_its_mode() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "*:*:*:*:hunter2").unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).unwrap();
        let error = look_up(file.path(), &WANTED).unwrap_err();
        assert!(error.to_string().contains("mode 0644"), "{}", error.to_string());
        assert!(!error.to_string().contains("hunter2"));
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(look_up(file.path(), &WANTED).unwrap(), Some(Secret::new("hunter2")));
        assert_eq!(look_up(Path::new("/nonexistent/pgpass"), &WANTED).unwrap(), None);
        assert!(look_up(Path::new("/tmp"), &WANTED).unwrap_err().to_string().contains("regular file"));
    }
}
