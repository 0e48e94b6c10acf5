//! Replication slots and prepared transactions, which hold back WAL and the removal of dead rows.

use verify_drill::duration::Period;

use crate::check::{Answer, Found};
use crate::fact::{Missing, known};
use crate::facts::{Facts, PreparedTransaction};

/// A prepared transaction that is older is forgotten.
const PREPARED_AGE_MAX: Period = Period::from_ms(60 * 60 * 1_000);

pub(crate) fn lost_slots(facts: &Facts) -> Result<Answer, Missing> {
    let slots = known(&known(&facts.server)?.slots)?;
    let lost = slots.iter().filter(|slot| slot.wal_status.as_deref() == Some("lost"));
    Ok(lost
        .map(|slot| Found::new(format!("slot {}", slot.name), "is lost: WAL that it needs was removed"))
        .collect::<Vec<_>>()
        .into())
}

pub(crate) fn unlimited_slots(facts: &Facts) -> Result<Answer, Missing> {
    let server = known(&facts.server)?;
    let slots = known(&server.slots)?;
    if slots.is_empty() {
        return Err(Missing::not_applicable("the server has no replication slot"));
    }
    let unlimited = server.settings.number("max_slot_wal_keep_size")? == -1;
    Ok(unlimited
        .then(|| {
            let names: Vec<&str> = slots.iter().map(|slot| slot.name.as_str()).collect();
            let message = format!("is -1: WAL is kept without limit for the slots {}", names.join(", "));
            Found::new("max_slot_wal_keep_size", message)
        })
        .into())
}

pub(crate) fn idle_slots(facts: &Facts) -> Result<Answer, Missing> {
    let slots = known(&known(&facts.server)?.slots)?;
    if slots.is_empty() {
        return Err(Missing::not_applicable("the server has no replication slot"));
    }
    let idle = slots.iter().filter(|slot| !slot.active && slot.wal_status.as_deref() != Some("lost"));
    let found = idle.map(|slot| {
        let held = slot.held_bytes.map_or(String::new(), |bytes| {
            format!(" and holds back {} of WAL", verify_drill::quantity::bytes(bytes))
        });
        Found::new(format!("slot {}", slot.name), format!("is used by no client{held}"))
    });
    Ok(found.collect::<Vec<_>>().into())
}

pub(crate) fn old_prepared(facts: &Facts) -> Result<Answer, Missing> {
    let server = known(&facts.server)?;
    let prepared = known(&server.prepared)?;
    let age_ms = |prepared: &PreparedTransaction| {
        u64::try_from(server.read_at.duration_since(prepared.prepared_at).as_millis()).unwrap_or(0)
    };
    let old = prepared.iter().filter(|prepared| age_ms(prepared) > PREPARED_AGE_MAX.ms());
    let found = old.map(|prepared| {
        let age = Period::from_ms(age_ms(prepared)).rounded_up();
        let message = format!("of database {} has been prepared for {age}", prepared.database);
        Found::new(format!("prepared transaction {}", prepared.id), message)
    });
    Ok(found.collect::<Vec<_>>().into())
}
