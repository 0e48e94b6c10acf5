//! Stored backups of any tool, and the restores that verified them.

use std::cmp::Reverse;
use std::time::Duration;

use verify_core::finding::Verdict;
use verify_drill::duration::Period;
use verify_drill::quantity::bytes;

use super::archive;
use crate::check::{Answer, Found, Gap};
use crate::fact::{Missing, known};
use crate::facts::{Backup, Content, Facts, State};

/// Time for which a verified restore counts unless `[doctor]` has another.
const PROVEN_WITHIN: Period = Period::from_ms(30 * 24 * 60 * 60 * 1_000);
/// A newest backup that is older is reported even without an RPO.
const AGE_MAX: Period = Period::from_ms(36 * 60 * 60 * 1_000);
/// Clocks of two machines may differ by so much.
const CLOCK_ERROR_MAX: Duration = Duration::from_secs(300);
/// Backups before the newest whose sizes it is compared with.
const EARLIER_MAX: usize = 7;

/// Backups of all places, and gaps for the places that could not be examined.
fn all(facts: &Facts) -> Result<(Vec<&Backup>, Vec<Gap>), Missing> {
    let (mut backups, mut gaps, mut last) = (Vec::new(), Vec::new(), None);
    for place in &facts.backups {
        match &place.backups {
            Ok(found) => backups.extend(found),
            Err(Missing::Unknown { reason, needs }) => {
                gaps.push(Gap { object: place.name.clone(), reason: reason.clone(), needs: needs.clone() });
            }
            Err(missing) => last = Some(missing.clone()),
        }
    }
    let any = facts.backups.iter().any(|place| !matches!(place.backups, Err(Missing::NotApplicable(_))));
    if !any {
        return Err(last.unwrap_or_else(|| {
            Missing::unknown(
                "no place of backups was given",
                "--store, [backup] or [velero] in the configuration",
            )
        }));
    }
    backups.sort_by_key(|backup| Reverse(backup.started_at));
    Ok((backups, gaps))
}

pub(crate) fn none(facts: &Facts) -> Result<Answer, Missing> {
    let (backups, gaps) = all(facts)?;
    let newest = backups.iter().find(|backup| backup.is_restorable());
    let rpo = facts.objectives.rpo;
    let found = match newest {
        None if !gaps.is_empty() => None,
        None => match archive::other_tool(facts) {
            Some(tool) => {
                return Err(Missing::unknown(
                    format!("archive_command runs {tool}, whose backups are not examined"),
                    "a backup by state-lab",
                ));
            }
            None => Some(Found::new("backups", "no restorable backup is stored")),
        },
        Some(newest) if newest.started_at > facts.now + CLOCK_ERROR_MAX => {
            let message = format!("was begun in the future, at {}: a clock is wrong", newest.started_at);
            Some(Found::new(&newest.name, message))
        }
        Some(newest) => {
            let age = facts.age(newest.started_at);
            let old = format!("the newest restorable backup is {} old", age.rounded_up());
            match rpo {
                Some(rpo) if age > rpo => {
                    let found = Found::new(&newest.name, format!("{old}, and the RPO is {rpo}"));
                    Some(archive::lesser_if_covered(found, facts, rpo))
                }
                None if age > AGE_MAX => {
                    Some(Found::new(&newest.name, format!("{old}, and [objectives] has no rpo")).as_notice())
                }
                _ => None,
            }
        }
    };
    // Whatever the other places hold, they cannot make a good backup bad.
    let gaps = if newest.is_some() && found.is_none() { Vec::new() } else { gaps };
    let found = if gaps.is_empty() { found } else { None };
    Ok(Answer { found: Vec::from_iter(found), gaps })
}

pub(crate) fn shrunk(facts: &Facts) -> Result<Answer, Missing> {
    let mut answer = Answer::default();
    let mut compared = false;
    for place in &facts.backups {
        let Ok(backups) = known(&place.backups) else { continue };
        let mut backups: Vec<&Backup> = backups.iter().filter(|backup| backup.is_restorable()).collect();
        backups.sort_by_key(|backup| Reverse(backup.started_at));
        let Some((newest, earlier)) = backups.split_first() else { continue };
        // Sizes of a dump and of a server's files cannot be compared.
        let alike = earlier.iter().filter(|backup| backup.kind == newest.kind);
        let mut sizes: Vec<u64> = alike.filter_map(|backup| backup.bytes).take(EARLIER_MAX).collect();
        sizes.sort_unstable();
        let Some((now, usual)) = newest.bytes.zip(sizes.get(sizes.len() / 2).copied()) else { continue };
        compared = true;
        if now < usual / 2 {
            let message =
                format!("holds {}; the backups before it usually held {}", bytes(now), bytes(usual));
            answer.found.push(Found::new(&newest.name, message));
        }
    }
    if !compared {
        all(facts)?;
        return Err(Missing::not_applicable("there are no two backups of known size to compare"));
    }
    Ok(answer)
}

pub(crate) fn partial(facts: &Facts) -> Result<Answer, Missing> {
    let (backups, gaps) = all(facts)?;
    let newest = backups.iter().find(|backup| backup.state != State::Running);
    let found = newest.and_then(|newest| match &newest.state {
        State::Bad(how) => Some(Found::new(&newest.name, format!("the newest backup {how}"))),
        State::Complained(how) => {
            Some(Found::new(&newest.name, format!("the newest backup {how}")).as_notice())
        }
        State::Good | State::Running => None,
    });
    if newest.is_none() && gaps.is_empty() {
        return Err(Missing::not_applicable("there is no backup that has finished"));
    }
    Ok(Answer { found: Vec::from_iter(found), gaps })
}

pub(crate) fn globals(facts: &Facts) -> Result<Answer, Missing> {
    let (backups, gaps) = all(facts)?;
    let restorable = || backups.iter().filter(|backup| backup.is_restorable());
    let Some(newest) = restorable().next() else {
        return if gaps.is_empty() {
            Err(Missing::not_applicable("there is no restorable backup"))
        } else {
            Ok(Answer { found: Vec::new(), gaps })
        };
    };
    let with = restorable().any(|backup| backup.content != Content::Dumps { globals: false });
    let found = (!with).then(|| {
        Found::new(&newest.name, "holds dumps without roles, and no other restorable backup holds the roles")
    });
    let gaps = if with { Vec::new() } else { gaps };
    Ok(Answer { found: Vec::from_iter(found), gaps })
}

pub(crate) fn same_storage(facts: &Facts) -> Result<Answer, Missing> {
    let (backups, gaps) = all(facts)?;
    let restorable = || backups.iter().filter(|backup| backup.is_restorable());
    let Some(newest) = restorable().next() else {
        return Err(Missing::not_applicable("there is no restorable backup"));
    };
    let outside = restorable().any(|backup| backup.content != Content::LocalSnapshot);
    let found = (!outside).then(|| {
        Found::new(&newest.name, "is a snapshot in the storage of its volume, as is every other backup")
    });
    let gaps = if outside { Vec::new() } else { gaps };
    Ok(Answer { found: Vec::from_iter(found), gaps })
}

pub(crate) fn replication_only(facts: &Facts) -> Result<Answer, Missing> {
    let server = known(&facts.server)?;
    let standbys = *known(&server.standbys)?;
    if standbys == 0 && !server.in_recovery {
        return Err(Missing::not_applicable("the server has no standby"));
    }
    let (backups, gaps) = all(facts)?;
    if backups.iter().any(|backup| backup.is_restorable()) {
        return Ok(Answer::default());
    }
    let found = gaps.is_empty().then(|| {
        Found::new(
            "replication",
            "copies every change to a standby, damage too, and there is no restorable backup",
        )
    });
    Ok(Answer { found: Vec::from_iter(found), gaps })
}

pub(crate) fn unproven(facts: &Facts) -> Result<Answer, Missing> {
    let (backups, mut gaps) = match all(facts) {
        // Reports of restores are proof wherever the backups are.
        Err(_) if facts.evidence.is_ok() => (Vec::new(), Vec::new()),
        found => found?,
    };
    let unknown = facts.backups.iter().map(|place| (place.name.as_str(), place.reports.as_ref().err()));
    let stored = facts.evidence.as_ref();
    let of_store = match stored {
        Ok(evidence) => (evidence.name.as_str(), evidence.newest.as_ref().err()),
        Err(missing) => ("[evidence]", Some(missing)),
    };
    for (object, missing) in unknown.chain([of_store]) {
        if let Some(Missing::Unknown { reason, needs }) = missing {
            gaps.push(Gap { object: object.to_owned(), reason: reason.clone(), needs: needs.clone() });
        }
    }
    let of_reports = stored.ok().and_then(|evidence| evidence.newest.clone().ok().flatten());
    let of_reports = of_reports.map(|(number, proof)| (format!("report {number}"), proof));
    let of_backups = backups.iter().filter_map(|backup| Some((backup.name.clone(), backup.proof?)));
    let newest = of_reports.into_iter().chain(of_backups).max_by_key(|(_, proof)| proof.at);
    let limit = facts.objectives.proven_within.unwrap_or(PROVEN_WITHIN);
    let proven_at = newest.as_ref().map(|(_, proof)| proof.at);
    let found = match newest {
        None => Some(Found::new("restores", "no restore of a stored backup was ever verified")),
        Some((object, proof)) if proof.verdict != Verdict::Pass => {
            let message =
                format!("its restore of {} ended as {}, and none has passed since", proof.at, proof.verdict);
            Some(Found::new(object, message))
        }
        Some((object, proof)) => {
            let age = facts.age(proof.at);
            (age > limit).then(|| {
                let message =
                    format!("the last verified restore was {} ago, the limit is {limit}", age.rounded_up());
                Found::new(object, message)
            })
        }
    };
    // A newer one may be in a place that could not be examined; one that was found is enough.
    let mut answer = match found {
        Some(_) if !gaps.is_empty() => Answer { found: Vec::new(), gaps },
        found => found.into(),
    };
    let failed = stored.ok().and_then(|evidence| evidence.failed);
    if let Some((number, at)) = failed.filter(|(_, at)| proven_at.is_none_or(|proven_at| *at > proven_at)) {
        let message = format!("the restore of {at} could not be made");
        answer.found.push(Found::new(format!("report {number}"), message).as_notice());
    }
    Ok(answer)
}
