//! What a restored copy does to other systems, or would do: it is checked before anything else is read.

use super::connection::Connection;
use super::printable::printable;
use super::reader::obstacle;
use super::savepoint::guarded;
use super::settings::Settings;
use super::shortened::shorten;
use super::statements::{BEGIN, qualified};
use super::{Row, snapshot};
use crate::error::Result;
use crate::finding::{Code, Finding};
use crate::not_covered::Check;
use crate::plan::Plan;
use crate::table::TableName;

/// Characters of a name that are shown.
const SHOWN_MAX: usize = 100;
/// Maximum number of names in one finding.
const NAMED_MAX: usize = 10;
/// The object of what concerns the whole copy.
const COPY: &str = "copy";

/// Kind, name, and whether it acts now. Enabled subscriptions are those of all databases: each has a worker.
const OBJECTS: &str = "SELECT 'subscription', pg_catalog.quote_ident(s.subname), EXISTS ( \
      SELECT FROM pg_catalog.pg_stat_subscription w WHERE w.subname = s.subname AND w.pid IS NOT NULL) \
    FROM pg_catalog.pg_subscription s WHERE s.subenabled \
    UNION ALL SELECT 'foreign server', pg_catalog.quote_ident(f.srvname), false FROM pg_catalog.pg_foreign_server f \
    UNION ALL SELECT 'replication slot', pg_catalog.quote_ident(r.slot_name), false FROM pg_catalog.pg_replication_slots r WHERE NOT r.temporary \
    UNION ALL SELECT 'setting', 'archive_mode', false WHERE pg_catalog.current_setting('archive_mode') <> 'off' \
    UNION ALL SELECT 'listening session', 'process ' || a.pid, false FROM pg_catalog.pg_stat_activity a \
      WHERE a.datname = pg_catalog.current_database() AND a.pid <> pg_catalog.pg_backend_pid() AND a.query ~* '^[[:space:]]*listen[[:space:]]' \
    ORDER BY 1, 2";

/// The table of pg_cron's jobs, if the extension is installed in this database, and whether the server runs them.
const CRON: &str = "SELECT n.nspname, c.relname, EXISTS (SELECT FROM pg_catalog.pg_settings s \
      WHERE s.name = 'shared_preload_libraries' AND s.setting ~ '\\mpg_cron\\M') \
    FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_depend d ON d.refobjid = e.oid AND d.deptype = 'e' \
      AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
    JOIN pg_catalog.pg_class c ON c.oid = d.objid AND c.relkind = 'r' AND c.relname = 'job' \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE e.extname = 'pg_cron'";

/// Something that acts on other systems.
struct Actor {
    kind: String,
    name: String,
    acts: bool,
}

/// Looks for what acts on other systems now: workers of subscriptions, and jobs of pg_cron. What would act once the copy is in use
/// is a notice.
///
/// # Errors
///
/// If the server cannot be reached or the connection breaks. What the server refuses is a finding.
pub fn check(settings: &Settings, plan: &Plan) -> Result<Vec<Finding>> {
    if !plan.runs(Check::Clone) {
        return Ok(Vec::new());
    }
    let mut connection = snapshot::open(settings, plan.limits)?;
    connection.begin_transaction(BEGIN)?;
    let read = guarded(&mut connection, read)?;
    connection.execute("ROLLBACK")?;
    Ok(match read {
        Ok(actors) => findings(&actors),
        Err(error) => {
            obstacle(&error)?;
            let message = format!("what it does to other systems was not found out: {error}");
            vec![Finding::new(Code::CloneUnknown, COPY, message)]
        }
    })
}

fn read(connection: &mut Connection) -> Result<Vec<Actor>> {
    let actor = |row: &Row| {
        let (kind, name) = (row.text(0)?.to_owned(), printable(row.text(1)?, SHOWN_MAX));
        Ok(Actor { kind, name, acts: row.flag(2)? })
    };
    let mut actors = connection.query(OBJECTS)?.iter().map(actor).collect::<Result<Vec<_>>>()?;
    for row in connection.query(CRON)? {
        let table = qualified(&TableName::new(row.text(0)?, row.text(1)?));
        let jobs = connection.query(&format!(
            "SELECT 'job of pg_cron', j.jobid::pg_catalog.text, true FROM ONLY {table} j WHERE j.active ORDER BY j.jobid"
        ))?;
        for job in &jobs {
            actors.push(Actor { acts: row.flag(2)?, ..actor(job)? });
        }
    }
    Ok(actors)
}

fn findings(actors: &[Actor]) -> Vec<Finding> {
    let (active, dormant): (Vec<&Actor>, Vec<&Actor>) = actors.iter().partition(|actor| actor.acts);
    let mut findings: Vec<Finding> = active.into_iter().map(acts).collect();
    shorten(&mut findings, &mut Vec::new(), Check::Clone, COPY, "");
    if !dormant.is_empty() {
        let named = dormant.iter().take(NAMED_MAX).map(|actor| format!("{} {}", actor.kind, actor.name));
        let more = match dormant.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let message = format!(
            "once it is in use these act on other systems or keep WAL: {}{more}",
            named.collect::<Vec<_>>().join(", ")
        );
        let finding = Finding::new(Code::CloneDormant, COPY, message);
        findings.push(finding.with_hint("before the copy is used beside the source, disable or drop them"));
    }
    findings
}

fn acts(actor: &Actor) -> Finding {
    let (message, hint) = match actor.kind.as_str() {
        "subscription" => (
            "its worker runs: it takes changes that are meant for the source",
            "ALTER SUBSCRIPTION … DISABLE, and start copies with max_logical_replication_workers = 0",
        ),
        _ => ("the server runs it as the source does", "start copies with shared_preload_libraries = ''"),
    };
    let object = format!("{} {}", actor.kind, actor.name);
    let hint = format!("{hint}; if the copy replaces the source, --skip clone");
    Finding::new(Code::CloneActs, object, message).with_hint(hint)
}
