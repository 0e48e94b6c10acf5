//! Facts of the store of signed reports, for the doctor.

use anyhow::Result;
use jiff::Timestamp;
use verify_doctor::facts::{Evidence, EvidenceProblem, Proof, Server};
use verify_doctor::{Fact, Missing};
use verify_drill::store::Store;
use verify_evidence::document;
use verify_evidence::entry::{self, StoredReport};
use verify_evidence::problem::Code;
use verify_evidence::signers::Signers;
use verify_evidence::verify::verify;

use crate::config::{Config, EvidenceTable};
use crate::posture::is_of;
use crate::store;

/// Commands whose report verifies a restored copy.
const RESTORES: [&str; 2] = ["restore", "verify"];
/// Number of reports, the newest, that are searched for a restore.
const SEARCHED_MAX: usize = 200;
/// More reports are not verified: each takes three requests.
const VERIFIED_MAX: usize = 1_000;

/// Reads the store of the configuration.
pub(crate) fn look(table: &EvidenceTable, config: &Config, server: Option<&Server>) -> Fact<Evidence> {
    let needs = "the right to list and to read the store of [evidence]";
    let unknown = |error: anyhow::Error| Missing::unknown(format!("{error:#}"), needs);
    // A folder is created with the first report.
    if !table.store.exists() && !store::is_bucket(&table.store) {
        let name = table.store.display().to_string();
        return Ok(Evidence { name, newest: Ok(None), failed: None, problems: Ok(Vec::new()) });
    }
    let store = store::folder_or_bucket(&table.store, config.s3()).map_err(unknown)?;
    let store = &*store;
    let names = store.folders("").map_err(unknown)?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| entry::number(name)).collect();
    numbers.sort_unstable_by(|one, other| other.cmp(one));
    let (newest, failed) = match newest(store, &numbers, server) {
        Ok(Search { newest, failed, searched_all }) => match newest {
            None if !searched_all => {
                let reason =
                    format!("none of the newest {SEARCHED_MAX} reports is of a restore of this database");
                (Err(Missing::unknown(reason, "a restore")), failed)
            }
            newest => (Ok(newest), failed),
        },
        Err(error) => (Err(unknown(error)), None),
    };
    let problems = match numbers.len() {
        0 => Ok(Vec::new()),
        1..=VERIFIED_MAX => problems(store, table).map_err(unknown),
        more => Err(Missing::unknown(format!("it has {more} reports"), "`state-lab evidence verify`")),
    };
    Ok(Evidence { name: store.place(), newest, failed, problems })
}

/// Result of the search for the newest restore.
struct Search {
    newest: Option<(u64, Proof)>,
    /// The newest run that could not be made, before that.
    failed: Option<(u64, Timestamp)>,
    searched_all: bool,
}

/// Searches the reports of these numbers, the newest first.
fn newest(store: &dyn Store, numbers: &[u64], server: Option<&Server>) -> Result<Search> {
    let mut search = Search { newest: None, failed: None, searched_all: numbers.len() <= SEARCHED_MAX };
    for number in numbers.iter().take(SEARCHED_MAX) {
        let Some(Ok(StoredReport { envelope, .. })) = entry::find(store, *number)?.map(|entry| entry.report)
        else {
            continue;
        };
        if !RESTORES.contains(&envelope.run.command.as_str()) {
            continue;
        }
        // A report whose verdict does not follow from its findings is a problem of its own.
        let reports = document::reports(&envelope.document).unwrap_or_default();
        let own: Vec<_> = reports
            .into_iter()
            .filter(|report| match (server, &report.source.database) {
                (Some(server), Some(source)) => source.database == server.database && is_of(source, server),
                _ => true,
            })
            .collect();
        if let Some(proof) = Proof::newest(&own, None) {
            search.newest = Some((*number, proof));
            return Ok(search);
        }
        let could_not_run = envelope.run.command == "restore" && !envelope.document["error"].is_null();
        if could_not_run && search.failed.is_none() {
            search.failed = Some((*number, envelope.run.started_at));
        }
    }
    Ok(search)
}

fn problems(store: &dyn Store, table: &EvidenceTable) -> Result<Vec<EvidenceProblem>> {
    let signers = table.signers.as_deref().map(Signers::read).transpose()?;
    let verified = verify(store, signers.as_ref(), None)?;
    let problems = verified.problems.into_iter().filter(|problem| problem.code != Code::StoreEmpty);
    Ok(problems
        .map(|problem| EvidenceProblem {
            code: problem.code.to_string(),
            severity: problem.severity,
            report: problem.sequence,
            message: problem.message,
        })
        .collect())
}
