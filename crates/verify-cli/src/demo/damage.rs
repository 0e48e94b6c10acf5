//! Five kinds of damage that a restart, a row count or a smoke query would not notice, and what must be found.

use schemars::JsonSchema;
use serde::Serialize;
use verify_core::Result;
use verify_core::finding::{Code, Finding};
use verify_core::postgres::Connection;

/// Damage to do to a restored copy.
#[derive(Debug)]
pub(crate) struct Damage {
    /// In words.
    pub(crate) name: &'static str,
    sql: &'static str,
    /// Findings that a verification must report.
    expected: &'static [Expected],
}

/// A finding that must come out.
#[derive(Debug)]
struct Expected {
    code: Code,
    object: &'static str,
    /// Number of affected rows; 0 if it is not about rows.
    rows: u64,
    /// The row that must be named, where one has a name.
    named: Option<&'static str>,
}

/// The six.
pub(crate) const DAMAGES: [Damage; 6] = [
    Damage {
        name: "one order item deleted",
        sql: "DELETE FROM shop.order_items WHERE order_id = 4242 AND line = 1",
        expected: &[Expected {
            code: Code::RowMissing,
            object: "shop.order_items",
            rows: 1,
            named: Some("order_id=4242, line=1"),
        }],
    },
    Damage {
        name: "a NULL turned into an empty string",
        sql: "UPDATE shop.addresses SET note = '' WHERE id = 777 AND note IS NULL",
        expected: &[Expected {
            code: Code::RowChanged,
            object: "shop.addresses",
            rows: 1,
            named: Some("id=777"),
        }],
    },
    Damage {
        name: "one float8 off by one unit in the last place",
        sql: "UPDATE shop.payments SET fx_rate = fx_rate + 2.220446049250313e-16::float8 WHERE id = 1234",
        expected: &[Expected {
            code: Code::RowChanged,
            object: "shop.payments",
            rows: 1,
            named: Some("id=1234"),
        }],
    },
    Damage {
        name: "in a table without a key, two rows replaced by copies of others; the count is the same",
        sql: "DELETE FROM shop.audit_log WHERE ctid = ANY (ARRAY(SELECT DISTINCT ON (happened_on, actor) ctid \
                FROM shop.audit_log WHERE action = 'refund' ORDER BY happened_on, actor LIMIT 2)); \
              INSERT INTO shop.audit_log SELECT DISTINCT ON (happened_on, actor) * FROM shop.audit_log \
                WHERE action = 'login' ORDER BY happened_on, actor LIMIT 2",
        expected: &[
            Expected { code: Code::RowMissing, object: "shop.audit_log", rows: 2, named: None },
            Expected { code: Code::RowAdded, object: "shop.audit_log", rows: 2, named: None },
        ],
    },
    Damage {
        name: "a sequence set back by ten",
        sql: "SELECT setval('shop.order_number', last_value - 10) FROM shop.order_number",
        expected: &[Expected {
            code: Code::SequenceBehind,
            object: "shop.order_number",
            rows: 0,
            named: None,
        }],
    },
    Damage {
        name: "an index dropped",
        sql: "DROP INDEX shop.sessions_customer",
        expected: &[Expected {
            code: Code::CatalogMissing,
            object: "index shop.sessions_customer",
            rows: 0,
            named: None,
        }],
    },
];

/// Result of the verification for one damage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Judged {
    /// In words.
    pub(crate) damage: &'static str,
    /// The findings that must come out and did, one line each.
    pub(crate) found: Vec<String>,
    /// Expected findings that were not reported.
    pub(crate) overlooked: Vec<String>,
}

impl Damage {
    /// Does it.
    pub(crate) fn inflict(&self, connection: &mut Connection) -> Result<()> {
        connection.execute(self.sql).map_err(|error| error.while_doing(format!("damage: {}", self.name)))
    }
}

impl Expected {
    fn is(&self, finding: &Finding) -> bool {
        let rows = finding.rows.as_ref();
        let count = rows.map_or(0, |rows| if rows.more { u64::MAX } else { rows.at_least });
        let named = |name: &str| rows.is_some_and(|rows| rows.named == [name]);
        (finding.code(), finding.object.as_str(), count) == (self.code, self.object, self.rows)
            && self.named.is_none_or(named)
    }

    fn describe(&self) -> String {
        let named = self.named.map_or(String::new(), |name| format!(" {name}"));
        format!("{} {}{named}", self.code, self.object)
    }
}

/// Returns the result for each damage, and the findings that no damage explains.
pub(crate) fn judge(findings: &[Finding]) -> (Vec<Judged>, Vec<&Finding>) {
    let judged = DAMAGES.iter().map(|damage| {
        let mut judged = Judged { damage: damage.name, found: Vec::new(), overlooked: Vec::new() };
        for expected in damage.expected {
            match findings.iter().find(|finding| expected.is(finding)) {
                Some(finding) => judged.found.push(line(finding)),
                None => judged.overlooked.push(expected.describe()),
            }
        }
        judged
    });
    let explained = |finding: &&Finding| {
        DAMAGES.iter().flat_map(|damage| damage.expected).any(|expected| expected.is(finding))
    };
    (judged.collect(), findings.iter().filter(|finding| !explained(finding)).collect())
}

/// A finding on one line: where it names a single row, by that row, else by its own sentence.
pub(crate) fn line(finding: &Finding) -> String {
    let (code, Finding { object, message, rows, .. }) = (finding.code(), finding);
    match rows {
        Some(rows) if rows.at_least == 1 && rows.named.len() == 1 => {
            format!("{code} {object} ({})", rows.named[0])
        }
        _ => format!("{code} {object}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use verify_core::finding::Rows;

    use super::*;

    fn finding(expected: &Expected) -> Finding {
        let mut finding = Finding::new(expected.code, expected.object, "message");
        let named: Vec<String> = expected.named.iter().map(ToString::to_string).collect();
        let rows = Rows { named, at_least: expected.rows, more: false, estimate: None };
        finding.rows = (expected.rows > 0).then_some(rows);
        finding
    }

    fn all() -> Vec<Finding> {
        DAMAGES.iter().flat_map(|damage| damage.expected).map(finding).collect()
    }

    #[test]
    fn every_damage_has_findings_of_its_own() {
        let table: Vec<_> =
            DAMAGES.iter().flat_map(|d| d.expected).map(|e| (e.code.to_string(), e.object)).collect();
        assert_eq!(table.iter().collect::<HashSet<_>>().len(), table.len());
        assert!(DAMAGES.iter().all(|damage| !damage.expected.is_empty()));
        let expected = [
            ("row.missing", "shop.order_items"),
            ("row.changed", "shop.addresses"),
            ("row.changed", "shop.payments"),
            ("row.missing", "shop.audit_log"),
            ("row.added", "shop.audit_log"),
            ("sequence.behind", "shop.order_number"),
            ("catalog.missing", "index shop.sessions_customer"),
        ];
        assert_eq!(table.iter().map(|(code, object)| (code.as_str(), *object)).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_full_set_of_findings_explains_every_damage() {
        let findings = all();
        let (judged, rest) = judge(&findings);
        assert_eq!(judged.len(), DAMAGES.len());
        assert!(judged.iter().all(|judged| judged.overlooked.is_empty() && !judged.found.is_empty()));
        assert_eq!(rest, Vec::<&Finding>::new());
    }

    #[test]
    fn missing_and_unexpected_findings_are_reported() {
        for lacking in 0..all().len() {
            let mut findings = all();
            let mut stray = findings.remove(lacking);
            stray.object = "shop.other".to_owned();
            findings.push(stray.clone());
            let (judged, rest) = judge(&findings);
            assert_eq!(judged.iter().map(|judged| judged.overlooked.len()).sum::<usize>(), 1);
            assert_eq!(rest, [&stray]);
        }
    }

    #[test]
    fn a_finding_about_another_row_or_about_more_rows_is_not_the_one() {
        for change in [
            |rows: &mut Rows| rows.named = vec!["id=1".to_owned()],
            |rows: &mut Rows| rows.at_least = 2,
            |rows: &mut Rows| rows.more = true,
        ] {
            let mut findings = all();
            change(findings[0].rows.as_mut().unwrap());
            let (judged, rest) = judge(&findings);
            assert_eq!(judged[0].overlooked, ["row.missing shop.order_items order_id=4242, line=1"]);
            assert_eq!(rest, [&findings[0]]);
        }
    }
}
