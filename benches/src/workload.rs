//! The data that is measured, and what each measurement may cost.

/// A table, in a database of its own.
pub struct Workload {
    /// What it is, for people.
    pub name: &'static str,
    /// The number of rows.
    pub rows: u64,
    /// The number of rows of a quick run.
    pub quick_rows: u64,
    /// The definitions of the columns.
    pub columns: &'static str,
    /// The values of the row `i`.
    pub values: &'static str,
    /// The most that measuring it in two databases at once may take, as a ratio to reading and discarding.
    pub goal: f64,
}

/// Two databases at once, without a difference.
pub const CLEAN: [Workload; 5] = [
    Workload {
        name: "114 bytes: integers, numeric, timestamptz, text",
        rows: 5_000_000,
        quick_rows: 600_000,
        columns: "id bigint PRIMARY KEY, customer int, amount numeric(12,2), at timestamptz, status text, note text",
        values: "i, (i::bigint * 7919) % 100000, (i % 100000) / 100.0, '2025-01-01'::timestamptz + i * interval '1 second', \
                 (ARRAY['new', 'paid', 'sent', 'done'])[1 + i % 4], md5(i::text)",
        goal: 1.10,
    },
    Workload {
        name: "182 bytes: integers, text, bool",
        rows: 2_000_000,
        quick_rows: 300_000,
        columns: "id int PRIMARY KEY, email text, name text, doc text, active bool, n int",
        values: "i, 'customer' || i || '@shop.invalid', 'Customer ' || i, \
                 md5(i::text) || md5((i + 1)::text) || left(md5((i + 2)::text), 16), i % 3 = 0, i % 1000",
        goal: 1.10,
    },
    Workload {
        name: "floats, jsonb, an array, a range that travels as text",
        rows: 1_000_000,
        quick_rows: 200_000,
        columns: "id int PRIMARY KEY, x float8, y float4, doc jsonb, tags text[], during tsrange, place point",
        values: "i, i / 3.0, i / 7.0, jsonb_build_object('n', i, 'name', 'customer ' || i), ARRAY['a' || i % 10, 'b'], \
                 tsrange('2025-01-01', '2025-01-01'::timestamp + i * interval '1 second'), point(i, i / 2.0)",
        goal: 1.25,
    },
    Workload {
        name: "4 KB, with TOAST",
        rows: 200_000,
        quick_rows: 30_000,
        columns: "id int PRIMARY KEY, body text STORAGE EXTERNAL",
        values: "i, repeat(md5(i::text), 128)",
        goal: 1.10,
    },
    Workload {
        name: "one integer",
        rows: 20_000_000,
        quick_rows: 2_000_000,
        columns: "id int",
        values: "i",
        goal: 1.35,
    },
];

/// A copy that differs.
pub struct Damage {
    /// What it is, for people.
    pub name: &'static str,
    /// The number of rows.
    pub rows: u64,
    /// The number of rows of a quick run.
    pub quick_rows: u64,
    /// One row in so many is changed.
    pub changed: u64,
    /// One row in so many is deleted, if any is.
    pub deleted: Option<u64>,
    /// The most that verifying the copy against a manifest may take, as a ratio to reading and discarding it; without a goal it is not
    /// measured.
    pub verify_goal: Option<f64>,
    /// The most that comparing both databases may take, as a ratio to reading and discarding both.
    pub compare_goal: f64,
}

/// Copies with scattered differences.
pub const DAMAGED: [Damage; 2] = [
    Damage {
        name: "1,005 of 5 million rows differ",
        rows: 5_000_000,
        quick_rows: 600_000,
        changed: 5_000,
        deleted: Some(1_000_000),
        verify_goal: Some(1.15),
        compare_goal: 2.2,
    },
    Damage {
        name: "30,000 of 3 million rows differ",
        rows: 3_000_000,
        quick_rows: 300_000,
        changed: 100,
        deleted: None,
        verify_goal: None,
        compare_goal: 2.3,
    },
];

impl Workload {
    /// The statements that make the table `t`.
    #[must_use]
    pub fn script(&self, rows: u64) -> String {
        let Self { columns, values, .. } = self;
        // The storage of a column is not part of its definition before PostgreSQL 16.
        let (columns, storage) = match columns.split_once(" STORAGE EXTERNAL") {
            Some((columns, _)) => (columns, "ALTER TABLE t ALTER body SET STORAGE EXTERNAL;"),
            None => (*columns, ""),
        };
        format!(
            "CREATE TABLE t ({columns}); {storage} INSERT INTO t SELECT {values} FROM generate_series(1, {rows}) i"
        )
    }
}

impl Damage {
    /// The statements that damage a copy of the first of [`CLEAN`].
    #[must_use]
    pub fn script(&self) -> String {
        let Self { changed, deleted, .. } = self;
        let delete = deleted.map(|deleted| format!("; DELETE FROM t WHERE id % {deleted} = 11"));
        format!("UPDATE t SET status = 'lost' WHERE id % {changed} = 7{}", delete.unwrap_or_default())
    }

    /// The number of rows that then differ.
    #[must_use]
    pub fn differing(&self, rows: u64) -> u64 {
        let each = |step: u64, first: u64| (rows + step - first) / step;
        each(self.changed, 7) + self.deleted.map_or(0, |deleted| each(deleted, 11))
    }
}
