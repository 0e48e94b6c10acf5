//! The self-test of a run: damage that is done on purpose, to copies, and must be seen.

use anyhow::{Context, Result};
use verify_core::compare::Comparison;
use verify_core::event::OnEvent;
use verify_core::manifest::Manifest;
use verify_core::not_covered::{Check, NotCovered};
use verify_core::plan::Plan;
use verify_core::postgres::{Settings, self_test};

use super::checks;

/// Runs the self-test on a restored server, if the plan has one; otherwise the report says that none ran.
///
/// # Errors
///
/// If the server cannot be reached, or the caller wants to stop. A finding is not an error.
pub(super) fn run(
    comparison: &mut Comparison,
    settings: &Settings,
    plan: &Plan,
    on_event: OnEvent<'_>,
    step: &dyn Fn(&str) -> verify_core::Result<()>,
) -> Result<()> {
    let Some(seed) = plan.self_test else {
        let reason = "not run: --self-test shows that this set-up sees damage";
        comparison.not_covered([NotCovered::new(Check::SelfTest, "self-test", reason)]);
        return Ok(());
    };
    step(&format!("damaging copies of tables of {}, to see that it is seen", settings.database()))?;
    self_test::run(comparison, settings, plan, seed, on_event)
        .with_context(|| format!("failed to test the verification of {}", settings.database()))
}

/// The same on a server that is not this run's: nothing is created on the source's.
///
/// # Errors
///
/// As for the restore's.
pub fn self_test_running(
    comparison: &mut Comparison,
    manifest: &Manifest,
    settings: &Settings,
    plan: &Plan,
    on_event: OnEvent<'_>,
) -> Result<()> {
    if plan.self_test.is_some() && checks::may_be_source_server(manifest, settings, plan, on_event)? {
        comparison.join([self_test::unknown(
            "refused on a server with the source's system identifier, which the source has; `restore --self-test` runs it on a copy \
             that it has started itself",
        )]);
        return Ok(());
    }
    run(comparison, settings, plan, on_event, &|_| Ok(()))
}
