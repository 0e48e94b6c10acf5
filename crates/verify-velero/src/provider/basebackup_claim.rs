//! The claim that base backups and dumps are written to: one run at a time has it, or one would remove the files that
//! Velero copies for the other.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::preflight;
use super::settings::Settings;
use super::sweep::{KeptServers, sweep};
use super::waiting::{Pending, wait};
use crate::cluster::{Cluster, Component, selector};
use verify_drill::problem::Problem;
use verify_drill::until::Check;
use verify_drill::watch::Watch;

/// Liveness poll interval of another run while waiting for it.
const SWEEP_PERIOD: Duration = Duration::from_secs(30);

/// A claim that runs share.
pub(super) struct BasebackupClaim<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) settings: &'a Settings,
    /// The database's.
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) watch: &'a Watch<'a>,
}

impl BasebackupClaim<'_> {
    /// Waits until no other run has the claim.
    ///
    /// # Errors
    ///
    /// If another one has it for longer than our patience.
    pub(super) fn await_free(&self) -> Result<()> {
        let mut swept_at = Instant::now();
        wait(self.settings.patience(), self.watch, || {
            let users = self.users()?;
            let Some(other) = users.first() else { return Ok(Check::Done(())) };
            // Leftovers of an aborted run are removed once its lease has expired.
            if swept_at.elapsed() > SWEEP_PERIOD {
                let velero = self.settings.velero_namespace();
                sweep(self.cluster, velero, KeptServers::Spare, self.watch)?.report_left(self.watch);
                swept_at = Instant::now();
            }
            let what = format!("is used by another backup, by its pod {}", other.name_any());
            let on = Problem::failure(format!("the claim {}", self.name), what);
            Ok(Check::Waiting(Pending {
                on: on.with_hint("try again when that one has finished"),
                state: String::new(),
            }))
        })
    }

    /// Fails where another run's pod mounted the claim before `pod` did. Each run looks when it has its pod, so that of two
    /// that began at once one goes on.
    pub(super) fn expect_ours(&self, pod: &str) -> Result<()> {
        match self.users()?.first() {
            Some(other) if other.name_any() != pod => bail!(
                "failed to write to the claim {}: another backup has started to use it, by its pod {}; try again when that one \
                 has finished",
                self.name,
                other.name_any()
            ),
            _ => Ok(()),
        }
    }

    /// The pods of backups that mount the claim, the oldest first.
    fn users(&self) -> Result<Vec<Pod>> {
        let mut pods = self.cluster.of::<Pod>(self.namespace).list(&selector(&[Component::Backup]))?;
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_none() && preflight::mounts(pod, self.name));
        pods.sort_by_key(|pod| (pod.creation_timestamp(), pod.name_any()));
        Ok(pods)
    }
}
