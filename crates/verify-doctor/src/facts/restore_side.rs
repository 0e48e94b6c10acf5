//! The side that backups are restored to.

use std::collections::{BTreeMap, BTreeSet};

use super::server::Settings;
use crate::fact::Fact;

/// The server that backups are restored to.
#[derive(Clone, Debug)]
pub struct RestoreSide {
    /// `server_version_num`.
    pub version: u32,
    pub settings: Settings,
    /// The extensions that can be created there.
    pub available: Fact<BTreeSet<String>>,
    /// The libraries that are loaded or can be, of those that the source preloads; none where that is not known.
    pub loadable: Fact<BTreeSet<String>>,
    /// Versions of collations of the operating system, by provider and locale.
    pub collations: Fact<BTreeMap<String, String>>,
}

/// The names of a list of libraries, without directories and suffixes.
pub fn libraries(list: &str) -> BTreeSet<String> {
    let name = |library: &str| {
        let library = library.trim().trim_matches('"');
        library.rsplit('/').next().unwrap_or_default().trim_end_matches(".so").to_owned()
    };
    list.split(',').map(name).filter(|library| !library.is_empty()).collect()
}
