//! Connection settings: a connection string and the environment, made complete and valid.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::environment::Environment;
use super::host::Host;
use super::options::Options;
use super::passfile::{self, Wanted};
use super::printable::printable;
use super::require_auth::RequireAuth;
use super::secret::Secret;
use super::tls_settings::{Roots, TlsSettings, TlsVersion};
use super::wait::{Stop, Wait};
use crate::cancellation::Cancellation;
use crate::error::{Error, ErrorKind, Result};

/// Default of `connect_timeout`. libpq would wait for ever.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Default of the stall timeout.
const STALL_TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChannelBinding {
    Disable,
    Prefer,
    Require,
}

/// Required kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
}

const TARGETS: [(&str, Target); 6] = [
    ("any", Target::Any),
    ("read-write", Target::ReadWrite),
    ("read-only", Target::ReadOnly),
    ("primary", Target::Primary),
    ("standby", Target::Standby),
    ("prefer-standby", Target::PreferStandby),
];

/// Keepalive settings of a TCP connection; `None` leaves the kernel's own value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keepalive {
    pub(super) enabled: bool,
    pub(super) idle: Option<Duration>,
    pub(super) interval: Option<Duration>,
    pub(super) count: Option<u32>,
    pub(super) user_timeout_ms: Option<u32>,
}

/// Complete connection settings. Made by [`Settings::parse`]; never displays its password.
#[derive(Clone)]
pub struct Settings {
    pub(super) hosts: Vec<Host>,
    pub(super) user: String,
    database: String,
    password: Option<Secret>,
    passfile: Option<PathBuf>,
    pub(super) tls: TlsSettings,
    pub(super) channel_binding: ChannelBinding,
    pub(super) require_auth: RequireAuth,
    pub(super) target: Target,
    /// For each address of a host, from the first packet to the answer to the first statement; `None` is no limit.
    pub(super) connect_timeout: Option<Duration>,
    /// For each silence of an open session, before a second connection checks whether the server is still active.
    stall_timeout: Option<Duration>,
    pub(super) stop: Stop,
    pub(super) options: Option<String>,
    pub(super) application_name: Option<String>,
    pub(super) keepalive: Keepalive,
}

impl Settings {
    /// Reads a connection string as libpq does: what it says wins over the service file, that over the
    /// environment, that over the defaults.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`] for malformed text, unknown keywords, keywords that are not supported (each by
    /// its name), and contradictions.
    pub fn parse(conninfo: &str, env: &Environment) -> Result<Self> {
        let options = Options::gather(conninfo, env)?;
        let Some(user) = options.get("user").or(env.user.as_deref()) else {
            return Err(Error::new(ErrorKind::Settings, "find the user to connect as: give user or PGUSER"));
        };
        let channel_bindings = [
            ("disable", ChannelBinding::Disable),
            ("prefer", ChannelBinding::Prefer),
            ("require", ChannelBinding::Require),
        ];
        let application_name = options.get("application_name").or(options.get("fallback_application_name"));
        let hosts = Host::list(&options)?;
        let by_tcp = hosts.iter().any(|host| host.socket().is_none());
        Ok(Self {
            hosts,
            user: user.to_owned(),
            database: options.get("dbname").unwrap_or(user).to_owned(),
            password: options.get("password").map(Secret::new),
            passfile: options.get("passfile").map(PathBuf::from).or_else(|| env.in_home(".pgpass")),
            tls: TlsSettings::gather(&options, env, by_tcp)?,
            channel_binding: options.choice("channel_binding", ChannelBinding::Prefer, &channel_bindings)?,
            require_auth: RequireAuth::parse(options.get("require_auth").unwrap_or_default())?,
            target: options.choice("target_session_attrs", Target::Any, &TARGETS)?,
            connect_timeout: match options.number("connect_timeout")? {
                None => Some(CONNECT_TIMEOUT),
                Some(..=0) => None,
                // libpq takes at least two seconds, so that a clock's tick is not the whole wait.
                Some(seconds) => Some(Duration::from_secs(u64::from(seconds.unsigned_abs()).max(2))),
            },
            stall_timeout: Some(STALL_TIMEOUT),
            stop: Stop::default(),
            options: options.get("options").map(str::to_owned),
            application_name: application_name.map(str::to_owned),
            keepalive: keepalive(&options)?,
        })
    }

    /// The same settings for another database of the same servers.
    #[must_use]
    pub fn with_database(&self, name: &str) -> Self {
        Self { database: name.to_owned(), ..self.clone() }
    }

    /// The same settings for sessions that stop waiting, whatever they wait for, soon after `asked` says so. It is called
    /// a few times a second by every session that waits. A statement that runs then is cancelled.
    #[must_use]
    pub fn with_stop(self, asked: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { stop: Stop::new(asked), ..self }
    }

    /// The same settings for sessions that also stop once this token is used.
    #[must_use]
    pub fn with_cancellation(self, token: &Cancellation) -> Self {
        let (before, token) = (self.stop.clone(), token.clone());
        self.with_stop(move || token.is_cancelled() || before.asked())
    }

    /// The same settings for sessions that look, after each silence of this length, whether the server is still at work, and
    /// give up where it is not. Two minutes unless given; `None` never looks.
    #[must_use]
    pub fn with_stall_timeout(&self, limit: Option<Duration>) -> Self {
        Self { stall_timeout: limit, ..self.clone() }
    }

    pub(super) fn with_connect_timeout(&self, limit: Duration) -> Self {
        Self { connect_timeout: Some(limit), ..self.clone() }
    }

    /// The wait for one address of a host.
    pub(super) fn connecting(&self) -> Wait {
        Wait::total(self.connect_timeout, self.stop.clone())
    }

    /// The wait of an open session.
    pub(super) fn silence(&self) -> Wait {
        Wait::silence(self.stall_timeout, self.stop.clone())
    }

    /// The same settings for one of the hosts only.
    pub(super) fn with_host(&self, host: &Host) -> Self {
        Self { hosts: vec![host.clone()], ..self.clone() }
    }

    /// The same settings for servers of this kind alone.
    pub(super) fn with_target(&self, target: Target) -> Self {
        Self { target, ..self.clone() }
    }

    /// The same settings for the server at another address, with the port of the first host.
    pub(super) fn with_address(&self, address: IpAddr) -> Self {
        let port = self.hosts.first().map_or(0, |host| host.port);
        let host = Host { name: address.to_string(), address: Some(address), port };
        self.with_host(&host)
    }

    /// The name of the database.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The name of the role.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// `user@host:port/database`, for display: no secrets, and safe on a terminal.
    pub fn describe(&self) -> String {
        let hosts: Vec<_> = self.hosts.iter().map(Host::describe).collect();
        format!("{}@{}/{}", printable(&self.user, 64), hosts.join(","), printable(&self.database, 64))
    }

    /// The password for a host: the one that was given, or the password file's.
    pub(super) fn password_for(&self, host: &Host) -> Result<Option<Secret>> {
        if let Some(password) = &self.password {
            return Ok(Some(password.clone()));
        }
        let Some(passfile) = &self.passfile else { return Ok(None) };
        let wanted = Wanted {
            host: &host.passfile_name(),
            port: &host.port.to_string(),
            database: &self.database,
            user: &self.user,
        };
        passfile::look_up(passfile, &wanted)
    }

    /// Source of the password.
    pub(super) fn password_source(&self) -> Option<String> {
        match (&self.password, &self.passfile) {
            (Some(_), _) => Some("the connection string, service file or PGPASSWORD".to_owned()),
            (None, Some(passfile)) => Some(format!("the password file {}", passfile.display())),
            (None, None) => None,
        }
    }

    /// Variables that make a child program (`pg_dump`, `pg_basebackup`) connect to the same place.
    ///
    /// Remove [`super::connection_variables`] from what the child inherits first. Keepalives have no
    /// variables and are left to the child's defaults.
    pub fn child_environment(&self) -> Vec<(String, String)> {
        let join = |part: &dyn Fn(&Host) -> String| self.hosts.iter().map(part).collect::<Vec<_>>().join(",");
        let mut variables = vec![
            ("PGHOST", join(&|host| host.name.clone())),
            ("PGPORT", join(&|host| host.port.to_string())),
            ("PGUSER", self.user.clone()),
            ("PGDATABASE", self.database.clone()),
            ("PGSSLMODE", self.tls.mode.name().to_owned()),
            ("PGGSSENCMODE", "disable".to_owned()),
        ];
        if self.hosts.iter().any(|host| host.address.is_some()) {
            let address = |host: &Host| host.address.map_or_else(String::new, |address| address.to_string());
            variables.push(("PGHOSTADDR", join(&address)));
        }
        let mut add = |name, value: Option<String>| variables.extend(value.map(|value| (name, value)));
        let path = |path: &PathBuf| path.to_string_lossy().into_owned();
        add("PGPASSWORD", self.password.as_ref().map(|password| password.reveal().to_owned()));
        add("PGPASSFILE", self.passfile.as_ref().map(path));
        add("PGOPTIONS", self.options.clone());
        add("PGAPPNAME", self.application_name.clone());
        add("PGCONNECT_TIMEOUT", self.connect_timeout.map(|timeout| timeout.as_secs().to_string()));
        add("PGREQUIREAUTH", self.require_auth.text().map(str::to_owned));
        add(
            "PGSSLROOTCERT",
            match &self.tls.roots {
                Roots::Any => None,
                Roots::File(file) => Some(path(file)),
                Roots::System => Some("system".to_owned()),
            },
        );
        add("PGSSLCERT", self.tls.client.as_ref().map(|client| path(&client.certificate)));
        add("PGSSLKEY", self.tls.client.as_ref().map(|client| path(&client.key)));
        add("PGSSLNEGOTIATION", self.tls.direct.then(|| "direct".to_owned()));
        add("PGSSLSNI", (!self.tls.server_name_indication).then(|| "0".to_owned()));
        add("PGSSLMINPROTOCOLVERSION", (self.tls.version_min == TlsVersion::V1_3).then(|| "TLSv1.3".into()));
        add("PGSSLMAXPROTOCOLVERSION", (self.tls.version_max == TlsVersion::V1_2).then(|| "TLSv1.2".into()));
        add(
            "PGCHANNELBINDING",
            match self.channel_binding {
                ChannelBinding::Disable => Some("disable".to_owned()),
                ChannelBinding::Prefer => None,
                ChannelBinding::Require => Some("require".to_owned()),
            },
        );
        let target = TARGETS.iter().find(|(_, target)| *target == self.target && *target != Target::Any);
        add("PGTARGETSESSIONATTRS", target.map(|(name, _)| (*name).to_owned()));
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("place", &self.describe())
            .field("password", &self.password)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

fn keepalive(options: &Options) -> Result<Keepalive> {
    // As in libpq: zero and below leave the kernel's value.
    let positive = |keyword| -> Result<Option<u32>> {
        Ok(options.number(keyword)?.filter(|value| *value > 0).map(i32::unsigned_abs))
    };
    let seconds = |keyword| -> Result<Option<Duration>> {
        Ok(positive(keyword)?.map(|value| Duration::from_secs(value.into())))
    };
    Ok(Keepalive {
        enabled: options.number("keepalives")? != Some(0),
        idle: seconds("keepalives_idle")?,
        interval: seconds("keepalives_interval")?,
        count: positive("keepalives_count")?,
        user_timeout_ms: positive("tcp_user_timeout")?,
    })
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
