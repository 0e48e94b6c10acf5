//! The keywords of libpq: which we honour, which we refuse and why, and which of their sources wins.

use std::collections::BTreeMap;

use super::environment::Environment;
use super::printable::printable;
use super::{conninfo, service};
use crate::error::{Error, ErrorKind, Result};

/// Keywords that are honoured, each with its environment variable ("" where it has none).
const HONOURED: &[(&str, &str)] = &[
    ("application_name", "PGAPPNAME"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("dbname", "PGDATABASE"),
    ("fallback_application_name", ""),
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("keepalives", ""),
    ("keepalives_count", ""),
    ("keepalives_idle", ""),
    ("keepalives_interval", ""),
    ("options", "PGOPTIONS"),
    ("passfile", "PGPASSFILE"),
    ("password", "PGPASSWORD"),
    ("port", "PGPORT"),
    ("require_auth", "PGREQUIREAUTH"),
    ("service", "PGSERVICE"),
    ("servicefile", ""),
    ("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION"),
    ("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"),
    ("sslcert", "PGSSLCERT"),
    ("sslcertmode", "PGSSLCERTMODE"),
    ("sslkey", "PGSSLKEY"),
    ("sslmode", "PGSSLMODE"),
    ("sslnegotiation", "PGSSLNEGOTIATION"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslsni", "PGSSLSNI"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
    ("tcp_user_timeout", ""),
    ("user", "PGUSER"),
];

/// A keyword that we cannot honour: accepted only with a value that asks for nothing.
struct Refused {
    keyword: &'static str,
    variable: &'static str,
    harmless: &'static [&'static str],
    hint: &'static str,
}

const fn refused(
    keyword: &'static str,
    variable: &'static str,
    harmless: &'static [&'static str],
    hint: &'static str,
) -> Refused {
    Refused { keyword, variable, harmless, hint }
}

const NO_GSS: &str = "GSSAPI is not supported; use TLS, and log in with a password or a client certificate";
const NO_CRL: &str =
    "revocation lists are not supported; leave it out, or use certificates that live shortly";
const NO_OAUTH: &str = "OAuth is not supported; log in with a password or a client certificate";
const NO_SCRAM_KEY: &str = "SCRAM keys are not supported; give the password itself";

const REFUSED: &[Refused] = &[
    // The session's encoding is always UTF8, so that the same value is the same bytes on every server.
    refused(
        "client_encoding",
        "",
        &["UTF8", "utf8", "UTF-8", "utf-8", "auto"],
        "the encoding is always UTF8",
    ),
    refused("gssdelegation", "PGGSSDELEGATION", &["0"], NO_GSS),
    refused("gssencmode", "PGGSSENCMODE", &["disable", "prefer"], NO_GSS),
    refused("gsslib", "PGGSSLIB", &[], NO_GSS),
    refused("krbsrvname", "PGKRBSRVNAME", &["postgres"], NO_GSS),
    refused(
        "load_balance_hosts",
        "PGLOADBALANCEHOSTS",
        &["disable"],
        "a verification must know its server; name one host, or several to be tried in order",
    ),
    refused(
        "max_protocol_version",
        "PGMAXPROTOCOLVERSION",
        &["3.0", "3.2", "latest"],
        "protocol 3.0 is spoken",
    ),
    refused("min_protocol_version", "PGMINPROTOCOLVERSION", &["3.0"], "protocol 3.0 is spoken"),
    refused("oauth_client_id", "", &[], NO_OAUTH),
    refused("oauth_client_secret", "", &[], NO_OAUTH),
    refused("oauth_issuer", "", &[], NO_OAUTH),
    refused("oauth_scope", "", &[], NO_OAUTH),
    refused("replication", "", &["0", "false", "off", "no"], "this is an ordinary session; leave it out"),
    refused(
        "requirepeer",
        "PGREQUIREPEER",
        &[],
        "the owner of a socket is not checked; use TCP with sslmode=verify-full",
    ),
    refused("scram_client_key", "", &[], NO_SCRAM_KEY),
    refused("scram_server_key", "", &[], NO_SCRAM_KEY),
    refused("sslcompression", "PGSSLCOMPRESSION", &["0"], "TLS compression is unsafe; leave it out"),
    refused("sslcrl", "PGSSLCRL", &[], NO_CRL),
    refused("sslcrldir", "PGSSLCRLDIR", &[], NO_CRL),
    refused("sslkeylogfile", "", &[], "session keys are never written; leave it out"),
    refused(
        "sslpassword",
        "",
        &[],
        "encrypted keys are not supported; decrypt the key into a file of mode 0600",
    ),
];

/// Every environment variable that changes where or how a PostgreSQL client connects.
///
/// A caller that hands [`super::Settings::child_environment`] to a child removes these from what the child
/// inherits: PGSERVICE, for one, would win over PGHOST.
pub fn connection_variables() -> impl Iterator<Item = &'static str> {
    let honoured = HONOURED.iter().map(|(_, variable)| *variable);
    let refused = REFUSED.iter().map(|refused| refused.variable);
    honoured
        .chain(refused)
        .chain(["PGSERVICEFILE", "PGSYSCONFDIR", "PGCLIENTENCODING", "PGREQUIRESSL", "PGREALM"])
        .filter(|variable| !variable.is_empty())
}

/// The settings as text, after every source was asked.
pub(super) struct Options(BTreeMap<&'static str, String>);

impl Options {
    /// Asks the connection string, then the service it or the environment names, then the environment.
    pub(super) fn gather(text: &str, env: &Environment) -> Result<Self> {
        let mut options = Self(BTreeMap::new());
        let mut given = BTreeMap::new();
        for (keyword, value) in conninfo::parse(text)? {
            given.insert(known(&keyword)?, value);
        }
        options.add(given)?;

        let service = options.0.get("service").cloned();
        let service = service.or_else(|| env.variable("PGSERVICE").map(str::to_owned));
        if let Some(service) = service.filter(|name| !name.is_empty()) {
            let mut given = BTreeMap::new();
            for (keyword, value) in service::look_up(&service, options.get("servicefile"), env)? {
                let keyword = known(&keyword).map_err(|error| {
                    error.while_doing(format!("use the service \"{}\"", printable(&service, 60)))
                })?;
                given.insert(keyword, value);
            }
            options.add(given)?;
        }

        options.add_environment(env)?;
        Ok(options)
    }

    fn add_environment(&mut self, env: &Environment) -> Result<()> {
        let honoured = HONOURED.iter().copied();
        let refused = REFUSED.iter().map(|refused| (refused.keyword, refused.variable));
        let mut given = BTreeMap::new();
        for (keyword, variable) in honoured.chain(refused).filter(|(_, variable)| !variable.is_empty()) {
            if let Some(value) = env.variable(variable) {
                given.insert(keyword, value.to_owned());
            }
        }
        // The name that sslmode=require had before there were modes; libpq still reads it.
        if env.variable("PGREQUIRESSL").is_some_and(|value| value.starts_with('1')) {
            given.entry("sslmode").or_insert_with(|| "require".to_owned());
        }
        self.add(given)
    }

    /// Adds what no earlier source gave. An empty value hides later sources and then means the default.
    fn add(&mut self, given: BTreeMap<&'static str, String>) -> Result<()> {
        for (keyword, value) in given {
            if value.contains('\0') {
                return Err(Error::new(
                    ErrorKind::Settings,
                    format!("use {keyword}: it contains a zero byte"),
                ));
            }
            if self.0.contains_key(keyword) {
                continue;
            }
            if let Some(refused) = REFUSED.iter().find(|refused| refused.keyword == keyword)
                && !value.is_empty()
                && !refused.harmless.contains(&value.as_str())
            {
                let variable = match refused.variable {
                    "" => String::new(),
                    variable => format!(" ({variable})"),
                };
                return Err(Error::new(
                    ErrorKind::Settings,
                    format!("use the connection setting {keyword}{variable}: {}", refused.hint),
                ));
            }
            self.0.insert(keyword, value);
        }
        Ok(())
    }

    /// The value of a keyword, where one was given and is not empty.
    pub(super) fn get(&self, keyword: &str) -> Option<&str> {
        self.0.get(keyword).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The entry of `table` that the value names, or `default` where none was given.
    pub(super) fn choice<T: Copy>(&self, keyword: &str, default: T, table: &[(&str, T)]) -> Result<T> {
        let Some(value) = self.get(keyword) else { return Ok(default) };
        table.iter().find(|(name, _)| *name == value).map(|(_, choice)| *choice).ok_or_else(|| {
            let names: Vec<_> = table.iter().map(|(name, _)| *name).collect();
            let value = printable(value, 40);
            let names = names.join(", ");
            Error::new(ErrorKind::Settings, format!("use {keyword}: \"{value}\" is not one of {names}"))
        })
    }

    /// A whole number, where one was given.
    pub(super) fn number(&self, keyword: &str) -> Result<Option<i32>> {
        let Some(value) = self.get(keyword) else { return Ok(None) };
        value.trim().parse().map(Some).map_err(|_| {
            let value = printable(value, 40);
            Error::new(ErrorKind::Settings, format!("use {keyword}: \"{value}\" is not a whole number"))
        })
    }
}

fn known(keyword: &str) -> Result<&'static str> {
    let honoured = HONOURED.iter().map(|(known, _)| *known);
    let refused = REFUSED.iter().map(|refused| refused.keyword);
    honoured.chain(refused).find(|known| *known == keyword).ok_or_else(|| {
        // What does not look like a keyword may be a part of a password that lacks its quotes.
        let shown = keyword.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let name = if shown { format!(" \"{}\"", printable(keyword, 40)) } else { String::new() };
        Error::new(
            ErrorKind::Settings,
            format!("use the connection setting{name}: libpq knows no such keyword"),
        )
        .with_hint("check its spelling, and the single quotes around values with blanks")
    })
}
