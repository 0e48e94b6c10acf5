//! Distribution of the tables over a few connections.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Pages of a table from (inclusive) and to (exclusive; `None` is the end); `None` for all of it.
pub(crate) type Pages = Option<(u32, Option<u32>)>;

/// A table to read, as far as splitting is concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load<'a> {
    /// Its place in the caller's list.
    pub index: usize,
    /// Estimated bytes on disk.
    pub bytes: u64,
    /// Pages, where a range of them can be read by itself; otherwise 0.
    pub pages: u32,
    /// The ranges to read, each by itself, if not all of the table.
    pub only: Option<&'a [Pages]>,
}

/// A part of a table: all of it, or a range of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The table's place in the caller's list.
    pub index: usize,
    /// Pages of this part.
    pub pages: Pages,
    /// Estimated bytes.
    pub bytes: u64,
}

/// Parts that one connection reads in one go.
pub(crate) type Task = Vec<Part>;

/// Tables below this many bytes are read many to a task, so that a round trip each is saved.
const SMALL_BYTES: u64 = 4 << 20;
const TASK_TABLES_MAX: usize = 100;
/// A table is only split where its parts are worth a query of their own.
const PART_BYTES_MIN: u64 = 64 << 20;

/// Splits tables into tasks, the largest first.
pub(crate) fn split(loads: &[Load<'_>], jobs: usize) -> VecDeque<Task> {
    let mut loads = loads.to_vec();
    loads.sort_by_key(|load| (std::cmp::Reverse(load.bytes), load.index));
    let total: u64 = loads.iter().map(|load| load.bytes).sum();
    let small = loads.partition_point(|load| load.bytes >= SMALL_BYTES);
    let mut tasks = VecDeque::new();
    for load in &loads[..small] {
        tasks.extend(parts(load, total, jobs).into_iter().map(|part| vec![part]));
    }
    let mut task = Task::new();
    // Many to a task, but not so many that one connection gets them all.
    let share = (loads.len() - small).div_ceil(jobs).clamp(1, TASK_TABLES_MAX);
    for load in &loads[small..] {
        task.extend(parts(load, total, jobs));
        if task.len() >= share || task.iter().map(|part| part.bytes).sum::<u64>() > SMALL_BYTES {
            tasks.push_back(std::mem::take(&mut task));
        }
    }
    if !task.is_empty() {
        tasks.push_back(task);
    }
    tasks
}

/// One part, or several where the table alone would keep one connection busy after the others are done.
fn parts(load: &Load<'_>, total: u64, jobs: usize) -> Vec<Part> {
    let whole = Part { index: load.index, pages: None, bytes: load.bytes };
    if let Some(ranges) = load.only {
        let bytes = load.bytes / ranges.len().max(1) as u64;
        return ranges.iter().map(|pages| Part { pages: *pages, bytes, ..whole }).collect();
    }
    let fair = total / jobs as u64;
    let count = load.bytes.div_ceil(fair.max(PART_BYTES_MIN)).min(u64::from(load.pages)).min(256) as u32;
    if jobs == 1 || count < 2 {
        return vec![whole];
    }
    let bound = |i: u32| (u64::from(load.pages) * u64::from(i) / u64::from(count)) as u32;
    (0..count)
        .map(|i| {
            // The last part is open: pages that were appended since the estimate belong to it.
            let to = (i + 1 < count).then(|| bound(i + 1));
            Part { pages: Some((bound(i), to)), bytes: load.bytes / u64::from(count), ..whole }
        })
        .collect()
}

/// Runs `worker` on `jobs` threads until the tasks are done; the first error empties the queue.
pub(crate) fn run<R: Send, E: Send>(
    tasks: VecDeque<Task>,
    jobs: usize,
    worker: impl Fn(&dyn Fn() -> Option<Task>) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let jobs = jobs.min(tasks.len()).max(1);
    let queue = Mutex::new(tasks);
    let lock = || queue.lock().unwrap_or_else(PoisonError::into_inner);
    let next = || lock().pop_front();
    let run_one = || {
        let result = worker(&next);
        if result.is_err() {
            lock().clear();
        }
        result
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..jobs).map(|_| scope.spawn(run_one)).collect();
        let mut results = vec![run_one()];
        results.extend(others.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }));
        results.into_iter().collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(index: usize, megabytes: u64) -> Load<'static> {
        Load { index, bytes: megabytes << 20, pages: (megabytes * 128) as u32, only: None }
    }

    #[test]
    fn large_tables_come_first_and_are_split_without_gap() {
        let tasks = split(&[load(0, 1), load(1, 1_000), load(2, 100)], 2);
        let parts: Vec<Part> = tasks.iter().flatten().copied().collect();
        assert_eq!(parts.iter().map(|part| part.index).collect::<Vec<_>>(), [1, 1, 2, 0]);
        assert_eq!(parts[0].pages, Some((0, Some(64_000))));
        assert_eq!(parts[1].pages, Some((64_000, None)));
        assert_eq!(parts[2].pages, None);
    }

    #[test]
    fn small_tables_share_tasks_and_connections() {
        let tasks = split(&(0..1_000).map(|i| load(i, 0)).collect::<Vec<_>>(), 2);
        assert_eq!(tasks.iter().map(Vec::len).collect::<Vec<_>>(), [100; 10]);
        assert_eq!(split(&[load(0, 0), load(1, 0)], 2).len(), 2);
        assert!(split(&[], 4).is_empty());
    }

    #[test]
    fn only_the_wanted_ranges_are_read() {
        let ranges = [Some((0, Some(8))), Some((24, Some(32)))];
        for megabytes in [1, 1_000] {
            let tasks = split(&[Load { only: Some(&ranges), ..load(0, megabytes) }, load(1, 0)], 2);
            let pages = |index| tasks.iter().flatten().filter(move |part| part.index == index);
            assert_eq!(pages(0).map(|part| part.pages).collect::<Vec<_>>(), ranges, "{megabytes}");
            assert_eq!(pages(1).map(|part| part.pages).collect::<Vec<_>>(), [None], "{megabytes}");
        }
    }

    #[test]
    fn every_task_runs_once_and_an_error_stops_the_rest() {
        let tasks = || split(&(0..400).map(|i| load(i, 5)).collect::<Vec<_>>(), 4);
        let done = run(tasks(), 4, |next| Ok::<_, ()>(std::iter::from_fn(next).flatten().count())).unwrap();
        assert_eq!(done.iter().sum::<usize>(), 400);
        assert_eq!(run(tasks(), 4, |next| next().map_or(Ok(()), |_| Err("broken"))), Err("broken"));
    }
}
