//! Evidence that was tampered with, and its untouched twin.

use std::cell::Cell;

use jiff::Timestamp;
use serde_json::{Value, json};
use verify_core::finding::Verdict;
use verify_evidence::bundle::{self, Statement};
use verify_evidence::chain::{Signer, append};
use verify_evidence::entry::{entries, sha256};
use verify_evidence::envelope::Envelope;
use verify_evidence::signers::Signers;
use verify_evidence::sshsig;
use verify_evidence::verify::{Verification, verify};

use crate::memory::Memory;
use crate::samples::{IDENTITY, document, key, lost_rows, run, time};

/// A store with signed reports, and those who may sign.
struct Case {
    store: Memory,
    signer: Signer,
    signers: Signers,
    /// Seconds.
    clock: Cell<i64>,
}

impl Case {
    fn new(reports: u64) -> Self {
        let signer = Signer { key: key(), identity: IDENTITY.to_owned() };
        let signers = Signers::parse(&format!("{IDENTITY} {}", signer.key.public().to_openssh())).unwrap();
        let case = Self { store: Memory::default(), signer, signers, clock: Cell::new(0) };
        for _ in 0..reports {
            case.append(Some(&case.signer));
        }
        case
    }

    fn now(&self) -> Timestamp {
        self.clock.set(self.clock.get() + 100);
        time(self.clock.get())
    }

    fn append(&self, signer: Option<&Signer>) {
        let id = format!("run-{}", self.clock.get());
        append(&self.store, &run(&id), &document(lost_rows()), signer, &|| self.now()).unwrap();
    }

    /// Changes a report, and signs it again with the genuine key.
    fn resign(&self, sequence: u64, change: impl FnOnce(&mut Envelope)) {
        let key = |name: &str| format!("{sequence:06}/{name}");
        let mut envelope = Envelope::from_json(&self.store.content(&key("report.json"))).unwrap();
        change(&mut envelope);
        let text = envelope.to_json().unwrap();
        let statement = Statement::of(&envelope, &sha256(&text), IDENTITY);
        self.store.set(&key("report.json.sig"), sshsig::sign(&self.signer.key, &text).unwrap());
        self.store
            .set(&key("report.json.sigstore.json"), bundle::sign(&self.signer.key, &statement).unwrap());
        self.store.set(&key("report.json"), text);
    }

    fn verify(&self) -> Verification {
        verify(&self.store, Some(&self.signers), None).unwrap()
    }

    /// The verdict, and the problems as `code number`.
    #[track_caller]
    fn assert(&self, verdict: Verdict, expected: &[&str]) {
        assert_problems(&self.verify(), verdict, expected);
    }
}

#[track_caller]
fn assert_problems(found: &Verification, verdict: Verdict, expected: &[&str]) {
    let name = |problem: &verify_evidence::problem::Problem| match problem.sequence {
        Some(sequence) => format!("{} {sequence}", problem.code),
        None => problem.code.to_string(),
    };
    let named: Vec<String> = found.problems.iter().map(name).collect();
    assert_eq!(
        (found.verdict, named),
        (verdict, expected.iter().map(|text| (*text).to_owned()).collect()),
        "{:#?}",
        found.problems
    );
}

#[test]
fn an_untouched_store_passes_and_its_head_fixes_everything() {
    let case = Case::new(3);
    case.assert(Verdict::Pass, &[]);
    let found = case.verify();
    assert_eq!((found.reports, found.signed), (3, 3));
    let head = found.head.unwrap();
    assert_eq!(head.sequence, 3);
    assert_eq!(head.sha256, sha256(&case.store.content("000003/report.json")));
    let read = entries(&case.store).unwrap();
    assert_eq!(read.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(read.iter().all(|entry| entry.has_signatures));
    let report = read[2].report.as_ref().unwrap();
    assert_eq!(report.sha256, head.sha256);
    assert_eq!(report.envelope.document, document(lost_rows()));
    let expect = |sha256: &str| verify(&case.store, Some(&case.signers), Some(sha256)).unwrap();
    assert_problems(&expect(&head.sha256.to_uppercase()), Verdict::Pass, &[]);
    // A report is removed from the end: only a verifier that knows the head notices.
    case.store.remove("000003/");
    case.assert(Verdict::Pass, &[]);
    assert_problems(&expect(&head.sha256), Verdict::Fail, &["head.missing"]);
}

#[test]
fn what_was_removed_is_named_and_the_next_report_goes_on() {
    let case = Case::new(5);
    case.store.remove("000002/");
    case.assert(Verdict::Inconclusive, &["report.missing 2"]);
    case.store.remove("000003/");
    case.assert(Verdict::Inconclusive, &["report.missing 2"]);
    assert!(case.verify().problems[0].message.contains("all up to 000003"));
    case.store.take("000005/report.json");
    case.assert(Verdict::Inconclusive, &["report.missing 2", "report.missing 5"]);
    case.append(Some(&case.signer));
    case.assert(Verdict::Inconclusive, &["report.missing 2", "report.missing 5"]);
    assert_eq!(case.verify().head.unwrap().sequence, 6);
    case.store.take("000006/report.json.sig");
    case.store.take("000004/report.json.sigstore.json");
    let expected = ["report.missing 2", "signature.missing 4", "report.missing 5", "signature.missing 6"];
    case.assert(Verdict::Inconclusive, &expected);
}

#[test]
fn reports_that_changed_places_are_named() {
    let case = Case::new(3);
    case.store.rename("000002/", "x/");
    case.store.rename("000003/", "000002/");
    case.store.rename("x/", "000003/");
    case.assert(Verdict::Fail, &["chain.moved 2", "chain.moved 3"]);
    let case = Case::new(2);
    let copy = case.store.copy();
    case.store.rename("000002/", "000003/");
    for (key, content) in copy.objects.into_inner().unwrap() {
        case.store.set(&key, content);
    }
    case.assert(Verdict::Fail, &["chain.moved 3"]);
}

#[test]
fn a_report_that_was_replaced_is_named_even_with_the_genuine_key() {
    let case = Case::new(3);
    case.resign(2, |envelope| envelope.run.id = "another".to_owned());
    case.assert(Verdict::Fail, &["chain.broken 3"]);
    assert!(case.verify().problems[0].message.contains("one of them was modified or replaced"));
    let case = Case::new(2);
    for impossible in [0, 2, 9] {
        case.resign(2, |envelope| envelope.previous.as_mut().unwrap().sequence = impossible);
        case.assert(Verdict::Fail, &["chain.broken 2"]);
    }
}

#[test]
fn a_fork_is_named() {
    let case = Case::new(4);
    let second = Envelope::from_json(&case.store.content("000003/report.json")).unwrap().previous;
    case.resign(4, |envelope| envelope.previous = second);
    case.assert(Verdict::Fail, &["chain.forked 4"]);
    assert_eq!(case.verify().problems[0].message, "it follows 000002, as does 000003");
    case.store.remove("000002/");
    case.assert(Verdict::Fail, &["report.missing 2", "chain.forked 4"]);
    case.resign(4, |envelope| envelope.previous = None);
    case.assert(Verdict::Fail, &["report.missing 2", "chain.forked 4"]);
}

#[test]
fn a_report_that_was_edited_is_named() {
    let case = Case::new(2);
    let text = String::from_utf8(case.store.content("000002/report.json")).unwrap();
    case.store.set("000002/report.json", text.replace("\"fail\"", "\"pass\""));
    let expected = ["report.verdict 2", "report.modified 2", "signature.refused 2"];
    case.assert(Verdict::Fail, &expected);
    case.store.set("000002/report.json", "no JSON");
    case.assert(Verdict::Fail, &["report.unreadable 2", "report.modified 2", "signature.refused 2"]);
    case.store.set("000002/report.json", text);
    case.assert(Verdict::Pass, &[]);
}

#[test]
fn a_verdict_that_does_not_follow_is_named_even_if_it_is_signed() {
    let case = Case::new(1);
    case.resign(1, |envelope| envelope.verdict = Verdict::Pass);
    case.assert(Verdict::Fail, &["report.verdict 1"]);
    case.resign(1, |envelope| envelope.document["verdict"] = json!("pass"));
    case.assert(Verdict::Fail, &["report.verdict 1"]);
    case.resign(1, |envelope| {
        envelope.verdict = Verdict::Pass;
        envelope.document = json!({
            "format": "state-lab-restore", "verdict": "pass", "integrity_checks": "inconclusive", "reports": [],
        });
    });
    case.assert(Verdict::Fail, &["report.verdict 1"]);
    let restore = |integrity: &str| {
        json!({
            "format": "state-lab-restore", "verdict": "fail", "integrity_checks": integrity,
            "reports": [document(lost_rows())],
        })
    };
    for (integrity, verdict, expected) in
        [("fail", Verdict::Pass, &[][..]), ("pass", Verdict::Fail, &["report.verdict 1"])]
    {
        case.resign(1, |envelope| {
            envelope.verdict = Verdict::Fail;
            envelope.document = restore(integrity);
        });
        case.assert(verdict, expected);
    }
    case.resign(1, |envelope| {
        envelope.verdict = Verdict::Pass;
        envelope.document = json!({ "format": "unknown", "verdict": "pass" });
    });
    case.assert(Verdict::Pass, &["report.verdict-not-derived 1"]);
}

#[test]
fn times_that_run_backwards_are_named_and_clocks_that_differ_a_little_are_not() {
    let case = Case::new(2);
    let at = |seconds| move |envelope: &mut Envelope| envelope.stored_at = time(seconds);
    case.resign(2, at(100 - 59));
    case.assert(Verdict::Pass, &[]);
    case.resign(2, at(100 - 61));
    case.assert(Verdict::Fail, &["time.backwards 2"]);
    case.resign(2, |envelope| {
        envelope.stored_at = time(200);
        envelope.run.finished_at = time(261);
    });
    case.assert(Verdict::Fail, &["time.backwards 2"]);
    case.resign(2, |envelope| envelope.run.finished_at = time(-1));
    case.assert(Verdict::Fail, &["time.backwards 2"]);
}

#[test]
fn small_steps_back_do_not_add_up() {
    let case = Case::new(4);
    for (sequence, seconds) in [(3, 200 - 40), (4, 200 - 80)] {
        case.resign(sequence, |envelope| {
            envelope.stored_at = time(seconds);
            envelope.run.finished_at = time(1);
        });
        if sequence == 3 {
            let sha256 = sha256(&case.store.content("000003/report.json"));
            case.resign(4, |envelope| envelope.previous.as_mut().unwrap().sha256 = sha256);
            case.assert(Verdict::Pass, &[]);
        }
    }
    case.assert(Verdict::Fail, &["time.backwards 4"]);
}

#[test]
fn only_pinned_keys_count_and_only_for_their_names_and_times() {
    let case = Case::new(1);
    let stranger = Signer { key: key(), identity: IDENTITY.to_owned() };
    case.append(Some(&stranger));
    case.assert(Verdict::Fail, &["signature.refused 2", "signature.refused 2"]);
    let renamed = Case::new(0);
    renamed.append(Some(&Signer { key: key(), identity: "other".to_owned() }));
    let of = |line: String| verify(&case.store, Some(&Signers::parse(&line).unwrap()), None).unwrap();
    let (own, other) = (case.signer.key.public().to_openssh(), stranger.key.public().to_openssh());
    assert_problems(&of(format!("{IDENTITY} {own}\n{IDENTITY} {other}")), Verdict::Pass, &[]);
    for line in [
        format!("other {own}\n{IDENTITY} {other}"),
        format!("{IDENTITY} valid-before=\"20200101Z\" {own}\n{IDENTITY} {other}"),
        format!("{IDENTITY} namespaces=\"git\" {own}\n{IDENTITY} {other}"),
    ] {
        assert_problems(&of(line), Verdict::Fail, &["signature.refused 1"]);
    }
    let without = verify(&case.store, None, None).unwrap();
    assert_problems(&without, Verdict::Inconclusive, &["signers.none"]);
    assert_eq!(without.signed, 0);
}

#[test]
fn signatures_of_other_reports_and_statements_are_named() {
    let case = Case::new(2);
    let mut genuine = case.store.content("000001/report.json.sigstore.json");
    std::mem::swap(
        &mut genuine,
        case.store.objects.lock().unwrap().get_mut("000002/report.json.sigstore.json").unwrap(),
    );
    case.assert(Verdict::Fail, &["report.modified 2"]);
    case.store.set("000002/report.json.sigstore.json", genuine);
    let signature = case.store.content("000001/report.json.sig");
    case.store.set("000002/report.json.sig", signature);
    case.assert(Verdict::Fail, &["signature.refused 2"]);
    // A statement of the genuine key that says something else of the same report.
    let case = Case::new(1);
    let text = case.store.content("000001/report.json");
    let mut envelope = Envelope::from_json(&text).unwrap();
    envelope.verdict = Verdict::Pass;
    let statement = Statement::of(&envelope, &sha256(&text), IDENTITY);
    case.store.set("000001/report.json.sigstore.json", bundle::sign(&case.signer.key, &statement).unwrap());
    case.assert(Verdict::Fail, &["signature.disagrees 1"]);
}

#[test]
fn unsigned_reports_and_an_empty_store_are_never_a_pass() {
    let case = Case::new(0);
    case.assert(Verdict::Inconclusive, &["store.empty"]);
    case.append(None);
    case.assert(Verdict::Inconclusive, &["signature.missing 1", "signature.missing 1"]);
    assert!(!entries(&case.store).unwrap()[0].has_signatures);
    case.append(Some(&case.signer));
    assert_eq!(case.verify().signed, 1);
}

#[test]
fn what_belongs_to_no_report_is_a_notice() {
    let case = Case::new(1);
    case.store.set("000001/report.html", "a page");
    case.store.set("000001/.state-lab-x.part", "half");
    case.assert(Verdict::Pass, &[]);
    case.store.set("notes.txt", "x");
    case.store.set("0001/report.json", "x");
    case.assert(Verdict::Pass, &["store.foreign-object", "store.foreign-object"]);
}

#[test]
fn a_report_whose_signature_could_not_be_stored_is_an_error_and_named() {
    let mut case = Case::new(1);
    case.store.refused = Some(".sigstore.json");
    let failed =
        append(&case.store, &run("r"), &document(vec![]), Some(&case.signer), &|| case.now()).unwrap_err();
    assert_eq!(format!("{failed:#}"), "failed to sign the report 000002, which is stored: the disk is full");
    case.assert(Verdict::Inconclusive, &["signature.missing 2"]);
    case.store.refused = Some("report.json");
    let failed =
        append(&case.store, &run("r"), &document(vec![]), Some(&case.signer), &|| case.now()).unwrap_err();
    assert_eq!(format!("{failed:#}"), "failed to store the report: the disk is full");
    case.store.refused = None;
    case.append(Some(&case.signer));
    case.assert(Verdict::Inconclusive, &["signature.missing 2"]);
    assert_eq!(case.verify().head.unwrap().sequence, 3);
    let nothing: Value = json!({ "format": "state-lab-report" });
    append(&case.store, &run("r"), &nothing, None, &|| case.now()).unwrap_err();
}

/// A generator of pseudo-random numbers (SplitMix64), the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit as u64).unwrap()
    }
}

#[test]
fn every_change_of_one_byte_is_refused() {
    let case = Case::new(1);
    case.assert(Verdict::Pass, &[]);
    let mut random = Random(7);
    let names = ["report.json", "report.json.sig", "report.json.sigstore.json"];
    for round in 0..2_000 {
        let key = format!("000001/{}", names[round % 3]);
        let whole = case.store.content(&key);
        let mut changed = whole.clone();
        let at = random.below(changed.len());
        changed[at] ^= u8::try_from(1 + random.below(255)).unwrap();
        case.store.set(&key, changed);
        let found = case.verify();
        assert_eq!((found.verdict, found.signed), (Verdict::Fail, 0), "{key}, byte {at}: {found:?}");
        case.store.set(&key, whole.clone());
        // Bytes before and after it count, too.
        if round < 3 {
            for longer in
                [[&whole[..], b"\n"].concat(), [b" ", &whole[..]].concat(), whole[..whole.len() - 1].to_vec()]
            {
                case.store.set(&key, longer);
                assert_eq!(case.verify().verdict, Verdict::Fail, "{key}");
            }
            case.store.set(&key, whole);
        }
    }
    case.assert(Verdict::Pass, &[]);
}
