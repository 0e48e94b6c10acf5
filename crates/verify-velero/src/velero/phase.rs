//! Phase of one of Velero's objects.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The word in `status.phase`. A new object has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Phase(Option<String>);

/// Meaning of a phase for the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Not finished, or in an unknown phase: only state-lab's deadline ends the wait.
    Running,
    /// Velero says that it is done. That is evidence, not proof.
    Succeeded,
    /// Finished, or being cancelled, without completing everything that was requested.
    Failed,
}

impl Phase {
    /// A word means the same for every kind, so that one table serves all.
    pub fn progress(&self) -> Progress {
        match self.word() {
            "Completed" | "Processed" => Progress::Succeeded,
            // A backup that is being deleted will never complete.
            "PartiallyFailed" | "Failed" | "FailedValidation" | "Canceled" | "Deleting" => Progress::Failed,
            // Among them `Finalizing` and `WaitingForPluginOperations`: the data is not there yet.
            _ => Progress::Running,
        }
    }

    /// Returns whether the work has finished, with any result.
    pub fn ended(&self) -> bool {
        self.progress() != Progress::Running
    }

    /// Returns whether it is this phase.
    pub fn is(&self, word: &str) -> bool {
        self.word() == word
    }

    /// No controller has processed the object yet.
    pub fn untouched(&self) -> bool {
        matches!(self.word(), "" | "New")
    }

    fn word(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

impl From<&str> for Phase {
    fn from(word: &str) -> Self {
        Self(Some(word.to_owned()))
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.untouched() { "New" } else { self.word() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::velero::sample;

    #[test]
    fn every_sample_is_where_its_phase_says() {
        use Progress::{Failed, Running, Succeeded};
        let table = [
            ("Backup/none.1", Running),
            ("Backup/Queued.1", Running),
            ("Backup/ReadyToStart.1", Running),
            ("Backup/InProgress.1", Running),
            ("Backup/WaitingForPluginOperations.1", Running),
            ("Backup/Finalizing.1", Running),
            ("Backup/FinalizingPartiallyFailed.1", Running),
            ("Backup/Completed.1", Succeeded),
            ("Backup/Completed.2", Succeeded),
            ("Backup/Completed.3", Succeeded),
            ("Backup/PartiallyFailed.1", Failed),
            ("Backup/Failed.1", Failed),
            ("Backup/Failed.2", Failed),
            ("Backup/FailedValidation.1", Failed),
            ("Backup/Deleting.1", Failed),
            ("Restore/none.1", Running),
            ("Restore/InProgress.1", Running),
            ("Restore/WaitingForPluginOperations.1", Running),
            ("Restore/Finalizing.1", Running),
            ("Restore/FinalizingPartiallyFailed.1", Running),
            ("Restore/Completed.1", Succeeded),
            ("Restore/Completed.2", Succeeded),
            ("Restore/PartiallyFailed.1", Failed),
            ("Restore/FailedValidation.1", Failed),
            ("PodVolumeBackup/none.1", Running),
            ("PodVolumeBackup/Accepted.1", Running),
            ("PodVolumeBackup/Prepared.1", Running),
            ("PodVolumeBackup/InProgress.1", Running),
            ("PodVolumeBackup/Canceling.1", Running),
            ("PodVolumeBackup/Canceled.1", Failed),
            ("PodVolumeBackup/Completed.1", Succeeded),
            ("PodVolumeBackup/Completed.3", Succeeded),
            ("PodVolumeRestore/none.1", Running),
            ("PodVolumeRestore/Accepted.1", Running),
            ("PodVolumeRestore/Prepared.1", Running),
            ("PodVolumeRestore/InProgress.1", Running),
            ("PodVolumeRestore/Completed.1", Succeeded),
            ("PodVolumeRestore/Failed.1", Failed),
            ("DataUpload/none.1", Running),
            ("DataUpload/Accepted.1", Running),
            ("DataUpload/Prepared.1", Running),
            ("DataUpload/InProgress.1", Running),
            ("DataUpload/Completed.1", Succeeded),
            ("DataDownload/none.1", Running),
            ("DataDownload/Accepted.1", Running),
            ("DataDownload/Prepared.1", Running),
            ("DataDownload/InProgress.1", Running),
            ("DataDownload/Completed.1", Succeeded),
            ("DeleteBackupRequest/none.1", Running),
            ("DeleteBackupRequest/InProgress.1", Running),
            ("DeleteBackupRequest/Processed.1", Succeeded),
        ];
        for (name, progress) in table {
            assert_eq!(sample::phase(name).progress(), progress, "{name}");
        }
    }

    #[test]
    fn an_unknown_word_is_not_the_end() {
        for word in ["", "New", "WaitingForPluginOperationsPartiallyFailed", "completed", "Compacting"] {
            assert_eq!(Phase::from(word).progress(), Progress::Running, "{word}");
        }
    }
}
