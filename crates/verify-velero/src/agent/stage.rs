//! Copying databases into a volume that the cluster then backs up as files.

use std::fs;

use anyhow::{Context, Result};

use super::capture::deliver;
use super::order::StageOrder;
use super::output::watched;
use verify_drill::provider::BackupRequest;
use verify_local::{LocalProvider, Store};

/// Takes a backup into the store on the volume; what earlier backups left there goes before, as it is kept elsewhere.
pub(super) fn stage(order: &StageOrder) -> Result<()> {
    let store = Store::open(&order.store)?;
    store.sweep();
    for earlier in store.names()? {
        let path = store.path().join(earlier.as_str());
        fs::remove_dir_all(&path).with_context(|| format!("failed to remove {}", path.display()))?;
    }
    let provider =
        LocalProvider { store, databases: order.access.settings()?, point_in_time: None, command: None };
    let request = BackupRequest {
        name: order.name.clone(),
        method: Some(order.method.clone()),
        plan: order.plan.clone(),
    };
    let record = watched(|watch| verify_local::backup(&provider, &request, watch))?;
    let directory = provider.store.path().join(record.name.as_str());
    let files = record.databases.iter().map(|database| {
        let path = directory.join(&database.manifest);
        fs::read(&path).with_context(|| format!("failed to read {}", path.display()))
    });
    let files = files.collect::<Result<Vec<Vec<u8>>>>()?;
    deliver(record, &files);
    Ok(())
}
