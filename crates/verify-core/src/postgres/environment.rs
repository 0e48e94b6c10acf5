//! The caller's environment, as the library may read it: variables, home directory, user name.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// A copy of the caller's environment. The library never reads the process's own.
#[derive(Clone, Default)]
pub struct Environment {
    /// Environment variables by name.
    pub variables: BTreeMap<String, String>,
    /// The home directory, where `.pgpass`, `.pg_service.conf` and `.postgresql/` are looked for.
    pub home: Option<PathBuf>,
    /// The operating system's name of the user: the default role name.
    pub user: Option<String>,
}

impl Environment {
    /// The value of a variable, where it is set.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// A path below the home directory, where that is known.
    pub(super) fn in_home(&self, path: &str) -> Option<PathBuf> {
        self.home.as_ref().map(|home| home.join(path))
    }
}

impl std::fmt::Debug for Environment {
    /// Names only: PGPASSWORD is one of the variables, and others hold secrets too.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment")
            .field("variables", &self.variables.keys())
            .field("home", &self.home)
            .field("user", &self.user)
            .finish()
    }
}
