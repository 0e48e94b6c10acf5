//! The frame of what `--output json` prints: format and version, then the result.

use serde::Serialize;

/// The version of every document but the report, which has its own. It grows when a field goes or changes its meaning.
pub(crate) const VERSION: u32 = 1;

/// The result of a command, as JSON.
pub(crate) trait Document: Serialize + Sized {
    /// The value of `format`.
    const FORMAT: &'static str;

    /// The document's text.
    fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(&Framed { format: Self::FORMAT, version: VERSION, content: self })
    }
}

#[derive(Serialize)]
struct Framed<'a, T> {
    format: &'static str,
    version: u32,
    #[serde(flatten)]
    content: &'a T,
}
