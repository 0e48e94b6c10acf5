//! Databases of a server: those that the manifests of a source name, compared with those of its copy.

use std::collections::{BTreeMap, BTreeSet};

use crate::compare::{Comparison, Coverage};
use crate::finding::{Code, Finding};
use crate::manifest::Header;
use crate::table::shown_identifier;

/// A database of a server, other than a template.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerDatabase {
    /// Its name.
    pub name: String,
    /// False if it accepts no connections: `datallowconn` is false, or a DROP DATABASE of it was interrupted.
    pub is_open: bool,
}

/// Compares the databases of a source, of which some have manifests, with those of its copy. A database that has a manifest and is
/// missing has no finding here: it has a [comparison of its own](missing).
///
/// The newest manifest says which other databases there were. `bounded`: the point in time of the copy is unknown, and it may lack a
/// database without any damage.
pub fn compare_databases<'a>(
    manifests: impl IntoIterator<Item = &'a Header>,
    copy: &[ServerDatabase],
    bounded: bool,
) -> Vec<Finding> {
    let headers: Vec<&Header> = manifests.into_iter().collect();
    let captured: BTreeSet<&str> = headers.iter().map(|header| header.source.database.as_str()).collect();
    let newest = headers.iter().max_by_key(|header| header.captured_at);
    let others = newest.into_iter().flat_map(|header| &header.source.other_databases).map(String::as_str);
    let others: BTreeSet<&str> = others.filter(|name| !captured.contains(name)).collect();
    let copied: BTreeMap<&str, &ServerDatabase> =
        copy.iter().map(|database| (database.name.as_str(), database)).collect();
    let mut findings = Vec::new();
    for name in &others {
        findings.push(match copied.get(name) {
            None => missing_finding(name, bounded),
            Some(database) if database.is_open => not_captured(name),
            Some(_) => not_captured(name).excused(),
        });
    }
    for name in copied.keys().filter(|name| !captured.contains(**name) && !others.contains(**name)) {
        let message = "the source did not have this database";
        findings.push(Finding::new(Code::DatabaseAdded, object(name), message));
    }
    findings
}

/// The comparison of a manifest with a server that lacks its database, likewise.
pub fn missing(manifest: &Header, bounded: bool) -> Comparison {
    Comparison::new(vec![missing_finding(&manifest.source.database, bounded)], Coverage::default())
}

fn missing_finding(name: &str, bounded: bool) -> Finding {
    let mut finding =
        Finding::new(Code::DatabaseMissing, object(name), "the copy lacks this database of the source");
    if bounded {
        finding.doubt();
    }
    finding
}

fn not_captured(name: &str) -> Finding {
    let message = "there is no manifest of this database, so nothing of it was compared";
    Finding::new(Code::DatabaseNotCaptured, object(name), message)
}

fn object(name: &str) -> String {
    format!("database {}", shown_identifier(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{HashAlgorithm, HashKey};
    use crate::finding::{Severity, Verdict};
    use crate::manifest::{Consistency, Origin, Source};

    fn header(second: i64, database: &str, others: &[&str]) -> Header {
        let source = Source {
            server_version: 150_000,
            system_identifier: String::new(),
            database: database.to_owned(),
            database_oid: None,
            postmaster_started_at: None,
            statistics_since: None,
            encoding: "UTF8".to_owned(),
            other_databases: others.iter().map(|name| (*name).to_owned()).collect(),
            foreign_tables: Vec::new(),
            prepared_transactions: None,
        };
        let captured_at = jiff::Timestamp::from_second(second).unwrap();
        let (snapshot, lsn, consistency) = (String::new(), String::new(), Consistency::SharedSnapshot);
        Header::new(
            HashAlgorithm::Blake3,
            HashKey([0; 32]),
            Origin { source, snapshot, lsn, captured_at, consistency },
        )
    }

    fn found(headers: &[Header], copy: &[(&str, bool)]) -> Vec<(Code, Severity, String)> {
        let copy: Vec<ServerDatabase> =
            copy.iter().map(|&(name, is_open)| ServerDatabase { name: name.to_owned(), is_open }).collect();
        let found = compare_databases(headers, &copy, false);
        found.into_iter().map(|finding| (finding.code(), finding.severity(), finding.object)).collect()
    }

    #[test]
    fn each_database_without_a_manifest_is_found_in_the_copy_or_missed() {
        let headers =
            [header(1, "shop", &["billing", "archive"]), header(2, "billing", &["shop", "archive"])];
        let both = [("billing", true), ("shop", true)];
        let with = |more: &[(&'static str, bool)]| found(&headers, &[&both[..], more].concat());
        let archive = |code, severity| vec![(code, severity, "database archive".to_owned())];
        assert_eq!(with(&[("archive", true)]), archive(Code::DatabaseNotCaptured, Severity::Inconclusive));
        assert_eq!(with(&[("archive", false)]), archive(Code::DatabaseNotCaptured, Severity::Notice));
        assert_eq!(with(&[]), archive(Code::DatabaseMissing, Severity::Fail));
        let added = (Code::DatabaseAdded, Severity::Notice, "database \"a b\"".to_owned());
        assert_eq!(with(&[("archive", false), ("a b", true)])[1], added);
    }

    #[test]
    fn a_database_that_was_dropped_between_two_captures_is_not_missed() {
        let headers = [header(2, "shop", &["billing"]), header(1, "billing", &["shop", "dropped"])];
        assert_eq!(found(&headers, &[("billing", true), ("shop", true)]), []);
        // One of which there is a manifest has a comparison of its own.
        assert_eq!(found(&headers, &[]), []);
        assert_eq!(missing(&headers[0], false).verdict(), Verdict::Fail);
        assert_eq!(missing(&headers[0], true).verdict(), Verdict::Inconclusive);
    }
}
