//! Settings by which a server, or a copy of it, survives a crash.

use crate::check::{Answer, Found};
use crate::fact::{Missing, known};
use crate::facts::Facts;

/// Reports a setting that is off.
fn off(facts: &Facts, setting: &str) -> Result<Answer, Missing> {
    let is_on = known(&facts.server)?.settings.is_on(setting)?;
    Ok((!is_on).then(|| Found::new(setting, "is off")).into())
}

pub(crate) fn checksums(facts: &Facts) -> Result<Answer, Missing> {
    off(facts, "data_checksums")
}

pub(crate) fn fsync(facts: &Facts) -> Result<Answer, Missing> {
    off(facts, "fsync")
}

pub(crate) fn full_page_writes(facts: &Facts) -> Result<Answer, Missing> {
    off(facts, "full_page_writes")
}

pub(crate) fn synchronous_commit(facts: &Facts) -> Result<Answer, Missing> {
    off(facts, "synchronous_commit")
}

pub(crate) fn zero_damaged_pages(facts: &Facts) -> Result<Answer, Missing> {
    let settings = &known(&facts.server)?.settings;
    let lax = ["zero_damaged_pages", "ignore_checksum_failure"];
    let mut found = Vec::new();
    for setting in lax {
        if settings.is_on(setting)? {
            found.push(Found::new(setting, "is on"));
        }
    }
    Ok(found.into())
}

pub(crate) fn wal_level(facts: &Facts) -> Result<Answer, Missing> {
    let level = known(&facts.server)?.settings.get("wal_level")?;
    Ok((level == "minimal").then(|| Found::new("wal_level", "is minimal")).into())
}
