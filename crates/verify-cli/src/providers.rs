//! The providers that this program has: one entry each.

use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::builder::{PossibleValue, PossibleValuesParser};
use verify_drill::hint::Hinted;
use verify_drill::provider::{Method, Provider};
use verify_local::tools::{Tool, ToolProvider};
use verify_local::{LocalProvider, PointInTime, RecoveryTarget};

use crate::commands::cluster_flags::ClusterFlags;
use crate::commands::storing::StoreFlag;
use crate::config::{Config, ToolsTable};
use crate::connect::Target;

/// A provider, as the command line names it.
pub(crate) struct Entry {
    /// The value of `--provider`.
    pub(crate) name: &'static str,
    /// One line of help.
    pub(crate) about: &'static str,
    /// True if its backups are in a Kubernetes cluster.
    pub(crate) in_cluster: bool,
    /// The values of `--method` that it takes.
    pub(crate) methods: &'static [Method],
    /// Returns whether this entry is the default with a configuration (of several, the last one).
    pub(crate) is_default: fn(&Config) -> bool,
    /// Makes it.
    pub(crate) open: fn(&Options<'_>) -> Result<Box<dyn Provider>>,
}

/// Values of the command line and the configuration for a provider.
#[cfg_attr(not(feature = "velero"), expect(dead_code, reason = "some options are Velero's"))]
pub(crate) struct Options<'a> {
    pub(crate) config: &'a Config,
    pub(crate) store: &'a StoreFlag,
    pub(crate) cluster: &'a ClusterFlags,
    /// The databases to back up; none with a command that takes none.
    pub(crate) databases: Option<&'a [String]>,
    /// True to read from a standby, where one can be used.
    pub(crate) prefer_standby: bool,
    pub(crate) basebackup_claim: Option<&'a str>,
    /// The point in time that a backup is recovered to.
    pub(crate) point_in_time: Option<PointInTime>,
}

impl<'a> Options<'a> {
    /// Options of a command that takes no databases.
    pub(crate) fn new(config: &'a Config, store: &'a StoreFlag, cluster: &'a ClusterFlags) -> Self {
        Self {
            config,
            store,
            cluster,
            databases: None,
            prefer_standby: false,
            basebackup_claim: None,
            point_in_time: None,
        }
    }
}

/// All of them. The last one that is the default with a configuration is the default.
pub(crate) const PROVIDERS: [Entry; 2] = [
    Entry {
        name: "local",
        about: "PostgreSQL's own programs, on this machine",
        in_cluster: false,
        methods: &[
            Method { name: "physical", about: "The whole server, with pg_basebackup" },
            Method { name: "logical", about: "Each database, with pg_dump" },
            Method {
                name: "snapshot",
                about: "A snapshot of the server's volumes by a command, while writers wait",
            },
        ],
        is_default: |_| true,
        open: local,
    },
    Entry {
        name: "velero",
        about: "Velero, in a Kubernetes cluster",
        in_cluster: true,
        methods: &[
            Method { name: "csi", about: "Velero: a CSI snapshot of the running primary's volume" },
            Method { name: "csi-move", about: "Velero: a CSI snapshot, its data moved to the object store" },
            Method { name: "fs", about: "Velero: the files of a base backup on a volume of its own" },
            Method { name: "fs-dump", about: "Velero: the files of a dump on a volume of its own" },
        ],
        is_default: Config::has_velero,
        open: velero,
    },
];

/// The provider that was asked for; else the one of the method, else the default.
///
/// # Errors
///
/// If the method is another provider's.
pub(crate) fn choose(
    provider: Option<&str>,
    method: Option<&str>,
    config: &Config,
) -> Result<&'static Entry> {
    let has = |entry: &Entry, method: &str| entry.methods.iter().any(|known| known.name == method);
    let asked = provider.and_then(|name| PROVIDERS.iter().find(|entry| entry.name == name));
    let found = match (asked, method) {
        (Some(entry), _) => Some(entry),
        (None, Some(method)) => PROVIDERS.iter().find(|entry| has(entry, method)),
        (None, None) => PROVIDERS.iter().rev().find(|entry| (entry.is_default)(config)),
    };
    let Some(entry) = found else {
        bail!("failed to choose a provider: no provider has this name or method")
    };
    if let Some(method) = method.filter(|method| !has(entry, method)) {
        let methods: Vec<&str> = entry.methods.iter().map(|method| method.name).collect();
        bail!(
            "failed to choose a method: the provider {} does not have {method}; it takes {}",
            entry.name,
            methods.join(", ")
        );
    }
    Ok(entry)
}

/// The values of `--provider`.
pub(crate) fn names() -> PossibleValuesParser {
    let values = PROVIDERS.iter().map(|entry| PossibleValue::new(entry.name).help(entry.about));
    PossibleValuesParser::new(values)
}

/// The values of `--method`.
pub(crate) fn methods() -> PossibleValuesParser {
    let methods = PROVIDERS.iter().flat_map(|entry| entry.methods);
    PossibleValuesParser::new(methods.map(|method| PossibleValue::new(method.name).help(method.about)))
}

/// A tool whose backups `restore --with` restores.
struct ToolEntry {
    name: &'static str,
    about: &'static str,
    /// The tool, if the configuration has its table or it needs none.
    open: fn(&ToolsTable) -> Option<Box<dyn Tool>>,
}

const TOOLS: [ToolEntry; 4] = [
    ToolEntry { name: "pgbackrest", about: "pgBackRest", open: |tools| boxed(tools.pgbackrest.as_ref()) },
    ToolEntry { name: "barman", about: "Barman", open: |tools| boxed(tools.barman.as_ref()) },
    ToolEntry {
        name: "wal-g",
        about: "WAL-G",
        open: |tools| Some(Box::new(tools.wal_g.clone().unwrap_or_default())),
    },
    ToolEntry {
        name: "command",
        about: "Any other tool, by the commands in [tools.command] of the configuration",
        open: |tools| boxed(tools.command.as_ref()),
    },
];

fn boxed<T: Tool + Clone + 'static>(tool: Option<&T>) -> Option<Box<dyn Tool>> {
    tool.map(|tool| Box::new(tool.clone()) as Box<dyn Tool>)
}

/// The values of `--with`.
pub(crate) fn tool_names() -> PossibleValuesParser {
    let values = TOOLS.iter().map(|entry| PossibleValue::new(entry.name).help(entry.about));
    PossibleValuesParser::new(values)
}

/// The provider of a tool's backups, verified against a manifest, or recovered to another point in time along a timeline.
///
/// # Errors
///
/// If the configuration lacks the tool, or the manifest cannot be read.
pub(crate) fn of_tool(
    name: &str,
    manifest: &Path,
    (target, timeline): (Option<RecoveryTarget>, Option<u32>),
    config: &Config,
) -> Result<Box<dyn Provider>> {
    let entry = TOOLS.iter().find(|entry| entry.name == name).context("failed to choose a tool")?;
    let Some(tool) = (entry.open)(config.tools()) else {
        let hint =
            format!("add a table [tools.{name}] to state-lab.toml; docs/tools.md has one for each tool");
        let text = format!("failed to restore with {}: the configuration has no [tools.{name}]", entry.name);
        return Err(Hinted::new(text, hint).into());
    };
    let place = manifest.display().to_string();
    let manifest = crate::store::read_manifest(manifest, config.s3())?;
    Ok(Box::new(ToolProvider { tool, manifest, place, target, timeline }))
}

fn local(options: &Options<'_>) -> Result<Box<dyn Provider>> {
    let Options { config, store, databases, prefer_standby, point_in_time, .. } = options;
    // Without a name, those of the PG* variables.
    let default = [String::new()];
    let databases = databases.map_or(&[][..], |names| if names.is_empty() { &default } else { names });
    let databases = databases.iter().map(|database| {
        let target = Target::find(database, config)?;
        Ok(if *prefer_standby { target.preferring_standby()? } else { target }.settings())
    });
    Ok(Box::new(LocalProvider {
        databases: databases.collect::<Result<_>>()?,
        store: store.open(config)?,
        point_in_time: point_in_time.clone(),
        command: config.tools().command.clone(),
    }))
}

#[cfg(feature = "velero")]
fn velero(options: &Options<'_>) -> Result<Box<dyn Provider>> {
    use verify_velero::provider::{Settings, VeleroProvider};

    let Options { config, cluster, databases, prefer_standby, basebackup_claim, .. } = options;
    if *prefer_standby {
        bail!(
            "failed to choose a standby: Velero copies the primary; --prefer-standby is for --provider local"
        );
    }
    let settings = cluster.settings(config);
    let settings = Settings {
        basebackup_claim: basebackup_claim.map(str::to_owned).or(settings.basebackup_claim.clone()),
        databases: match databases {
            Some(names) if !names.is_empty() => names.to_vec(),
            _ => settings.databases.clone(),
        },
        ..settings
    };
    Ok(Box::new(VeleroProvider { settings, open_store: crate::store::open }))
}

#[cfg(not(feature = "velero"))]
fn velero(_: &Options<'_>) -> Result<Box<dyn Provider>> {
    Err(crate::lacking::error("velero", "failed to use the provider velero"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_that_of_the_flag_of_the_method_or_of_the_configuration() {
        let name = |provider, method, config: &str| {
            let chosen = choose(provider, method, &Config::parse(config).unwrap());
            chosen.map_or_else(|error| error.to_string(), |entry| entry.name.to_owned())
        };
        let velero = "[velero]\nnamespace = 'app'";
        for (provider, method, config, expected) in [
            (None, None, "", "local"),
            (None, None, velero, "velero"),
            (Some("local"), None, velero, "local"),
            (None, Some("logical"), velero, "local"),
            (None, Some("fs-dump"), "", "velero"),
            (Some("velero"), Some("csi"), "", "velero"),
            (
                Some("local"),
                Some("csi"),
                velero,
                "failed to choose a method: the provider local does not have csi; it takes physical, logical, snapshot",
            ),
        ] {
            assert_eq!(name(provider, method, config), expected, "{provider:?} {method:?}");
        }
    }
}
