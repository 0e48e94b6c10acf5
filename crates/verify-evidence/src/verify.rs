//! Verification of a store: every signature, every hash, the order, the times and the verdicts.

use std::collections::BTreeMap;

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;
use verify_core::finding::Verdict;
use verify_drill::store::Store;

use crate::bundle::{self, Statement};
use crate::document;
use crate::entry::{
    BUNDLE, Listing, REPORT, REPORT_BYTES_MAX, SIGNATURE, SIGNATURE_BYTES_MAX, content, folder, sha256,
};
use crate::envelope::{Envelope, Link};
use crate::key::PublicKey;
use crate::problem::{Code, Problem};
use crate::signers::Signers;
use crate::sshsig;

/// Difference between the clocks of two machines that is not taken for a time that runs backwards.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(60);
/// Objects that belong to no report are counted beyond this number.
const FOREIGN_MAX: usize = 10;

/// Result of a verification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[must_use]
pub struct Verification {
    /// The answer: fail if evidence was tampered with, inconclusive if something is missing.
    pub verdict: Verdict,
    /// Number of reports.
    pub reports: u64,
    /// Number of reports with two valid signatures by an allowed key.
    pub signed: u64,
    /// Number of files beside reports that are not signed, such as the pages that are derived from them.
    pub not_signed: u64,
    /// The newest report; its SHA-256 fixes all reports before it.
    pub head: Option<Link>,
    /// Problems, in the order of the reports.
    pub problems: Vec<Problem>,
}

/// Verifies all reports of a store. Keys in the store are never trusted: without allowed signers no signature counts.
/// `expect_head` is the SHA-256 of a report that must be there.
///
/// # Errors
///
/// If the store cannot be listed or read. A problem of its content is not an error.
pub fn verify(
    store: &dyn Store,
    signers: Option<&Signers>,
    expect_head: Option<&str>,
) -> Result<Verification> {
    let listing = Listing::read(store)?;
    let mut walk = Walk { signers, problems: Vec::new(), seen: BTreeMap::new(), signed: 0, not_signed: 0 };
    if signers.is_none() {
        let message = "no allowed signers were given, so no signature was verified";
        walk.problems.push(Problem::new(Code::SignersNone, None, message));
    }
    let read = |sequence, names: &BTreeMap<String, u64>| Files::read(store, sequence, names);
    listing.each(read, |sequence, files| {
        walk.entry(sequence, &files);
        Ok(())
    })?;
    walk.foreign(&listing.foreign);
    if let Some(expected) = expect_head {
        walk.head(expected);
    }
    Ok(walk.finish())
}

/// State of the walk from the first report to the last.
struct Walk<'a> {
    signers: Option<&'a Signers>,
    problems: Vec<Problem>,
    /// The reports so far.
    seen: BTreeMap<u64, Seen>,
    signed: u64,
    not_signed: u64,
}

/// Content of an entry's objects, or the reason why it cannot be read.
struct Files {
    report: Result<Vec<u8>, String>,
    signature: Result<Vec<u8>, String>,
    bundle: Result<Vec<u8>, String>,
    /// Number of other objects.
    others: u64,
}

impl Files {
    fn read(store: &dyn Store, sequence: u64, names: &BTreeMap<String, u64>) -> Result<Self> {
        let read = |name, bytes_max| content(store, sequence, name, names, bytes_max);
        Ok(Self {
            report: read(REPORT, REPORT_BYTES_MAX)?,
            signature: read(SIGNATURE, SIGNATURE_BYTES_MAX)?,
            bundle: read(BUNDLE, SIGNATURE_BYTES_MAX)?,
            others: names.keys().filter(|name| ![REPORT, SIGNATURE, BUNDLE].contains(&name.as_str())).count()
                as u64,
        })
    }
}

/// A report that was read.
struct Seen {
    sha256: String,
    /// Time at which it was stored; none where the report is unreadable.
    stored_at: Option<Timestamp>,
}

impl Walk<'_> {
    fn problem(&mut self, code: Code, sequence: u64, message: impl Into<String>) {
        self.problems.push(Problem::new(code, sequence, message));
    }

    fn entry(&mut self, sequence: u64, files: &Files) {
        self.gap(sequence);
        let Files { report, signature, bundle, others } = files;
        self.not_signed += others;
        let text = match report {
            Ok(text) => text,
            Err(reason) => {
                self.problem(
                    Code::ReportMissing,
                    sequence,
                    format!("it has signatures, but no report: {reason}"),
                );
                return;
            }
        };
        let sha256 = sha256(text);
        let envelope = match Envelope::from_json(text) {
            Ok(envelope) => Some(envelope),
            Err(error) => {
                self.problem(Code::ReportUnreadable, sequence, format!("{error:#}"));
                None
            }
        };
        if let Some(envelope) = &envelope {
            self.verdict(sequence, envelope);
            self.place(sequence, envelope);
        }
        let before = self.problems.len();
        for reason in [signature, bundle].into_iter().filter_map(|found| found.as_ref().err()) {
            self.problem(Code::SignatureMissing, sequence, format!("it is not signed: {reason}"));
        }
        if let Some(signers) = self.signers {
            let report = Report { sequence, text, sha256: &sha256, envelope: envelope.as_ref() };
            let (signature, bundle) = (signature.as_deref().ok(), bundle.as_deref().ok());
            self.signatures(signers, &report, signature, bundle);
            self.signed += u64::from(self.problems.len() == before);
        }
        self.seen.insert(sequence, Seen { sha256, stored_at: envelope.map(|envelope| envelope.stored_at) });
    }

    /// Names the numbers before this one that have no objects.
    fn gap(&mut self, sequence: u64) {
        let first = self.problems.iter().filter_map(|problem| problem.sequence);
        let last =
            self.seen.keys().copied().chain(first).filter(|number| *number < sequence).max().unwrap_or(0);
        match sequence - last {
            0 | 1 => {}
            2 => self.problem(
                Code::ReportMissing,
                last + 1,
                "it does not exist, although there are later ones",
            ),
            _ => {
                let message = format!(
                    "it and all up to {} do not exist, although there are later ones",
                    folder(sequence - 1)
                );
                self.problem(Code::ReportMissing, last + 1, message);
            }
        }
    }

    /// Compares the verdict with what the document says.
    fn verdict(&mut self, sequence: u64, envelope: &Envelope) {
        let stated = document::stated(&envelope.document);
        let derived = document::derived(&envelope.document);
        match (stated, derived) {
            (Err(reason), _) | (_, Err(reason)) => self.problem(Code::ReportVerdict, sequence, reason),
            (Ok(stated), _) if stated != envelope.verdict => {
                let message = format!("it says {}, and its document says {stated}", envelope.verdict);
                self.problem(Code::ReportVerdict, sequence, message);
            }
            (Ok(stated), Ok(Some(derived))) if stated != derived => {
                let message = format!("it says {stated}, and its findings give {derived}");
                self.problem(Code::ReportVerdict, sequence, message);
            }
            (Ok(_), Ok(None)) => {
                let message = "whether its verdict follows from its findings could not be checked: \
                               this state-lab does not know documents of its kind";
                self.problem(Code::ReportVerdictNotDerived, sequence, message);
            }
            _ => {}
        }
    }

    /// Checks number, previous report and times.
    fn place(&mut self, sequence: u64, envelope: &Envelope) {
        if envelope.sequence != sequence {
            let message =
                format!("it was stored as {}, and was moved or copied here", folder(envelope.sequence));
            self.problem(Code::ChainMoved, sequence, message);
            return;
        }
        if let Some((code, message)) = self.link(sequence, envelope.previous.as_ref()) {
            self.problem(code, sequence, message);
        }
        let Envelope { stored_at, run, .. } = envelope;
        // The latest of all: a minute at a time would add up.
        let before = self.seen.values().filter_map(|seen| seen.stored_at).max();
        if run.finished_at < run.started_at || *stored_at + CLOCK_TOLERANCE < run.finished_at {
            let message = format!(
                "its run began at {}, ended at {} and was stored at {stored_at}",
                run.started_at, run.finished_at
            );
            self.problem(Code::TimeBackwards, sequence, message);
        } else if let Some(before) = before.filter(|before| *stored_at + CLOCK_TOLERANCE < *before) {
            let message = format!("it was stored at {stored_at}, and a report before it at {before}");
            self.problem(Code::TimeBackwards, sequence, message);
        }
    }

    /// Compares the report before this one with the one that it follows.
    fn link(&self, sequence: u64, previous: Option<&Link>) -> Option<(Code, String)> {
        let (newest, _) = self.seen.last_key_value().unzip();
        let Some(previous) = previous else {
            let newest = newest?;
            let message =
                format!("it says that it is the first report, although there is {}", folder(*newest));
            return Some((Code::ChainForked, message));
        };
        let follows = folder(previous.sequence);
        if previous.sequence >= sequence || previous.sequence == 0 {
            let message = format!("it says that it follows {follows}, which cannot be before it");
            return Some((Code::ChainBroken, message));
        }
        let stored = self.seen.get(&previous.sequence);
        if let Some(seen) = stored.filter(|seen| seen.sha256 != previous.sha256) {
            let message = format!(
                "it follows a report {follows} whose SHA-256 is {}, and that of the stored one is {}: one of them was \
                 modified or replaced",
                previous.sha256, seen.sha256
            );
            return Some((Code::ChainBroken, message));
        }
        // Where the previous report is missing, that is named already.
        let other = self.seen.keys().find(|other| **other > previous.sequence)?;
        Some((Code::ChainForked, format!("it follows {follows}, as does {}", folder(*other))))
    }

    fn signatures(
        &mut self,
        signers: &Signers,
        report: &Report<'_>,
        signature: Option<&[u8]>,
        bundle: Option<&[u8]>,
    ) {
        let mut keys: Vec<PublicKey> = signers.keys().collect();
        if let Some(bundle) = bundle {
            match bundle::verify(bundle, signers.keys()) {
                Ok((statement, key)) => {
                    keys = vec![key];
                    self.statement(signers, report, &statement, key);
                }
                Err(reason) => {
                    let message = format!("{BUNDLE}: {reason}");
                    self.problem(Code::SignatureRefused, report.sequence, message);
                }
            }
        }
        if let Some(signature) = signature {
            let verified: Vec<_> =
                keys.iter().map(|key| sshsig::verify(signature, report.text, *key)).collect();
            if verified.iter().all(Result::is_err) {
                let reason = verified.into_iter().find_map(Result::err).unwrap_or_default();
                self.problem(Code::SignatureRefused, report.sequence, format!("{SIGNATURE}: {reason}"));
            }
        }
    }

    /// Compares a genuine statement with the report, and its signer with those that are allowed.
    fn statement(&mut self, signers: &Signers, report: &Report<'_>, statement: &Statement, key: PublicKey) {
        let Report { sequence, sha256, envelope, .. } = *report;
        if statement.sha256() != Some(sha256) {
            let signed = statement.sha256().unwrap_or("unknown");
            let message = format!("its SHA-256 is {sha256}, and the one that was signed is {signed}");
            self.problem(Code::ReportModified, sequence, message);
            return;
        }
        let signer = &statement.predicate.signer;
        if let Err(reason) = signers.permit(key, signer, statement.predicate.stored_at) {
            self.problem(Code::SignatureRefused, sequence, format!("{BUNDLE}: {reason}"));
        }
        if envelope.is_some_and(|envelope| *statement != Statement::of(envelope, sha256, signer)) {
            let message = "the signed statement is not what the report says";
            self.problem(Code::SignatureDisagrees, sequence, message);
        }
    }

    fn foreign(&mut self, keys: &[String]) {
        for key in keys.iter().take(FOREIGN_MAX) {
            let message = format!("the object {key:?} belongs to no report");
            self.problems.push(Problem::new(Code::StoreForeignObject, None, message));
        }
        if keys.len() > FOREIGN_MAX {
            let message = format!("{} more objects belong to no report", keys.len() - FOREIGN_MAX);
            self.problems.push(Problem::new(Code::StoreForeignObject, None, message));
        }
    }

    fn head(&mut self, expected: &str) {
        if !self.seen.values().any(|seen| seen.sha256.eq_ignore_ascii_case(expected)) {
            let message =
                format!("no report has the SHA-256 {expected}: the newest reports were deleted, or replaced");
            self.problems.push(Problem::new(Code::HeadMissing, None, message));
        }
    }

    fn finish(mut self) -> Verification {
        if self.seen.is_empty() {
            self.problems.insert(0, Problem::new(Code::StoreEmpty, None, "there is no report"));
        }
        let head = self.seen.last_key_value();
        Verification {
            verdict: Verdict::of(self.problems.iter().map(|problem| problem.severity)),
            reports: self.seen.len() as u64,
            signed: self.signed,
            not_signed: self.not_signed,
            head: head.map(|(sequence, seen)| Link { sequence: *sequence, sha256: seen.sha256.clone() }),
            problems: self.problems,
        }
    }
}

/// A report whose signatures are verified.
struct Report<'a> {
    sequence: u64,
    text: &'a [u8],
    sha256: &'a str,
    /// Its content; none where it is unreadable.
    envelope: Option<&'a Envelope>,
}
