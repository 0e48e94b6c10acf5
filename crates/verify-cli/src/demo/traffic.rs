//! Transaction of one customer of the shop.

use verify_core::Result;
use verify_core::postgres::{Connection, Parameter, Row, Type};
use verify_core::{Error, ErrorKind};

use super::writers::WRITERS;

/// One purchase: an order with items and a payment, stock, sessions, and a gift card that is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purchase {
    /// Number of the customer. Writers touch different products and customers, so that they never wait for each
    /// other.
    pub(crate) writer: u32,
    /// The how-manieth purchase of this writer.
    pub(crate) turn: i64,
}

impl Purchase {
    /// The row of `shop.acknowledged` that records it.
    pub(crate) fn id(self) -> i64 {
        self.turn * i64::from(WRITERS) + i64::from(self.writer) - 1
    }

    /// Runs it; when this returns, the server has acknowledged the commit.
    pub(crate) fn run(self, connection: &mut Connection) -> Result<()> {
        let numbers = |numbers: &[i64], connection: &mut Connection, sql: &str| {
            let values: Vec<Parameter<'_>> = numbers.iter().map(|number| (number as _, Type::INT8)).collect();
            connection.query_with(sql, &values)
        };
        let (customer, product, quantity) = (self.customer(), self.product(), self.turn % 3 + 1);
        connection.execute("BEGIN")?;
        let rows = numbers(&[customer], connection, ORDER)?;
        let order: i64 = rows.first().map_or_else(|| Err(no_order()), |row: &Row| row.number(0))?;
        numbers(&[order, product, quantity], connection, ITEMS)?;
        numbers(&[quantity, product], connection, STOCK)?;
        numbers(&[order, quantity], connection, PAYMENT)?;
        self.pay_with_gift_card(connection)?;
        numbers(&[customer], connection, LOG_OUT)?;
        numbers(&[customer], connection, LOG_IN)?;
        let actor = format!("writer {}", self.writer);
        connection.query_with(LOG, &[(&actor, Type::TEXT)])?;
        numbers(&[self.id(), self.writer.into()], connection, ACKNOWLEDGED)?;
        connection.execute("COMMIT")
    }

    fn customer(self) -> i64 {
        self.id() % 6_000 * i64::from(WRITERS) % 18_000 + i64::from(self.writer)
    }

    fn product(self) -> i64 {
        self.turn * 7 % 1_600 * i64::from(WRITERS) + i64::from(self.writer)
    }

    /// Every third purchase pays with a gift card; every other of those changes its mind.
    fn pay_with_gift_card(self, connection: &mut Connection) -> Result<()> {
        if self.turn % 3 > 0 {
            return Ok(());
        }
        let end = if self.turn % 2 == 0 { "RELEASE SAVEPOINT card" } else { "ROLLBACK TO SAVEPOINT card" };
        let card = format!("G-{:06}", self.turn % 600 * i64::from(WRITERS) + i64::from(self.writer));
        connection.execute("SAVEPOINT card")?;
        connection.query_with(GIFT_CARD, &[(&card, Type::TEXT)])?;
        connection.execute(end)
    }
}

const ORDER: &str = "INSERT INTO shop.orders (ordered_on, customer_id, status) VALUES (current_date, $1, 'paid') RETURNING id";
const ITEMS: &str = "INSERT INTO shop.order_items \
    SELECT $1, line, current_date, $2, $3, 9.90 FROM generate_series(1, 2) line";
const STOCK: &str =
    "UPDATE shop.inventory SET on_hand = on_hand - 2 * $1 WHERE warehouse = 1 AND product_id = $2";
const PAYMENT: &str = "INSERT INTO shop.payments (order_id, ordered_on, amount, fx_rate, paid_at) \
    VALUES ($1, current_date, 19.80 * $2, 1 + random(), clock_timestamp())";
const GIFT_CARD: &str = "UPDATE shop.\"Gift Cards\" SET balance = balance - 0.01 WHERE \"card no.\" = $1";
const LOG_OUT: &str = "DELETE FROM shop.sessions WHERE customer_id = $1";
const LOG_IN: &str = "INSERT INTO shop.sessions VALUES (gen_random_uuid(), $1, clock_timestamp())";
const LOG: &str = "INSERT INTO shop.audit_log SELECT current_date, $1, 'purchase' FROM generate_series(1, 2)";
const ACKNOWLEDGED: &str = "INSERT INTO shop.acknowledged (id, writer) VALUES ($1, $2)";

fn no_order() -> Error {
    Error::new(ErrorKind::Protocol, "read the number of an order: the server sent no row")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn writers_never_share_a_row() {
        let of = |writer: u32, what: fn(Purchase) -> i64| -> HashSet<i64> {
            (1..5_000).map(|turn| what(Purchase { writer, turn })).collect()
        };
        for what in [Purchase::id, Purchase::customer, Purchase::product] {
            for (one, other) in [(1, 2), (1, 3), (2, 3)] {
                assert!(of(one, what).is_disjoint(&of(other, what)));
            }
        }
        assert!(of(3, Purchase::product).iter().all(|product| (1..=5_000).contains(product)));
        assert!(of(3, Purchase::customer).iter().all(|customer| (1..=20_000).contains(customer)));
    }
}
