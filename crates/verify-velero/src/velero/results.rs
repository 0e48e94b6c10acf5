//! The artefacts `BackupResults` and `RestoreResults`: texts of errors and warnings.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::artefact::decode_json;
use super::log;
use super::message::shown;

/// Velero's errors and warnings. Empty if it could not be read: the counts in the status show whether there is
/// more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Results {
    /// Errors.
    pub errors: Messages,
    /// Warnings.
    pub warnings: Messages,
}

/// Texts by what they are about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Messages {
    /// About Velero itself.
    pub velero: Vec<String>,
    /// About objects of the cluster.
    pub cluster: Vec<String>,
    /// About objects of a namespace.
    pub namespaces: BTreeMap<String, Vec<String>>,
}

/// The results in a packed artefact.
///
/// # Errors
///
/// If it is not gzip, is cut, is too large, or is no such artefact.
pub fn decode(packed: &[u8]) -> Result<Results> {
    decode_json(packed, "Velero's results")
}

impl Results {
    /// The errors in a packed log, if there are no results; the reason, if there is no log either.
    pub fn of_log(packed: Result<Option<Vec<u8>>>) -> Self {
        let lines = packed.and_then(|packed| log::decode(&packed.context("Velero wrote no results")?));
        let velero = lines.unwrap_or_else(|error| vec![format!("its text could not be read: {error:#}")]);
        Self { errors: Messages { velero, ..Messages::default() }, ..Self::default() }
    }
}

impl Messages {
    /// All texts, fit to be shown, those about Velero itself first.
    pub fn shown(&self) -> impl Iterator<Item = String> {
        let plain = self.velero.iter().chain(&self.cluster).map(|text| shown(text));
        let namespaced = self.namespaces.iter().flat_map(|(namespace, texts)| {
            texts.iter().map(move |text| shown(&format!("namespace {namespace}: {text}")))
        });
        plain.chain(namespaced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::velero::artefact::pack;

    #[test]
    fn results_are_read_and_shown() {
        let text = br#"{
            "errors": {"namespaces": {"app": [" resource: /pods name: /pg-0 message: /Error\u001b[2J"]}},
            "warnings": {"velero": ["slow"], "cluster": ["exists"], "later": 1}
        }"#;
        let results = decode(&pack(text)).unwrap();
        let errors: Vec<String> = results.errors.shown().collect();
        assert_eq!(errors, [r"namespace app: resource: /pods name: /pg-0 message: /Error\u{1b}[2J"]);
        assert_eq!(results.warnings.shown().collect::<Vec<_>>(), ["slow", "exists"]);
        let silent = br#"{"errors": {}, "warnings": {}}"#;
        assert_eq!(decode(&pack(silent)).unwrap(), Results::default());
        // Velero writes both, so that what lacks one is something else.
        for other in [&b"[]"[..], b"{}", br#"{"errors": {}}"#, b"null"] {
            let error = decode(&pack(other)).unwrap_err();
            assert_eq!(error.to_string(), "failed to read Velero's results", "{error:#}");
        }
    }

    #[test]
    fn what_a_log_complains_of_takes_the_place_of_results_that_are_missing() {
        let texts = |packed| Results::of_log(packed).errors.shown().collect::<Vec<_>>();
        let line = b"time=\"t\" level=error msg=\"no such class\" name=data\n";
        assert_eq!(texts(Ok(Some(pack(line)))), ["data: no such class"]);
        assert_eq!(texts(Ok(None)), ["its text could not be read: Velero wrote no results"]);
        assert_eq!(texts(Err(anyhow::anyhow!("AccessDenied"))), ["its text could not be read: AccessDenied"]);
    }
}
