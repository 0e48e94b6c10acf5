//! The heartbeat, by which a restore measures how much time it lost.

use verify_drill::duration::Period;

use crate::check::{Answer, Found};
use crate::fact::{Missing, known};
use crate::facts::Facts;

pub(crate) fn absent(facts: &Facts) -> Result<Answer, Missing> {
    let pulse = known(&known(&facts.server)?.pulse)?;
    let message = "has never beaten in this database";
    Ok(pulse.beat.is_none().then(|| Found::new("heartbeat", message)).into())
}

pub(crate) fn stale(facts: &Facts) -> Result<Answer, Missing> {
    let pulse = known(&known(&facts.server)?.pulse)?;
    if pulse.beat.is_none() {
        return Err(Missing::not_applicable("the database has no heartbeat"));
    }
    let stale = pulse.stale().map(|age| {
        let age = Period::from_ms(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)).rounded_up();
        Found::new("heartbeat", format!("has not beaten for {age}"))
    });
    Ok(stale.into())
}
