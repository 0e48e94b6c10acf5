//! Constraints of a restored database against its rows.

use anyhow::{Context, Result};
use verify_core::compare::Comparison;
use verify_core::plan::Plan;
use verify_core::postgres::Settings;
use verify_core::postgres::constraints::{self, Constraints, SourceRows};

use verify_drill::watch::Watch;

/// Adds the constraints that rows violate, which a comparison with an equally broken source does not show.
pub(super) fn check(
    comparison: &mut Comparison,
    source: &SourceRows,
    settings: &Settings,
    plan: &Plan,
    watch: &Watch<'_>,
) -> Result<()> {
    watch.step(&format!("checking constraints of {} against the rows", settings.database()))?;
    let Constraints { findings, not_covered } =
        constraints::check(settings, source, plan, &|event| watch.event(event))
            .with_context(|| format!("failed to check constraints of {}", settings.database()))?;
    comparison.join(findings);
    comparison.not_covered(not_covered);
    Ok(())
}
