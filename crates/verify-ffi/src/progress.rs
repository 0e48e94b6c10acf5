//! Progress of a call, one JSON object an event.

use serde::Serialize;
use verify_core::event::Event;

/// Something that happened during a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Progress {
    /// An event of the engine.
    Engine(Event),
    /// A step of a capture.
    Capture(CaptureStep),
}

/// The steps between which a capture holds its snapshot: a backup that is taken between them is of the same point in time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaptureStep {
    /// The snapshot is fixed, and held until the callback for [`Self::Measured`] has returned.
    Snapshot {
        /// Its name, for `pg_dump --snapshot`.
        exported: String,
    },
    /// Every table was read. The snapshot is released when the callback returns.
    Measured {
        /// Number of tables in the manifest.
        tables: u64,
    },
}

impl Progress {
    /// The event as one line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers and text are serializable")
    }
}

#[cfg(test)]
mod tests {
    use verify_core::table::TableName;

    use super::*;

    #[test]
    fn an_event_is_an_object_with_its_name_as_key() {
        let json = |progress: Progress| progress.json();
        let table = TableName::new("public", "a\n\"b\"");
        assert_eq!(
            json(Progress::Engine(Event::TableRead { table, rows: 3 })),
            r#"{"table-read":{"table":{"schema":"public","name":"a\n\"b\""},"rows":3}}"#
        );
        assert_eq!(
            json(Progress::Capture(CaptureStep::Snapshot { exported: "0-1".to_owned() })),
            r#"{"snapshot":{"exported":"0-1"}}"#
        );
    }
}
