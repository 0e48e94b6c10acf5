//! Sums of hashes of rows, which the server computes under the snapshot: several sessions at once, large tables in ranges of pages.

use super::crew;
use super::reader::{CopyReader, row_sum};
use super::savepoint::guarded;
use super::snapshot::PostgresSnapshot;
use crate::database::{Found, Obstacle, Slice};
use crate::digest::Digest;
use crate::error::Result;
use crate::event::{self, Event, OnEvent};
use crate::table_sums::TableSums;
use crate::work::{self, Load};

/// Sum of a part of a table, by the table's place.
type Sum = (usize, Result<Digest, Obstacle>);

/// Counts the rows of the tables, and adds up the hashes of the columns that are given.
pub(super) fn add_up(
    snapshot: &PostgresSnapshot,
    tables: &[Found],
    seed: i64,
    jobs: usize,
    on_event: OnEvent<'_>,
) -> Result<Vec<Result<Digest, Obstacle>>> {
    let readable = tables.iter().enumerate().filter(|(_, found)| found.unreadable.is_none());
    let load = |(index, found): (usize, &Found)| Load {
        index,
        bytes: found.bytes_estimate,
        pages: found.pages.unwrap_or(0),
        only: None,
    };
    let loads: Vec<Load<'_>> = readable.map(load).collect();
    let bytes_estimate = loads.iter().map(|load| load.bytes).sum();
    event::send(on_event, Event::Started { tables: loads.len() as u64, bytes_estimate })?;
    let tasks = work::split(&loads, jobs);
    let sessions = (0..jobs.min(tasks.len())).map(|_| snapshot.copy_reader()).collect::<Result<Vec<_>>>()?;
    let parts =
        crew::run(sessions, tasks, on_event, |reader: &mut CopyReader, part, sums: &mut Vec<Sum>| {
            let table = &tables[part.index].table;
            let sum = reader.row_sum(&Slice { table, pages: part.pages, keys: None }, seed)?;
            if let Ok(Digest { rows, .. }) = sum {
                event::send(on_event, Event::Read { rows, bytes: 0, estimate_done: 0 })?;
                event::send(on_event, Event::TableRead { table: table.name.clone(), rows })?;
            }
            sums.push((part.index, sum));
            Ok(())
        })?;
    let unreadable = |found: &Found| found.unreadable.clone().map(|reason| Err(Obstacle::Unreadable(reason)));
    let mut sums = TableSums::new(tables.iter().map(unreadable), |sum: &mut Digest, part| sum.merge(&part));
    parts.into_iter().flatten().for_each(|(index, part)| sums.add(index, part));
    let mut sums = sums.finish();
    for (found, sum) in
        tables.iter().zip(&mut sums).filter(|(_, sum)| matches!(sum, Err(Obstacle::Locked(_))))
    {
        // The coordinator holds a lock on the table, so that it does not wait behind who waits for that.
        let slice = Slice { table: &found.table, pages: None, keys: None };
        *sum = match guarded(&mut snapshot.control(), |control| row_sum(control, &slice, seed))? {
            Ok(digest) => Ok(digest),
            Err(error) => Err(super::reader::obstacle(&error)?),
        };
    }
    Ok(sums)
}
