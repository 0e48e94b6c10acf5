//! `verify --all-databases`: each database of a restored server against the manifest of that name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use verify_core::compare::Comparison;
use verify_core::databases::{compare_databases, missing};
use verify_core::manifest::{Header, Manifest};
use verify_core::not_covered::Check;
use verify_core::report::{Circumstances, Instant, Report, Side};
use verify_core::reuse::Reuse;
use verify_core::table::shown_text;
use verify_drill::backup_name::file_safe;
use verify_drill::failure::is_interruption;
use verify_drill::hint::Hinted;
use verify_drill::interrupt;
use verify_drill::report_file::write_report;
use verify_local::server_databases;

use super::measuring::{Beginning, ReportFlag};
use super::server_capture::EXTENSION;
use super::verify::Verification;
use crate::connect::Target;
use crate::render::server::{FailedDatabase, ServerVerification};
use crate::store;

/// A manifest of the directory, without its content.
struct Captured {
    path: PathBuf,
    header: Header,
    has_tables: bool,
}

/// The result of one database.
type Verified = (Circumstances, Comparison);

/// Verifies the databases of a server against the manifests in `folder`. An error of one is part of the result.
pub(super) fn run(
    folder: &Path,
    server: &str,
    report_flag: &ReportFlag,
    verification: &Verification<'_>,
) -> Result<ServerVerification> {
    let server = Target::find(server, verification.config)?;
    let (captured, mut errors) = manifests(folder, verification)?;
    let (settings, copy) = server_databases(&server.settings())?;
    let present: BTreeSet<&str> = copy.iter().map(|database| database.name.as_str()).collect();
    let has_tables = captured.values().any(|captured| captured.has_tables);
    let mut verified: Vec<Verified> = Vec::new();
    for (index, (name, database)) in captured.iter().enumerate() {
        let doing = format!("verifying {}, {} of {}", shown_text(name), index + 1, captured.len());
        let target = Target::new(settings.with_database(name));
        let one = || -> Result<Verified> {
            let beginning = Beginning::now();
            // A place that cannot be written to costs no reading.
            drop(report_flag.open_for(&report_file(name), verification.config)?);
            let comparison = if present.contains(name.as_str()) {
                let manifest = database.read(verification)?;
                let mut comparison = verification.compare(&manifest, &target, Reuse::Nothing, &doing)?;
                if has_tables && !database.has_tables && verification.runs(Check::Rows) {
                    comparison.source_has_no_tables();
                }
                comparison
            } else {
                missing(&database.header, verification.bounded)
            };
            Ok((database.circumstances(&beginning, &target), comparison))
        };
        match one() {
            Ok(one) => verified.push(one),
            Err(error) if is_interruption(&error) || interrupt::asked() => return Err(error),
            Err(error) => errors.push(FailedDatabase::new(name.clone(), &error)),
        }
    }
    let headers = captured.values().map(|captured| &captured.header);
    let findings = compare_databases(headers, &copy, verification.bounded);
    let reports = reports(verified);
    for report in &reports {
        let Some(name) = report.source.database.as_ref().map(|source| &source.database) else { continue };
        let written = report_flag.open_for(&report_file(name), verification.config);
        if let Err(error) =
            written.and_then(|draft| draft.map_or(Ok(()), |draft| write_report(draft, report)))
        {
            errors.push(FailedDatabase::new(name.clone(), &error));
        }
    }
    Ok(ServerVerification::new(findings, reports, errors))
}

fn report_file(database: &str) -> String {
    format!("{}.json", file_safe(database))
}

/// The reports, each without the gaps that other databases would be which were compared too.
fn reports(verified: Vec<Verified>) -> Vec<Report> {
    let names: Vec<String> = (verified.iter())
        .filter_map(|(circumstances, _)| Some(circumstances.source.database.as_ref()?.database.clone()))
        .collect();
    let report = |(circumstances, mut comparison): Verified| {
        names.iter().for_each(|name| comparison.database_was_compared(name));
        Report::of_comparison(circumstances, comparison)
    };
    verified.into_iter().map(report).collect()
}

/// The manifests of a directory by the names of their databases, and those that cannot be read.
fn manifests(
    folder: &Path,
    verification: &Verification<'_>,
) -> Result<(BTreeMap<String, Captured>, Vec<FailedDatabase>)> {
    let s3 = verification.config.s3();
    let objects = store::folder_or_bucket(folder, s3)?.list("")?;
    let (mut captured, mut errors) = (BTreeMap::<String, Captured>::new(), Vec::new());
    for key in objects.into_iter().map(|object| object.key) {
        if key.contains('/') || !key.ends_with(EXTENSION) {
            continue;
        }
        let path = folder.join(&key);
        match store::read_manifest(&path, s3) {
            Err(error) => errors.push(FailedDatabase::new(path.display().to_string(), &error)),
            Ok(Manifest { header, tables, .. }) => {
                let name = header.source.database.clone();
                let found = Captured { path, header, has_tables: !tables.is_empty() };
                check_server(folder, captured.values().next(), &found)?;
                if let Some(other) = captured.insert(name, found) {
                    bail!(
                        "failed to verify the databases of {}: {} and another file are manifests of the same database",
                        folder.display(),
                        other.path.display()
                    );
                }
            }
        }
    }
    if captured.is_empty() && errors.is_empty() {
        let text = format!("failed to verify the databases of {}: it has no manifests", folder.display());
        return Err(Hinted::new(text, "name a directory that `capture --all-databases` has written").into());
    }
    Ok((captured, errors))
}

/// Refuses manifests of several servers: which databases there were is not known then.
fn check_server(folder: &Path, one: Option<&Captured>, other: &Captured) -> Result<()> {
    let Some(one) = one.filter(|one| !one.header.source.may_be_server_of(&other.header.source)) else {
        return Ok(());
    };
    let text = format!(
        "failed to verify the databases of {}: {} and {} are manifests of different servers",
        folder.display(),
        one.path.display(),
        other.path.display()
    );
    Err(Hinted::new(text, "keep the manifests of each server in a directory of their own").into())
}

impl Captured {
    /// The whole manifest, which only the work on its database needs.
    fn read(&self, verification: &Verification<'_>) -> Result<Manifest> {
        let manifest = store::read_manifest(&self.path, verification.config.s3())?;
        if manifest.header != self.header {
            bail!("failed to read {}: it was replaced meanwhile", self.path.display());
        }
        Ok(manifest)
    }

    fn circumstances(&self, beginning: &Beginning, target: &Target) -> Circumstances {
        let source = Side {
            place: self.path.to_string_lossy().into_owned(),
            database: Some(self.header.source.clone()),
        };
        let restored = Side { place: target.place.clone(), database: None };
        beginning.end(source, restored, Some(Instant::from(&self.header)))
    }
}
