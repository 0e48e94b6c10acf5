//! Selection of the two places that are compared.

use anyhow::{Context, Result, bail};

use crate::config::Config;
use verify_drill::store::Location;
use verify_velero::provider as velero;

/// The original's side and the copy's, as they were asked for.
pub(crate) enum Sides<'a> {
    /// Two regions of the configuration, by name.
    Regions { config: &'a Config, from: String, to: String },
    /// Two backup storage locations of Velero's; the original's is the default one unless it is named.
    Locations { settings: &'a velero::Settings, from: Option<&'a str>, to: &'a str },
}

impl<'a> Sides<'a> {
    /// The regions that are named; else Velero's locations where the configuration has two, else the regions a and b.
    pub(crate) fn choose(from: Option<String>, to: Option<String>, config: &'a Config) -> Self {
        let named = from.is_some() || to.is_some();
        let settings = config.velero().filter(|_| !named);
        if let Some(settings) = settings
            && let Some(to) = settings.replica_location.as_deref()
        {
            return Self::Locations { settings, from: settings.location.as_deref(), to };
        }
        let or = |name: Option<String>, default: &str| name.unwrap_or_else(|| default.to_owned());
        Self::Regions { config, from: or(from, "a"), to: or(to, "b") }
    }

    /// The original's place and the copy's.
    ///
    /// # Errors
    ///
    /// If one of them cannot be found, or both are the same.
    pub(crate) fn open(&self) -> Result<(Location, Location)> {
        let (a, b, names) = match self {
            Self::Regions { config, from, to } => {
                let region = |name: &str| {
                    config
                        .region(name)?
                        .location()
                        .with_context(|| format!("failed to use the region {name:?}"))
                };
                (region(from)?, region(to)?, format!("the regions {from:?} and {to:?}"))
            }
            Self::Locations { settings, from, to } => {
                let cluster = settings.connect()?;
                let place = |name| velero::place_of(&cluster, settings.velero_namespace(), name);
                let from_name = from.unwrap_or("Velero's default");
                (place(*from)?, place(Some(to))?, format!("the BackupStorageLocations {from_name} and {to}"))
            }
        };
        // A place compared with itself would always pass.
        if (&a.endpoint, &a.bucket, &a.prefix) == (&b.endpoint, &b.bucket, &b.prefix) {
            bail!(
                "failed to compare {names}: both are {a}; set two different places with --from and --to, or as `location` \
                 and `replica_location` in [velero]"
            );
        }
        Ok((a, b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn velero_s_locations_are_meant_where_no_region_is_named() {
        let chosen = |text: &str, from: Option<&str>, to: Option<&str>| {
            let config = Config::parse(text).unwrap();
            match Sides::choose(from.map(str::to_owned), to.map(str::to_owned), &config) {
                Sides::Regions { from, to, .. } => format!("regions {from} {to}"),
                Sides::Locations { from, to, .. } => format!("locations {} {to}", from.unwrap_or("-")),
            }
        };
        let velero = "velero.location = 'default'\nvelero.replica_location = 'region-b'";
        for (text, from, to, expected) in [
            ("", None, None, "regions a b"),
            ("", None, Some("dublin"), "regions a dublin"),
            (velero, None, None, "locations default region-b"),
            ("velero.replica_location = 'region-b'", None, None, "locations - region-b"),
            (velero, Some("frankfurt"), None, "regions frankfurt b"),
            ("velero.location = 'default'", None, None, "regions a b"),
        ] {
            assert_eq!(chosen(text, from, to), expected, "{text} {from:?} {to:?}");
        }
    }
}
