//! Circumstances of a run, as rows of a name and a value. What was not stated or recorded is said to be so.

use serde_json::Value;
use verify_core::table::shown_text;
use verify_drill::deviation::Deviation;
use verify_drill::provider::{BackupOrigin, Isolation, RestoreTarget};
use verify_evidence::entry::StoredReport;
use verify_evidence::envelope::{Run, Trigger};

/// Value of a row about something that a person or a flag would have had to state.
const NOT_STATED: &str = "not stated";
/// Value of a row about something that the report lacks, as reports of earlier versions do.
const NOT_RECORDED: &str = "not recorded";

/// The rows of a stored report, printable.
pub(crate) fn rows(stored: &StoredReport) -> Vec<(&'static str, String)> {
    let (run, document) = (&stored.envelope.run, &stored.envelope.document);
    let mut rows = of_run(run);
    for deviation in deviations(run, document) {
        rows.push(("Deviation", deviation.in_words()));
    }
    if rows.iter().all(|(name, _)| *name != "Deviation") {
        rows.push(("Deviations", NOT_STATED.to_owned()));
    }
    if run.command == "restore" {
        rows.extend(of_restore(document));
    }
    rows.into_iter().map(|(name, value)| (name, shown_text(&value))).collect()
}

fn of_run(run: &Run) -> Vec<(&'static str, String)> {
    let stated = |value: &Option<String>| value.clone().unwrap_or_else(|| NOT_STATED.to_owned());
    let trigger = match run.trigger {
        Some(Trigger::Hand) => "a person",
        Some(Trigger::Schedule) => "a schedule",
        Some(Trigger::GameDay) => "a game day",
        None => NOT_STATED,
    };
    let config = run.config_sha256.as_ref().map_or("no file".to_owned(), |hash| format!("SHA-256 {hash}"));
    vec![
        ("Run", run.id.clone()),
        ("Started, finished", format!("{}, {}", run.started_at, run.finished_at)),
        ("Trigger", trigger.to_owned()),
        ("Operator", stated(&run.operator)),
        ("Approver", stated(&run.approver)),
        ("Next run due", stated(&run.next_due_at.map(|time| time.to_string()))),
        ("Host", run.host.clone().unwrap_or_else(|| NOT_RECORDED.to_owned())),
        ("state-lab", format!("{}, SHA-256 {}", run.tool_version, run.tool_sha256)),
        ("Configuration", config),
    ]
}

/// Deviations that were stated for the run, and those of the drill file.
fn deviations(run: &Run, document: &Value) -> Vec<Deviation> {
    let of_file = serde_json::from_value(document["deviations"].clone()).unwrap_or_default();
    [run.deviations.clone(), of_file].concat()
}

fn of_restore(document: &Value) -> Vec<(&'static str, String)> {
    let origin = serde_json::from_value::<BackupOrigin>(document["origin"].clone()).ok();
    let target = serde_json::from_value::<RestoreTarget>(document["target"].clone()).ok();
    let name = document["backup"].as_str().unwrap_or(NOT_RECORDED).to_owned();
    let mut rows = vec![("Backup", name)];
    match origin {
        None => rows.push(("Backup's origin", NOT_RECORDED.to_owned())),
        Some(BackupOrigin { provider, method, location, started_at, record_blake3, record_locked_until }) => {
            let locked =
                record_locked_until.map_or("no object lock is known".to_owned(), |until| until.to_string());
            rows.extend([
                ("Backup's provider, method", format!("{provider}, {method}")),
                ("Backup taken", started_at.to_string()),
                ("Backup's location", location),
                (
                    "Backup's record",
                    record_blake3.map_or(NOT_RECORDED.to_owned(), |hash| format!("BLAKE3 {hash}")),
                ),
                ("Record locked until", locked),
            ]);
        }
    }
    match target {
        None => rows.push(("Restored to", NOT_RECORDED.to_owned())),
        Some(RestoreTarget { context, namespace, isolation }) => {
            let place = match (namespace, context) {
                (None, _) => "this host".to_owned(),
                (Some(namespace), None) => format!("namespace {namespace}"),
                (Some(namespace), Some(context)) => format!("namespace {namespace}, context {context}"),
            };
            let isolation = match isolation {
                Isolation::NotTried => "not tried",
                Isolation::ConnectionsFailed => {
                    "tried: connections from the copy's pod to the API server failed before anything was started on it"
                }
            };
            rows.extend([("Restored to", place), ("Isolation", isolation.to_owned())]);
        }
    }
    rows
}
