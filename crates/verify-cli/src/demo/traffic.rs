//! What a customer of the shop does in one transaction.

use verify_core::Result;
use verify_core::postgres::{Connection, Row};
use verify_core::{Error, ErrorKind};

use super::writers::WRITERS;

/// One purchase: an order with items and a payment, stock, sessions, and a gift card that is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purchase {
    /// Who buys. Writers touch different products and customers, so that they never wait for each other.
    pub(crate) writer: u32,
    /// The how-manieth purchase of this writer.
    pub(crate) turn: i64,
}

impl Purchase {
    /// The row of `shop.acknowledged` that proves it.
    pub(crate) fn id(self) -> i64 {
        self.turn * i64::from(WRITERS) + i64::from(self.writer) - 1
    }

    /// Runs it; when this returns, the server has acknowledged the commit.
    pub(crate) fn run(self, connection: &mut Connection) -> Result<()> {
        connection.execute("BEGIN")?;
        let rows = connection.query(&self.order())?;
        let order: i64 = rows.first().map_or_else(|| Err(no_order()), |row: &Row| row.number(0))?;
        connection.execute(&self.items_and_payment(order))?;
        connection.execute(&self.gift_card())?;
        connection.execute(&self.sessions_and_log())?;
        connection.execute(&format!(
            "INSERT INTO shop.acknowledged (id, writer) VALUES ({}, {}); COMMIT",
            self.id(),
            self.writer
        ))
    }

    fn customer(self) -> i64 {
        self.id() % 6_000 * i64::from(WRITERS) % 18_000 + i64::from(self.writer)
    }

    fn product(self) -> i64 {
        self.turn * 7 % 1_600 * i64::from(WRITERS) + i64::from(self.writer)
    }

    fn order(self) -> String {
        format!(
            "INSERT INTO shop.orders (ordered_on, customer_id, status) \
             VALUES (current_date, {}, 'paid') RETURNING id",
            self.customer()
        )
    }

    fn items_and_payment(self, order: i64) -> String {
        let product = self.product();
        let quantity = self.turn % 3 + 1;
        format!(
            "INSERT INTO shop.order_items \
               SELECT {order}, line, current_date, {product}, {quantity}, 9.90 FROM generate_series(1, 2) line; \
             UPDATE shop.inventory SET on_hand = on_hand - 2 * {quantity} WHERE warehouse = 1 AND product_id = {product}; \
             INSERT INTO shop.payments (order_id, ordered_on, amount, fx_rate, paid_at) \
               VALUES ({order}, current_date, 19.80 * {quantity}, 1 + random(), clock_timestamp())"
        )
    }

    /// Every third purchase pays with a gift card; every other of those changes its mind.
    fn gift_card(self) -> String {
        if self.turn % 3 > 0 {
            return "SELECT 1".to_owned();
        }
        let end = if self.turn % 2 == 0 { "RELEASE SAVEPOINT card" } else { "ROLLBACK TO SAVEPOINT card" };
        let card = self.turn % 600 * i64::from(WRITERS) + i64::from(self.writer);
        format!(
            "SAVEPOINT card; \
             UPDATE shop.\"Gift Cards\" SET balance = balance - 0.01 \
               WHERE \"card no.\" = 'G-' || lpad('{card}', 6, '0'); \
             {end}"
        )
    }

    fn sessions_and_log(self) -> String {
        let (customer, writer) = (self.customer(), self.writer);
        format!(
            "DELETE FROM shop.sessions WHERE customer_id = {customer}; \
             INSERT INTO shop.sessions VALUES (gen_random_uuid(), {customer}, clock_timestamp()); \
             INSERT INTO shop.audit_log SELECT current_date, 'writer {writer}', 'purchase' FROM generate_series(1, 2)"
        )
    }
}

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
