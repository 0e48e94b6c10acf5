//! The time of a capture in parts, as a model: measured costs, the division of [`verify_core::chunks`], and what limits the work.
//!
//! A part is one process (a pod). The server sends rows at a rate that its cores and its network allow, shared by all parts that read;
//! a part takes rows at the rate that its own cores hash, and that its connections can send, since each has one process of the server.

use std::time::Duration;

use verify_core::chunks::{CHUNK_PAGES, pages_of_part};
use verify_core::partial::PartNumber;
use verify_core::table::TableName;

/// Bytes of a page.
const PAGE_BYTES: f64 = 8192.0;

/// Measured costs.
#[derive(Clone, Copy, Debug)]
pub struct Costs {
    /// Time of a core of the server for one byte of rows.
    pub server_s: f64,
    /// Time of a core of a part for one byte of rows.
    pub part_s: f64,
    /// Time of a part that does not depend on rows: to connect, to read the catalogue, to write its manifest.
    pub fixed_s: f64,
}

/// Where the work runs.
#[derive(Clone, Copy, Debug)]
pub struct Machines {
    /// Cores of the server that can send rows.
    pub server_cores: f64,
    /// Bytes in a second that the server's network and disks give.
    pub server_bytes_s: f64,
    /// Number of parts.
    pub parts: u32,
    /// Cores of each part.
    pub part_cores: f64,
    /// Connections of each part.
    pub connections: f64,
}

/// A table of the simulated database.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name, which decides where its chunks go.
    pub name: TableName,
    /// Its pages.
    pub pages: u32,
}

/// A part that is lost and starts again from nothing.
#[derive(Clone, Copy, Debug)]
pub struct Lost {
    /// When it is lost, in seconds.
    pub at_s: f64,
    /// The time until it reads again.
    pub again_after_s: f64,
}

/// What takes the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bottleneck {
    /// The processes of the server.
    ServerCores,
    /// The server's network or disks.
    ServerNetwork,
    /// The cores of the parts.
    PartCores,
    /// The number of connections.
    Connections,
}

impl Bottleneck {
    /// For people.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::ServerCores => "the server's cores",
            Self::ServerNetwork => "the server's network",
            Self::PartCores => "the cores of the parts",
            Self::Connections => "the connections",
        }
    }
}

/// A database of `bytes` with `tables` tables, of which each is a little smaller than the one before (Zipf): the largest has much of it all.
#[must_use]
pub fn database(bytes: f64, tables: u32) -> Vec<Table> {
    let weight: f64 = (1..=tables).map(|rank| 1.0 / f64::from(rank)).sum();
    let pages = |rank: u32| bytes / PAGE_BYTES / weight / f64::from(rank);
    (1..=tables)
        .map(|rank| Table {
            name: TableName::new("public", format!("table_{rank}")),
            pages: (pages(rank) as u32).max(1),
        })
        .collect()
}

/// Bytes of each part.
#[must_use]
pub fn shares(tables: &[Table], parts: u32) -> Vec<f64> {
    let share = |number| {
        let part = PartNumber::new(number, parts).expect("one of them");
        let pages = |table: &Table| pages_of_part(&table.name, table.pages, part, CHUNK_PAGES);
        tables.iter().map(pages).sum::<u64>() as f64 * PAGE_BYTES
    };
    (1..=parts).map(share).collect()
}

impl Machines {
    /// Bytes in a second of one part if it reads alone, and what limits it.
    fn alone(&self, costs: Costs) -> (f64, Bottleneck) {
        let cores = (self.part_cores / costs.part_s, Bottleneck::PartCores);
        let connections = (self.connections / costs.server_s, Bottleneck::Connections);
        least([cores, connections])
    }

    /// Bytes in a second of the server, and what limits it.
    fn server(&self, costs: Costs) -> (f64, Bottleneck) {
        let cores = (self.server_cores / costs.server_s, Bottleneck::ServerCores);
        least([cores, (self.server_bytes_s, Bottleneck::ServerNetwork)])
    }

    /// What limits the work while all parts read.
    #[must_use]
    pub fn bottleneck(&self, costs: Costs) -> Bottleneck {
        let (rate, parts) = self.alone(costs);
        least([self.server(costs), (rate * f64::from(self.parts), parts)]).1
    }

    /// The formula: the slower of the server, for all rows, and of the part with the largest share.
    #[must_use]
    pub fn predict(&self, costs: Costs, shares: &[f64]) -> Duration {
        let all: f64 = shares.iter().sum();
        let largest = shares.iter().copied().fold(0.0, f64::max);
        let server_s = all / self.server(costs).0;
        Duration::from_secs_f64(costs.fixed_s + server_s.max(largest / self.alone(costs).0))
    }

    /// The simulation: from event to event, with the server's rate divided among the parts that read. The first part may be lost.
    #[must_use]
    pub fn simulate(&self, costs: Costs, shares: &[f64], lost: Option<Lost>) -> Duration {
        let (alone, server) = (self.alone(costs).0, self.server(costs).0);
        let mut left = shares.to_vec();
        let mut begins = vec![costs.fixed_s; shares.len()];
        let mut lost = lost;
        let mut now = 0.0;
        loop {
            let reading: Vec<usize> =
                (0..left.len()).filter(|&i| left[i] > 0.0 && begins[i] <= now).collect();
            let rate = alone.min(server / reading.len().max(1) as f64);
            let ends = reading.iter().map(|&i| now + left[i] / rate);
            let starts = (0..left.len()).filter(|&i| left[i] > 0.0 && begins[i] > now).map(|i| begins[i]);
            let loss = lost.iter().map(|lost| lost.at_s).filter(|&at| at > now && left[0] > 0.0);
            let Some(next) = ends.chain(starts).chain(loss).reduce(f64::min) else { break };
            for &part in &reading {
                left[part] -= rate * (next - now);
                // What rounding leaves is less than a row.
                if left[part] < 1.0 {
                    left[part] = 0.0;
                }
            }
            now = next;
            if let Some(Lost { again_after_s, .. }) = lost.take_if(|lost| lost.at_s <= now)
                && left[0] > 0.0
            {
                left[0] = shares[0];
                begins[0] = now + again_after_s + costs.fixed_s;
            }
        }
        Duration::from_secs_f64(now)
    }
}

fn least<const N: usize>(rates: [(f64, Bottleneck); N]) -> (f64, Bottleneck) {
    rates.into_iter().reduce(|a, b| if b.0 < a.0 { b } else { a }).expect("at least one")
}

#[cfg(test)]
mod tests {
    use super::*;

    const COSTS: Costs = Costs { server_s: 2e-9, part_s: 1e-9, fixed_s: 1.0 };
    const MACHINES: Machines =
        Machines { server_cores: 8.0, server_bytes_s: 3e9, parts: 4, part_cores: 2.0, connections: 2.0 };

    fn seconds(time: Duration) -> f64 {
        (time.as_secs_f64() * 1000.0).round() / 1000.0
    }

    #[test]
    fn the_network_is_the_limit_where_it_is_slower_than_the_parts() {
        // Four parts of 1 GB/s each, a server of 4 GB/s by its cores and 3 GB/s by its network.
        assert_eq!(MACHINES.bottleneck(COSTS), Bottleneck::ServerNetwork);
        let shares = [3e9; 4];
        assert_eq!(seconds(MACHINES.predict(COSTS, &shares)), 5.0);
        assert_eq!(seconds(MACHINES.simulate(COSTS, &shares, None)), 5.0);
    }

    #[test]
    fn the_largest_share_is_the_limit_where_shares_differ() {
        let shares = [6e9, 1e9, 1e9, 1e9];
        assert_eq!(seconds(MACHINES.predict(COSTS, &shares)), 7.0);
        // All four share the server until the small ones end, at 1.333 s; then the large one reads alone.
        assert_eq!(seconds(MACHINES.simulate(COSTS, &shares, None)), 7.333);
    }

    #[test]
    fn a_part_that_is_lost_reads_its_share_again() {
        let lost = Lost { at_s: 4.0, again_after_s: 10.0 };
        // The others end at 4.75 s; the lost one waits until 15 s and reads 3 GB alone.
        assert_eq!(seconds(MACHINES.simulate(COSTS, &[3e9; 4], Some(lost))), 18.0);
        let late = Lost { at_s: 100.0, again_after_s: 10.0 };
        assert_eq!(seconds(MACHINES.simulate(COSTS, &[3e9; 4], Some(late))), 5.0);
    }

    #[test]
    fn the_shares_are_the_database() {
        let tables = database(1e12, 200);
        let pages: u64 = tables.iter().map(|table| u64::from(table.pages)).sum();
        let shares = shares(&tables, 32);
        assert_eq!(shares.iter().sum::<f64>(), pages as f64 * PAGE_BYTES);
        assert!((pages as f64 * PAGE_BYTES / 1e12 - 1.0).abs() < 0.01);
    }
}
