//! One pass over many tables, several at once: every row is read, and measured or thrown away.

use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use crate::chunks::Share;
use crate::database::{Found, Obstacle, Reader, Sink, Slice, Snapshot};
use crate::digest::{HashAlgorithm, HashKey};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{self, Event, OnEvent};
use crate::large_row::LargeRow;
use crate::layout::Layout;
use crate::measure::Measure;
use crate::names::Names;
use crate::pace;
use crate::plan::{Limits, Plan};
use crate::row::RowHasher;
use crate::table::{CellWidth, Table};
use crate::table_sums::TableSums;
use crate::work::{self, Load, Pages, Part, Task};

/// Interval of progress events, in bytes of rows.
const REPORT_BYTES: u64 = 4 << 20;

/// The hash of a capture.
#[derive(Clone, Copy)]
pub(crate) struct Hash {
    pub algorithm: HashAlgorithm,
    pub key: HashKey,
}

/// How much may be asked of a server at a time.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub jobs: NonZeroUsize,
    pub limits: Limits,
}

impl Effort {
    pub(crate) fn of(plan: &Plan) -> Self {
        Self { jobs: plan.jobs, limits: plan.limits }
    }

    /// The same with one connection.
    pub(crate) fn alone(self) -> Self {
        Self { jobs: NonZeroUsize::MIN, ..self }
    }
}

/// A table to measure: how to read it, where it was found, how to keep its names, and what of it to read.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub table: &'a Table,
    pub found: &'a Found,
    /// The size of the sketch, where a second pass needs a larger one than usual.
    pub sketch_log2: Option<u8>,
    /// What to read, if not all of it.
    pub share: Option<&'a Share>,
}

impl<'a> Wanted<'a> {
    /// All of a table, as it was found.
    pub(crate) fn whole(found: &'a Found) -> Self {
        Self { table: &found.table, found, sketch_log2: None, share: None }
    }

    /// All of a table, read by the columns of the table of the same name in `like`, if it has all of them.
    pub(crate) fn like(found: &'a Found, like: Option<&[&'a Table]>) -> Self {
        let table = like.and_then(|like| alike(like, &found.table)).unwrap_or(&found.table);
        Self { table, ..Self::whole(found) }
    }

    /// The table by which it is read, where it was found.
    pub(crate) fn described(&self) -> Table {
        Table {
            unlogged: self.found.table.unlogged,
            partition_of: self.found.table.partition_of.clone(),
            partition_path: self.found.table.partition_path.clone(),
            parents: self.found.table.parents.clone(),
            ..self.table.clone()
        }
    }

    fn names(&self) -> Names {
        let width = self.table.cell_width();
        self.sketch_log2.map_or_else(|| Names::new(width), |log2| Names::sketch(width, log2))
    }

    /// The ranges to read, if not all of the table.
    fn ranges(&self) -> Option<&'a [Pages]> {
        self.share.map(|share| &share.ranges[..])
    }

    /// Estimated bytes to read.
    fn bytes(&self) -> u64 {
        self.share.map_or(self.found.bytes_estimate, |share| share.bytes)
    }
}

/// The table of the same name in `like`, if `table` has all of its columns.
fn alike<'a>(like: &[&'a Table], table: &Table) -> Option<&'a Table> {
    let named = |column: &str| table.columns.iter().any(|found| found.name == column);
    let place = like.binary_search_by(|other| other.name.cmp(&table.name)).ok()?;
    let other = like[place];
    (other.kind == table.kind && other.columns.iter().all(|column| named(&column.name))).then_some(other)
}

/// Called with the place of each table in the list, and its measure, as soon as all of it has been read.
pub(crate) type OnMeasured<'a> = &'a (dyn Fn(usize, &Measure) -> Result<()> + Sync);

/// Reads the wanted tables, several at once, and gives their measures in the same order.
pub(crate) fn measure(
    snapshot: &dyn Snapshot,
    wanted: &[Wanted<'_>],
    hash: Hash,
    effort: Effort,
    on_measured: OnMeasured<'_>,
    on_event: OnEvent<'_>,
) -> Result<Vec<Result<Measure, Obstacle>>> {
    let tasks = tasks(wanted, effort);
    let mut unread = vec![0_usize; wanted.len()];
    tasks.iter().flatten().for_each(|part| unread[part.index] += 1);
    let sums = Mutex::new((nothing_read(wanted), unread));
    read_all(snapshot, tasks, effort, on_event, |reader, task| {
        for (index, part) in read_task(reader, task, wanted, hash, on_event)? {
            let mut guard = sums.lock().unwrap_or_else(PoisonError::into_inner);
            let (sums, unread) = &mut *guard;
            sums.add(index, part);
            unread[index] -= 1;
            if let (0, Some(measure)) = (unread[index], sums.get(index)) {
                on_measured(index, measure)?;
            }
        }
        Ok(())
    })?;
    let (sums, _) = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(sums.finish())
}

/// Measures one table by a reader that is there already.
pub(crate) fn measure_by(
    reader: &mut (dyn Reader + '_),
    wanted: Wanted<'_>,
    hash: Hash,
    on_event: OnEvent<'_>,
) -> Result<Result<Measure, Obstacle>> {
    let whole = Part { index: 0, pages: None, bytes: wanted.bytes() };
    let task = match wanted.ranges() {
        Some(ranges) => ranges.iter().map(|pages| Part { pages: *pages, ..whole }).collect(),
        None => vec![whole],
    };
    let read = read_task(reader, &task, &[wanted], hash, on_event)?;
    let mut sums = nothing_read(&[wanted]);
    read.into_iter().for_each(|(index, part)| sums.add(index, part));
    Ok(sums.finish().swap_remove(0))
}

/// Reads every row as [`crate::capture::capture`] would and throws it away: the floor that no verification can be faster than.
///
/// Gives the rows and their bytes.
///
/// # Errors
///
/// If a connection breaks, or a limit of the plan ends the work.
pub fn floor(snapshot: &dyn Snapshot, plan: &Plan, on_event: OnEvent<'_>) -> Result<(u64, u64)> {
    let wanted: Vec<Wanted<'_>> = snapshot.tables().iter().map(Wanted::whole).collect();
    let effort = Effort::of(plan);
    let total = Mutex::new((0, 0));
    read_all(snapshot, tasks(&wanted, effort), effort, on_event, |reader, task| {
        let mut sink = DiscardingSink::default();
        reader.read(&slices(task, &wanted), &mut sink)?;
        let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
        *total = (total.0 + sink.rows, total.1 + sink.bytes);
        Ok(())
    })?;
    Ok(total.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Splits the readable tables among connections.
fn tasks(wanted: &[Wanted<'_>], effort: Effort) -> VecDeque<Task> {
    let readable = |(_, wanted): &(usize, &Wanted<'_>)| {
        wanted.found.unreadable.is_none() && wanted.ranges().is_none_or(|ranges| !ranges.is_empty())
    };
    let load = |(index, wanted)| {
        let wanted: &Wanted<'_> = wanted;
        let pages = wanted.found.pages.unwrap_or(0);
        Load { index, bytes: wanted.bytes(), pages, only: wanted.ranges() }
    };
    let loads: Vec<Load<'_>> = wanted.iter().enumerate().filter(readable).map(load).collect();
    work::split(&loads, effort.jobs.get())
}

/// Reads each task by `read`, over several connections.
fn read_all(
    snapshot: &dyn Snapshot,
    tasks: VecDeque<Task>,
    effort: Effort,
    on_event: OnEvent<'_>,
    read: impl Fn(&mut (dyn Reader + '_), &Task) -> Result<()> + Sync,
) -> Result<()> {
    let tables: BTreeSet<usize> = tasks.iter().flatten().map(|part| part.index).collect();
    let bytes_estimate = tasks.iter().flatten().map(|part| part.bytes).sum();
    event::send(on_event, Event::Started { tables: tables.len() as u64, bytes_estimate })?;
    let jobs = effort.jobs.get();
    pace::with_readers(snapshot, effort.limits, on_event, |readers| {
        work::run(tasks, jobs, |next| {
            let mut reader = None;
            while let Some(task) = next() {
                let reader = match &mut reader {
                    Some(reader) => reader,
                    empty => empty.insert(readers.open()?),
                };
                read(&mut **reader, &task)?;
            }
            Ok(())
        })
    })?;
    Ok(())
}

fn slices<'a>(task: &Task, wanted: &[Wanted<'a>]) -> Vec<Slice<'a>> {
    task.iter().map(|part| Slice { table: wanted[part.index].table, pages: part.pages, keys: None }).collect()
}

/// Result of reading a part of a table: its measure, or the obstacle.
type Read = (usize, Result<Measure, Obstacle>);

/// The sums of tables before any part has been read.
fn nothing_read(wanted: &[Wanted<'_>]) -> TableSums<Measure> {
    let known = |wanted: &Wanted<'_>| match (&wanted.found.unreadable, wanted.ranges()) {
        (Some(reason), _) => Some(Err(Obstacle::Unreadable(reason.clone()))),
        (None, Some([])) => Some(Ok(Measure::new(wanted.names()))),
        (None, _) => None,
    };
    TableSums::new(wanted.iter().map(known), Measure::merge)
}

fn read_task(
    reader: &mut (dyn Reader + '_),
    task: &Task,
    wanted: &[Wanted<'_>],
    hash: Hash,
    on_event: OnEvent<'_>,
) -> Result<Vec<Read>> {
    let slices = slices(task, wanted);
    let mut sink = MeasureSink {
        task,
        wanted,
        layouts: slices.iter().map(|slice| Arc::new(Layout::new(slice.table))).collect(),
        hasher: RowHasher::new(hash.algorithm, hash.key),
        slice: 0,
        measure: Measure::new(wanted[task[0].index].names()),
        large: None,
        seen: 0,
        reported: Reported::default(),
        done: task.iter().map(|_| None).collect(),
        on_event,
    };
    reader.read(&slices, &mut sink)?;
    let missing = || Err(Obstacle::Unreadable("the server sent no answer for it".to_owned()));
    let done = sink.done.into_iter();
    Ok(task.iter().zip(done).map(|(part, read)| (part.index, read.unwrap_or_else(missing))).collect())
}

/// Measures the rows of one slice after another.
struct MeasureSink<'a> {
    task: &'a Task,
    wanted: &'a [Wanted<'a>],
    layouts: Vec<Arc<Layout>>,
    hasher: RowHasher,
    slice: usize,
    measure: Measure,
    large: Option<LargeRow>,
    /// Rows of this slice that came.
    seen: u64,
    reported: Reported,
    done: Vec<Option<Result<Measure, Obstacle>>>,
    on_event: OnEvent<'a>,
}

/// Amounts of a slice that have been reported.
#[derive(Default)]
struct Reported {
    rows: u64,
    bytes: u64,
    estimate: u64,
}

impl MeasureSink<'_> {
    #[inline]
    fn row_done(&mut self) -> Result<()> {
        self.seen += 1;
        if self.measure.bytes - self.reported.bytes >= REPORT_BYTES { self.report(false) } else { Ok(()) }
    }

    fn report(&mut self, ended: bool) -> Result<()> {
        let Reported { rows, bytes, estimate } = std::mem::take(&mut self.reported);
        let whole = self.task[self.slice].bytes;
        let now = Reported {
            rows: self.seen,
            bytes: self.measure.bytes,
            estimate: if ended { whole } else { self.measure.bytes.min(whole) },
        };
        let event = Event::Read {
            rows: now.rows - rows,
            bytes: now.bytes - bytes,
            estimate_done: now.estimate.saturating_sub(estimate),
        };
        self.reported = now;
        event::send(self.on_event, event)
    }
}

impl Sink for MeasureSink<'_> {
    fn begin(&mut self, slice: usize) -> Result<()> {
        // An earlier attempt at this slice is void.
        self.hasher.flush(&mut self.measure);
        self.slice = slice;
        self.measure = Measure::new(self.wanted[self.task[slice].index].names());
        self.large = None;
        self.seen = 0;
        self.reported = Reported::default();
        Ok(())
    }

    #[inline]
    fn row(&mut self, tuple: &mut [u8]) -> Result<()> {
        self.hasher.row(&self.layouts[self.slice], &mut self.measure, tuple)?;
        self.row_done()
    }

    fn piece(&mut self, piece: &[u8], last: bool) -> Result<()> {
        let layout = &self.layouts[self.slice];
        let Some((hash, key, bytes)) = self.hasher.piece(&mut self.large, layout, piece, last)? else {
            return Ok(());
        };
        self.measure.add(&hash, key);
        self.measure.bytes += bytes;
        self.row_done()
    }

    fn end(&mut self, rows: u64) -> Result<()> {
        self.hasher.flush(&mut self.measure);
        let name = &self.wanted[self.task[self.slice].index].table.name;
        if rows != self.seen || self.measure.digest.rows != rows || self.large.is_some() {
            let text = format!("read {name}: the server sent {rows} rows, and {} arrived", self.seen);
            return Err(Error::new(ErrorKind::Protocol, text));
        }
        self.report(true)?;
        event::send(self.on_event, Event::TableRead { table: name.clone(), rows })?;
        let empty = Measure::new(Names::new(CellWidth::Narrow));
        self.done[self.slice] = Some(Ok(std::mem::replace(&mut self.measure, empty)));
        Ok(())
    }

    fn unreadable(&mut self, slice: usize, obstacle: Obstacle) -> Result<()> {
        self.done[slice] = Some(Err(obstacle));
        Ok(())
    }
}

/// Counts rows and bytes.
#[derive(Default)]
struct DiscardingSink {
    rows: u64,
    bytes: u64,
}

impl Sink for DiscardingSink {
    fn begin(&mut self, _: usize) -> Result<()> {
        Ok(())
    }

    #[inline]
    fn row(&mut self, tuple: &mut [u8]) -> Result<()> {
        self.rows += 1;
        self.bytes += tuple.len() as u64;
        Ok(())
    }

    fn piece(&mut self, piece: &[u8], last: bool) -> Result<()> {
        self.rows += u64::from(last);
        self.bytes += piece.len() as u64;
        Ok(())
    }

    fn end(&mut self, _: u64) -> Result<()> {
        Ok(())
    }

    fn unreadable(&mut self, _: usize, _: Obstacle) -> Result<()> {
        Ok(())
    }
}
