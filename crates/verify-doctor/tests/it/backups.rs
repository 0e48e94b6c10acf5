//! Stored backups and verified restores. Time and backups are made up; that of a store is tested where the store is.

use jiff::SignedDuration;
use verify_core::finding::{Severity, Verdict};
use verify_doctor::facts::{Backup, Content, Evidence, EvidenceProblem, Place, Proof, State};
use verify_doctor::{Examination, Facts, Missing, Source};

use crate::examined::{examined, facts_of, noon, server};

/// A good backup that was begun so many hours ago, and restored an hour later.
fn backup(name: &str, hours: i64) -> Backup {
    let started_at = noon() - SignedDuration::from_hours(hours);
    Backup {
        name: name.to_owned(),
        started_at,
        state: State::Good,
        bytes: Some(1_000_000),
        content: Content::Server,
        kind: "physical".to_owned(),
        proof: Some(Proof { at: started_at + SignedDuration::from_hours(1), verdict: Verdict::Pass }),
    }
}

struct Case {
    facts: Facts,
}

impl Case {
    /// A server without standbys, whose RPO is a day.
    fn new() -> Self {
        let test = fixtures::server(15).unwrap();
        let mut facts = facts_of(server(&test, "postgres"));
        facts.objectives.rpo = Some("1d".parse().unwrap());
        Self { facts }
    }

    fn examine(&mut self, backups: Vec<Backup>) -> Examination {
        self.facts.backups = vec![Place { name: "store".to_owned(), backups: Ok(backups), reports: Ok(()) }];
        examined(&self.facts, Source::Backups)
    }

    fn codes(&mut self, backups: Vec<Backup>) -> Vec<&'static str> {
        let examination = self.examine(backups);
        assert_eq!(examination.inconclusive, []);
        examination.findings.iter().map(|finding| finding.code).collect()
    }
}

#[test]
fn every_bad_state_of_backups_is_found_and_the_good_one_is_silent() {
    let mut case = Case::new();
    let good = || vec![backup("mon", 50), backup("tue", 26), backup("wed", 2)];
    assert_eq!(case.codes(good()), Vec::<&str>::new());
    let with = |change: &dyn Fn(&mut Vec<Backup>)| {
        let mut backups = good();
        change(&mut backups);
        backups
    };
    let each = |change: &dyn Fn(&mut Backup)| with(&|backups| backups.iter_mut().for_each(change));
    for (backups, expected) in [
        (vec![], &["backup.none", "restore.unproven"][..]),
        (with(&|backups| drop(backups.pop())), &["backup.none"]),
        (with(&|backups| backups[2].bytes = Some(499_999)), &["backup.shrunk"]),
        (with(&|backups| backups[2].bytes = Some(500_000)), &[]),
        // A dump is smaller than the server's files.
        (
            with(&|backups| {
                backups[2].bytes = Some(9);
                backups[2].kind = "logical".to_owned();
            }),
            &[],
        ),
        (
            with(&|backups| backups[2].state = State::Bad("is PartiallyFailed".into())),
            &["backup.none", "backup.partial"],
        ),
        (with(&|backups| backups[2].state = State::Complained("has 2 warnings".into())), &["backup.partial"]),
        (with(&|backups| backups[2].state = State::Running), &["backup.none"]),
        (each(&|backup| backup.content = Content::Dumps { globals: false }), &["backup.globals"]),
        (each(&|backup| backup.content = Content::Dumps { globals: true }), &[]),
        (each(&|backup| backup.content = Content::LocalSnapshot), &["backup.same-storage"]),
        (with(&|backups| backups[2].content = Content::LocalSnapshot), &[]),
        (each(&|backup| backup.proof = None), &["restore.unproven"]),
        (
            with(&|backups| backups[2].proof.as_mut().unwrap().verdict = Verdict::Inconclusive),
            &["restore.unproven"],
        ),
        // A later restore passed.
        (with(&|backups| backups[0].proof.as_mut().unwrap().verdict = Verdict::Fail), &[]),
    ] {
        assert_eq!(case.codes(backups.clone()), expected, "{backups:?}");
    }
    // A clock that is wrong does not make a backup young.
    assert_eq!(case.codes(vec![backup("mon", -1)]), ["backup.none"]);
    // Without an RPO an old backup is a notice.
    case.facts.objectives.rpo = None;
    assert_eq!(case.codes(vec![backup("mon", 36)]), Vec::<&str>::new());
    let old = case.examine(vec![backup("mon", 37)]);
    assert_eq!((old.verdict, old.findings.len()), (Verdict::Pass, 1));
    case.facts.objectives.proven_within = Some("30m".parse().unwrap());
    assert_eq!(case.codes(good()), ["restore.unproven"]);
}

#[test]
fn replication_is_not_a_backup() {
    let mut case = Case::new();
    case.facts.server.as_mut().unwrap().standbys = Ok(2);
    assert_eq!(case.codes(vec![backup("wed", 2)]), Vec::<&str>::new());
    assert!(case.codes(vec![]).contains(&"backup.replication-only"));
    case.facts.server.as_mut().unwrap().standbys = Ok(0);
    assert!(!case.codes(vec![]).contains(&"backup.replication-only"));
    case.facts.server.as_mut().unwrap().in_recovery = true;
    assert!(case.codes(vec![]).contains(&"backup.replication-only"));
}

#[test]
fn an_archive_within_the_rpo_makes_an_older_backup_a_notice() {
    let mut case = Case::new();
    let old = || vec![backup("mon", 50)];
    assert_eq!(case.examine(old()).verdict, Verdict::Fail);
    let archiver = case.facts.server.as_mut().unwrap().archiver.as_mut().unwrap();
    archiver.last_archived_at = Some(noon() - SignedDuration::from_mins(5));
    assert_eq!(case.examine(old()).verdict, Verdict::Pass);
    let archiver = case.facts.server.as_mut().unwrap().archiver.as_mut().unwrap();
    archiver.last_failed_at = Some(noon());
    assert_eq!(case.examine(old()).verdict, Verdict::Fail);
}

#[test]
fn a_place_that_cannot_be_looked_at_is_no_proof_of_absence() {
    let mut case = Case::new();
    let unreadable =
        Place { name: "far".into(), backups: Err(Missing::unknown("denied", "list on it")), reports: Ok(()) };
    case.facts.backups =
        vec![Place { name: "near".into(), backups: Ok(vec![]), reports: Ok(()) }, unreadable.clone()];
    let examination = examined(&case.facts, Source::Backups);
    assert_eq!((examination.verdict, examination.findings), (Verdict::Inconclusive, vec![]));
    assert!(
        examination
            .inconclusive
            .iter()
            .all(|gap| gap.needs == "list on it" && gap.object.as_deref() == Some("far"))
    );
    // What was found near is enough for what it shows.
    case.facts.backups[0].backups = Ok(vec![backup("wed", 2)]);
    let examination = examined(&case.facts, Source::Backups);
    assert!(examination.passed.contains(&"backup.none") && examination.passed.contains(&"backup.globals"));
    case.facts.backups.clear();
    assert_eq!(examined(&case.facts, Source::Backups).verdict, Verdict::Inconclusive);
}

#[test]
fn reports_of_the_evidence_store_prove_restores_and_their_problems_are_found() {
    let mut case = Case::new();
    let proof = |hours: i64, verdict| Proof { at: noon() - SignedDuration::from_hours(hours), verdict };
    let mut unproven = backup("wed", 2);
    unproven.proof = None;
    let mut look = |newest, failed, problems: &[(&str, Severity)]| {
        let problem = |(code, severity): &(&str, Severity)| EvidenceProblem {
            code: (*code).to_owned(),
            severity: *severity,
            report: Some(7),
            message: "it is bad".to_owned(),
        };
        let problems = Ok(problems.iter().map(problem).collect());
        case.facts.evidence = Ok(Evidence { name: "evidence".to_owned(), newest, failed, problems });
        let examination = case.examine(vec![unproven.clone()]);
        assert_eq!(examination.inconclusive, []);
        let of = |finding: &verify_doctor::Finding| {
            (finding.code, finding.severity, format!("{}: {}", finding.object, finding.message))
        };
        examination.findings.iter().map(of).collect::<Vec<_>>()
    };
    use Severity::{Fail, Inconclusive, Notice};
    let passed = Ok(Some((6, proof(5, Verdict::Pass))));
    assert_eq!(look(passed.clone(), None, &[]), []);
    assert_eq!(
        look(Ok(None), None, &[]),
        [("restore.unproven", Fail, "restores: no restore of a stored backup was ever verified".to_owned())]
    );
    let found = look(Ok(Some((6, proof(5, Verdict::Fail)))), None, &[]);
    assert!(found[0].2.starts_with("report 6: its restore of ") && found[0].1 == Fail, "{found:?}");
    let found = look(Ok(Some((6, proof(31 * 24, Verdict::Pass)))), None, &[]);
    assert_eq!(found[0].2, "report 6: the last verified restore was 31d ago, the limit is 30d");
    let failed = |hours: i64| Some((7, proof(hours, Verdict::Fail).at));
    let found = look(passed.clone(), failed(1), &[]);
    assert_eq!((found.len(), found[0].1), (1, Notice), "{found:?}");
    assert_eq!(look(passed.clone(), failed(9), &[]), []);
    let problems =
        [("chain.broken", Fail), ("signature.missing", Inconclusive), ("signature.missing", Inconclusive)];
    assert_eq!(
        look(passed, None, &problems),
        [
            ("evidence.broken", Fail, "report 7: it is bad [chain.broken]".to_owned()),
            ("evidence.broken", Notice, "report 7: it is bad [signature.missing], and 1 more".to_owned()),
        ]
    );
}
