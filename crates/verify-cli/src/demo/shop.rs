//! The shop: a small database with everything in it that a restore gets wrong.

use verify_core::postgres::Connection;
use verify_core::{Error, ErrorKind, Result};

/// The database that the shop is in.
pub(crate) const DATABASE: &str = "shop";

const SHOP: &str = include_str!("shop.sql");

/// Right after ANALYZE, which has read every page of tables as small as these, the estimates are the numbers.
const SIZE: &str = "SELECT coalesce(sum(c.reltuples), 0)::bigint, count(*) FROM pg_class c \
    WHERE c.relnamespace = 'shop'::regnamespace AND c.relkind IN ('r', 'm')";

/// Size of the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// Rows in all tables.
    pub(crate) rows: u64,
    /// Tables that hold rows.
    pub(crate) tables: u64,
}

/// Fills an empty database.
pub(crate) fn load(connection: &mut Connection) -> Result<Size> {
    connection.execute(SHOP).map_err(|error| error.while_doing("load the shop"))?;
    let rows = connection.query(SIZE)?;
    let row = rows.first().ok_or_else(|| Error::new(ErrorKind::Protocol, "count the shop's rows"))?;
    Ok(Size { rows: row.number(0)?, tables: row.number(1)? })
}
