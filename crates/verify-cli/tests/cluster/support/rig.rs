//! The cluster that fixtures/cluster brings up, where that is the one under test: it can be broken and mended.

use std::path::PathBuf;
use std::process::Command;

pub(crate) struct Rig {
    program: PathBuf,
}

impl Rig {
    /// The rig of STATE_LAB_RIG.
    pub(crate) fn find(test: &str) -> Option<Self> {
        let program = std::env::var_os("STATE_LAB_RIG").map(PathBuf::from);
        if program.is_none() {
            eprintln!("skipped: {test}: needs the rig (STATE_LAB_RIG)");
        }
        Some(Self { program: program? })
    }

    /// Runs one of its commands; what that printed.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let output = Command::new(&self.program).args(arguments).output().expect("STATE_LAB_RIG runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        assert!(output.status.success(), "rig {}: {}", arguments.join(" "), text(&output.stderr));
        text(&output.stdout)
    }

    /// Where the volumes and snapshots of its storage are.
    pub(crate) fn pool() -> PathBuf {
        let state = std::env::var_os("STATE_LAB_CLUSTER");
        PathBuf::from(state.unwrap_or_else(|| "/var/lib/state-lab-cluster".into())).join("pool")
    }
}
