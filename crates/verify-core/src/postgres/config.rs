//! Settings from those that a program keeps for tokio-postgres.

use std::fmt::Write as _;

use tokio_postgres::Config;
use tokio_postgres::config::{
    ChannelBinding, Host, LoadBalanceHosts, SslMode, SslNegotiation, TargetSessionAttrs,
};

use super::conninfo::conninfo_value;
use super::environment::Environment;
use super::settings::Settings;
use crate::error::{Error, ErrorKind, Result};

impl Settings {
    /// Reads a tokio-postgres `Config`. `more` is a connection string of what that does not know, such as
    /// `sslmode=verify-full sslrootcert=system`, and wins over it.
    ///
    /// # Errors
    ///
    /// As for [`Self::parse`], and for a password that is not UTF-8.
    pub fn from_config(config: &Config, more: &str, env: &Environment) -> Result<Self> {
        Self::parse(&format!("{}{more}", conninfo(config)?), env)
    }
}

/// A connection string of the same meaning.
fn conninfo(config: &Config) -> Result<String> {
    let password = config.get_password().map(std::str::from_utf8).transpose().map_err(|_| {
        // Without the cause, which would show a part of it.
        Error::new(ErrorKind::Settings, "read the password: it is not UTF-8")
    })?;
    let listed = |list: Vec<String>| (!list.is_empty()).then(|| list.join(","));
    let hosts = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(directory) => directory.display().to_string(),
    });
    let seconds = |time: std::time::Duration| time.as_secs().to_string();
    let target = match config.get_target_session_attrs() {
        TargetSessionAttrs::ReadWrite => "read-write",
        TargetSessionAttrs::ReadOnly => "read-only",
        _ => "any",
    };
    let ssl_mode = match config.get_ssl_mode() {
        SslMode::Disable => "disable",
        SslMode::Prefer => "prefer",
        _ => "require",
    };
    let negotiation = match config.get_ssl_negotiation() {
        SslNegotiation::Direct => "direct",
        _ => "postgres",
    };
    let binding = match config.get_channel_binding() {
        ChannelBinding::Disable => "disable",
        ChannelBinding::Require => "require",
        _ => "prefer",
    };
    let balanced = match config.get_load_balance_hosts() {
        LoadBalanceHosts::Disable => "disable",
        _ => "random",
    };
    let values = [
        ("user", config.get_user().map(str::to_owned)),
        ("password", password.map(str::to_owned)),
        ("dbname", config.get_dbname().map(str::to_owned)),
        ("options", config.get_options().map(str::to_owned)),
        ("application_name", config.get_application_name().map(str::to_owned)),
        ("host", listed(hosts.collect())),
        ("hostaddr", listed(config.get_hostaddrs().iter().map(ToString::to_string).collect())),
        ("port", listed(config.get_ports().iter().map(ToString::to_string).collect())),
        ("connect_timeout", config.get_connect_timeout().copied().map(seconds)),
        ("tcp_user_timeout", config.get_tcp_user_timeout().map(|time| time.as_millis().to_string())),
        ("keepalives", Some(u8::from(config.get_keepalives()).to_string())),
        ("keepalives_idle", Some(seconds(config.get_keepalives_idle()))),
        ("keepalives_interval", config.get_keepalives_interval().map(seconds)),
        ("keepalives_count", config.get_keepalives_retries().map(|count| count.to_string())),
        ("target_session_attrs", Some(target.to_owned())),
        ("sslmode", Some(ssl_mode.to_owned())),
        ("sslnegotiation", Some(negotiation.to_owned())),
        ("channel_binding", Some(binding.to_owned())),
        ("load_balance_hosts", Some(balanced.to_owned())),
    ];
    let mut text = String::new();
    for (keyword, value) in values {
        let Some(value) = value else { continue };
        let _ = write!(text, "{keyword}={} ", conninfo_value(&value));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_means_what_its_connection_string_means_and_more_wins() {
        let mut config = Config::new();
        config.user(r"o'brien\").password("a b'c").dbname("shop").host("db-1").host("db-2").port(5433);
        let settings = Settings::from_config(&config, "", &Environment::default()).unwrap();
        assert_eq!((settings.user(), settings.database()), (r"o'brien\", "shop"));
        assert_eq!(settings.hosts.len(), 2);
        assert!(settings.describe().contains("5433"), "{}", settings.describe());
        let more = Settings::from_config(&config, "dbname=other", &Environment::default()).unwrap();
        assert_eq!(more.database(), "other");
        config.load_balance_hosts(LoadBalanceHosts::Random);
        let error = Settings::from_config(&config, "", &Environment::default()).unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Settings);
        config.password([0xff]);
        assert!(Settings::from_config(&config, "", &Environment::default()).is_err());
    }
}
