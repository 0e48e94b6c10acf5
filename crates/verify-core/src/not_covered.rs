//! What was not looked at: gaps of a manifest, and what no comparison covers, so that no pass is taken for more than it is.

use crate::compare::{Draft, NotCovered};
use crate::database::NOT_POPULATED;
use crate::finding::Verdict;
use crate::invariant::Outcome;
use crate::manifest::{Content, Manifest, Source, TableEntry};
use crate::table::TableKind;

/// A kind of object that is not compared.
struct Kind {
    /// What reports call it. Stays the same, for scripts.
    object: &'static str,
    /// What belongs to it.
    what: &'static str,
    /// The catalogues that hold it, whole or in part.
    catalogues: &'static [&'static str],
}

/// The object of a gap that an integrity check closes; see [`crate::compare::Comparison::indexes_were_checked`].
pub(crate) const INDEX_CONTENTS: &str = "contents of indexes";

const KINDS: [Kind; 9] = [
    Kind {
        object: "definitions of tables",
        what: "order of columns, defaults, NOT NULL, identity, expressions of generated columns, collations, storage, \
               options, persistence, partition keys and bounds, schemas and partitioned tables without rows",
        catalogues: &["pg_attrdef", "pg_attribute", "pg_class", "pg_namespace", "pg_partitioned_table"],
    },
    Kind {
        object: "definitions of indexes and constraints",
        what: "indexes, primary, foreign and unique keys, check, not-null and exclusion constraints, statistics objects",
        catalogues: &[
            "pg_constraint",
            "pg_index",
            "pg_statistic",
            "pg_statistic_ext",
            "pg_statistic_ext_data",
        ],
    },
    Kind {
        object: "definitions of sequences",
        what: "type, start, minimum, maximum, cache, persistence and owning column",
        catalogues: &["pg_sequence"],
    },
    Kind {
        object: "views, functions and triggers",
        what: "views and queries of materialised views, rules, triggers, event triggers, functions, procedures, \
               aggregates, operators, operator classes, languages",
        catalogues: &[
            "pg_aggregate",
            "pg_amop",
            "pg_amproc",
            "pg_event_trigger",
            "pg_language",
            "pg_opclass",
            "pg_operator",
            "pg_opfamily",
            "pg_proc",
            "pg_rewrite",
            "pg_trigger",
        ],
    },
    Kind {
        object: "types and collations",
        what: "types, domains, enums, ranges, casts, transforms, collations and their versions, conversions, text search",
        catalogues: &[
            "pg_cast",
            "pg_collation",
            "pg_conversion",
            "pg_enum",
            "pg_range",
            "pg_transform",
            "pg_ts_config",
            "pg_ts_config_map",
            "pg_ts_dict",
            "pg_ts_parser",
            "pg_ts_template",
            "pg_type",
        ],
    },
    Kind {
        object: "extensions and foreign servers",
        what: "extensions and their versions, access methods, foreign-data wrappers, servers, user mappings, \
               definitions of foreign tables",
        catalogues: &[
            "pg_am",
            "pg_extension",
            "pg_foreign_data_wrapper",
            "pg_foreign_server",
            "pg_foreign_table",
            "pg_user_mapping",
        ],
    },
    Kind {
        object: "publications and subscriptions",
        what: "publications, subscriptions, replication origins and slots",
        catalogues: &[
            "pg_publication",
            "pg_publication_namespace",
            "pg_publication_rel",
            "pg_replication_origin",
            "pg_subscription",
            "pg_subscription_rel",
        ],
    },
    Kind {
        object: "privileges and comments",
        what: "owners and privileges of all but large objects, default privileges, row-level security and its policies, \
               security labels, comments",
        catalogues: &[
            "pg_default_acl",
            "pg_description",
            "pg_init_privs",
            "pg_policy",
            "pg_seclabel",
            "pg_shdescription",
            "pg_shseclabel",
        ],
    },
    Kind {
        object: "roles, tablespaces and settings",
        what: "roles, memberships, tablespaces, settings of the server, of databases and of roles, encoding, locale and \
               privileges of the database",
        catalogues: &[
            "pg_auth_members",
            "pg_authid",
            "pg_database",
            "pg_db_role_setting",
            "pg_parameter_acl",
            "pg_tablespace",
        ],
    },
];

/// The catalogues whose objects are listed as not compared, whole or in part.
pub fn catalogues_not_compared() -> impl Iterator<Item = &'static str> {
    KINDS.iter().flat_map(|kind| kind.catalogues.iter().copied())
}

impl Draft<'_> {
    /// Lists what no comparison of rows covers.
    pub(crate) fn beyond(&mut self, source: &Manifest, restored: &Manifest) {
        for table in &source.header.source.foreign_tables {
            self.not_covered(table, "a foreign table: its rows are another server's");
        }
        for Kind { object, what, .. } in &KINDS {
            self.not_covered(object, format!("{what} are not compared"));
        }
        self.not_covered(
            INDEX_CONTENTS,
            "not checked against their tables; amcheck's bt_index_check('…', true) does that for b-trees",
        );
        self.prepared_transactions(&source.header.source, &restored.header.source);
        for database in &source.header.source.other_databases {
            self.not_covered(format_args!("database {database}"), "another database of the same cluster");
        }
    }

    /// What they wrote is in no snapshot until they are committed, and a dump leaves them out.
    fn prepared_transactions(&mut self, source: &Source, restored: &Source) {
        let (ours, theirs) = (source.prepared_transactions, restored.prepared_transactions);
        if (ours, theirs) == (Some(0), Some(0)) {
            return;
        }
        let pending =
            |count: Option<u64>| count.map_or("an unknown number".to_owned(), |count| count.to_string());
        let reason = format!(
            "{} pending on the source, {} in the restored database: what they wrote is not committed, hence not compared",
            pending(ours),
            pending(theirs)
        );
        self.not_covered("prepared transactions", reason);
    }
}

impl Manifest {
    /// What of the database could not be measured, with the reasons; that nothing was measured is one.
    pub fn not_covered(&self) -> Vec<NotCovered> {
        let gap = |object: String, reason: &str| NotCovered { object, reason: reason.to_owned() };
        let tables = self.tables.iter().filter_map(|entry| match &entry.content {
            Content::Rows { .. } => None,
            // There is nothing to measure.
            Content::Unreadable(reason) if reason == NOT_POPULATED => None,
            Content::Unreadable(reason) | Content::Rewritten(reason) | Content::Damaged(reason) => {
                Some(gap(entry.name().to_string(), reason))
            }
        });
        let nothing = || gap("tables".to_owned(), "the database has no table that was measured");
        let sequences = self.sequences.iter().filter_map(|sequence| {
            let unread = sequence.earliest.is_none() || sequence.latest.is_none();
            let reason = sequence.unreadable.as_deref().unwrap_or("its value could not be read");
            unread.then(|| gap(sequence.name.to_string(), reason))
        });
        let invariants = self.invariants.iter().filter_map(|evaluated| match &evaluated.outcome {
            Outcome::Result(_) => None,
            Outcome::Broken(reason) => Some(gap(evaluated.invariant.name.clone(), reason)),
        });
        let empty = !self.tables.iter().any(TableEntry::is_measured);
        tables.chain(sequences).chain(invariants).chain(empty.then(nothing)).collect()
    }

    /// Whether all of the database was measured: failed where the server found data damaged, inconclusive where
    /// something, or everything, could not be measured. A materialised view that was refreshed meanwhile is a gap and no
    /// doubt: its rows are derived from others.
    pub fn verdict(&self) -> Verdict {
        let refreshed = |entry: &&TableEntry| {
            entry.table.kind == TableKind::MaterializedView && matches!(entry.content, Content::Rewritten(_))
        };
        if self.tables.iter().any(|entry| matches!(entry.content, Content::Damaged(_))) {
            Verdict::Fail
        } else if self.not_covered().len() == self.tables.iter().filter(refreshed).count() {
            Verdict::Pass
        } else {
            Verdict::Inconclusive
        }
    }
}
