//! A capture over a link of 1 Gbit/s between two network namespaces, beside the COPY floor over the same link.
//!
//! `cargo run --release -p benches --bin link`, as root. The kernel's token bucket (`tc … tbf`) makes the link; a kernel with `netem` could
//! delay it too, which this does not do.

use std::process::{Command, id};

use anyhow::{Result, bail};
use benches::floor::{plan, reached_by};
use benches::machine;
use benches::pairs::Pairs;
use benches::program::run;
use benches::workload::CLEAN;
use fixtures::TestServer;
use verify_core::capture::capture_snapshot;
use verify_core::event;
use verify_core::scan;

const MAJOR: u32 = 15;
const ROUNDS: usize = 5;
const ROWS: u64 = 5_000_000;
const RATE_BITS_S: f64 = 1e9;
const SERVER_ADDRESS: &str = "10.231.7.1";
const CLIENT_ADDRESS: &str = "10.231.7.2";
const PORT: &str = "5432";
/// The argument by which this program measures, from the other end of the link.
const MEASURE: &str = "measure";

/// Two ends of a link, of which one is in a namespace of its own; removed when this value is.
struct Link {
    namespace: String,
    device: String,
}

impl Link {
    fn new() -> Result<Self> {
        let link = Self { namespace: format!("state-lab-link-{}", id()), device: format!("sl{}", id()) };
        let Self { namespace, device } = &link;
        let peer = format!("{device}p");
        ip(&["netns", "add", namespace])?;
        ip(&["link", "add", device, "type", "veth", "peer", "name", &peer, "netns", namespace])?;
        ip(&["address", "add", &format!("{SERVER_ADDRESS}/30"), "dev", device])?;
        ip(&["link", "set", device, "up"])?;
        ip(&["-n", namespace, "address", "add", &format!("{CLIENT_ADDRESS}/30"), "dev", &peer])?;
        ip(&["-n", namespace, "link", "set", &peer, "up"])?;
        let limit = ["tbf", "rate", "1gbit", "burst", "512kb", "latency", "20ms"];
        run(Command::new("tc").args(["qdisc", "add", "dev", device, "root"]).args(limit))?;
        Ok(link)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The device goes with the namespace that has its peer.
        if let Err(error) = ip(&["netns", "delete", &self.namespace]) {
            eprintln!("{error:#}");
        }
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => {}
        [MEASURE, conninfo] => return measure(conninfo),
        _ => bail!("usage: link"),
    }
    let link = Link::new()?;
    let settings = [
        ("shared_buffers", "2GB"),
        ("max_wal_size", "8GB"),
        ("port", PORT),
        ("listen_addresses", SERVER_ADDRESS),
    ];
    let server = TestServer::start(&fixtures::majors::installation(MAJOR)?, &settings)?;
    let rules = format!("local all all trust\nhost all all {CLIENT_ADDRESS}/32 trust\n");
    std::fs::write(server.server().data_dir().join("pg_hba.conf"), rules)?;
    server.psql("postgres", "SELECT pg_reload_conf()")?;
    server.create_database("source")?;
    server.psql("source", &CLEAN[0].script(ROWS))?;
    server.psql("source", "VACUUM ANALYZE")?;
    let conninfo = format!("host={SERVER_ADDRESS} port={PORT} user=postgres dbname=source");
    let program = std::env::current_exe()?;
    let mut client = Command::new("ip");
    client.args(["netns", "exec", &link.namespace]).arg(program).args([MEASURE, &conninfo]);
    run(&mut client)
}

/// Measures at this end of the link.
fn measure(conninfo: &str) -> Result<()> {
    let snapshot = reached_by(conninfo)?.begin(&plan(), &event::ignore)?;
    let mut bytes = 0;
    let floor = || {
        bytes = scan::floor(&snapshot, &plan(), &event::ignore)?.1;
        Ok(())
    };
    let capture = || Ok(capture_snapshot(&snapshot, &plan(), &event::ignore).map(drop)?);
    let pairs = Pairs::time(ROUNDS, floor, capture)?;
    let (median, (least, most)) = (pairs.median(), pairs.spread());
    let of_link = |seconds: f64| 100.0 * bytes as f64 * 8.0 / seconds / RATE_BITS_S;
    println!("{}; PostgreSQL {MAJOR} behind a link of 1 Gbit/s\n", machine::description()?);
    println!("| work | floor | this | ratio | of {ROUNDS} pairs | of the link: floor | this |");
    println!("|---|---|---|---|---|---|---|");
    println!(
        "| {ROWS} rows: {} | {:.2} s | {:.2} s | {:.2} | {least:.2} to {most:.2} | {:.0}% | {:.0}% |",
        CLEAN[0].name,
        median.base_s,
        median.work_s,
        pairs.ratio(),
        of_link(median.base_s),
        of_link(median.work_s),
    );
    Ok(())
}

fn ip(arguments: &[&str]) -> Result<()> {
    run(Command::new("ip").args(arguments))
}
