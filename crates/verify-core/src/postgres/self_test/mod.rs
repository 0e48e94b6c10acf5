//! Damages copies of tables on the restored server, and shows that this set-up sees each damage.
//!
//! The copies are in a database of our own: the restored tables are only read, and nothing of theirs runs.

mod sample;
mod statements;

use std::collections::BTreeMap;

use self::sample::{Sample, SampleColumn};
use super::connection::Connection;
use super::crew::{IN_RECOVERY, POOLED};
use super::reader::obstacle;
use super::rows::first;
use super::sandbox::said;
use super::scratch_database::{ScratchDatabase, open};
use super::server::Postgres;
use super::settings::Settings;
use crate::capture::capture;
use crate::check::Check;
use crate::compare::Comparison;
use crate::error::{Error, Result};
use crate::event::{Event, OnEvent};
use crate::finding::{Code, Finding, Severity, Verdict};
use crate::manifest::Manifest;
use crate::plan::Plan;
use crate::self_test::{Choice, Damage, DamageKind, SelfTest};
use crate::table::TableName;
use crate::verify::verify;

/// Database of our own, removed at the end.
const DATABASE: &str = "state_lab_self_test";
/// The object of findings.
const OBJECT: &str = "self-test";
/// Number of tables that are tried for one damage.
const ATTEMPTS_MAX: usize = 20;
/// Rows of one statement.
const ROWS_AT_ONCE: usize = 50;

/// Runs the test on a restored server and adds its result to the comparison.
///
/// # Errors
///
/// If the server cannot be reached, the connection breaks, or the caller wants to stop. What was created is removed in any case.
pub fn run(
    comparison: &mut Comparison,
    settings: &Settings,
    plan: &Plan,
    seed: u64,
    on_event: OnEvent<'_>,
) -> Result<()> {
    match attempt(settings, plan, seed, on_event) {
        Ok(Ok(test)) => {
            let missed = test.damages.iter().filter(|damage| !damage.seen).map(missed);
            comparison.join(missed.collect::<Vec<_>>());
            comparison.set_self_test(test);
        }
        Ok(Err(reason)) => comparison.join([unknown(reason)]),
        Err(error) if error.sqlstate().is_none() => {
            return Err(Error::new(error.kind().clone(), format!("run the self-test: {error}")));
        }
        Err(error) => {
            obstacle(&error)?;
            comparison.join([unknown(said(&error))]);
        }
    }
    Ok(())
}

/// A finding that the test could not run.
pub fn unknown(reason: impl Into<String>) -> Finding {
    let hint = "run it as a superuser of the restored server, or leave --self-test out";
    Finding::new(Code::SelfTestUnknown, OBJECT, format!("not run: {}", reason.into())).with_hint(hint)
}

fn missed(damage: &Damage) -> Finding {
    let message = format!("in a copy of {} {}, and it was not seen", damage.table, damage.kind.text());
    Finding::new(Code::SelfTestMissed, OBJECT, message).with_hint(
        "do not rely on this run: report it with the seed, and verify with another version of state-lab",
    )
}

fn attempt(
    settings: &Settings,
    plan: &Plan,
    seed: u64,
    on_event: OnEvent<'_>,
) -> Result<Result<SelfTest, String>> {
    let mut control = open(settings, plan.limits)?;
    if control.is_pooled() {
        return Ok(Err(POOLED.to_owned()));
    }
    if first(&control.query(super::statements::IN_RECOVERY)?)?.flag(0)? {
        return Ok(Err(IN_RECOVERY.to_owned()));
    }
    let scratch = ScratchDatabase::create(settings, DATABASE, plan.limits)?;
    let tested = Test { control, scratch: &scratch, plan, on_event }.run(seed);
    // Also after a failure, and after Ctrl-C.
    let removed = scratch.remove();
    let tested = tested?;
    removed?;
    Ok(tested)
}

struct Test<'a> {
    control: Connection,
    scratch: &'a ScratchDatabase,
    plan: &'a Plan,
    on_event: OnEvent<'a>,
}

/// A damage to be done.
struct Planned {
    kind: DamageKind,
    /// Name of the copy.
    copy: TableName,
    table: TableName,
    /// Statement that does it.
    damage: String,
}

impl Test<'_> {
    fn run(mut self, seed: u64) -> Result<Result<SelfTest, String>> {
        let mut choice = Choice(seed);
        let tables = self.tables()?;
        let mut own = self.scratch.open()?;
        let mut planned = Vec::new();
        for (number, kind) in DamageKind::ALL.into_iter().enumerate() {
            match self.plan_damage(&mut own, &tables, &mut choice, number, kind)? {
                Some(damage) => planned.push(damage),
                None => {
                    return Ok(Err(
                        "no table with at least two rows could be copied; tables are copied whose \
                         columns all have types of PostgreSQL's own"
                            .to_owned(),
                    ));
                }
            }
        }
        let database = Postgres::new(self.scratch.settings.clone());
        let others = Check::SELECTABLE.into_iter().map(|(_, check)| check);
        let compared = [Check::Rows, Check::Definitions];
        let plan =
            self.plan.clone().with_invariants([]).without(others.filter(|check| !compared.contains(check)));
        // The rows are not those that the progress is about.
        let nothing = |_: Event| (self.on_event)(Event::Read { rows: 0, bytes: 0, estimate_done: 0 });
        let mut manifest = capture(&database, &plan, &nothing)?;
        pretend_elsewhere(&mut manifest);
        let sound = verify(&manifest, &database, &plan, &nothing)?;
        if sound.verdict() != Verdict::Pass {
            let first = sound.findings().first().map_or("", |finding| finding.message.as_str());
            return Ok(Err(format!(
                "copies of its tables are not found equal before they are damaged: {first}"
            )));
        }
        for damage in &planned {
            own.execute(&damage.damage)?;
        }
        let damaged = verify(&manifest, &database, &plan, &nothing)?;
        let damages = planned.into_iter().map(|planned| Damage {
            seen: planned.is_seen(&damaged),
            kind: planned.kind,
            table: planned.table,
        });
        Ok(Ok(SelfTest { seed, damages: damages.collect() }))
    }

    /// Tables that can be copied, without their rows.
    fn tables(&mut self) -> Result<Vec<(TableName, Vec<SampleColumn>)>> {
        let mut tables: BTreeMap<TableName, Vec<SampleColumn>> = BTreeMap::new();
        for row in self.control.query(&statements::columns())? {
            let place: i32 = row.number(4)?;
            tables.entry(TableName::new(row.text(0)?, row.text(1)?)).or_default().push(SampleColumn {
                name: row.text(2)?.to_owned(),
                type_name: row.text(3)?.to_owned(),
                key_place: usize::try_from(place).ok(),
            });
        }
        Ok(tables.into_iter().collect())
    }

    /// Copies a table that is fit for a damage; the damage.
    fn plan_damage(
        &mut self,
        own: &mut Connection,
        tables: &[(TableName, Vec<SampleColumn>)],
        choice: &mut Choice,
        number: usize,
        kind: DamageKind,
    ) -> Result<Option<Planned>> {
        if tables.is_empty() {
            return Ok(None);
        }
        let start = choice.below(tables.len());
        for attempt in 0..ATTEMPTS_MAX.min(tables.len()) {
            let (name, columns) = &tables[(start + attempt) % tables.len()];
            let copy = format!("copy_{number}_{attempt}");
            let copied = self.read(name, columns).and_then(|sample| {
                let damage = damage(&copy, &sample, choice, kind);
                if let Some((_, kept)) = &damage {
                    own.execute(&statements::create(&copy, &sample))?;
                    for place in (0..*kept).step_by(ROWS_AT_ONCE) {
                        let places = place..(place + ROWS_AT_ONCE).min(*kept);
                        own.execute(&statements::insert(&copy, &sample, places))?;
                    }
                }
                Ok(damage)
            });
            match copied {
                Ok(Some((damage, _))) => {
                    let (copy, table) = (TableName::new("public", &copy), name.clone());
                    return Ok(Some(Planned { kind, copy, table, damage }));
                }
                Ok(None) => {}
                Err(error) if error.sqlstate().is_none() || own.is_closed() || self.control.is_closed() => {
                    return Err(error);
                }
                // One that cannot be read or copied, for whatever reason: another will do.
                Err(error) => drop(obstacle(&error)?),
            }
        }
        Ok(None)
    }

    fn read(&mut self, name: &TableName, columns: &[SampleColumn]) -> Result<Sample> {
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let rows = self.control.query(&statements::rows(name, &names))?;
        let values =
            |row: &super::rows::Row| (0..names.len()).map(|i| row.get(i).map(str::to_owned)).collect();
        let rows = rows.iter().map(values).collect();
        Ok(Sample { columns: columns.to_vec(), rows })
    }
}

/// The statement that damages a copy, and the number of rows to copy before; `None` if the sample is not fit for it.
fn damage(copy: &str, sample: &Sample, choice: &mut Choice, kind: DamageKind) -> Option<(String, usize)> {
    let count = sample.rows.len();
    if count < 2 {
        return None;
    }
    Some(match kind {
        DamageKind::RowLost => (statements::delete(copy, choice.below(count)), count),
        DamageKind::RowAdded => (statements::insert(copy, sample, count - 1..count), count - 1),
        DamageKind::RowChanged => {
            let values = sample.nullable();
            if values.is_empty() {
                return None;
            }
            let (row, column) = values[choice.below(values.len())];
            (statements::set_null(copy, row, &sample.columns[column].name), count)
        }
        DamageKind::IndexDropped => (statements::drop_index(copy), count),
    })
}

impl Planned {
    fn is_seen(&self, comparison: &Comparison) -> bool {
        let copy = self.copy.to_string();
        let found = |codes: &[Code]| {
            comparison.findings().iter().any(|finding| {
                codes.contains(&finding.code())
                    && finding.severity() == Severity::Fail
                    && finding.object.contains(&copy)
            })
        };
        match self.kind {
            DamageKind::RowLost => found(&[Code::RowMissing]),
            DamageKind::RowAdded => found(&[Code::RowAdded]),
            // Without a key it is another row.
            DamageKind::RowChanged => {
                found(&[Code::RowChanged]) || found(&[Code::RowMissing]) && found(&[Code::RowAdded])
            }
            DamageKind::IndexDropped => found(&[Code::CatalogMissing]),
        }
    }
}

/// Makes a manifest of the test's own database one of another server: a comparison with the source itself proves nothing.
fn pretend_elsewhere(manifest: &mut Manifest) {
    manifest.header.source.database_oid = None;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Coverage;

    #[test]
    fn damage_is_seen_only_by_its_own_finding() {
        let planned = |kind| Planned {
            kind,
            copy: TableName::new("public", "copy_1_0"),
            table: TableName::new("public", "orders"),
            damage: String::new(),
        };
        let seen = |kind, findings: &[(Code, &str)]| {
            let findings = findings.iter().map(|(code, object)| Finding::new(*code, object, "")).collect();
            planned(kind).is_seen(&Comparison::new(findings, Coverage::default()))
        };
        let (copy, other) = ("public.copy_1_0", "public.copy_2_0");
        for (kind, code) in [
            (DamageKind::RowLost, Code::RowMissing),
            (DamageKind::RowAdded, Code::RowAdded),
            (DamageKind::RowChanged, Code::RowChanged),
            (DamageKind::IndexDropped, Code::CatalogMissing),
        ] {
            assert!(seen(kind, &[(code, copy)]), "{kind:?}");
            assert!(!seen(kind, &[(code, other), (Code::TableMissing, copy)]), "{kind:?}");
            assert!(!seen(kind, &[]), "{kind:?}");
        }
        assert!(seen(DamageKind::RowChanged, &[(Code::RowMissing, copy), (Code::RowAdded, copy)]));
        assert!(!seen(DamageKind::RowChanged, &[(Code::RowMissing, copy)]));
        let damage =
            Damage { kind: DamageKind::RowLost, table: TableName::new("public", "orders"), seen: false };
        let finding = missed(&damage);
        assert_eq!(finding.severity(), Severity::Fail);
        assert_eq!(finding.message, "in a copy of public.orders a row was deleted, and it was not seen");
    }
}
