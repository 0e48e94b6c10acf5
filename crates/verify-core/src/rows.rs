//! The rows in which a table differs, sorted into missing, added and changed, and named.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::finding::{Code, Finding, Rows};
use crate::key::RowKey;
use crate::manifest::{Content, TableEntry};
use crate::names::Difference;
use crate::sketch::Entry;
use crate::table::{KeySource, Table};
use crate::value::RowName;

/// A table of which the two sides hold different rows.
pub(crate) struct Differing<'a> {
    /// The table; of partitions that are compared as one, the partitioned table with their columns.
    pub table: Cow<'a, Table>,
    /// The relations that hold its rows: the table itself, or the partitions.
    pub parts: Vec<&'a Table>,
    /// True if two rows of one key are two versions of one row.
    pub keyed: bool,
    /// Rows on the source, and on the restored side.
    counts: (u64, u64),
    /// The differing rows, as far as known.
    pub difference: Difference,
    /// The names of entries that were seen in the restored table, where a key is too long to carry.
    pub seen: BTreeMap<Entry, RowName>,
    /// Reason why the two sides may differ.
    excuse: Option<Excuse>,
    /// True if the servers hashed the rows, so that none has a name.
    unnamed: bool,
}

/// Hint where the servers hashed the rows.
pub(crate) const UNNAMED: &str =
    "run it again without --quick, which compares the rows themselves and names those that differ";

/// Reason why the rows of a table may differ.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excuse {
    /// The rows are derived from others at every restore.
    Derived,
    /// The rows are the heartbeat's, which continues between a capture and a backup.
    Heartbeat,
    /// No lock keeps writers out of it, so it may have been written to before the copy was cut.
    Unlocked,
}

impl Excuse {
    fn code(self, code: Code) -> Code {
        match self {
            Self::Derived => Code::MatviewDiffers,
            Self::Heartbeat => Code::HeartbeatDiffers,
            Self::Unlocked => code,
        }
    }

    /// The finding with the severity that the reason leaves it.
    fn applied(self, mut finding: Finding) -> Finding {
        if self == Self::Unlocked {
            finding.doubt();
            return finding;
        }
        finding.excused()
    }

    fn hint(self) -> &'static str {
        match self {
            Self::Derived => "a restore from a dump refreshes materialised views, so they may differ",
            Self::Heartbeat => "the heartbeat continues between a capture and a separate backup",
            Self::Unlocked => {
                "materialised views and large objects cannot be locked, so these may have been written before the copy was cut: take \
                 the backup again, or use time travel"
            }
        }
    }
}

/// Rows of one kind, named as far as possible.
#[derive(Default)]
pub(crate) struct Named {
    pub names: Vec<RowName>,
    pub at_least: u64,
    pub complete: bool,
    pub estimate: Option<u64>,
}

impl Named {
    /// Raises the lower bound of the number of rows, identified or not.
    fn at_least_now(&mut self, count: u64) {
        self.at_least = self.at_least.max(count);
    }

    pub(crate) fn into_rows(mut self) -> Rows {
        self.names.sort();
        let more = !self.complete && (self.estimate.is_some() || self.at_least > self.names.len() as u64);
        let named = self.names.into_iter().map(|name| name.text).collect();
        Rows { named, at_least: self.at_least, more, estimate: self.estimate }
    }
}

/// Number of times that a key is among the missing and the added rows.
#[derive(Default)]
struct Sides {
    missing: Vec<(Entry, u64)>,
    added: Vec<(Entry, u64)>,
}

impl<'a> Differing<'a> {
    /// The difference between two measured tables; `None` if they are equal.
    pub(crate) fn new(ours: &'a TableEntry, theirs: &'a TableEntry) -> Option<Self> {
        let (
            Content::Rows { digest: source, names: ours_names, .. },
            Content::Rows { digest: restored, names: theirs_names, .. },
        ) = (&ours.content, &theirs.content)
        else {
            return None;
        };
        if source == restored {
            return None;
        }
        Some(Self {
            table: Cow::Borrowed(&ours.table),
            parts: vec![&ours.table],
            keyed: ours.table.key.source != KeySource::WholeRow,
            counts: (source.rows, restored.rows),
            difference: ours_names.difference(theirs_names).unwrap_or_default(),
            seen: BTreeMap::new(),
            excuse: None,
            unnamed: false,
        })
    }

    /// Partitions that together hold different rows, as the one table that they are.
    pub(crate) fn of_partitions(
        table: Table,
        parts: Vec<&'a Table>,
        keyed: bool,
        counts: (u64, u64),
        difference: Difference,
    ) -> Self {
        let table = Cow::Owned(table);
        Self { table, parts, keyed, counts, difference, seen: BTreeMap::new(), excuse: None, unnamed: false }
    }

    /// The same, with a reason why the two sides may differ.
    pub(crate) fn excused(mut self, excuse: Option<Excuse>) -> Self {
        self.excuse = excuse;
        self
    }

    /// The same where the servers hashed the rows.
    pub(crate) fn unnamed(self) -> Self {
        Self { unnamed: true, difference: Difference::default(), ..self }
    }

    /// One finding for each of missing, added and changed rows.
    pub(crate) fn findings(self) -> Vec<Finding> {
        if self.unnamed {
            let (source, restored) = self.counts;
            let message = format!("rows differ: {source} on the source, {restored} in the restored database");
            return vec![self.differs(message).with_hint(UNNAMED)];
        }
        let table = &*self.table;
        let (mut missing, mut added, mut changed) = (Named::default(), Named::default(), Named::default());
        for sides in self.by_key().into_values() {
            let pairs = sides.missing.len().min(sides.added.len());
            for (entry, _) in &sides.added[..pairs] {
                changed.names.push(self.name(table, entry, 1));
                changed.at_least += 1;
            }
            for (kind, rest) in [(&mut missing, &sides.missing[pairs..]), (&mut added, &sides.added[pairs..])]
            {
                for (entry, count) in rest {
                    kind.names.push(self.name(table, entry, *count));
                    kind.at_least += count;
                }
            }
        }
        missing.at_least_now(self.counts.0.saturating_sub(self.counts.1));
        added.at_least_now(self.counts.1.saturating_sub(self.counts.0));
        let known = (missing.names.len() + added.names.len() + 2 * changed.names.len()) as u64;
        let (source, restored) = self.counts;
        for (kind, most) in
            [(&mut missing, source), (&mut added, restored), (&mut changed, source.min(restored))]
        {
            kind.complete = self.difference.complete;
            // The named rows are a random sample of all, so each kind's share of them is its share of all.
            let share = |all: u64| (all.saturating_mul(kind.names.len() as u64)).checked_div(known);
            let guess = self.difference.estimate.and_then(share).map(|guess| guess.min(most));
            kind.estimate = guess.filter(|&guess| guess > kind.at_least);
        }
        let kinds = [(Code::RowMissing, missing), (Code::RowAdded, added), (Code::RowChanged, changed)];
        let mut findings: Vec<Finding> = kinds
            .into_iter()
            .filter(|(_, named)| named.at_least > 0)
            .map(|(code, named)| self.finding(code, named))
            .collect();
        if findings.is_empty() {
            findings.push(self.differs("rows differ, and could not be identified"));
        }
        findings
    }

    fn differs(&self, message: impl Into<String>) -> Finding {
        let finding = Finding::new(Code::RowDiffers, &self.table.name, message);
        match self.excuse {
            Some(excuse) => excuse.applied(finding),
            None => finding,
        }
    }

    fn finding(&self, code: Code, named: Named) -> Finding {
        let count = named.at_least;
        let at_least = if named.complete { "" } else { "at least " };
        let rows = if count == 1 { "row" } else { "rows" };
        let what = match code {
            Code::RowMissing => format!("{rows} of the source missing"),
            Code::RowAdded => format!("{rows} that the source never had"),
            _ => format!("{rows} with other content than on the source"),
        };
        let about = named.estimate.map_or(String::new(), |all| format!(", about {all} in all"));
        let code = self.excuse.map_or(code, |excuse| excuse.code(code));
        let mut finding = Finding::new(code, &self.table.name, format!("{at_least}{count} {what}{about}"));
        if let Some(excuse) = self.excuse {
            finding = excuse.applied(finding).with_hint(excuse.hint());
        }
        finding.rows = Some(named.into_rows());
        finding
    }

    fn by_key(&self) -> BTreeMap<(RowKey, Option<Entry>), Sides> {
        let mut keys = BTreeMap::<_, Sides>::new();
        for (entry, count) in &self.difference.entries {
            // Without a key no row is "the same row, changed".
            let sides = keys.entry((entry.key, (!self.keyed).then_some(*entry))).or_default();
            let side = if *count > 0 { &mut sides.missing } else { &mut sides.added };
            side.push((*entry, count.unsigned_abs()));
        }
        keys
    }

    fn name(&self, table: &Table, entry: &Entry, count: u64) -> RowName {
        let mut name = match (self.seen.get(entry), entry.key.fields()) {
            (Some(seen), _) => seen.clone(),
            (None, Some(fields)) if !fields.is_empty() => RowName::of_key(table, &fields),
            (None, _) if table.columns.is_empty() => RowName::unkeyed("(a row without columns)".to_owned()),
            (None, _) => {
                let text = format!("(row {:016x}, whose key is too long for the manifest)", entry.hash[0]);
                RowName::unkeyed(text)
            }
        };
        if count > 1 {
            name.text.push_str(&format!(" ({count} times)"));
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Column, Key, TableName};

    #[test]
    fn rows_are_named_in_the_order_of_their_keys() {
        let columns = vec![Column::binary("a", "int4"), Column::binary("b", "text")];
        let table = Table::new(
            TableName::new("public", "t"),
            columns,
            Key { source: KeySource::PrimaryKey, columns: vec![1, 0] },
        );
        let name = |b: &str, a: i32| RowName::of_key(&table, &[Some(b.as_bytes()), Some(&a.to_be_bytes())]);
        let unkeyed = RowName::unkeyed("(row 0, whose key is too long for the manifest)".to_owned());
        let names = vec![unkeyed, name("y", 1), name("x", 10), name("x", 9), name("x", -3)];
        let rows = Named { names, at_least: 5, complete: true, estimate: None }.into_rows();
        assert_eq!(
            rows.named,
            [
                "b=x, a=-3",
                "b=x, a=9",
                "b=x, a=10",
                "b=y, a=1",
                "(row 0, whose key is too long for the manifest)"
            ]
        );
    }

    #[test]
    fn more_rows_than_the_named_ones_are_reported_where_not_all_are_known() {
        let more = |complete, at_least, estimate| {
            let names = vec![RowName::unkeyed("(row 0)".to_owned())];
            Named { names, at_least, complete, estimate }.into_rows().more
        };
        assert!(more(false, 1, Some(2)) && more(false, 2, None));
        assert!(!more(false, 1, None) && !more(true, 1, None) && !more(true, 2, Some(2)));
    }
}
