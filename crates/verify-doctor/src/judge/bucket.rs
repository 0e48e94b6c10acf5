//! Buckets that hold backups or WAL.

use verify_drill::duration::Period;

use crate::check::{Answer, Found, Gap};
use crate::fact::{Fact, Missing, known};
use crate::facts::Facts;
use crate::facts::bucket::{Bucket, ExpirationRule, Holds};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// Folders of Velero's repositories, in which new backups refer to old objects.
const REPOSITORIES: [&str; 2] = ["kopia/", "restic/"];

/// Judges each bucket; one that could not be examined is a gap.
fn each<T>(
    facts: &Facts,
    fact: impl Fn(&Bucket) -> &Fact<T>,
    judge: impl Fn(&Bucket, &T, &mut Answer),
) -> Result<Answer, Missing> {
    let buckets = known(&facts.buckets)?;
    let (mut answer, mut judged, mut last) = (Answer::default(), false, None);
    for bucket in buckets {
        match fact(bucket) {
            Ok(value) => {
                judged = true;
                judge(bucket, value, &mut answer);
            }
            Err(Missing::Unknown { reason, needs }) => {
                judged = true;
                answer.gaps.push(Gap {
                    object: bucket.name.clone(),
                    reason: reason.clone(),
                    needs: needs.clone(),
                });
            }
            Err(missing) => last = Some(missing.clone()),
        }
    }
    if judged {
        Ok(answer)
    } else {
        Err(last.unwrap_or_else(|| Missing::not_applicable("there is no bucket")))
    }
}

/// The time for which backups are needed: as configured, else that of the Schedule that keeps them longest.
fn retention(facts: &Facts) -> Option<Period> {
    let of_schedules = || {
        let schedules = facts.cluster.as_ref().ok()?.schedules.as_ref().ok()?;
        schedules.iter().map(|schedule| schedule.ttl).max()
    };
    facts.objectives.retention.or_else(of_schedules)
}

fn overlap(a: &str, b: &str) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

pub(crate) fn lifecycle(facts: &Facts) -> Result<Answer, Missing> {
    let retention = retention(facts);
    each(
        facts,
        |bucket| &bucket.lifecycle,
        |bucket, rules, answer| {
            for rule in rules.iter().filter(|rule| overlap(&rule.prefix, &bucket.prefix)) {
                match expiring(bucket, rule, retention) {
                    Ok(Some(message)) => answer.found.push(Found::new(&bucket.name, message)),
                    Ok(None) => {}
                    Err(reason) => answer.gaps.push(Gap {
                        object: bucket.name.clone(),
                        reason,
                        needs: "`retention` in [doctor] of the configuration".to_owned(),
                    }),
                }
            }
        },
    )
}

/// Objects that a rule deletes too early, if any.
fn expiring(
    bucket: &Bucket,
    rule: &ExpirationRule,
    retention: Option<Period>,
) -> Result<Option<String>, String> {
    let ExpirationRule { name, prefix, days } = rule;
    let deletes = format!("the rule {name} deletes objects below {prefix:?} after {days} days");
    let in_repository = bucket.holds == Holds::Backups
        && REPOSITORIES.iter().any(|folder| overlap(prefix, &format!("{}{folder}", bucket.prefix)));
    if in_repository {
        return Ok(Some(format!("{deletes}: new backups need old objects of their repository")));
    }
    let retention = retention.ok_or_else(|| format!("{deletes}; how long they are needed is not known"))?;
    let kept = Period::from_ms(u64::from(*days) * DAY_MS);
    Ok((kept < retention).then(|| format!("{deletes}, and they are needed for {retention}")))
}

pub(crate) fn unencrypted(facts: &Facts) -> Result<Answer, Missing> {
    each(
        facts,
        |bucket| &bucket.is_encrypted,
        |bucket, is_encrypted, answer| {
            if !is_encrypted {
                answer.found.push(Found::new(&bucket.name, "has no default encryption"));
            }
        },
    )
}

pub(crate) fn deletable(facts: &Facts) -> Result<Answer, Missing> {
    each(
        facts,
        |bucket| &bucket.is_locked,
        |bucket, is_locked, answer| match (&bucket.is_versioned, is_locked) {
            (_, true) => {}
            (Ok(true), false) => {
                let message = "keeps older versions, and has no object lock: who may delete versions can delete backups";
                answer.found.push(Found::new(&bucket.name, message));
            }
            (_, false) => answer.found.push(Found::new(&bucket.name, "has neither object lock nor versions")),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Objectives;

    fn bucket(holds: Holds) -> Bucket {
        Bucket {
            name: "b".to_owned(),
            prefix: "lab/".to_owned(),
            holds,
            lifecycle: Ok(vec![]),
            is_encrypted: Ok(true),
            is_versioned: Ok(true),
            is_locked: Ok(true),
        }
    }

    fn facts(bucket: Bucket, retention: Option<&str>) -> Facts {
        let objectives = Objectives {
            retention: retention.map(|period| period.parse().unwrap()),
            ..Objectives::default()
        };
        let now = "2026-11-29T12:00:00Z".parse().unwrap();
        let none = Missing::not_applicable("none");
        Facts { buckets: Ok(vec![bucket]), ..Facts::none(now, objectives, &none) }
    }

    #[test]
    fn a_rule_that_deletes_what_is_needed_is_found() {
        let judged = |holds, prefix: &str, days, retention| {
            let rule = ExpirationRule { name: "r".to_owned(), prefix: prefix.to_owned(), days };
            let answer =
                lifecycle(&facts(Bucket { lifecycle: Ok(vec![rule]), ..bucket(holds) }, retention)).unwrap();
            (answer.found.into_iter().map(|found| found.message).collect::<Vec<_>>(), answer.gaps.len())
        };
        let nothing = (vec![], 0);
        for (holds, prefix, days, retention, expected) in [
            // Whatever is below all of it is below its repository.
            (Holds::Backups, "", 400, Some("30d"), "after 400 days: new backups need old objects"),
            (Holds::Backups, "lab/kopia/app/", 400, Some("30d"), "new backups need old objects"),
            (Holds::Backups, "lab/backups/", 29, Some("30d"), "after 29 days, and they are needed for 30d"),
            (Holds::Wal, "", 6, Some("7d"), "after 6 days, and they are needed for 7d"),
        ] {
            let (found, gaps) = judged(holds, prefix, days, retention);
            assert!(found.len() == 1 && found[0].contains(expected) && gaps == 0, "{prefix}: {found:?}");
        }
        for (holds, prefix, days, retention) in [
            (Holds::Backups, "lab/backups/", 30, Some("30d")),
            (Holds::Backups, "other/", 1, Some("30d")),
            (Holds::Wal, "lab/", 7, Some("7d")),
        ] {
            assert_eq!(judged(holds, prefix, days, retention), nothing, "{prefix}");
        }
        assert_eq!(judged(Holds::Wal, "", 6, None), (vec![], 1));
        assert_eq!(lifecycle(&facts(bucket(Holds::Backups), None)), Ok(Answer::default()));
    }

    #[test]
    fn a_bucket_whose_objects_anybody_reads_or_deletes_is_found() {
        let good = || bucket(Holds::Backups);
        let found = |judge: fn(&Facts) -> Result<Answer, Missing>, bucket: Bucket| {
            judge(&facts(bucket, None))
                .unwrap()
                .found
                .into_iter()
                .map(|found| found.message)
                .collect::<Vec<_>>()
        };
        assert_eq!(found(unencrypted, good()), Vec::<String>::new());
        assert_eq!(
            found(unencrypted, Bucket { is_encrypted: Ok(false), ..good() }),
            ["has no default encryption"]
        );
        assert_eq!(found(deletable, good()), Vec::<String>::new());
        let unlocked = Bucket { is_locked: Ok(false), ..good() };
        assert!(
            found(deletable, unlocked.clone())[0].starts_with("keeps older versions, and has no object lock")
        );
        assert_eq!(
            found(deletable, Bucket { is_versioned: Ok(false), ..unlocked }),
            ["has neither object lock nor versions"]
        );
    }

    #[test]
    fn a_bucket_that_could_not_be_looked_at_is_a_gap() {
        let why = Missing::unknown("AccessDenied", "s3:GetLifecycleConfiguration");
        let unknown = Bucket::unknown("b".to_owned(), Holds::Backups, &why);
        for judge in [lifecycle, unencrypted, deletable] {
            let answer = judge(&facts(unknown.clone(), None)).unwrap();
            assert_eq!((answer.found.len(), answer.gaps.len()), (0, 1));
            assert_eq!(answer.gaps[0].needs, "s3:GetLifecycleConfiguration");
        }
    }
}
