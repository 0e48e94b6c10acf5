//! Features of this program that it was built without.

use verify_drill::hint::Hinted;

/// The error of work that needs a feature.
pub(crate) fn error(feature: &str, doing: &str) -> anyhow::Error {
    let text = format!("{doing}: this state-lab was built without the feature `{feature}`");
    Hinted::new(text, format!("build it with `cargo build --features {feature}`")).into()
}
