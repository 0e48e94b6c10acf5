//! Comparison of the cluster: its server, roles and tablespaces, and the database as a whole.

use std::collections::{BTreeMap, BTreeSet};

use crate::compare::ComparisonDraft;
use crate::compare_definitions::difference;
use crate::definition::{Definition, Definitions};
use crate::finding::{Code, Finding};
use crate::manifest::{Manifest, Source};
use crate::not_covered::Check;

/// Maximum number of objects that one finding names.
const NAMED_MAX: usize = 10;
/// Attributes of a database on which the meaning of its text depends, wherever it is restored to.
const ESSENTIAL: [&str; 6] = ["encoding", "lc_collate", "lc_ctype", "locale provider", "locale", "rules"];
/// The collation of a database, among those whose versions differ.
const OF_THE_DATABASE: &str = "of the database";

/// What a restore carries of a cluster.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Restored {
    /// A copy of files: all.
    Files,
    /// A dump with the roles, loaded with the properties of the database.
    Dump,
    /// Not known: a dump may have been loaded into a database that was there.
    Elsewhere,
}

impl ComparisonDraft<'_> {
    /// Compares what belongs to the whole cluster. `own_restore` as in [`crate::plan::Plan`].
    pub(crate) fn compare_cluster(&mut self, source: &Manifest, restored: &Manifest, own_restore: bool) {
        self.prepared(restored.header.source.prepared_transactions);
        let (ours, theirs) = match (&source.cluster, &restored.cluster) {
            (Definitions::Read(ours), Definitions::Read(theirs)) => (ours, theirs),
            (Definitions::Unread(reason), _) | (_, Definitions::Unread(reason)) => {
                self.not_covered(Check::Cluster, "cluster", reason);
                let message = format!("roles, settings, encoding and locale were not compared: {reason}");
                self.find(Code::ClusterUnknown, "cluster", message);
                return;
            }
        };
        let files = source.header.consistency.is_of_files()
            || is_copy_of_files(&source.header.source, &restored.header.source);
        let restored = match own_restore {
            _ if files => Restored::Files,
            true => Restored::Dump,
            false => Restored::Elsewhere,
        };
        let of_type = |wanted: &'static str| (Of::new(ours, wanted), Of::new(theirs, wanted));
        self.server(of_type("cluster"), restored);
        self.database(of_type("database"), restored);
        self.objects(of_type("role"), "roles", restored);
        self.objects(of_type("parameter ACL"), "parameters", restored);
        if restored == Restored::Files {
            self.objects(of_type("tablespace"), "tablespaces", restored);
            self.collation_version(of_type("database"), &of_type("collation version").1);
            if !own_restore {
                self.server_settings(of_type("setting"), &of_type("cluster"));
            }
        }
        self.collations(of_type("collation version"));
    }

    fn server(&mut self, (ours, theirs): Sides<'_>, restored: Restored) {
        let (Restored::Files, Some(ours), Some(theirs)) = (restored, ours.only(), theirs.only()) else {
            return;
        };
        let different = ["system identifier", "data checksums"].into_iter().filter(|name| {
            // A role that may not read one says nothing of it.
            matches!((ours.attribute(name), theirs.attribute(name)), (Some(ours), Some(theirs)) if ours != theirs)
        });
        let mut texts: Vec<String> = different.map(|name| text(name, ours, theirs)).collect();
        let timeline =
            |side: &Definition| side.attribute("timeline").and_then(|text| text.parse::<u64>().ok());
        if timeline(ours).zip(timeline(theirs)).is_some_and(|(ours, theirs)| theirs < ours) {
            texts.push(text("timeline", ours, theirs));
        }
        if !texts.is_empty() {
            self.find(Code::ClusterDiffers, ours, texts.join("; "));
        }
    }

    /// The properties of the database, whose name may be another.
    fn database(&mut self, (ours, theirs): Sides<'_>, restored: Restored) {
        let (Some(ours), Some(theirs)) = (ours.only(), theirs.only()) else { return };
        let different: Vec<&str> = different(ours, theirs)
            .filter(|name| {
                *name != "collation version" && (*name != "tablespace" || restored == Restored::Files)
            })
            .collect();
        let (essential, others): (Vec<&str>, Vec<&str>) =
            different.into_iter().partition(|name| ESSENTIAL.contains(name));
        let finding = |names: &[&str]| {
            let texts: Vec<String> = names.iter().map(|name| text(name, ours, theirs)).collect();
            Finding::new(Code::ClusterDiffers, ours, texts.join("; "))
        };
        if !essential.is_empty() {
            let hint = "create the database with the encoding and locale of the source: pg_restore --create";
            self.findings.push(finding(&essential).with_hint(hint));
        }
        if !others.is_empty() {
            let found = finding(&others);
            self.findings.push(match restored {
                Restored::Elsewhere => found.excused().with_hint("pg_restore --create restores them"),
                Restored::Files | Restored::Dump => found,
            });
        }
    }

    /// Objects that are missing, added or differ. A dump does not carry them unless it comes with those of the cluster.
    fn objects(&mut self, (ours, theirs): Sides<'_>, kind: &str, restored: Restored) {
        let mut expected = Folded::default();
        for ours in ours.0.values() {
            let found = match theirs.0.get(ours.identity.as_str()) {
                None if ours.may_be_absent => continue,
                None => Finding::new(Code::ClusterMissing, ours, "the restored cluster has no such object"),
                Some(theirs) => {
                    let texts: Vec<String> =
                        different(ours, theirs).map(|name| text(name, ours, theirs)).collect();
                    if texts.is_empty() {
                        continue;
                    }
                    Finding::new(Code::ClusterDiffers, ours, texts.join("; "))
                }
            };
            match restored {
                Restored::Elsewhere => expected.add(found.code(), format!("{ours}: {}", found.message)),
                Restored::Files | Restored::Dump => self.findings.push(found),
            }
        }
        for theirs in theirs.0.values() {
            // The one who verifies may have a role of his own, and other clusters have their own anyway.
            if restored == Restored::Files && !ours.0.contains_key(theirs.identity.as_str()) {
                expected.add(Code::ClusterAdded, format!("{theirs}: the source has no such object"));
            }
        }
        let hint = "a dump of one database carries none of them: pg_dumpall --globals-only does";
        for mut finding in expected.findings(kind) {
            if restored == Restored::Elsewhere {
                finding = finding.with_hint(hint);
            }
            self.findings.push(finding);
        }
    }

    /// The version of the database's collation, which the operating system of the copy has. See [`Self::collations`].
    fn collation_version(&mut self, (ours, theirs): Sides<'_>, drifted: &Of<'_>) {
        let (Some(ours), Some(theirs)) = (ours.only(), theirs.only()) else { return };
        let name = "collation version";
        let (ours_version, theirs_version) = (ours.attribute(name), theirs.attribute(name));
        if ours_version.zip(theirs_version).is_some_and(|(ours, theirs)| ours != theirs)
            && !drifted.0.contains_key(OF_THE_DATABASE)
        {
            self.collation(format!("{ours}"), text(name, ours, theirs));
        }
    }

    /// Collations that sorted otherwise when what is sorted by them was written.
    fn collations(&mut self, (ours, theirs): Sides<'_>) {
        for theirs in theirs.0.values() {
            let value = |name| theirs.attribute(name).unwrap_or("not known").to_owned();
            let on_the_source = match ours.0.get(theirs.identity.as_str()) {
                Some(ours) if ours.attributes == theirs.attributes => ", as on the source",
                _ => "",
            };
            let message = format!(
                "the operating system has version {}, and the objects that it sorts were written with {}{on_the_source}",
                value("actual"),
                value("recorded")
            );
            self.collation(format!("collation {}", theirs.identity), message);
        }
    }

    fn collation(&mut self, object: String, message: String) {
        self.findings.push(Finding::new(Code::CollationChanged, object, message).with_hint(
            "restore on the operating system of the source, or rebuild what depends on the order of text: REINDEX, then \
             ALTER COLLATION … or ALTER DATABASE … REFRESH VERSION",
        ));
    }

    /// Settings that the servers were started with.
    fn server_settings(&mut self, (ours, theirs): Sides<'_>, servers: &Sides<'_>) {
        let may_read_all =
            |of: &Of<'_>| of.only().and_then(|server| server.attribute("settings")) == Some("all");
        // Who may not see a setting cannot tell that it has its default value.
        let both_may = may_read_all(&servers.0) && may_read_all(&servers.1);
        let mut expected = Folded::default();
        let names: BTreeSet<&str> = ours.0.keys().chain(theirs.0.keys()).copied().collect();
        for name in names {
            let value = |of: &Of<'_>| {
                of.0.get(name).and_then(|setting| setting.attribute("value").map(str::to_owned))
            };
            let (ours, theirs) = (value(&ours), value(&theirs));
            if ours != theirs && (both_may || ours.is_some() && theirs.is_some()) {
                let shown = |value: Option<String>| value.unwrap_or_else(|| "default".to_owned());
                expected.add(
                    Code::ClusterDiffers,
                    format!("{name} is {}, on the source {}", shown(theirs), shown(ours)),
                );
            }
        }
        self.findings.extend(expected.findings("settings of the server"));
    }

    /// Prepared transactions, which a copy of files brings along.
    fn prepared(&mut self, count: Option<u64>) {
        if let Some(count @ 1..) = count {
            self.findings.push(
                Finding::new(
                    Code::ClusterPrepared,
                    "prepared transactions",
                    format!("{count} are pending: they hold locks, and keep VACUUM from removing rows"),
                )
                .with_hint("before the copy is used, COMMIT PREPARED or ROLLBACK PREPARED those of pg_prepared_xacts"),
            );
        }
    }
}

/// Definitions of one type, by identity.
struct Of<'a>(BTreeMap<&'a str, &'a Definition>);

type Sides<'a> = (Of<'a>, Of<'a>);

impl<'a> Of<'a> {
    fn new(definitions: &'a [Definition], wanted: &str) -> Self {
        let wanted = definitions.iter().filter(|definition| definition.object_type == wanted);
        Self(wanted.map(|definition| (definition.identity.as_str(), definition)).collect())
    }

    /// The one that there is of its type.
    fn only(&self) -> Option<&'a Definition> {
        self.0.values().next().copied()
    }
}

/// Expected differences, one finding for each code.
#[derive(Default)]
struct Folded(BTreeMap<Code, Vec<String>>);

impl Folded {
    fn add(&mut self, code: Code, text: String) {
        self.0.entry(code).or_default().push(text);
    }

    fn findings(self, object: &str) -> impl Iterator<Item = Finding> {
        self.0.into_iter().map(move |(code, mut texts)| {
            let count = texts.len();
            texts.truncate(NAMED_MAX);
            let more = match count - texts.len() {
                0 => String::new(),
                more => format!("; and {more} more"),
            };
            Finding::new(code, object, format!("{}{more}", texts.join("; "))).excused()
        })
    }
}

/// Returns whether a database is a copy of the other's files, as far as that shows: a dump gets another identifier of its cluster, or
/// another object id in the same cluster.
fn is_copy_of_files(source: &Source, restored: &Source) -> bool {
    let identity = |of: &Source| of.database_oid.map(|oid| (of.system_identifier.clone(), oid));
    !source.system_identifier.is_empty() && identity(source) == identity(restored)
}

/// The attributes in which the restored side has neither the value of the capture nor that of the backup's end.
fn different<'a>(ours: &'a Definition, theirs: &'a Definition) -> impl Iterator<Item = &'a str> {
    let names: BTreeSet<&str> = ours.attributes.names().chain(theirs.attributes.names()).collect();
    names.into_iter().filter(|name| {
        let restored = theirs.attribute(name).map(|value| comparable(name, value));
        let then = ours.attribute(name).map(|value| comparable(name, value));
        let later = ours.later.as_ref().map(|later| later.get(name).map(|value| comparable(name, value)));
        restored != then && later.is_none_or(|later| later != restored)
    })
}

/// Operating systems spell one locale in several ways: `en_US.UTF-8` and `en_US.utf8`.
fn comparable(name: &str, value: &str) -> String {
    match name {
        "lc_collate" | "lc_ctype" => value.to_lowercase().replace('-', ""),
        _ => value.to_owned(),
    }
}

fn text(name: &str, ours: &Definition, theirs: &Definition) -> String {
    difference(name, ours.attribute(name), theirs.attribute(name))
}
