//! Deficiencies of the side that backups are restored to.

use crate::check::{Answer, Found};
use crate::fact::{Missing, known};
use crate::facts::{Facts, libraries};

/// Settings that a standby or a restored copy needs at least as high as its source had them.
const AT_LEAST: [&str; 5] = [
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_transactions",
    "max_locks_per_transaction",
];

pub(crate) fn extensions(facts: &Facts) -> Result<Answer, Missing> {
    let side = known(&facts.restore_side)?;
    let used = known(&known(&facts.server)?.extensions)?;
    let available = known(&side.available)?;
    let missing = used.iter().filter(|(name, _)| !available.contains(*name));
    let found = missing.map(|(name, version)| {
        Found::new(
            format!("extension {name}"),
            format!("{version} is used here, and cannot be created there"),
        )
    });
    Ok(found.collect::<Vec<_>>().into())
}

pub(crate) fn preloads(facts: &Facts) -> Result<Answer, Missing> {
    let side = known(&facts.restore_side)?;
    let wanted = libraries(known(&facts.server)?.settings.get("shared_preload_libraries")?);
    if wanted.is_empty() {
        return Err(Missing::not_applicable("shared_preload_libraries is empty"));
    }
    let loadable = known(&side.loadable)?;
    let found = wanted
        .difference(loadable)
        .map(|library| Found::new(format!("library {library}"), "is preloaded here, and is not there"));
    Ok(found.collect::<Vec<_>>().into())
}

pub(crate) fn lower_settings(facts: &Facts) -> Result<Answer, Missing> {
    let side = known(&facts.restore_side)?;
    let server = known(&facts.server)?;
    let mut found = Vec::new();
    for setting in AT_LEAST {
        let (here, there) = (server.settings.number(setting)?, side.settings.number(setting)?);
        if there < here {
            found.push(Found::new(setting, format!("is {here} here and {there} there")));
        }
    }
    Ok(found.into())
}

pub(crate) fn older_version(facts: &Facts) -> Result<Answer, Missing> {
    let side = known(&facts.restore_side)?;
    let server = known(&facts.server)?;
    let (here, there) = (server.version, side.version);
    let major = |version: u32| version / 10_000;
    let shown = |version: u32| format!("{}.{}", version / 10_000, version % 10_000);
    let found = if major(there) == major(here) {
        (there < here).then(|| {
            Found::new("version", format!("is {} here and {} there", shown(here), shown(there))).as_notice()
        })
    } else {
        let message = format!(
            "is {} here and {} there: files of one are not read by the other",
            shown(here),
            shown(there)
        );
        Some(Found::new("version", message))
    };
    Ok(found.into())
}

pub(crate) fn collations(facts: &Facts) -> Result<Answer, Missing> {
    let side = known(&facts.restore_side)?;
    let here = known(&known(&facts.server)?.collation_versions)?;
    let there = known(&side.collations)?;
    let found = here.iter().filter_map(|(name, version)| match there.get(name) {
        Some(other) if other == version => None,
        Some(other) => Some(Found::new(
            format!("collation {name}"),
            format!("is of version {version} here and {other} there"),
        )),
        None => Some(Found::new(format!("collation {name}"), "is not there")),
    });
    Ok(found.collect::<Vec<_>>().into())
}

pub(crate) fn older_dump(facts: &Facts) -> Result<Answer, Missing> {
    let server = known(&facts.server)?;
    let major = *known(&facts.dump_major)?;
    let found = (major < server.major()).then(|| {
        Found::new("pg_dump", format!("is of PostgreSQL {major}, and the server of {}", server.major()))
    });
    Ok(found.into())
}
