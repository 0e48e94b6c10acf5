//! The pages of posture: what would harm the next restore, and the storage that it depends on.

use jiff::Timestamp;
use maud::{Markup, html};
use verify_core::finding::Verdict;
use verify_core::table::shown_text;
use verify_doctor::facts::cluster::{Cluster, VolumeKind};
use verify_doctor::{Examination, Fact, Facts, Missing};
use verify_drill::openmetrics::severity_name;
use verify_drill::quantity::{bytes, counted};
use verify_report::html::badge;
use verify_report::quantity::{age, minute};

use crate::pages::{Page, frame};
use crate::snapshot::Snapshot;

/// More rows of one table are only counted.
const ROWS_MAX: usize = 200;

pub(crate) fn doctor(snapshot: &Snapshot, now: Timestamp) -> String {
    let content = html! {
        h1 { "Doctor: what would harm the next restore" }
        (examined(snapshot, now, &|(_, examination)| findings(examination)))
    };
    frame(Page::Doctor, "Doctor", &content)
}

pub(crate) fn storage(snapshot: &Snapshot, now: Timestamp) -> String {
    let content = html! {
        h1 { "Storage" }
        (examined(snapshot, now, &|(facts, _)| match &facts.cluster {
            Ok(cluster) => in_cluster(cluster, now),
            Err(missing) => absent(missing),
        }))
    };
    frame(Page::Storage, "Storage", &content)
}

fn examined(snapshot: &Snapshot, now: Timestamp, page: &dyn Fn(&(Facts, Examination)) -> Markup) -> Markup {
    html! {
        @match &snapshot.posture {
            None => { p { "Nothing is examined, or not yet: `state-lab serve --doctor` examines." } }
            Some(posture) => {
                p class="faint" { "Examined at " (minute(posture.at)) ", " (age(posture.at, now)) " ago." }
                @match &posture.examined {
                    Ok(found) => { (page(found)) }
                    Err(reason) => { p class="late" role="alert" { "The examination failed: " (shown_text(reason)) } }
                }
            }
        }
    }
}

fn findings(examination: &Examination) -> Markup {
    let Examination { verdict, findings, inconclusive, not_applicable, passed, .. } = examination;
    html! {
        div class=(format!("verdict {verdict}")) {
            (badge(*verdict))
            p {
                (counted(findings.len() as u64, "finding")) ", " (counted(passed.len() as u64, "check")) " passed, "
                (inconclusive.len()) " inconclusive, " (not_applicable.len()) " not applicable"
            }
        }
        @if !findings.is_empty() {
            h2 { "Findings" }
            div class="scroll" { table {
                tr { th scope="col" { "Severity" } th scope="col" { "Object" } th scope="col" { "Finding" } }
                @for finding in findings.iter().take(ROWS_MAX) {
                    @let verdict: Verdict = finding.severity.into();
                    tr {
                        td { span class=(format!("badge {verdict}")) { (severity_name(finding.severity)) } }
                        td { (shown_text(&finding.object)) }
                        td {
                            (shown_text(&finding.message)) " " code { (finding.code) }
                            p { (finding.effect) }
                            p class="faint" { (finding.remedy) }
                        }
                    }
                }
            } }
        }
        @if !inconclusive.is_empty() {
            h2 { "Inconclusive" }
            ul {
                @for unknown in inconclusive.iter().take(ROWS_MAX) {
                    li {
                        code { (unknown.code) } " "
                        @if let Some(object) = &unknown.object { (shown_text(object)) ": " }
                        (shown_text(&unknown.reason)) ". Needs: " (shown_text(&unknown.needs))
                    }
                }
            }
        }
    }
}

fn in_cluster(cluster: &Cluster, now: Timestamp) -> Markup {
    let since =
        |at: Option<Timestamp>| at.map_or_else(|| "never".to_owned(), |at| format!("{} ago", age(at, now)));
    html! {
        p { "Namespace " (shown_text(&cluster.namespace)) }
        (section("Volumes of the database", &["Claim", "Class", "Storage", "Capacity", "Used"], &cluster.volumes, |volume| vec![
            volume.claim.clone(),
            volume.class.clone().unwrap_or_default(),
            kind(&volume.kind),
            volume.capacity_bytes.map(bytes).unwrap_or_default(),
            volume.used_percent.as_ref().map_or_else(|_| "unknown".to_owned(), |percent| format!("{percent}%")),
        ]))
        (section("Velero's backups", &["Name", "Phase", "Started", "Errors", "Warnings"], &cluster.backups, |backup| vec![
            backup.name.clone(),
            backup.phase.clone(),
            since(backup.started_at),
            backup.errors.to_string(),
            backup.warnings.to_string(),
        ]))
        (section("Schedules", &["Name", "Cron", "Last backup", "State"], &cluster.schedules, |schedule| vec![
            schedule.name.clone(),
            schedule.cron.clone(),
            since(schedule.last_backup_at),
            if schedule.paused { "paused" } else { "active" }.to_owned(),
        ]))
        (section("Locations of backups", &["Name", "Bucket", "Phase", "Message"], &cluster.locations, |location| vec![
            location.name.clone(),
            location.bucket.clone(),
            location.phase.clone(),
            location.message.clone(),
        ]))
        (section("Repositories of volumes' data", &["Name", "Phase", "Last maintenance"], &cluster.repositories, |repository| vec![
            repository.name.clone(),
            repository.phase.clone(),
            since(repository.maintained_at),
        ]))
        (section("Classes of snapshots", &["Name", "Driver", "Chosen by Velero", "Deletion"], &cluster.snapshot_classes, |class| vec![
            class.name.clone(),
            class.driver.clone(),
            if class.is_labelled { "yes" } else { "no" }.to_owned(),
            class.deletion_policy.clone(),
        ]))
        (section("Volumes of Longhorn", &["Name", "Claim", "Robustness"], &cluster.longhorn, |volume| vec![
            volume.name.clone(),
            volume.claim.as_ref().map(|(namespace, claim)| format!("{namespace}/{claim}")).unwrap_or_default(),
            volume.robustness.clone(),
        ]))
    }
}

fn section<T>(title: &str, columns: &[&str], fact: &Fact<Vec<T>>, row: impl Fn(&T) -> Vec<String>) -> Markup {
    html! {
        h2 { (title) }
        @match fact {
            Err(missing) => { (absent(missing)) }
            Ok(rows) if rows.is_empty() => { p { "None." } }
            Ok(rows) => {
                div class="scroll" { table {
                    tr { @for column in columns { th scope="col" { (column) } } }
                    @for of in rows.iter().take(ROWS_MAX) { tr { @for cell in row(of) { td { (shown_text(&cell)) } } } }
                } }
                @if rows.len() > ROWS_MAX { p class="faint" { "and " (rows.len() - ROWS_MAX) " more" } }
            }
        }
    }
}

fn absent(missing: &Missing) -> Markup {
    html! {
        @match missing {
            Missing::NotApplicable(reason) => { p class="faint" { (shown_text(reason)) } }
            Missing::Unknown { reason, needs } => {
                p class="late" { "Unknown: " (shown_text(reason)) ". Needs: " (shown_text(needs)) }
            }
        }
    }
}

fn kind(kind: &VolumeKind) -> String {
    match kind {
        VolumeKind::Csi(driver) => driver.clone(),
        VolumeKind::HostPath => "hostPath".to_owned(),
        VolumeKind::Local => "local disk".to_owned(),
        VolumeKind::Nfs => "NFS".to_owned(),
        VolumeKind::Other(other) => other.clone(),
    }
}
