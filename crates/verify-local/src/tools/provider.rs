//! The provider of backups that other tools made.

use anyhow::{Result, bail};
use verify_core::manifest::Manifest;
use verify_drill::backup_name::BackupName;
use verify_drill::provider::{
    BackupOrigin, BackupRequest, Provider, Removal, RestoreRequest, RestoreTarget, RestoredCopy, TakenBackup,
};
use verify_drill::watch::Watch;

use super::Tool;
use super::restore::{Expected, choose, restore};
use crate::provider::keep;
use crate::recovery_target::RecoveryTarget;
use crate::scratch;

/// Backups of another tool, and the manifest that one of them is verified against.
pub struct ToolProvider {
    /// The tool.
    pub tool: Box<dyn Tool>,
    /// The manifest.
    pub manifest: Manifest,
    /// The place that it was read from.
    pub place: String,
    /// The point in time to recover to instead of the manifest's, of which only the cluster is used then; no row is compared.
    pub target: Option<RecoveryTarget>,
    /// The timeline to recover along; that of the manifest, else of the backup unless given.
    pub timeline: Option<u32>,
}

impl ToolProvider {
    fn expected(&self) -> Expected<'_> {
        let capture = || RecoveryTarget::Capture(Box::new(self.manifest.clone()));
        Expected {
            manifest: &self.manifest,
            place: &self.place,
            target: self.target.clone().unwrap_or_else(capture),
            timeline: self.timeline,
        }
    }
}

impl Provider for ToolProvider {
    fn backup(&self, _: &BackupRequest, _: &Watch<'_>) -> Result<TakenBackup> {
        bail!("failed to take a backup: {} takes its own", self.tool.name())
    }

    fn restore(&self, request: &RestoreRequest, watch: &Watch<'_>) -> Result<RestoredCopy> {
        let restored = restore(&*self.tool, &self.expected(), request, watch)?;
        let databases = restored.databases.iter().map(|database| database.database().to_owned()).collect();
        let origin = BackupOrigin {
            provider: self.tool.name().to_owned(),
            method: "physical, with its WAL".to_owned(),
            location: self.tool.place(),
            started_at: restored.record.started_at,
            record_blake3: None,
            record_locked_until: None,
        };
        let reports = restored.reports.clone();
        let path = restored.scratch.path().to_owned();
        let mut left = Vec::new();
        let kept = match request.keep {
            true => Some(keep(restored)?),
            false => {
                drop(restored);
                left.extend(path.exists().then(|| path.display().to_string()));
                None
            }
        };
        Ok(RestoredCopy {
            databases,
            reports,
            origin,
            target: RestoreTarget::default(),
            report_files: Vec::new(),
            warnings: Vec::new(),
            left,
            kept,
        })
    }

    fn latest(&self, watch: &Watch<'_>) -> Result<BackupName> {
        Ok(choose(&*self.tool, None, &self.expected(), watch.asked)?.name)
    }

    fn remove_leftovers(&self, _: &Watch<'_>) -> Result<Removal> {
        let removed = scratch::sweep_with_kept().into_iter().map(|path| path.display().to_string()).collect();
        Ok(Removal { removed, ..Removal::default() })
    }
}
