//! Documents of `--output json`: one per run, with its format, its version, and a schema.

use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema, json_schema};
use serde::Serialize;
use serde_json::{Value, json};
use verify_core::report::{self, Report};

use crate::all_servers::AllServers;
use crate::commands::bench::Benchmark;
use crate::commands::evidence::NewKey;
use crate::commands::heartbeat::HeartbeatState;
use crate::demo::outcome::DemoOutcome as Demonstration;
use crate::framing::{Document, VERSION};
#[cfg(feature = "drill")]
use crate::render::document::DrillDocument;
#[cfg(feature = "velero")]
use crate::render::document::FailoverDocument;
use crate::render::document::{BackupDocument, RestoreDocument};
use crate::render::explanation::Explanation;
use crate::render::manifest::Summary;
use crate::render::part::PartSummary;
use crate::render::server::{ServerCapture, ServerVerification};
use verify_doctor::Examination;
use verify_drill::failure::Failure;
use verify_drill::provider::Removal;
use verify_evidence::verify::Verification;
#[cfg(feature = "report")]
use verify_report::history::History;
#[cfg(feature = "velero")]
use verify_velero::replicas::Replica;

/// A run that could not be made.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ErrorDocument<'a> {
    /// `failed`, where the command was `backup`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) backup_status: Option<Failed>,
    /// `failed`, where the command was `restore`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) restore_status: Option<Failed>,
    /// Reason.
    pub(crate) error: &'a Failure,
}

/// The status of a backup or restore that could not be made.
#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Failed {
    /// Failed.
    Failed,
}

impl Document for ErrorDocument<'_> {
    const FORMAT: &'static str = "state-lab-error";
}

impl Document for Report {
    const FORMAT: &'static str = report::FORMAT;

    fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}

impl Document for Summary<'_> {
    const FORMAT: &'static str = "state-lab-manifest-summary";
}

impl Document for PartSummary {
    const FORMAT: &'static str = "state-lab-part-summary";
}

impl Document for ServerCapture {
    const FORMAT: &'static str = "state-lab-manifests";
}

impl Document for ServerVerification {
    const FORMAT: &'static str = "state-lab-databases";
}

impl Document for Explanation {
    const FORMAT: &'static str = "state-lab-explanation";
}

impl Document for HeartbeatState<'_> {
    const FORMAT: &'static str = "state-lab-heartbeat";
}

impl Document for BackupDocument<'_> {
    const FORMAT: &'static str = "state-lab-backup-summary";
}

impl Document for RestoreDocument<'_> {
    const FORMAT: &'static str = "state-lab-restore";
}

#[cfg(feature = "velero")]
impl Document for FailoverDocument<'_> {
    const FORMAT: &'static str = "state-lab-failover";
}

#[cfg(feature = "velero")]
impl Document for Replica {
    const FORMAT: &'static str = "state-lab-replicas";
}

#[cfg(feature = "drill")]
impl Document for DrillDocument<'_> {
    const FORMAT: &'static str = "state-lab-drill";
}

#[cfg(feature = "report")]
impl Document for History {
    const FORMAT: &'static str = "state-lab-history";
}

impl Document for Examination {
    const FORMAT: &'static str = "state-lab-doctor";
}

impl Document for Removal {
    const FORMAT: &'static str = "state-lab-cleanup";
}

impl Document for Verification {
    const FORMAT: &'static str = "state-lab-evidence-verification";
}

impl Document for Benchmark {
    const FORMAT: &'static str = "state-lab-bench";
}

impl Document for Demonstration {
    const FORMAT: &'static str = "state-lab-demo";
}

/// The JSON Schema of everything that `--output json` prints.
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let documents = [
        framed::<ErrorDocument<'static>>(
            &mut generator,
            "Any command that could not run; exit status 2 or 130",
        ),
        framed::<Report>(&mut generator, "`verify` and `compare`; `show` of a report"),
        framed::<Summary<'static>>(&mut generator, "`capture` and `merge`; `show` of a manifest"),
        framed::<PartSummary>(&mut generator, "`capture --part`"),
        framed::<ServerCapture>(&mut generator, "`capture --all-databases`"),
        framed::<ServerVerification>(&mut generator, "`verify --all-databases`"),
        framed::<AllServers>(&mut generator, "Any command with --all-servers"),
        framed::<Explanation>(&mut generator, "`verify --explain`"),
        framed::<HeartbeatState<'static>>(&mut generator, "`heartbeat`"),
        framed::<BackupDocument<'static>>(&mut generator, "`backup`"),
        framed::<RestoreDocument<'static>>(&mut generator, "`restore`"),
        #[cfg(feature = "velero")]
        framed::<FailoverDocument<'static>>(&mut generator, "`failover`"),
        #[cfg(feature = "velero")]
        framed::<Replica>(&mut generator, "`replicas`"),
        #[cfg(feature = "drill")]
        framed::<DrillDocument<'static>>(&mut generator, "`drill`"),
        #[cfg(feature = "report")]
        framed::<History>(&mut generator, "`report`"),
        framed::<Examination>(&mut generator, "`doctor`"),
        framed::<Removal>(&mut generator, "`cleanup`"),
        framed::<Verification>(&mut generator, "`evidence verify`"),
        framed::<NewKey<'static>>(&mut generator, "`evidence keygen`"),
        framed::<Benchmark>(&mut generator, "`bench`"),
        framed::<Demonstration>(&mut generator, "`demo`"),
    ];
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "state-lab --output json",
        "description": "The one document that a run prints on standard output. `format` identifies its type.",
        "oneOf": documents,
        "$defs": generator.definitions(),
    })
}

fn framed<T: Document + JsonSchema>(generator: &mut SchemaGenerator, of: &str) -> Schema {
    let content = generator.subschema_for::<T>();
    json_schema!({
        "description": of,
        "type": "object",
        "properties": { "format": { "const": T::FORMAT }, "version": { "const": VERSION } },
        "required": ["format", "version"],
        "allOf": [content],
    })
}

#[cfg(all(test, feature = "velero"))]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use verify_drill::problem::Problem;
    use verify_drill::provider::{StoredAt, TakenBackup};
    use verify_velero::provider::Record;

    /// Checks a document against the schema of all of them, and against that of no other format.
    fn check(document: &impl Document) {
        let text = document.to_json().unwrap();
        let mut value: Value = serde_json::from_str(&text).unwrap();
        crate::json_schema::validate(&schema(), &value).unwrap_or_else(|error| panic!("{error}\n{text}"));
        value["format"] = "state-lab-unknown".into();
        crate::json_schema::validate(&schema(), &value).unwrap_err();
    }

    fn record() -> Record {
        let digest = "0".repeat(64);
        serde_json::from_value(json!({
            "format": "state-lab-velero-backup", "version": 1, "method": "csi-move", "run": "0123",
            "volume": {
                "namespace": "app", "pod": "pg-0", "volume": "data", "claim": "data-pg-0", "path": "pgdata",
                "labels": { "app": "pg" },
            },
            "image": "postgres:16", "image_pull_secrets": ["registry"], "account": [999, 999],
            "source_handles": ["vol-1"],
            "backup": {
                "format": "state-lab-backup", "version": 1, "tool_version": "0.1.0", "name": "nightly",
                "method": "snapshot", "copied_by": 16, "started_at": "2026-11-21T03:00:00Z",
                "ended_at": "2026-11-21T03:01:00Z", "bytes": 1,
                "server": {
                    "version": "16.4", "major": 16, "superuser": "postgres",
                    "clock": { "ahead_ms": 1, "error_ms": 1 }, "settings": { "max_connections": "100" },
                },
                "databases": [{
                    "name": "shop", "place": "u@h:5432/shop", "manifest": "manifests/shop.manifest",
                    "blake3": digest, "tables": 1, "rows": 2, "unproven": "a table is unlogged",
                }],
            },
        }))
        .unwrap()
    }

    #[test]
    fn what_commands_in_a_cluster_print_is_as_the_schema_says() {
        check(&FailoverDocument::new(&verify_velero::failover::sample_outcome()));
        check(&crate::render::replica::tests::found());
        let problem = Problem::failure("Backup nightly", "is PartiallyFailed").with_hint("look into its log");
        let mut taken = TakenBackup {
            record: None,
            stored: Value::Null,
            method: "CSI snapshot".to_owned(),
            details: Vec::new(),
            place: StoredAt::Service("s3:bucket/prefix".to_owned()),
            problems: vec![problem],
            complaints: vec!["level=error".to_owned()],
            left: Vec::new(),
        };
        check(&BackupDocument::new(&taken));
        let record = record();
        taken.stored = serde_json::to_value(&record).unwrap();
        taken.record = Some(record.backup);
        check(&BackupDocument::new(&taken));
        let removal = Removal {
            removed: vec!["Namespace state-lab-1".to_owned()],
            left: vec!["Pod p: denied".to_owned()],
            at_work: vec!["0123".to_owned()],
            ..Removal::default()
        };
        check(&removal);
    }

    #[test]
    fn evidence_derives_the_verdict_that_a_document_states() {
        use verify_evidence::document::{derived, stated};
        let failover = verify_velero::failover::sample_outcome();
        let documents = [
            FailoverDocument::new(&failover).to_json().unwrap(),
            crate::render::replica::tests::found().to_json().unwrap(),
        ];
        for text in documents {
            let value: Value = serde_json::from_str(&text).unwrap();
            let verdict = stated(&value).unwrap();
            assert_eq!(derived(&value), Ok(Some(verdict)), "{text}");
        }
    }

    #[test]
    fn an_error_is_as_the_schema_says() {
        let error = anyhow::anyhow!("no such context").context("failed to reach the cluster");
        for (exit, kind) in [(Exit::COULD_NOT_RUN, "other"), (Exit::INTERRUPTED, "interrupted")] {
            let failure = crate::failure::of(&error, exit);
            let document =
                ErrorDocument { backup_status: None, restore_status: Some(Failed::Failed), error: &failure };
            check(&document);
            let value: Value = serde_json::from_str(&document.to_json().unwrap()).unwrap();
            assert_eq!(value["format"], "state-lab-error");
            assert_eq!(value["restore_status"], "failed");
            assert_eq!(value["error"]["kind"], kind);
            assert_eq!(value["error"]["causes"], json!(["failed to reach the cluster", "no such context"]));
        }
    }
}
