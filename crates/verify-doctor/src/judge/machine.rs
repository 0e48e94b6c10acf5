//! The file systems under the data directory and the WAL.

use std::ffi::OsStr;

use crate::check::{Answer, Found};
use crate::fact::{Missing, known};
use crate::facts::Facts;

/// A file system that is fuller leaves a restore, a checkpoint or a growing slot no room.
const USED_PERCENT_MAX: u64 = 70;

pub(crate) fn full(facts: &Facts) -> Result<Answer, Missing> {
    let machine = known(&facts.machine)?;
    let mut systems = vec![&machine.data];
    if machine.wal.device != machine.data.device {
        systems.push(&machine.wal);
    }
    let full = systems.into_iter().filter(|system| system.used_percent() > USED_PERCENT_MAX);
    let found = full.map(|system| {
        Found::new(system.shown(), format!("its file system is {} % full", system.used_percent()))
    });
    Ok(found.collect::<Vec<_>>().into())
}

pub(crate) fn network_data(facts: &Facts) -> Result<Answer, Missing> {
    let system = &known(&facts.machine)?.data;
    Ok(system
        .network
        .map(|name| Found::new(system.shown(), format!("is on a network file system ({name})")))
        .into())
}

pub(crate) fn network_wal(facts: &Facts) -> Result<Answer, Missing> {
    let system = &known(&facts.machine)?.wal;
    Ok(system
        .network
        .map(|name| Found::new(system.shown(), format!("is on a network file system ({name})")))
        .into())
}

pub(crate) fn wal_elsewhere(facts: &Facts) -> Result<Answer, Missing> {
    let machine = known(&facts.machine)?;
    let elsewhere = machine.wal.device != machine.data.device;
    let name = machine.wal.directory.file_name().and_then(OsStr::to_str).unwrap_or("pg_wal");
    Ok(elsewhere
        .then(|| {
            let message = format!("{name} is on another file system than {}", machine.data.shown());
            Found::new(machine.wal.shown(), message)
        })
        .into())
}
