//! Comparison of definitions: by their texts, then by what the restored server makes of both.

use std::collections::{BTreeMap, BTreeSet};

use crate::compare::ComparisonDraft;
use crate::definition::{Attributes, Definition, Definitions};
use crate::finding::{Code, Finding, Severity};
use crate::manifest::{Manifest, TableEntry};
use crate::not_covered::Check;
use crate::reprint::{Context, Printed, Reprint};
use crate::table::{TableName, shown_text};

/// Maximum number of objects that are named.
const NAMED_MAX: usize = 100;
/// Characters of a value that are shown.
const SHOWN_MAX: usize = 120;
/// Extensions that a copy is checked with.
const CHECKING: [&str; 2] = ["amcheck", "pg_visibility"];
/// The first `server_version_num` with the privilege MAINTAIN.
const MAINTAIN: u32 = 170_000;
/// The first with multirange types.
const MULTIRANGES: u32 = 140_000;

/// An object whose definitions read differently on both sides.
pub(crate) struct Differing<'a> {
    ours: &'a Definition,
    theirs: &'a Definition,
    /// The names of the attributes.
    attributes: Vec<&'a str>,
    /// True in a copy of files, whose parse trees are the source's: there equal ones read alike.
    physical: bool,
}

impl ComparisonDraft<'_> {
    /// The definitions that read differently; what is missing or added is found right away.
    pub(crate) fn compare_definitions<'a>(
        &mut self,
        source: &'a Manifest,
        restored: &'a Manifest,
    ) -> Vec<Differing<'a>> {
        let (ours, theirs) = match (&source.definitions, &restored.definitions) {
            (Definitions::Read(ours), Definitions::Read(theirs)) => (ours, theirs),
            (Definitions::Unread(reason), _) => {
                self.definitions_unread(&format!("not known of the source: {reason}"));
                return Vec::new();
            }
            (_, Definitions::Unread(reason)) => {
                self.definitions_unread(&format!("could not be read in the restored database: {reason}"));
                return Vec::new();
            }
        };
        let compared = Compared::new(source, restored, ours, theirs);
        for (of, unread) in &compared.unread {
            let message =
                format!("its definition was not read: {}", unread.unread.as_deref().unwrap_or_default());
            self.not_covered(Check::Definitions, of, message.clone());
            if unread.unread_severity() != Severity::Notice {
                self.find(Code::CatalogUnknown, *of, message);
            }
        }
        let theirs: BTreeMap<_, _> = theirs.iter().map(|definition| (definition.key(), definition)).collect();
        let known: BTreeSet<_> = ours.iter().map(Definition::key).collect();
        let mut differing = Vec::new();
        for ours in ours.iter().filter(|ours| compared.is_compared(ours)) {
            self.coverage.definitions += 1;
            match theirs.get(&ours.key()) {
                None => self.definition_missing(ours, &compared),
                Some(theirs) => {
                    let attributes = compared.attributes(ours, theirs);
                    if !attributes.is_empty() {
                        differing.push(Differing { ours, theirs, attributes, physical: compared.physical });
                    }
                }
            }
        }
        let added =
            theirs.values().filter(|theirs| !known.contains(&theirs.key()) && compared.is_compared(theirs));
        for theirs in added {
            if compared.is_known(theirs) {
                continue;
            }
            let finding = Finding::new(Code::CatalogAdded, theirs, "the source has no such object");
            let checks = theirs.object_type == "extension" && CHECKING.contains(&theirs.identity.as_str());
            self.findings.push(if checks { finding.excused() } else { finding });
        }
        differing
    }

    /// Decides about definitions that read differently. `reprints` has the text of each expression of theirs as the restored server
    /// prints it, first the source's and then its own, in the order of [`Differing::expressions`].
    pub(crate) fn settle_definitions(&mut self, reprints: Vec<Reprint>) {
        let mut reprints = reprints.into_iter();
        for differing in std::mem::take(&mut self.definitions) {
            let mut different = Vec::new();
            let mut unknown = Vec::new();
            for attribute in differing.attributes.iter().copied() {
                if !differing.is_expression(attribute) {
                    different.push(attribute);
                    continue;
                }
                let unavailable = || Reprint::Unknown("the restored database was not available".to_owned());
                let ours = reprints.next().unwrap_or_else(unavailable);
                match (ours, reprints.next().unwrap_or_else(unavailable)) {
                    (Reprint::Text(ours), Reprint::Text(theirs)) if ours == theirs => {}
                    (Reprint::Text(_) | Reprint::Refused(_), Reprint::Text(_)) => different.push(attribute),
                    (_, Reprint::Unknown(reason) | Reprint::Refused(reason))
                    | (Reprint::Unknown(reason), _) => {
                        unknown.push((attribute, reason));
                    }
                }
            }
            if !different.is_empty() {
                self.findings.push(differing.finding(&different));
            } else if let Some((attribute, reason)) = unknown.first() {
                let message = format!(
                    "its {attribute} reads differently, and whether it means the same is not known: {reason}"
                );
                self.not_covered(Check::Definitions, differing.ours, message.clone());
                self.find(Code::CatalogUnknown, differing.ours, message);
            }
        }
        self.shorten_definitions();
    }

    fn definitions_unread(&mut self, reason: &str) {
        self.not_covered(Check::Definitions, "definitions", reason);
        self.find(
            Code::CatalogUnknown,
            "definitions",
            format!("the definitions of objects were not compared: they are {reason}"),
        );
    }

    fn definition_missing(&mut self, ours: &Definition, compared: &Compared<'_>) {
        if ours.may_be_absent || compared.is_known(ours) {
            return;
        }
        let finding = Finding::new(Code::CatalogMissing, ours, "the restored database has no such object");
        self.findings.push(if compared.is_lost_by_dumps(ours) { finding.excused() } else { finding });
    }

    /// Keeps a wholly different database from filling the report.
    fn shorten_definitions(&mut self) {
        for code in [
            Code::CatalogMissing,
            Code::CatalogAdded,
            Code::CatalogDiffers,
            Code::CatalogUnknown,
            Code::ClusterMissing,
            Code::ClusterDiffers,
        ] {
            let count = self.findings.iter().filter(|finding| finding.code() == code).count();
            if count <= NAMED_MAX {
                continue;
            }
            let mut named = 0;
            self.findings.retain(|finding| {
                named += usize::from(finding.code() == code);
                finding.code() != code || named <= NAMED_MAX
            });
            self.find(code, "definitions", format!("{} more objects, not named here", count - NAMED_MAX));
        }
    }
}

impl<'a> Differing<'a> {
    /// The expressions to print again, the source's and the restored one of each attribute.
    pub(crate) fn expressions(&self) -> impl Iterator<Item = Printed<'_>> {
        let pairs = self.attributes.iter().filter(|attribute| self.is_expression(attribute));
        pairs.flat_map(|attribute| {
            [self.ours, self.theirs].into_iter().filter_map(|definition| {
                Some(Printed {
                    text: definition.attribute(attribute)?,
                    context: Context::of(self.theirs, attribute)?,
                })
            })
        })
    }

    fn is_expression(&self, attribute: &str) -> bool {
        let both = self.ours.attribute(attribute).is_some() && self.theirs.attribute(attribute).is_some();
        !self.physical && both && Context::of(self.theirs, attribute).is_some()
    }

    fn finding(&self, attributes: &[&str]) -> Finding {
        let texts = attributes
            .iter()
            .map(|name| difference(name, self.ours.attribute(name), self.theirs.attribute(name)));
        let finding = Finding::new(Code::CatalogDiffers, self.ours, texts.collect::<Vec<_>>().join("; "));
        // A dump names neither the version of an extension nor, as it is restored here, a tablespace.
        let lost_by_dumps = |name: &&str| !self.physical && ["tablespace", "version"].contains(name);
        if attributes.iter().all(lost_by_dumps) { finding.excused() } else { finding }
    }
}

/// In words, how one attribute differs: short values whole, of long ones the first line that differs.
pub(crate) fn difference(name: &str, ours: Option<&str>, theirs: Option<&str>) -> String {
    let shown = |value: &str| {
        let value = shown_text(value.trim());
        match value.char_indices().nth(SHOWN_MAX) {
            Some((end, _)) => format!("{}…", &value[..end]),
            None => value,
        }
    };
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours.contains('\n') || theirs.contains('\n') => {
            let (mut source, mut restored, mut line) = (ours.lines(), theirs.lines(), 1);
            loop {
                match (source.next(), restored.next()) {
                    (Some(a), Some(b)) if a == b => line += 1,
                    (a, b) => {
                        let text = |line: Option<&str>| {
                            line.map_or("missing".to_owned(), |line| format!("`{}`", shown(line)))
                        };
                        return format!(
                            "line {line} of its {name} is {}, on the source {}",
                            text(b),
                            text(a)
                        );
                    }
                }
            }
        }
        (ours, theirs) => {
            let text = |value: Option<&str>| value.map_or("not set".to_owned(), &shown);
            format!("its {name} is {}, on the source {}", text(theirs), text(ours))
        }
    }
}

/// What is compared, and in what circumstances.
struct Compared<'a> {
    /// The restored side has the catalogue that a copy of files brought.
    physical: bool,
    /// `server_version_num` of the source.
    source_version: u32,
    /// That of the restored server.
    restored_version: u32,
    /// Tables that the comparison of rows reports as missing or added.
    tables: BTreeSet<String>,
    /// Tables with other columns, which that comparison reports.
    columns: BTreeSet<&'a TableName>,
    /// Tables with other parents, which it reports too.
    parents: BTreeSet<&'a TableName>,
    sequences: BTreeSet<String>,
    /// Relations whose definitions could not be read on one of the sides.
    unread: BTreeMap<&'a TableName, &'a Definition>,
    /// Extensions that one side lacks, or has in another version, whose objects differ.
    changed_extensions: BTreeSet<&'a str>,
}

impl<'a> Compared<'a> {
    fn new(
        source: &'a Manifest,
        restored: &'a Manifest,
        ours: &'a [Definition],
        theirs: &'a [Definition],
    ) -> Self {
        let only = |a: &'a Manifest, b: &'a Manifest| {
            a.tables.iter().map(TableEntry::name).filter(move |name| b.table(name).is_none())
        };
        let tables = only(source, restored).chain(only(restored, source)).map(ToString::to_string).collect();
        let columns = source.tables.iter().filter(|entry| {
            restored
                .table(entry.name())
                .is_some_and(|theirs| !crate::compare::column_differences(entry, theirs).is_empty())
        });
        let parents = source.tables.iter().filter(|entry| {
            restored.table(entry.name()).is_some_and(|theirs| entry.table.parents != theirs.table.parents)
        });
        let named = |manifest: &'a Manifest| -> BTreeSet<String> {
            manifest.sequences.iter().map(|sequence| sequence.name.to_string()).collect()
        };
        let extensions = |definitions: &'a [Definition]| -> BTreeMap<&'a str, Option<&'a str>> {
            let extensions = definitions.iter().filter(|definition| definition.object_type == "extension");
            extensions
                .map(|extension| (extension.identity.as_str(), extension.attribute("version")))
                .collect()
        };
        let (our_extensions, their_extensions) = (extensions(ours), extensions(theirs));
        let names: BTreeSet<&str> = our_extensions.keys().chain(their_extensions.keys()).copied().collect();
        let changed = names.into_iter().filter(|name| our_extensions.get(name) != their_extensions.get(name));
        Self {
            physical: source.header.consistency.is_of_files(),
            source_version: source.header.source.server_version,
            restored_version: restored.header.source.server_version,
            tables,
            columns: columns.map(TableEntry::name).collect(),
            parents: parents.map(TableEntry::name).collect(),
            sequences: named(source).symmetric_difference(&named(restored)).cloned().collect(),
            unread: ours
                .iter()
                .chain(theirs)
                .filter(|definition| definition.unread.is_some())
                .filter_map(|definition| Some((definition.of.as_ref()?, definition)))
                .collect(),
            changed_extensions: changed.collect(),
        }
    }

    /// A dump leaves the objects of an extension to the extension.
    fn is_compared(&self, definition: &Definition) -> bool {
        let unread = definition.of.as_ref().is_some_and(|of| self.unread.contains_key(of));
        !unread
            && !definition.attribute("extension").is_some_and(|name| self.changed_extensions.contains(name))
    }

    /// Returns whether another comparison reports that the object is missing or added.
    fn is_known(&self, definition: &Definition) -> bool {
        let of = definition.of.as_ref();
        let column =
            definition.object_type.ends_with("column") && of.is_some_and(|of| self.columns.contains(of));
        column
            || of.is_some_and(|of| {
                self.tables.contains(&of.to_string()) || self.sequences.contains(&of.to_string())
            })
    }

    /// An invalid index is not dumped.
    fn is_lost_by_dumps(&self, definition: &Definition) -> bool {
        !self.physical && definition.attribute("valid") == Some("no")
    }

    /// The attributes in which two definitions of one object differ.
    fn attributes(&self, ours: &'a Definition, theirs: &'a Definition) -> Vec<&'a str> {
        let names: BTreeSet<&str> = ours.attributes.names().chain(theirs.attributes.names()).collect();
        let of = ours.of.as_ref();
        let reported = |name: &str| match name {
            "data_type" => of.is_some_and(|of| self.columns.contains(of)),
            // With other parents a table has another bound, and its columns another place.
            "parents" | "partition bound" | "position" => of.is_some_and(|of| self.parents.contains(of)),
            _ => false,
        };
        let equal = |name: &str| {
            let restored = self.value(&theirs.attributes, name);
            let then = self.value(&ours.attributes, name);
            then == restored || ours.later.as_ref().is_some_and(|later| self.value(later, name) == restored)
        };
        let new = |name: &str| name == "multirange" && self.is_new(MULTIRANGES);
        names.into_iter().filter(|name| !reported(name) && !new(name) && !equal(name)).collect()
    }

    /// Returns whether the restored server has what came with a version, and the source's has not.
    fn is_new(&self, since: u32) -> bool {
        self.source_version < since && since <= self.restored_version
    }

    fn value(&self, attributes: &Attributes, name: &str) -> Option<String> {
        let value = attributes.get(name)?;
        if name == "privileges" && self.is_new(MAINTAIN) {
            return Some(value.replace("MAINTAIN/", "").replace("/MAINTAIN", ""));
        }
        Some(value.to_owned())
    }
}
