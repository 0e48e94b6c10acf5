//! `failover`: the primary is driven off its node while a probe writes, and everything acknowledged is read back.

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use super::cluster_flags::DatabaseFlags;
use super::storing;
use crate::evidence::EvidenceFlags;
use crate::exit::Exit;
use crate::globals::Globals;
use crate::render;
use crate::render::document::FailoverDocument;
use verify_drill::duration::Period;
use verify_velero::failover::{self, How, Request, TRANSIENT_MS, Wanted};

/// Move the primary to another node while a probe writes, and measure outage, errors and lost acknowledged writes
///
/// Writers in a pod of the application's namespace insert numbered rows through the Service, into a table of their own
/// (state_lab.probe_…, dropped at the end), and record every acknowledgement. The primary is moved off the node; once
/// a new one accepts writes the node is brought back, the old primary has to rejoin, and every acknowledged write is
/// checked. Refuses to start unless the primary runs on the node. Ctrl-C brings the node back first.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Failover {
    /// The node that the primary runs on
    #[arg(long, value_name = "NODE")]
    node: String,
    /// Event that moves the primary
    #[arg(long, value_enum, value_name = "HOW", default_value = "cordon-evict")]
    how: HowFlag,
    /// The shell command for `--how command`; STATE_LAB_NODE, STATE_LAB_NAMESPACE and STATE_LAB_POD are set
    #[arg(long, value_name = "COMMAND", required_if_eq("how", "command"))]
    command: Option<String>,
    /// The shell command that brings the node back afterwards
    #[arg(long, value_name = "COMMAND", requires = "command")]
    undo: Option<String>,
    #[command(flatten)]
    place: DatabaseFlags,
    /// Service to write through [default: that of the primary, by its operator's naming convention]
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// The database to write to
    #[arg(long, value_name = "NAME", default_value = "postgres")]
    database: String,
    /// Node to write from [default: any other than the drilled one]
    #[arg(long, value_name = "NODE")]
    probe_node: Option<String>,
    /// Writes per second, all writers together
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Number of writers
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u32).range(1..=64))]
    writers: u32,
    /// Time to wait for a new primary that accepts writes
    #[arg(long, value_name = "TIME", default_value = "2m")]
    deadline: Period,
    /// Time to wait until the old primary has rejoined
    #[arg(long, value_name = "TIME", default_value = "3m")]
    rejoin: Period,
    /// Duration of the writes before the event, and after the recovery
    #[arg(long, value_name = "TIME", default_value = "5s")]
    settle: Period,
    #[command(flatten)]
    evidence: EvidenceFlags,
}

/// Event that moves the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum HowFlag {
    /// Cordon the node and evict the primary's pod
    CordonEvict,
    /// Cordon the node and evict every pod on it, as `kubectl drain` does
    Drain,
    /// Delete the primary's pod
    DeletePod,
    /// Run the command of --command
    Command,
}

impl From<HowFlag> for How {
    fn from(how: HowFlag) -> Self {
        match how {
            HowFlag::CordonEvict => Self::CordonEvict,
            HowFlag::Drain => Self::Drain,
            HowFlag::DeletePod => Self::DeletePod,
            HowFlag::Command => Self::Command,
        }
    }
}

const EXAMPLES: &str = "\
EXAMPLES:
    state-lab failover --node worker-1 -n app --image registry/state-lab:0.1.0
    state-lab failover --node worker-1 -n app --image … --how drain
    state-lab failover --node worker-1 -n app --image … --how command \\
        --command 'virsh destroy \"$STATE_LAB_NODE\"' \\
        --undo 'virsh start \"$STATE_LAB_NODE\"'";

impl Failover {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let Self {
            node,
            how,
            command,
            undo,
            place,
            service,
            database,
            probe_node,
            rate,
            writers,
            deadline,
            rejoin,
            settle,
            evidence,
        } = self;
        if how != HowFlag::Command && command.is_some() {
            bail!("failed to choose the event: --command requires --how command");
        }
        let config = globals.config()?;
        let evidence = evidence.begin("failover", &config, globals)?;
        let outcome = evidence.watch(|| {
            let settings = place.settings(&config);
            let cluster = settings.connect()?;
            let request = Request {
                image: settings.image()?.to_owned(),
                pods: settings.pods(),
                wanted: Wanted { settings, service, database },
                node,
                how: how.into(),
                command,
                undo,
                probe_node,
                writers,
                rate_hz: rate,
                deadline,
                rejoin,
                settle,
                objective_ms: config.outage_objective().map_or(TRANSIENT_MS, Period::ms),
            };
            storing::with_steps(globals, Some(&evidence), |watch| failover::drill(&cluster, &request, watch))
        })?;
        let document = FailoverDocument::new(&outcome);
        evidence.conclude(&document, outcome.verdict().into(), || {
            globals.terminal().result(&document, |style| render::failover::failover(&outcome, style))
        })
    }
}
