//! Commit order at restore: a physical copy whose recovery ended between the commits that a manifest sees and all others.

use tokio_postgres::types::Type;

use super::anchor::{Instant, TransactionSnapshot, parameter};
use super::connection::Connection;
use super::server::Identity;
use super::settings::Settings;
use super::snapshot::{PostgresSnapshot, open};
use super::statements;
use super::traveller::{other_cluster, snapshot_of_copy};
use crate::database::{Database, Deviation, Snapshot};
use crate::error::Result;
use crate::event::OnEvent;
use crate::manifest::{Header, Manifest};
use crate::plan::Plan;

/// A physical copy that no other client uses, and that has replayed WAL up to a chosen position: it is paused there, or has
/// left recovery.
#[derive(Clone, Debug)]
pub struct PausedCopy {
    settings: Settings,
    /// That of the manifest whose snapshot it is to show, if there is one.
    header: Option<Header>,
}

impl PausedCopy {
    /// The copy that the settings lead to, which is to show the snapshot of `manifest`.
    pub fn new(settings: Settings, manifest: &Manifest) -> Self {
        Self { settings, header: Some(manifest.header.clone()) }
    }

    /// The copy that the settings lead to, as it is.
    pub fn without_manifest(settings: Settings) -> Self {
        Self { settings, header: None }
    }

    fn begin(&self, plan: &Plan, on_event: OnEvent<'_>) -> Result<PostgresSnapshot> {
        let mut control = open(&self.settings, plan.limits)?;
        let identity = Identity::read(&mut control)?;
        control.execute(statements::BEGIN)?;
        let instant = Instant::fix(&mut control)?;
        let deviation = self.deviation(&mut control, &identity)?.map(Deviation::Unproven);
        let snapshot = snapshot_of_copy(control, identity, instant, plan, on_event)?;
        Ok(PostgresSnapshot { deviation, ..snapshot })
    }

    /// Reason why the copy is known not to show the manifest's snapshot.
    fn deviation(&self, control: &mut Connection, identity: &Identity) -> Result<Option<String>> {
        let Some(header) = &self.header else { return Ok(None) };
        let (ours, theirs) = (&header.source, &identity.source);
        if let Some(reason) = other_cluster(ours, theirs) {
            return Ok(Some(reason));
        }
        if ours.database_oid != theirs.database_oid {
            return Ok(Some(format!("the manifest is of another database than {}", theirs.database)));
        }
        let TransactionSnapshot { xmin: _, xmax, xip } = TransactionSnapshot::parse(&header.snapshot)?;
        let running = xip.into_iter().map(parameter).collect::<Result<Vec<i64>>>()?;
        let parameters = [(&running as _, Type::INT8_ARRAY), (&parameter(xmax)? as _, Type::INT8)];
        let rows = control.query_with(statements::COMMITTED_LATER, &parameters)?;
        Ok(rows.first().and_then(|row| row.get(0)).map(|xid| {
            format!("transaction {xid} is committed in the copy, and was not when the manifest was captured")
        }))
    }
}

impl Database for PausedCopy {
    fn snapshot<'a>(&'a self, plan: &Plan, on_event: OnEvent<'_>) -> Result<Box<dyn Snapshot + 'a>> {
        Ok(Box::new(self.begin(plan, on_event)?))
    }
}
