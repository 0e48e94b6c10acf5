//! `serve`: the dashboard.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use verify_dashboard::{Access, LookAtPosture, Settings, Token, listen};
use verify_drill::duration::Period;
use verify_drill::hint::Hinted;
use verify_drill::interrupt;
use verify_drill::watch::Watch;

use super::cluster_flags::ClusterFlags;
use super::storing::StoreFlag;
use crate::exit::Exit;
use crate::globals::Globals;
use crate::posture::{self, Request};
use crate::store;
use crate::terminal;

/// Show stored reports and running drills in a browser, and as metrics for Prometheus
///
/// The pages are read only, work without scripts, and show changes without a reload. /metrics has OpenMetrics text, /api/v1 has
/// JSON, /healthz is for probes. Signatures are not verified: `state-lab evidence verify` does that.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Serve {
    /// The store of evidence: a directory, or s3://bucket/prefix [default: that of the configuration]
    #[arg(value_name = "STORE")]
    store: Option<PathBuf>,
    /// Address and port. Others than loopback need a token, or --unauthenticated
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9280")]
    listen: SocketAddr,
    /// A file with the token that viewers need, as bearer token or as the password of any user; at least 16 characters
    #[arg(long, value_name = "FILE", conflicts_with = "unauthenticated")]
    token_file: Option<PathBuf>,
    /// Let everyone read who can reach the address
    #[arg(long)]
    unauthenticated: bool,
    /// Interval at which the store is read [default: 2s for a directory, 60s for a bucket]
    #[arg(long, value_name = "TIME")]
    refresh: Option<Period>,
    /// Also examine the posture, as `state-lab doctor` does, and show it with the storage that it found
    #[arg(long)]
    doctor: bool,
    /// Interval of the examinations
    #[arg(long, value_name = "TIME", default_value = "10m", requires = "doctor")]
    doctor_interval: Period,
    /// The database to examine [default: the only one of the configuration]
    #[arg(long, value_name = "DB", requires = "doctor")]
    database: Option<String>,
    /// The directory of backups to examine [default: that of the configuration]
    #[arg(long, value_name = "DIR", requires = "doctor")]
    backups: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterFlags,
}

const EXAMPLES: &str = "\
EXAMPLES:
    state-lab serve /var/lib/state-lab/evidence
    state-lab serve s3://evidence/shop --listen 0.0.0.0:9280 --token-file /etc/state-lab/token
    state-lab serve --doctor --database shop --context production";

/// Intervals at which a store is read: listing a directory costs nothing, listing a bucket is billed.
const DIRECTORY: Period = Period::from_ms(2_000);
const BUCKET: Period = Period::from_ms(60_000);

impl Serve {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let Self {
            store,
            listen: address,
            token_file,
            unauthenticated,
            refresh,
            doctor,
            doctor_interval,
            database,
            backups,
            cluster,
        } = self;
        let config = globals.config()?;
        let store = config.evidence_store(store.as_deref())?;
        let is_directory = store.is_dir();
        let store = store::folder_or_bucket(store, config.s3())?;
        let token = token_file.as_deref().map(Token::read).transpose()?;
        let access = Access::choose(address, token, unauthenticated).map_err(|error| {
            Hinted::new(
                error.to_string(),
                "give --token-file FILE, or --unauthenticated to let everyone read",
            )
        })?;
        let refresh = refresh.unwrap_or(if is_directory { DIRECTORY } else { BUCKET }).duration();
        let posture: Option<(LookAtPosture, _)> = doctor.then(|| {
            let (config, store) = (config.clone(), StoreFlag::of(backups));
            let look = move || {
                let request = Request {
                    database: database.as_deref(),
                    store: &store,
                    cluster: &cluster,
                    config: &config,
                    // Its account should not be able to reach a superuser.
                    through_pod: false,
                };
                posture::facts(&request, &Watch::silent())
            };
            (Box::new(look) as LookAtPosture, doctor_interval.duration())
        });
        let settings = Settings { address, access, refresh, now: Timestamp::now, posture };
        let listening = listen(settings, Arc::from(store))?;
        terminal::print(&format!("serving http://{}\n", listening.address()?))?;
        listening.serve(interrupt::asked)?;
        Ok(Exit::PASS)
    }
}
