//! Repositories of volume data: which of their objects a restore needs.
//!
//! Kopia and restic never change a pack, an index or a snapshot: they add objects, and maintenance deletes those that
//! nothing needs any more. So every such object of the original must be in the copy with the same content. Some objects
//! come and go or are rewritten by every run, and no restore reads them; these are left out:
//!
//! - Kopia `_log_…` (text logs), `kopia.maintenance` (when maintenance is due) and `s…` (markers of sessions that are
//!   writing, deleted when they commit). Epoch markers `xe…` and watermarks `xw…` stay in: their names say which index
//!   is the current one, and their content is constant.
//! - restic `locks/…`.
//!
//! An object that maintenance writes after the backup may hold data moved there from older objects. Where it is missing
//! in the copy, only opening the repository could show whether this backup needs it.

use jiff::{SignedDuration, Timestamp};

/// Clocks of the bucket and of the cluster may differ by this much.
const CLOCKS_APART_MAX: SignedDuration = SignedDuration::from_mins(10);

/// A repository in the bucket: one for each namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Repository {
    pub(super) kind: Kind,
    pub(super) namespace: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Kopia,
    Restic,
}

/// Meaning of the absence of an object in the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absence {
    /// The backup needs it.
    Needed,
    /// Written after the backup, and may contain data of the backup that maintenance moved.
    MayBeNeeded,
    /// Written after the backup, and no maintenance has run since.
    OfLaterBackup,
    /// Report of a restore, which no restore reads.
    OfRestore,
}

impl Repository {
    /// The keys of its objects begin with this.
    pub(super) fn folder(&self) -> String {
        let kind = match self.kind {
            Kind::Kopia => "kopia",
            Kind::Restic => "restic",
        };
        format!("{kind}/{}/", self.namespace)
    }

    /// The object whose time says when maintenance last ran.
    pub(super) fn maintenance_key(&self) -> Option<String> {
        (self.kind == Kind::Kopia).then(|| format!("{}kopia.maintenance", self.folder()))
    }

    /// Returns whether a restore needs the object with this name below the folder.
    pub(super) fn needs(&self, name: &str) -> bool {
        match self.kind {
            Kind::Kopia => {
                !name.starts_with("_log_") && !name.starts_with('s') && name != "kopia.maintenance"
            }
            Kind::Restic => !name.starts_with("locks/"),
        }
    }
}

/// Returns the meaning of the absence of an object that was written at `written`.
pub(super) fn absence(
    written: Timestamp,
    backup_ended: Option<Timestamp>,
    last_maintenance: Option<Timestamp>,
) -> Absence {
    let after = |time: Timestamp, ended: Timestamp| time.duration_since(ended) > CLOCKS_APART_MAX;
    match (backup_ended, last_maintenance) {
        (Some(ended), _) if !after(written, ended) => Absence::Needed,
        (Some(ended), Some(maintained)) if maintained.duration_since(ended) < -CLOCKS_APART_MAX => {
            Absence::OfLaterBackup
        }
        (Some(_), _) => Absence::MayBeNeeded,
        (None, _) => Absence::Needed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_restore_reads_is_needed_and_what_every_run_rewrites_is_not() {
        let repository = |kind| Repository { kind, namespace: "shop".to_owned() };
        for (kind, name, needed) in [
            (Kind::Kopia, "kopia.repository", true),
            (Kind::Kopia, "kopia.blobcfg", true),
            (Kind::Kopia, "kopia.maintenance", false),
            (Kind::Kopia, "p1f2e-s93a1", true),
            (Kind::Kopia, "q1f2e-s93a1", true),
            (Kind::Kopia, "n1f2e", true),
            (Kind::Kopia, "xn0_1f2e-s93a1-c1", true),
            (Kind::Kopia, "xs0_1f2e", true),
            (Kind::Kopia, "xe1", true),
            (Kind::Kopia, "xw1700000000", true),
            (Kind::Kopia, "s93a1", false),
            (Kind::Kopia, "_log_20261121", false),
            (Kind::Restic, "config", true),
            (Kind::Restic, "snapshots/ab", true),
            (Kind::Restic, "data/ab/abcd", true),
            (Kind::Restic, "locks/ab", false),
        ] {
            assert_eq!(repository(kind).needs(name), needed, "{name}");
        }
        assert_eq!(repository(Kind::Restic).folder(), "restic/shop/");
        assert_eq!(repository(Kind::Kopia).maintenance_key().unwrap(), "kopia/shop/kopia.maintenance");
    }

    #[test]
    fn what_came_after_the_backup_is_not_needed_unless_maintenance_may_have_moved_data() {
        let at = |minutes: i64| Timestamp::from_second(minutes * 60).unwrap();
        for (written, ended, maintained, expected) in [
            (10, Some(20), Some(0), Absence::Needed),
            (29, Some(20), Some(0), Absence::Needed),
            (31, Some(20), Some(5), Absence::OfLaterBackup),
            // So near that it may have been after the backup.
            (31, Some(20), Some(15), Absence::MayBeNeeded),
            (31, Some(20), Some(31), Absence::MayBeNeeded),
            (31, None, Some(0), Absence::Needed),
        ] {
            let found = absence(at(written), ended.map(at), maintained.map(at));
            assert_eq!(found, expected, "{written} {ended:?} {maintained:?}");
        }
        assert_eq!(absence(at(31), Some(at(20)), None), Absence::MayBeNeeded);
    }
}
