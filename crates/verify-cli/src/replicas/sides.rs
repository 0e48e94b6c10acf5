//! Which two places are compared.

use anyhow::{Context, Result, bail};

use crate::config::Config;
use crate::s3::Location;

/// The original's place and the copy's, by their names in the configuration.
pub(crate) fn sides(config: &Config, from: &str, to: &str) -> Result<(Location, Location)> {
    let region = |name: &str| {
        config.region(name)?.location().with_context(|| format!("failed to use the region {name:?}"))
    };
    let (a, b) = (region(from)?, region(to)?);
    // A place compared with itself would always pass.
    if (&a.endpoint, &a.bucket, &a.prefix) == (&b.endpoint, &b.bucket, &b.prefix) {
        bail!("failed to compare two regions: {from:?} and {to:?} are the same place, {a}");
    }
    Ok((a, b))
}
