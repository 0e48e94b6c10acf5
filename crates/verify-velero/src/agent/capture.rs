//! Capturing databases while the cluster takes a snapshot of their volume.

use anyhow::{Result, bail};

use super::message::{Message, parts};
use super::order::{CaptureOrder, Order};
use super::orders::Orders;
use super::output::{send, watched};
use verify_drill::backup_record::BackupRecord;
use verify_local::capture_around;

/// Captures, reports when every snapshot is fixed, and keeps them until the order that the copy has been taken.
pub(super) fn capture(order: CaptureOrder, orders: &Orders) -> Result<()> {
    let CaptureOrder { name, access, plan } = order;
    let hold = |stop: &dyn Fn() -> bool| {
        send(&Message::Held);
        match orders.next_unless(stop)? {
            Order::Release => Ok(()),
            _ => bail!("failed to wait for the copy: unexpected order"),
        }
    };
    let settings = access.settings()?;
    let (record, files) = watched(|watch| capture_around(&name, &settings, &plan, watch, hold))?;
    deliver(record, &files);
    Ok(())
}

/// Hands the record and the files of its manifests to the caller.
pub(super) fn deliver(record: BackupRecord, files: &[Vec<u8>]) {
    send(&Message::Backup(Box::new(record)));
    for (index, file) in files.iter().enumerate() {
        for part in parts(index, file) {
            send(&Message::Manifest(part));
        }
    }
}
