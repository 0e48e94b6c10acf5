//! Judgements: pure functions from facts to what is wrong, one for each check.

pub(crate) mod archive;
pub(crate) mod backups;
pub(crate) mod bucket;
pub(crate) mod catalogue;
pub(crate) mod durability;
pub(crate) mod evidence;
pub(crate) mod heartbeat;
pub(crate) mod machine;
pub(crate) mod outgoing;
pub(crate) mod replication;
pub(crate) mod restore_side;
mod shell;
pub(crate) mod storage;
pub(crate) mod velero;
