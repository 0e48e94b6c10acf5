//! TLS settings: the mode, the trusted authorities, the client certificate.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::options::Options;
use crate::error::{Error, ErrorKind, Result};

/// Required protection, with libpq's meaning of the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SslMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

const MODES: [(&str, SslMode); 6] = [
    ("disable", SslMode::Disable),
    ("allow", SslMode::Allow),
    ("prefer", SslMode::Prefer),
    ("require", SslMode::Require),
    ("verify-ca", SslMode::VerifyCa),
    ("verify-full", SslMode::VerifyFull),
];

impl SslMode {
    pub(super) fn name(self) -> &'static str {
        MODES.iter().find(|(_, mode)| *mode == self).map_or("", |(name, _)| *name)
    }
}

/// Trusted certificate authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Roots {
    /// Any certificate is accepted.
    Any,
    File(PathBuf),
    System,
}

/// Our own certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientCertificate {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TlsVersion {
    /// 1.0 and 1.1, which rustls does not speak: as a minimum it means 1.2.
    Obsolete,
    V1_2,
    V1_3,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TlsSettings {
    pub(super) mode: SslMode,
    /// Begin with TLS at once, instead of asking for it first (PostgreSQL 17).
    pub(super) direct: bool,
    pub(super) roots: Roots,
    pub(super) client: Option<ClientCertificate>,
    pub(super) server_name_indication: bool,
    pub(super) version_min: TlsVersion,
    pub(super) version_max: TlsVersion,
}

impl TlsSettings {
    /// Settings for hosts of which some are reached by TCP, or none: TLS is not spoken over sockets.
    pub(super) fn gather(options: &Options, env: &Environment, by_tcp: bool) -> Result<Self> {
        let explicit_root = options.get("sslrootcert");
        let system = explicit_root == Some("system");
        let default = if system { SslMode::VerifyFull } else { SslMode::Prefer };
        let mode = options.choice("sslmode", default, &MODES)?;
        if system && mode != SslMode::VerifyFull {
            return Err(refuse(
                "sslrootcert=system needs sslmode=verify-full: anyone can get a certificate of some name",
            ));
        }
        let direct = options.choice("sslnegotiation", false, &[("postgres", false), ("direct", true)])?;
        if direct && mode < SslMode::Require {
            return Err(refuse("sslnegotiation=direct needs sslmode=require or stronger"));
        }
        let versions = [
            ("TLSv1", TlsVersion::Obsolete),
            ("TLSv1.1", TlsVersion::Obsolete),
            ("TLSv1.2", TlsVersion::V1_2),
            ("TLSv1.3", TlsVersion::V1_3),
        ];
        let version_min = options.choice("ssl_min_protocol_version", TlsVersion::V1_2, &versions)?;
        let version_max = options.choice("ssl_max_protocol_version", TlsVersion::V1_3, &versions)?;
        if version_max == TlsVersion::Obsolete {
            return Err(refuse(
                "ssl_max_protocol_version must be TLSv1.2 or TLSv1.3: older versions are broken",
            ));
        }
        if version_min > version_max {
            return Err(refuse("ssl_min_protocol_version is above ssl_max_protocol_version"));
        }
        Ok(Self {
            mode,
            direct,
            roots: if by_tcp { Self::gather_roots(explicit_root, mode, env)? } else { Roots::Any },
            client: Self::gather_client(options, env)?,
            server_name_indication: options.choice("sslsni", true, &[("0", false), ("1", true)])?,
            version_min,
            version_max,
        })
    }

    fn gather_roots(explicit: Option<&str>, mode: SslMode, env: &Environment) -> Result<Roots> {
        if explicit == Some("system") {
            return Ok(Roots::System);
        }
        let path = explicit.map(PathBuf::from).or_else(|| env.in_home(".postgresql/root.crt"));
        if let Some(path) = path.as_ref().filter(|path| path.exists()) {
            return Ok(Roots::File(path.clone()));
        }
        if mode < SslMode::VerifyCa {
            return Ok(Roots::Any);
        }
        let place =
            path.map_or_else(|| "~/.postgresql/root.crt".to_owned(), |path| path.display().to_string());
        Err(refuse(&format!(
            "sslmode={} needs the file of the certificate authority, and {place} does not exist",
            mode.name()
        ))
        .with_hint(
            "name the authority's file in sslrootcert, or trust the authorities of this machine with sslrootcert=system",
        ))
    }

    fn gather_client(options: &Options, env: &Environment) -> Result<Option<ClientCertificate>> {
        let shown = options.choice("sslcertmode", true, &[("disable", false), ("allow", true)])?;
        if !shown {
            return Ok(None);
        }
        let explicit = options.get("sslcert").map(PathBuf::from);
        let key =
            options.get("sslkey").map(PathBuf::from).or_else(|| env.in_home(".postgresql/postgresql.key"));
        if let Some(path) = explicit.as_ref().filter(|path| !path.exists()) {
            let missing = refuse(&format!("the client certificate {} does not exist", path.display()));
            return Err(missing.with_hint("correct sslcert (PGSSLCERT), or leave it out"));
        }
        let default = || env.in_home(".postgresql/postgresql.crt").filter(|path| path.exists());
        let Some(certificate) = explicit.or_else(default) else { return Ok(None) };
        let Some(key) = key else {
            return Err(refuse(&format!(
                "the certificate {} needs its key in sslkey",
                certificate.display()
            )));
        };
        Ok(Some(ClientCertificate { certificate, key }))
    }
}

/// Refuses a private key that others may read, with libpq's rule: root's key may be read by its group.
pub(super) fn check_key_file(path: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let doing = format!("use the private key {}", path.display());
    let metadata =
        fs::metadata(path).map_err(|error| Error::with_source(ErrorKind::Settings, doing.clone(), error))?;
    if !metadata.is_file() {
        return Err(Error::new(ErrorKind::Settings, format!("{doing}: it is not a regular file")));
    }
    let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & forbidden != 0 {
        return Err(Error::new(ErrorKind::Settings, format!("{doing}: others may use it (mode {mode:04o})"))
            .with_hint(format!("run `chmod 0600 {}`", path.display())));
    }
    Ok(())
}

fn refuse(why: &str) -> Error {
    Error::new(ErrorKind::Settings, format!("use the TLS settings: {why}"))
}
