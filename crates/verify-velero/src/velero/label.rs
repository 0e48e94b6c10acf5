//! Names as values of labels, the way Velero shortens them.

use sha2::{Digest, Sha256};
use verify_core::digest::to_hex;

/// The backup that an object belongs to.
pub const BACKUP_NAME: &str = "velero.io/backup-name";
/// Its uid.
pub const BACKUP_UID: &str = "velero.io/backup-uid";
/// The restore that an object belongs to.
pub const RESTORE_NAME: &str = "velero.io/restore-name";

/// The longest value of a label, in bytes.
const VALUE_LEN_MAX: usize = 63;
/// Number of hexadecimal digits of a name's hash that replace its end.
const HASH_LEN: usize = 6;

/// The selector of what belongs to this backup.
pub fn of_backup(name: &str) -> String {
    format!("{BACKUP_NAME}={}", value(name))
}

/// The selector of what belongs to any of these backups.
pub fn of_backups<'a>(names: impl Iterator<Item = &'a str>) -> String {
    format!("{BACKUP_NAME} in ({})", names.map(value).collect::<Vec<_>>().join(","))
}

/// The selector of what belongs to this restore.
pub fn of_restore(name: &str) -> String {
    format!("{RESTORE_NAME}={}", value(name))
}

/// The selector of what belongs to any of these restores.
pub fn of_restores<'a>(names: impl Iterator<Item = &'a str>) -> String {
    format!("{RESTORE_NAME} in ({})", names.map(value).collect::<Vec<_>>().join(","))
}

/// The value of a label for this name, as Velero's `label.GetValidName` makes it: a name that is too long keeps its
/// first 57 bytes, followed by the first 6 hexadecimal digits of its SHA-256.
pub fn value(name: &str) -> String {
    if name.len() <= VALUE_LEN_MAX {
        return name.to_owned();
    }
    let hash = to_hex(&Sha256::digest(name)[..HASH_LEN / 2]);
    // Names of objects are ASCII; another text is cut before the character that would be torn.
    let kept = (0..=VALUE_LEN_MAX - HASH_LEN).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
    format!("{}{hash}", &name[..kept])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_ends_in_its_hash() {
        let (fits, long) = ("a".repeat(63), "a".repeat(64));
        // printf 'a%.0s' {1..64} | sha256sum
        let table = [
            ("nightly-001", "nightly-001".to_owned()),
            (&fits, fits.clone()),
            (&long, format!("{}ffe054", "a".repeat(57))),
        ];
        for (name, expected) in table {
            assert_eq!(value(name), expected, "{name}");
        }
        assert_eq!(value(&"é".repeat(40)).len(), 62);
        assert_eq!(of_backup("nightly-001"), "velero.io/backup-name=nightly-001");
        assert_eq!(of_backups(["a", "b"].into_iter()), "velero.io/backup-name in (a,b)");
        assert_eq!(of_restores(["a"].into_iter()), "velero.io/restore-name in (a)");
        assert_eq!(of_restore(&long), format!("velero.io/restore-name={}ffe054", "a".repeat(57)));
    }
}
