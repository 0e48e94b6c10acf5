//! `agent`: the command that state-lab runs in its pods.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::exit::Exit;
use verify_drill::failure::Kind;
use verify_velero::agent::{self, pod};

/// Work in a pod, at the order of the state-lab that made it
#[derive(Args)]
#[command(hide = true)]
pub(crate) struct Agent {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Copy this program to a path
    Install { path: PathBuf },
    /// Wait until the pod has no network access
    Gate,
    /// Wait to be ended
    Wait,
    /// Do what standard input says
    Work,
    /// Write, as the order on standard input says, until the order to end
    Probe,
}

impl Agent {
    pub(crate) fn run(self) -> Result<Exit> {
        match self.role {
            Role::Install { path } => pod::install(&path)?,
            Role::Gate => pod::gate()?,
            Role::Wait => pod::rest(),
            Role::Probe => agent::probe()?,
            Role::Work => {
                let failed = agent::work()?;
                return Ok(failed.map_or(Exit::PASS, |failure| match failure.kind {
                    Kind::Interrupted => Exit::INTERRUPTED,
                    _ => Exit::COULD_NOT_RUN,
                }));
            }
        }
        Ok(Exit::PASS)
    }
}
