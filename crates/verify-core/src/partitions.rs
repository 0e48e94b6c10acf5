//! A partitioned table as one: the same rows in other partitions are the same table, where the restored server wants
//! them there.
//!
//! A dump that is loaded through the topmost table puts each row where the target's hashes and collations say. Digests
//! and names are sums, so those of all partitions together are those of the table.

use std::collections::BTreeMap;

use crate::compare::{ComparisonDraft, same_layout};
use crate::database::Placement;
use crate::digest::Digest;
use crate::finding::{Code, Finding};
use crate::manifest::{Content, Manifest, TableEntry};
use crate::names::Names;
use crate::not_covered::Check;
use crate::rows::Differing;
use crate::table::{Key, KeySource, Table, TableName};

/// Partitions of one table between which rows have moved.
pub(crate) struct Moved<'a> {
    /// The topmost table.
    pub root: TableName,
    /// Partitions whose rows differ from the source, each by itself.
    pub apart: Vec<Differing<'a>>,
    /// Number of partitions of the table.
    pub partitions: usize,
    /// In which rows all partitions together differ, if they do.
    pub together: Option<Differing<'a>>,
}

impl<'a> Moved<'a> {
    /// Takes out of `differing` the partitions between which rows have moved, or may have.
    pub(crate) fn take(
        differing: &mut Vec<Differing<'a>>,
        source: &'a Manifest,
        restored: &'a Manifest,
    ) -> Vec<Self> {
        let mut trees = BTreeMap::<&'a TableName, Vec<Differing<'a>>>::new();
        let mut rest = Vec::with_capacity(differing.len());
        for one in differing.drain(..) {
            match one.parts.first().and_then(|part| part.partition_of.as_ref()) {
                Some(root) => trees.entry(root).or_default().push(one),
                None => rest.push(one),
            }
        }
        let mut moved = Vec::new();
        for (root, apart) in trees {
            let tree = if may_have_moved(&apart) { Tree::of(root, source, restored) } else { None };
            match tree {
                Some(tree) => moved.push(Self {
                    root: root.clone(),
                    apart,
                    partitions: tree.pairs.len(),
                    together: tree.differing(root),
                }),
                None => rest.extend(apart),
            }
        }
        rest.sort_by(|a, b| a.table.name.cmp(&b.table.name));
        *differing = rest;
        moved
    }
}

impl Moved<'_> {
    /// The same where the servers hashed the rows.
    pub(crate) fn unnamed(self) -> Self {
        Self { together: self.together.map(Differing::unnamed), ..self }
    }
}

impl<'a> ComparisonDraft<'a> {
    /// Decides on a partitioned table whose rows may only have moved, by whether they are where they belong.
    pub(crate) fn settle(&mut self, moved: Moved<'a>, placement: Placement) {
        let Moved { root, apart, partitions, together } = moved;
        let rows = match together {
            None => "together the same rows",
            Some(_) => "so they were compared as one table",
        };
        let apart_now = format!(
            "{} of its {partitions} partitions have other rows than on the source, {rows}",
            apart.len()
        );
        match placement {
            Placement::Wrong => {
                // A query that looks for the row where it belongs does not find it.
                self.differing.extend(apart);
                return;
            }
            Placement::Right => {
                let message = format!("{apart_now}; each is where this server's partitioning puts it");
                self.findings.push(Finding::new(Code::PartitionMoved, &root, message).excused());
            }
            Placement::Unknown(reason) => {
                let message =
                    format!("{apart_now}; could not check that each is in the right partition: {reason}");
                self.not_covered(Check::Rows, &root, message.clone());
                self.find(Code::PartitionMoved, &root, message);
            }
        }
        self.differing.extend(together);
    }
}

/// Returns whether rows may have moved from one partition to another; certain if all differences are known.
fn may_have_moved(apart: &[Differing<'_>]) -> bool {
    if apart.len() < 2 {
        return false;
    }
    if apart.iter().any(|one| !one.difference.complete) {
        return true;
    }
    let mut sums = BTreeMap::<[u64; 2], (i64, u64)>::new();
    for (entry, count) in apart.iter().flat_map(|one| &one.difference.entries) {
        let (net, all) = sums.entry(entry.hash).or_default();
        *net += count;
        *all += count.unsigned_abs();
    }
    sums.values().any(|(net, all)| net.unsigned_abs() != *all)
}

/// All partitions of a table on both sides, which can be added up.
struct Tree<'a> {
    pairs: Vec<(&'a TableEntry, &'a TableEntry)>,
}

impl<'a> Tree<'a> {
    /// None where rows do not move between these partitions by themselves, or the sides are not partitioned alike.
    fn of(root: &TableName, source: &'a Manifest, restored: &'a Manifest) -> Option<Self> {
        let below = |manifest: &'a Manifest| {
            manifest.tables.iter().filter(|entry| entry.table.partition_of.as_ref() == Some(root))
        };
        let pair = |ours: &'a TableEntry| Some((ours, restored.table(ours.name())?));
        let pairs = below(source).map(pair).collect::<Option<Vec<_>>>()?;
        let first = &pairs.first()?.0.table;
        let alike = |(ours, theirs): &(&TableEntry, &TableEntry)| {
            let path = &ours.table.partition_path;
            ours.table.columns == first.columns
                && same_layout(ours, theirs)
                && !path.is_empty()
                && *path == theirs.table.partition_path
                && measured(ours).is_some()
                && measured(theirs).is_some()
        };
        let moves = |(ours, _): &(&TableEntry, &TableEntry)| {
            ours.table.partition_path.iter().any(|level| level.depends_on_server(&ours.table))
        };
        (below(restored).count() == pairs.len() && pairs.iter().all(alike) && pairs.iter().any(moves))
            .then_some(Self { pairs })
    }

    /// In which rows the sides differ when all partitions are added up.
    fn differing(&self, root: &TableName) -> Option<Differing<'a>> {
        let ours = || self.pairs.iter().filter_map(|(ours, _)| measured(ours));
        let theirs = || self.pairs.iter().filter_map(|(_, theirs)| measured(theirs));
        let sum = |parts: &mut dyn Iterator<Item = (&Digest, &Names)>| {
            parts.fold(Digest::default(), |mut sum, (digest, _)| {
                sum.merge(digest);
                sum
            })
        };
        let (source, restored) = (sum(&mut ours()), sum(&mut theirs()));
        if source == restored {
            return None;
        }
        let mut parts: Vec<&'a Table> = self.pairs.iter().map(|(ours, _)| &ours.table).collect();
        let first = parts.first()?;
        let same_key = parts.iter().all(|part| part.key == first.key);
        let names = Names::of_all(ours().map(|(_, names)| names))
            .zip(Names::of_all(theirs().map(|(_, names)| names)))
            .filter(|_| same_key);
        let difference = names.and_then(|(ours, theirs)| ours.difference(&theirs)).unwrap_or_default();
        let key = if same_key { first.key.clone() } else { whole_row(first) };
        let table = Table { name: root.clone(), key, partition_of: None, ..Table::clone(first) };
        if !same_key {
            // Names by several keys cannot be added up, so there is nothing to read again.
            parts.clear();
        }
        let keyed = is_unique(&table);
        Some(Differing::of_partitions(table, parts, keyed, (source.rows, restored.rows), difference))
    }
}

fn measured(entry: &TableEntry) -> Option<(&Digest, &Names)> {
    match &entry.content {
        Content::Rows { digest, names, .. } => Some((digest, names)),
        Content::Unreadable(_) | Content::Damaged(_) | Content::Rewritten(_) => None,
    }
}

fn whole_row(table: &Table) -> Key {
    Key { source: KeySource::WholeRow, columns: (0..table.columns.len()).collect() }
}

/// Returns whether the partitions' key identifies a row of the whole table: it must contain the partition keys of all
/// levels.
fn is_unique(table: &Table) -> bool {
    let in_key = |name: &String| table.key.columns.iter().any(|&column| table.columns[column].name == *name);
    let mut distributed_by = table.partition_path.iter().flat_map(|level| &level.columns);
    table.key.source != KeySource::WholeRow
        && distributed_by.all(|column| column.as_ref().is_some_and(in_key))
}
