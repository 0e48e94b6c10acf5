//! Starting a server on a restored copy in place, and verifying it.

use anyhow::{Result, bail};
use verify_core::manifest::Manifest;

use super::manifests::Assembly;
use super::message::{Message, Verified};
use super::order::{Order, RestoreOrder};
use super::orders::Orders;
use super::output::{send, watched};
use verify_local::{VerifiedCopy, restore_in_place};

/// Receives the manifests, compares the copy with them, and sends the findings.
pub(super) fn restore(order: RestoreOrder, orders: &Orders) -> Result<()> {
    let RestoreOrder { record, place, plan, incident, keep } = order;
    let mut assembly = Assembly::default();
    while assembly.whole() < record.databases.len() {
        match orders.next()? {
            Order::Manifest(part) => assembly.take(&part)?,
            _ => bail!("failed to receive the manifests: unexpected order"),
        }
    }
    let files = assembly.finish(record.databases.len())?;
    let manifests = record.databases.iter().zip(&files).map(|(database, file)| database.open(file));
    let manifests = manifests.collect::<Result<Vec<Manifest>>>()?;
    drop(files);
    let verified = watched(|watch| restore_in_place(record, manifests, &place, &plan, incident, watch))?;
    let VerifiedCopy { server, scratch, databases, found, timeline } = verified;
    let conninfo = match (keep, databases.first()) {
        (true, Some(database)) => {
            let conninfo = server.conninfo_as(database.user(), database.database());
            scratch.keep()?;
            server.detach();
            Some(conninfo)
        }
        _ => None,
    };
    send(&Message::Verified(Box::new(Verified { found, timeline, conninfo })));
    Ok(())
}
