//! Parts of a database by which a restored copy acts on other systems.

use crate::check::{Answer, Found};
use crate::fact::{Fact, Missing, known};
use crate::facts::Facts;

fn each(names: &Fact<Vec<String>>, message: &str) -> Result<Answer, Missing> {
    Ok(known(names)?.iter().map(|name| Found::new(name, message)).collect::<Vec<_>>().into())
}

pub(crate) fn subscriptions(facts: &Facts) -> Result<Answer, Missing> {
    each(&known(&facts.server)?.subscriptions, "is an enabled subscription")
}

pub(crate) fn cron_jobs(facts: &Facts) -> Result<Answer, Missing> {
    each(&known(&facts.server)?.cron_jobs, "is an active job of pg_cron")
}

pub(crate) fn foreign_servers(facts: &Facts) -> Result<Answer, Missing> {
    each(&known(&facts.server)?.foreign_servers, "is a foreign server")
}
