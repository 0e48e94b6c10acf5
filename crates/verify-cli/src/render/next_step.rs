//! Suggested next step for a finding without one of its own.

use verify_core::finding::{Code, Finding};

/// Returns the suggested next step of a finding; empty if there is none.
pub(super) fn next_step(finding: &Finding) -> &str {
    if !finding.hint.is_empty() {
        return &finding.hint;
    }
    match finding.code() {
        Code::TableUnreadable | Code::SequenceUnreadable => {
            "let the role read it: GRANT pg_read_all_data (PostgreSQL 14 and later) or GRANT SELECT; \
             if another session held a lock, try again or raise --lock-timeout"
        }
        Code::TableRewritten => {
            "capture and back up again while no TRUNCATE, VACUUM FULL or rewriting ALTER runs"
        }
        Code::TableMissing | Code::RowMissing | Code::RowChanged => {
            "do not use this copy; restore an older backup, or repair it from one"
        }
        Code::SequenceMissing | Code::TableColumns => {
            "compare the schemas: pg_dump --schema-only of both sides"
        }
        Code::CatalogMissing | Code::CatalogDiffers => {
            "restore again with all of the schema, or bring the object to the source's definition: pg_dump --schema-only shows it"
        }
        Code::CatalogUnknown => {
            "verify again with a role that may create temporary objects, while no migration runs"
        }
        Code::ClusterMissing | Code::ClusterDiffers => {
            "restore the roles and the properties of the database too: pg_dumpall --globals-only, pg_restore --create"
        }
        Code::DatabaseMissing => {
            "check that this is the server of the copy, and that the backup has the database; restore it too"
        }
        Code::DatabaseNotCaptured => {
            "let the role connect to it and read it, and capture the source again with --all-databases"
        }
        Code::ClusterUnknown => "capture the source again with this state-lab, and back it up again",
        Code::CloneUnknown => "verify again with a role that may read the catalogue, or --skip clone",
        Code::HeartbeatMissing => "check that the right backup was restored, including its schema state_lab",
        Code::CoverageNone => "check that this is the right database, and that the role may read its tables",
        Code::ConstraintUnknown => {
            "remove the reason and verify again, as a superuser of the restored server or a role that may read all tables; \
             to leave the check out: --skip constraints"
        }
        Code::IntegrityUnknown => {
            "remove the reason and verify again; to leave the checks out: --skip indexes,heap,visibility"
        }
        Code::InvariantUnknown => "run the statement by hand as the same role",
        Code::ObjectiveUnknown => {
            "run `state-lab heartbeat` for the source, so that the next one can be measured"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_step_of_every_code_is_known() {
        let schema: serde_json::Value = schemars::schema_for!(Code).into();
        let codes = schema["oneOf"].as_array().unwrap().iter().map(|code| code["const"].clone());
        let line = |code| {
            let code: Code = serde_json::from_value(code).unwrap();
            let finding = Finding::new(code, "public.t", "a message");
            format!("{code}: {}", if next_step(&finding).is_empty() { "-" } else { next_step(&finding) })
        };
        let lines: Vec<String> = codes.map(line).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }
}
