//! Whether the rows that a snapshot sees may differ from those that an earlier one of the same server process saw.

use tokio_postgres::types::Type;

use super::anchor::{TransactionSnapshot, parameter};
use super::connection::Connection;
use super::rows::first;
use super::statements;
use crate::error::Result;
use crate::manifest::{Consistency, Header};

/// Transactions whose status is asked for at most.
const TRANSACTIONS_MAX: u64 = 100_000;

/// Reason why rows may differ, if they may.
///
/// Rows change by transactions. What the snapshot of `then` did not see and `control`, whose snapshot is called `now`, does see must
/// have committed in between, itself or the transaction that it is part of. A transaction that is still in progress is seen by neither.
pub(super) fn changed_since(
    control: &mut Connection,
    in_recovery: bool,
    now: &str,
    then: &Header,
) -> Result<Option<String>> {
    let of_primary = matches!(
        then.consistency,
        Consistency::SharedSnapshot | Consistency::ImportedSnapshot | Consistency::Fence(_)
    );
    if in_recovery || !of_primary {
        let reason =
            "the server is or was in recovery, where a snapshot does not list the transactions in progress";
        return Ok(Some(reason.to_owned()));
    }
    if first(&control.query(statements::HAS_SURGERY)?)?.flag(0)? {
        let reason = "the database has functions of pg_surgery, which change rows without a transaction";
        return Ok(Some(reason.to_owned()));
    }
    let now = TransactionSnapshot::parse(now)?;
    let TransactionSnapshot { xmin: _, xmax, xip } = TransactionSnapshot::parse(&then.snapshot)?;
    let Some(assigned) = now.xmax.checked_sub(xmax) else {
        return Ok(Some(
            "the server has assigned fewer transaction IDs than then, so it was set back".to_owned(),
        ));
    };
    let running = xip.into_iter().map(parameter).collect::<Result<Vec<i64>>>()?;
    if assigned + running.len() as u64 > TRANSACTIONS_MAX {
        let reason = format!("more than {TRANSACTIONS_MAX} transactions have been begun or have ended since");
        return Ok(Some(reason));
    }
    let parameters = [(&running as _, Type::INT8_ARRAY), (&parameter(xmax)? as _, Type::INT8)];
    let committed: u64 = first(&control.query_with(statements::COMMITTED_SINCE, &parameters)?)?.number(0)?;
    let verb = if committed == 1 { "transaction has" } else { "transactions have" };
    Ok((committed > 0).then(|| {
        format!("{committed} {verb} written since, in this or another database of the server (autovacuum's ANALYZE counts too)")
    }))
}
