//! Errors that carry a hint: what to do about them.

use std::fmt;

/// An error whose hint is known where it is raised, and replaces any hint of its causes.
#[derive(Debug)]
pub struct Hinted {
    text: String,
    hint: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Hinted {
    /// An error with this text and this hint.
    pub fn new(text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { text: text.into(), hint: hint.into(), source: None }
    }

    /// The hint.
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// The same with its cause.
    pub fn because(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Hinted {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

/// An error with its hint, where there is one.
pub fn hinted(text: String, hint: Option<impl Into<String>>) -> anyhow::Error {
    match hint {
        Some(hint) => Hinted::new(text, hint).into(),
        None => anyhow::Error::msg(text),
    }
}
