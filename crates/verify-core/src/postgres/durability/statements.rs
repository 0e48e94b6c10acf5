//! The statements of the check, qualified with `pg_catalog` as all of [`crate::postgres::statements`].

/// Writes 1,000 rows.
pub(super) const WRITE: &str = "CREATE TABLE public.written (id pg_catalog.int4 PRIMARY KEY, body pg_catalog.text); \
    INSERT INTO public.written SELECT i, pg_catalog.md5(i::pg_catalog.text) FROM pg_catalog.generate_series(1, 1000) i";

/// Changes half of them, and deletes a hundred.
pub(super) const CHANGE: &str = "UPDATE public.written SET body = pg_catalog.md5((- id)::pg_catalog.text) \
      WHERE id OPERATOR(pg_catalog.%) 2 OPERATOR(pg_catalog.=) 0; \
    DELETE FROM public.written WHERE id OPERATOR(pg_catalog.%) 10 OPERATOR(pg_catalog.=) 0";

/// Counts all rows, and those that are as they were written.
pub(super) const WRITTEN: &str = "SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE body OPERATOR(pg_catalog.=) \
      pg_catalog.md5((CASE id OPERATOR(pg_catalog.%) 2 WHEN 0 THEN - id ELSE id END)::pg_catalog.text)) FROM public.written";

/// Commits `count` transactions, which takes an ID each.
pub(super) fn transactions(count: u32) -> String {
    "BEGIN; SELECT pg_catalog.pg_current_xact_id(); COMMIT; ".repeat(count as usize)
}

pub(super) const VACUUM: &str = "VACUUM (SKIP_LOCKED)";
pub(super) const CHECKPOINT: &str = "CHECKPOINT";
