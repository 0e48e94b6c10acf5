//! The configuration file `state-lab.toml`: databases by name, the application's rules, objectives and limits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::Deserialize;
use verify_core::invariant::{Expect, Invariant};
use verify_core::plan::{Limits, Plan};
use verify_core::report::Objectives;

use verify_drill::backup_name::BackupName;
use verify_drill::duration::Period;
use verify_drill::hint::Hinted;
use verify_drill::size::Size;
use verify_drill::store::{RegionTable, S3Table};
use verify_evidence::keys::Keys;
use verify_evidence::{entry, signers};
use verify_local::tools::{Barman, Command, PgBackRest, WalG};
#[cfg(feature = "velero")]
use verify_velero::provider::Settings as VeleroTable;
/// The table `[velero]`, which a program without the feature does not read.
#[cfg(not(feature = "velero"))]
type VeleroTable = serde_json::Value;

/// The two forms of a connection string.
const CONNECTION_STRING: &str =
    "a connection string: postgresql://user@host:5432/database or \"host=… dbname=… user=…\"";

/// Path of the file unless `--config` gives another.
const DEFAULT_PATH: &str = "state-lab.toml";

/// The whole file. A key that is not listed here is refused.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Databases, by their name on the command line.
    #[serde(default)]
    databases: BTreeMap<String, DatabaseTable>,
    /// Rules of the application, checked on the source and on what was restored.
    #[serde(default)]
    invariants: Vec<InvariantTable>,
    /// Objectives of a recovery.
    #[serde(default)]
    objectives: ObjectivesTable,
    /// Backups.
    #[serde(default)]
    backup: BackupTable,
    /// Backups of the provider `local`.
    #[serde(default)]
    local: LocalTable,
    /// Facts that `doctor` cannot find out by itself.
    #[serde(default)]
    doctor: DoctorTable,
    /// A database in Kubernetes that Velero backs up.
    velero: Option<VeleroTable>,
    /// Limits on what a server is asked to bear.
    #[serde(default)]
    limits: LimitsTable,
    /// The service that s3://bucket/key means.
    #[serde(default)]
    s3: S3Table,
    /// Places where backups are, by their name on the command line.
    #[serde(default)]
    regions: BTreeMap<String, RegionTable>,
    /// Tools whose backups `restore --with` restores.
    #[serde(default)]
    tools: ToolsTable,
    /// The store of reports, as evidence.
    evidence: Option<EvidenceTable>,
    /// Servers, by their name for --server. Each has the keys of this file; what it does not set, it has as the file does outside of this
    /// table. A list replaces a list.
    #[serde(default)]
    servers: BTreeMap<String, Self>,
    /// SHA-256 of the file.
    #[serde(skip)]
    sha256: Option<String>,
}

/// Backup tools of this machine. Each is called with its own configuration.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToolsTable {
    /// pgBackRest.
    pub(crate) pgbackrest: Option<PgBackRest>,
    /// Barman.
    pub(crate) barman: Option<Barman>,
    /// WAL-G; needs no table if its own configuration is in its usual place.
    #[serde(rename = "wal-g")]
    pub(crate) wal_g: Option<WalG>,
    /// Any other tool, by commands.
    pub(crate) command: Option<Command>,
}

/// The store of reports, and the key that signs them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EvidenceTable {
    /// A folder, or s3://bucket/prefix. Every run of verify, compare, restore, failover and replicas stores its report there.
    pub(crate) store: PathBuf,
    /// The private key that signs the reports: Ed25519, in OpenSSH's format or PKCS#8 in PEM, without a passphrase.
    pub(crate) key: Option<PathBuf>,
    /// The keys that `evidence verify` trusts, as for `ssh-keygen -Y verify`.
    pub(crate) signers: Option<PathBuf>,
    /// Name under which the key is among the allowed signers.
    pub(crate) identity: Option<String>,
    /// Interval of the runs, for example "1d": reports say when the next one is due.
    pub(crate) every: Option<Period>,
    /// What reports say of the keys of rows, which may be personal data: "plain", "hashed" or "none"; plain unless given.
    #[serde(default)]
    pub(crate) keys: Keys,
    /// A file with the secret for keys = "hashed".
    pub(crate) keys_secret: Option<PathBuf>,
}

impl EvidenceTable {
    fn check(&self) -> Result<(), String> {
        match (&self.key, &self.identity) {
            (Some(_), None) => {
                return Err("[evidence] has a key, and no identity under which it signs".to_owned());
            }
            (_, Some(identity)) => {
                signers::identity(identity).map_err(|reason| format!("[evidence] identity: {reason}"))?;
            }
            (None, None) => {}
        }
        match (self.keys, &self.keys_secret) {
            (Keys::Hashed, None) => Err("[evidence] has keys = \"hashed\", and no keys_secret".to_owned()),
            _ => Ok(()),
        }
    }
}

/// A database.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DatabaseTable {
    /// A libpq connection string or URI. Keep the password in `~/.pgpass` or a service file.
    conninfo: String,
}

/// A rule.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct InvariantTable {
    /// Name of the invariant.
    name: String,
    /// One statement that reads. Names without a schema are looked up in `pg_catalog` and `public`, whatever the role and
    /// the database say; qualify all others.
    sql: String,
    /// Expected result: "no-rows", "same" (as on the source), or { value = "…" }.
    expect: Expect,
    /// The database that it is for, by its name on the source; all unless given.
    database: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ObjectivesTable {
    /// The longest recovery time.
    rto: Option<Period>,
    /// The longest time whose writes may be lost.
    rpo: Option<Period>,
    /// The longest time without writes in a failover; 30s unless given.
    outage: Option<Period>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BackupTable {
    /// The directory that keeps backups and their manifests.
    store: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LocalTable {
    /// Directory of the source's archived WAL, for restores to a point in time.
    archive: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LimitsTable {
    /// Time to wait for a lock that another session holds; 10s unless given.
    lock_timeout: Option<Period>,
    /// Time limit of one invariant; 60s unless given.
    invariant_timeout: Option<Period>,
    /// Time without data from a server before a second connection checks that it still works; 2m unless given.
    stall_timeout: Option<Period>,
    /// Time that a backup waits for transactions that began before it, prepared ones included; 60s unless given.
    wait: Option<Period>,
    /// Bytes of rows that are read in a second from a database, over all connections; unlimited unless given.
    max_rate: Option<Size>,
    /// WAL that a standby may have yet to replay; while one has more, reading nearly stops.
    max_replication_lag: Option<Size>,
    /// Other client sessions that may be running a statement; while more are, reading nearly stops.
    max_active_sessions: Option<u32>,
    /// Age of a snapshot at which reading fails.
    max_snapshot_age: Option<Period>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DoctorTable {
    /// Where WAL is archived, if `archive_command` does not show it: a directory or `s3://bucket/prefix`.
    wal_archive: Option<PathBuf>,
    /// A database on the server that backups are restored to: a connection string or a name from `[databases]`.
    restore_side: Option<DatabaseName>,
    /// The time for which backups are needed.
    retention: Option<Period>,
    /// The longest time since a verified restore; 30d unless given.
    proven_within: Option<Period>,
}

/// A connection string, which may hold a password, or a name.
#[derive(Clone, Deserialize, JsonSchema)]
struct DatabaseName(String);

impl fmt::Debug for DatabaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseName(…)")
    }
}

impl fmt::Debug for DatabaseTable {
    /// A connection string may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseTable(…)")
    }
}

impl Config {
    /// Reads the file at `path`, which must be there; or the default one, which need not. With the name of a server, it is the
    /// configuration of that server.
    pub fn load(path: Option<&Path>, server: Option<&str>) -> Result<Self> {
        let file = path.unwrap_or(Path::new(DEFAULT_PATH));
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if path.is_none() && error.kind() == io::ErrorKind::NotFound => {
                return match server {
                    None => Ok(Self::default()),
                    Some(server) => Err(Self::default().no_server(server)),
                };
            }
            Err(error) => {
                let doing = format!("failed to read the configuration {}", file.display());
                return Err(match error.kind() {
                    io::ErrorKind::NotFound => {
                        Hinted::new(doing, "correct --config, or omit it to read state-lab.toml")
                            .because(error)
                            .into()
                    }
                    _ => anyhow::Error::new(error).context(doing),
                });
            }
        };
        let doing = || format!("failed to read the configuration {}", file.display());
        let config = Self::parse(&text).with_context(doing)?;
        let config = match server {
            None => config,
            Some(server) => config.of_server(&text, server).with_context(doing)?,
        };
        Ok(Self { sha256: Some(entry::sha256(text.as_bytes())), ..config })
    }

    /// Reads the text of a file.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let config: Self = toml::from_str(text).map_err(|error| located(text, &error))?;
        config.check()?;
        for (name, server) in &config.servers {
            if name.parse::<BackupName>().is_err() {
                let reason = "use letters, digits, dots, dashes and underscores";
                return Err(Invalid(format!("[servers.{name:?}] is no name of a server: {reason}")).into());
            }
            if !server.servers.is_empty() {
                return Err(Invalid(format!("[servers.{name}] has servers of its own")).into());
            }
            // The whole configuration of each, so that a mistake is found whichever is used.
            config.of_server(text, name)?;
        }
        Ok(config)
    }

    /// The configuration of a server: the file's, with the server's tables laid over it key by key.
    fn of_server(&self, text: &str, name: &str) -> Result<Self> {
        if !self.servers.contains_key(name) {
            return Err(self.no_server(name));
        }
        let mut file: toml::Table = toml::from_str(text).map_err(|error| located(text, &error))?;
        let own = match file.remove("servers") {
            Some(toml::Value::Table(mut servers)) => servers.remove(name),
            _ => None,
        };
        if let Some(toml::Value::Table(own)) = own {
            lay_over(&mut file, own);
        }
        let merged = toml::Value::Table(file);
        let config: Self = merged.try_into().map_err(|error: toml::de::Error| {
            Invalid(format!("[servers.{name}]: {}", without_values(error.message())))
        })?;
        config.check().with_context(|| format!("[servers.{name}]"))?;
        Ok(config)
    }

    fn no_server(&self, name: &str) -> anyhow::Error {
        let known: Vec<&str> = self.server_names().collect();
        let known = match known.as_slice() {
            [] => "the configuration has no servers".to_owned(),
            known => format!("the configuration has {}", known.join(", ")),
        };
        let hint = "add a table [servers.NAME] to the configuration, or correct --server";
        Hinted::new(format!("failed to find the server {name:?}: {known}"), hint).into()
    }

    fn check(&self) -> Result<()> {
        let config = self;
        let mut names: Vec<&str> =
            config.invariants.iter().map(|invariant| invariant.name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Invalid(format!("two invariants have the name {:?}", twice[0])).into());
        }
        if let Some(empty) = config.invariants.iter().find(|invariant| invariant.sql.trim().is_empty()) {
            return Err(Invalid(format!("the invariant {:?} has no statement", empty.name)).into());
        }
        if let Some(Err(reason)) = config.evidence.as_ref().map(EvidenceTable::check) {
            return Err(Invalid(reason).into());
        }
        Ok(())
    }

    /// The names of `[servers]`.
    pub(crate) fn server_names(&self) -> impl Iterator<Item = &str> {
        self.servers.keys().map(String::as_str)
    }

    /// The connection string of `database`: itself, or that of the table of this name.
    pub fn conninfo<'a>(&'a self, database: &'a str) -> Result<&'a str> {
        if let Some(table) = self.databases.get(database) {
            return Ok(&table.conninfo);
        }
        if looks_like_conninfo(database) {
            return Ok(database);
        }
        let known: Vec<&str> = self.databases.keys().map(String::as_str).collect();
        let known = if known.is_empty() {
            "the configuration has no databases".to_owned()
        } else {
            format!("the configuration has {}", known.join(", "))
        };
        // A mistyped connection string may hold a password.
        let plain = database.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        if plain {
            let message = format!(
                "failed to find the database {database:?}: it is not a connection string, and {known}"
            );
            let hint = format!(
                "add a table [databases.{database}] to the configuration, or give {CONNECTION_STRING}"
            );
            return Err(Hinted::new(message, hint).into());
        }
        let message = format!(
            "failed to find a database: what was given, not shown here, is neither a name nor a connection string; {known}"
        );
        Err(Hinted::new(message, format!("give a name, or {CONNECTION_STRING}")).into())
    }

    /// The rules for all databases, and those for one.
    fn invariants(&self) -> (Vec<Invariant>, BTreeMap<String, Vec<Invariant>>) {
        let (mut of_all, mut of_one) = (Vec::new(), BTreeMap::<String, Vec<Invariant>>::new());
        for InvariantTable { name, sql, expect, database } in self.invariants.clone() {
            let of = database.map_or(&mut of_all, |database| of_one.entry(database).or_default());
            of.push(Invariant { name, sql, expect });
        }
        (of_all, of_one)
    }

    /// A plan with the rules.
    pub(crate) fn with_invariants(&self, plan: Plan) -> Plan {
        let (of_all, of_one) = self.invariants();
        plan.with_invariants(of_all).with_invariants_of(of_one)
    }

    /// The objectives.
    pub fn objectives(&self) -> Objectives {
        let ObjectivesTable { rto, rpo, outage: _ } = self.objectives;
        Objectives { rto_ms: rto.map(Period::ms), rpo_ms: rpo.map(Period::ms) }
    }

    /// The objectives that `doctor` judges by.
    pub(crate) fn doctor_objectives(&self) -> verify_doctor::Objectives {
        let DoctorTable { retention, proven_within, .. } = self.doctor;
        verify_doctor::Objectives { rpo: self.objectives.rpo, proven_within, retention }
    }

    /// Where WAL is archived.
    pub(crate) fn wal_archive(&self) -> Option<&Path> {
        self.doctor.wal_archive.as_deref()
    }

    /// A database on the server that backups are restored to.
    pub(crate) fn restore_side(&self) -> Option<&str> {
        self.doctor.restore_side.as_ref().map(|DatabaseName(name)| name.as_str())
    }

    /// The names of `[databases]`.
    pub(crate) fn database_names(&self) -> impl Iterator<Item = &str> {
        self.databases.keys().map(String::as_str)
    }

    /// The longest outage of a failover.
    pub fn outage_objective(&self) -> Option<Period> {
        self.objectives.outage
    }

    /// The directory of backups.
    pub fn store(&self) -> Option<&Path> {
        self.backup.store.as_deref()
    }

    /// Directory of the source's archived WAL.
    pub(crate) fn archive(&self) -> Option<&Path> {
        self.local.archive.as_deref()
    }

    /// The service that `s3://bucket/key` means.
    pub fn s3(&self) -> &S3Table {
        &self.s3
    }

    /// The place where backups are that has this name.
    pub fn region(&self, name: &str) -> Result<&RegionTable> {
        self.regions.get(name).with_context(|| {
            match self.regions.keys().map(String::as_str).collect::<Vec<_>>() {
                known if known.is_empty() => {
                    format!("failed to find the region {name:?}: the configuration has no regions")
                }
                known => {
                    format!("failed to find the region {name:?}: the configuration has {}", known.join(", "))
                }
            }
        })
    }

    /// The tools.
    pub(crate) fn tools(&self) -> &ToolsTable {
        &self.tools
    }

    /// The store of reports, if there is one.
    pub(crate) fn evidence(&self) -> Option<&EvidenceTable> {
        self.evidence.as_ref()
    }

    /// The store of reports that a command line names, or the configuration's.
    ///
    /// # Errors
    ///
    /// If neither has one.
    pub(crate) fn evidence_store<'a>(&'a self, given: Option<&'a Path>) -> Result<&'a Path> {
        let of_file = || self.evidence.as_ref().map(|table| table.store.as_path());
        given.or_else(of_file).ok_or_else(|| {
            let hint =
                "give the folder or s3://bucket/prefix, or add a table [evidence] to the configuration";
            Hinted::new("failed to find the store of reports: none was given", hint).into()
        })
    }

    /// SHA-256 of the file, if there is one.
    pub(crate) fn sha256(&self) -> Option<&str> {
        self.sha256.as_deref()
    }

    /// Returns whether the configuration has a database in Kubernetes that Velero backs up.
    pub(crate) fn has_velero(&self) -> bool {
        self.velero.is_some()
    }

    /// Settings of Velero, if the configuration has any.
    #[cfg(feature = "velero")]
    pub(crate) fn velero(&self) -> Option<&VeleroTable> {
        self.velero.as_ref()
    }

    /// The limits: the file's where it has them, else the defaults.
    pub fn limits(&self) -> Limits {
        let LimitsTable {
            lock_timeout,
            invariant_timeout,
            stall_timeout,
            wait,
            max_rate,
            max_replication_lag,
            max_active_sessions,
            max_snapshot_age,
        } = self.limits;
        let mut limits = Limits::default();
        for (limit, given) in [
            (&mut limits.lock_timeout_ms, lock_timeout),
            (&mut limits.invariant_timeout_ms, invariant_timeout),
            (&mut limits.anchor_timeout_ms, wait),
            (&mut limits.stall_timeout_ms, stall_timeout),
        ] {
            *limit = given.map_or(*limit, Period::ms_u32);
        }
        limits.max_rate = max_rate.map(Size::bytes);
        limits.max_replication_lag = max_replication_lag.map(Size::bytes);
        limits.max_active_sessions = max_active_sessions;
        limits.max_snapshot_age_ms = max_snapshot_age.map(Period::ms);
        limits
    }
}

/// The JSON Schema of the file.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Config).into()
}

/// A configuration that cannot be used.
#[derive(Debug)]
pub(crate) struct Invalid(pub(crate) String);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Invalid {}

/// Lays a table over another one, key by key.
fn lay_over(table: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(value)) => lay_over(below, value),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

/// The error with its line, but without the line's text, which may hold a password.
fn located(text: &str, error: &toml::de::Error) -> Invalid {
    let message = without_values(error.message());
    match error.span() {
        None => Invalid(message),
        Some(span) => {
            // A span is between characters; otherwise the whole text is counted.
            let before = text.get(..span.start).unwrap_or(text);
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            Invalid(format!("line {line}, column {column}: {message}"))
        }
    }
}

/// A message of serde without the string that it did not expect: it may be a connection string.
fn without_values(message: &str) -> String {
    match (message.find("string \""), message.rfind("\", expected")) {
        (Some(start), Some(end)) if start < end => {
            format!("{}string{}", &message[..start], &message[end + 1..])
        }
        _ => message.trim_end().replace('\n', "; "),
    }
}

/// Returns whether to parse the text as a connection string, whose errors show what is before the first `=`.
fn looks_like_conninfo(text: &str) -> bool {
    let uri = text.starts_with("postgresql://") || text.starts_with("postgres://");
    let keyword = |keyword: &str| keyword.trim().chars().all(|c| c.is_ascii_lowercase() || c == '_');
    text.is_empty() || uri || text.split_once('=').is_some_and(|(first, _)| keyword(first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use crate::failure;
    use crate::render::Style;

    fn refusal(text: &str) -> String {
        Config::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_whole_file_is_read() {
        let config = Config::parse(
            r#"
            [databases.shop]
            conninfo = "host=db dbname=shop"

            [[invariants]]
            name = "no orphans"
            sql = "SELECT 1 WHERE false"
            expect = "no-rows"

            [[invariants]]
            name = "ledger balances"
            sql = "SELECT sum(amount) FROM ledger"
            expect = { value = "0" }

            [[invariants]]
            name = "newest order"
            sql = "SELECT max(id) FROM orders"
            expect = "same"

            [objectives]
            rto = "10m"
            rpo = "5m"

            [backup]
            store = "/var/lib/state-lab"

            [limits]
            lock_timeout = "2s"
            "#,
        )
        .unwrap();
        assert_eq!(config.conninfo("shop").unwrap(), "host=db dbname=shop");
        let expected: Vec<Expect> =
            config.invariants().0.into_iter().map(|invariant| invariant.expect).collect();
        assert_eq!(expected, [Expect::NoRows, Expect::Value("0".to_owned()), Expect::Same]);
        assert_eq!(config.objectives(), Objectives { rto_ms: Some(600_000), rpo_ms: Some(300_000) });
        assert_eq!(config.store(), Some(Path::new("/var/lib/state-lab")));
        let mut expected = Limits::default();
        expected.lock_timeout_ms = 2_000;
        assert_eq!(config.limits(), expected);
    }

    #[test]
    fn a_database_is_a_name_or_a_connection_string() {
        let config = Config::parse("databases.shop.conninfo = 'host=db'").unwrap();
        for text in ["", "host=x", "postgresql://u@h/d"] {
            assert_eq!(config.conninfo(text).unwrap(), text);
        }
        assert_eq!(
            config.conninfo("shpo").unwrap_err().to_string(),
            r#"failed to find the database "shpo": it is not a connection string, and the configuration has shop"#
        );
    }

    #[test]
    fn a_server_has_what_the_file_has_with_its_own_on_top() {
        let text = "
            [databases.source]
            conninfo = 'host=common'
            [databases.other]
            conninfo = 'host=other'
            [objectives]
            rto = '10m'
            rpo = '5m'
            [[invariants]]
            name = 'common'
            sql = 'select 1'
            expect = 'no-rows'
            [servers.eu.databases.source]
            conninfo = 'host=eu'
            [servers.eu.objectives]
            rpo = '1m'
            [[servers.eu.invariants]]
            name = 'own'
            sql = 'select 2'
            expect = 'same'
            [servers.us]
            ";
        let config = Config::parse(text).unwrap();
        assert_eq!(config.server_names().collect::<Vec<_>>(), ["eu", "us"]);
        let of = |server: &str| {
            let config = config.of_server(text, server).unwrap();
            let names: Vec<String> =
                config.invariants().0.into_iter().map(|invariant| invariant.name).collect();
            let of = |database| config.conninfo(database).unwrap().to_owned();
            (of("source"), of("other"), config.objectives(), names)
        };
        let objectives = |rpo_ms| Objectives { rto_ms: Some(600_000), rpo_ms: Some(rpo_ms) };
        let texts = |source: &str| (source.to_owned(), "host=other".to_owned());
        let ((eu, other), own) = (texts("host=eu"), vec!["own".to_owned()]);
        assert_eq!(of("eu"), (eu, other, objectives(60_000), own));
        let ((us, other), common) = (texts("host=common"), vec!["common".to_owned()]);
        assert_eq!(of("us"), (us, other, objectives(300_000), common));
        assert_eq!(
            config.of_server(text, "asia").unwrap_err().to_string(),
            "failed to find the server \"asia\": the configuration has eu, us"
        );
    }

    #[test]
    fn mistakes_of_a_server_are_found_whichever_is_used_and_show_no_password() {
        for (text, reason) in [
            ("[servers.eu]\nrto = '1m'", "line 2, column 1: unknown field `rto`"),
            ("[servers.'../eu']", "[servers.\"../eu\"] is no name of a server"),
            ("[servers.eu.servers.us]", "[servers.eu] has servers of its own"),
            (
                "[evidence]\nstore = 'a'\n[servers.eu.evidence]\nkey = 'k'",
                "line 3, column 1: missing field `store`",
            ),
        ] {
            let refused = refusal(text);
            assert!(refused.starts_with(reason), "{text}: {refused}");
        }
        let text = "[servers.eu.databases]\nshop = \"postgres://u:s3cret@h/d\"";
        assert!(!refusal(text).contains("s3cret"));
    }

    #[test]
    fn a_mistyped_connection_string_is_not_shown() {
        for text in
            ["sec:S3cr3tPw@127.0.0.1:7715/base", "postgresql:/sec:S3cr3tPw@h/d?a=b", "http://S3cr3tPw@h"]
        {
            let error = Config::default().conninfo(text).unwrap_err();
            let shown = failure::text(&failure::of(&error, Exit::COULD_NOT_RUN), &Style::plain());
            assert!(!shown.contains("S3cr3tPw") && shown.contains("postgresql://user@host"), "{shown}");
        }
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        assert_eq!(
            refusal("[objectives]\nrto = \"10m\"\nrpoo = \"5m\""),
            "line 3, column 1: unknown field `rpoo`, expected one of `rto`, `rpo`, `outage`"
        );
        assert_eq!(
            refusal("[objectives]\nrto = \"10\""),
            "line 2, column 7: expected a number with a unit, as in 500ms, 10s, 7m12s, 1h or 2d"
        );
        for (table, reason) in [
            ("store = 'a'\nkey = 'k'", "[evidence] has a key, and no identity under which it signs"),
            ("store = 'a'\nkeys = 'hashed'", "[evidence] has keys = \"hashed\", and no keys_secret"),
            (
                "store = 'a'\nidentity = 'a b'",
                "[evidence] identity: expected a name of letters, digits and @._+-, as in drills@example.com",
            ),
        ] {
            assert_eq!(refusal(&format!("[evidence]\n{table}")), reason);
        }
        let invariant = "[[invariants]]\nname = 'a'\nsql = 'select 1'\nexpect = 'same'\n";
        assert_eq!(refusal(&invariant.repeat(2)), "two invariants have the name \"a\"");
        assert_eq!(refusal(&invariant.replace("select 1", " ")), "the invariant \"a\" has no statement");
    }

    #[test]
    fn no_mistake_shows_a_password() {
        for text in [
            "[databases]\nshop = \"postgres://u:s3cret@h/d\"",
            "[databases.shop]\nconninfo = \"password=s3cret",
            "[databases.shop]\nconninfo = \"password=s3cret\" \"",
            "[databases.shop]\nconninfo = [\"password=s3cret\"]",
            "[databases.shop]\nconninfo = password=s3cret",
            "[objectives]\nrto = \"s3cret\"",
            "databases = \"a \\\", expected s3cret\"",
        ] {
            let shown = refusal(text);
            assert!(!shown.contains("s3cret") && shown.starts_with("line "), "{text:?}: {shown}");
        }
        let config = Config::parse("[databases.shop]\nconninfo = \"password=s3cret\"").unwrap();
        assert!(!format!("{config:?}").contains("s3cret"));
    }
}
