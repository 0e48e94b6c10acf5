//! Facts that only the bucket shows: the volumes of a snapshot backup, and the restores that were verified.

use verify_doctor::Missing;
use verify_doctor::facts::Proof;
use verify_doctor::facts::cluster as facts;
use verify_drill::backup_name::BackupName;
use verify_drill::report_file::read_reports;
use verify_drill::store::OpenStore;

use super::velero;
use crate::cluster::Cluster;
use crate::provider::{Settings, evidence::Evidence};
use crate::velero::artefact::Artefact;
use crate::velero::volume_info;

/// Reports of so many backups, the newest, are read.
const REPORTS_MAX: usize = 8;

/// Adds what the bucket of the location shows. A bucket that cannot be read is not an error.
pub(super) fn add(facts: &mut facts::Cluster, cluster: &Cluster, settings: &Settings, open: OpenStore) {
    let Ok(backups) = &mut facts.backups else {
        return;
    };
    if backups.is_empty() {
        facts.reports = Ok(());
        return;
    }
    let namespace = facts.namespace.clone();
    let read = Evidence::open(cluster, settings, open).and_then(|evidence| {
        for backup in
            backups.iter_mut().filter(|backup| backup.snapshots > 0 && backup.phase == "Completed").take(1)
        {
            if let Some(packed) = evidence.of_backup(&backup.name, Artefact::VolumeInfos)? {
                let mut listed = velero::listed(&volume_info::decode(&packed)?, &namespace);
                let known =
                    |copy: &facts::VolumeCopy| backup.copies.iter().any(|own| own.claim == copy.claim);
                listed.retain(|copy| !known(copy));
                backup.copies.extend(listed);
            }
        }
        for backup in backups.iter_mut().filter(|backup| backup.is_of_state_lab).take(REPORTS_MAX) {
            let Ok(name) = backup.name.parse::<BackupName>() else { continue };
            let reports = format!("{}reports/", Evidence::folder(&name));
            backup.proof = Proof::newest(&read_reports(evidence.store(), &reports)?, None);
        }
        Ok(())
    });
    facts.reports = read.map_err(|error| {
        Missing::unknown(format!("{error:#}"), "a BackupStorageLocation whose bucket can be read from here")
    });
}
