//! Comparing the content of an object with that of its copy.

use std::io::{self, Write};
use std::panic;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Result, bail};
use sha2::{Digest, Sha256};

use super::judgement::{ObjectComparison, difference, same_by_checksum};
use verify_drill::interrupt::{self, interrupted};
use verify_drill::store::{Head, Object, Store};

/// At most this many objects that cannot be read are findings; with more, a side is not there.
const UNREADABLE_MAX: usize = 20;
/// At most this many objects are compared at once.
const JOBS: usize = 8;

/// Policy for reading objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadPolicy {
    /// Objects without a checksum of the same kind on both services.
    WhereNeeded,
    /// All of them, on both sides.
    Everything,
}

/// An object and its copy, if it has one.
pub(super) type Pair = (Object, Option<Object>);

/// Compares each original with its copy; the outcomes are in the order of the pairs.
pub(super) fn outcomes(
    a: &dyn Store,
    b: &dyn Store,
    pairs: &[Pair],
    reading: ReadPolicy,
) -> Result<Vec<ObjectComparison>> {
    let queue = Mutex::new(pairs.iter().enumerate());
    let next = || queue.lock().ok().and_then(|mut queue| queue.next());
    let unreadable = AtomicUsize::new(0);
    let go_on = || !interrupt::asked() && unreadable.load(Ordering::Relaxed) <= UNREADABLE_MAX;
    let work = || {
        let mut done = Vec::new();
        while let Some((place, (original, copy))) = next().filter(|_| go_on()) {
            let outcome = outcome(a, b, original, copy.as_ref(), reading);
            let failed = usize::from(matches!(outcome, ObjectComparison::Unreadable(_)));
            unreadable.fetch_add(failed, Ordering::Relaxed);
            done.push((place, outcome));
        }
        done
    };
    let mut done: Vec<(usize, ObjectComparison)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..JOBS.min(pairs.len())).map(|_| scope.spawn(work)).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, _>| {
            worker.join().unwrap_or_else(|cause| panic::resume_unwind(cause))
        };
        workers.into_iter().flat_map(join).collect()
    });
    if interrupt::asked() {
        return Err(interrupted().into());
    }
    if done.len() != pairs.len() {
        let mut reasons = done.into_iter().filter_map(|(_, outcome)| match outcome {
            ObjectComparison::Unreadable(reason) => Some(reason),
            _ => None,
        });
        let last = reasons.next_back().unwrap_or_default();
        bail!(
            "failed to compare the objects: more than {UNREADABLE_MAX} could not be read, the last one because: {last}"
        );
    }
    done.sort_by_key(|(place, _)| *place);
    Ok(done.into_iter().map(|(_, outcome)| outcome).collect())
}

fn outcome(
    a: &dyn Store,
    b: &dyn Store,
    original: &Object,
    copy: Option<&Object>,
    reading: ReadPolicy,
) -> ObjectComparison {
    match copy {
        None => without_copy(a.head(&original.key)),
        Some(copy) if copy.size != original.size => difference(original, copy),
        Some(copy) => compare_content(a, b, original, copy, reading)
            .unwrap_or_else(|error| ObjectComparison::Unreadable(format!("{error:#}"))),
    }
}

/// Result for an object without a copy: it may have been deleted on both sides after it was listed.
fn without_copy(original: Result<Option<Head>>) -> ObjectComparison {
    match original {
        Ok(Some(_)) => ObjectComparison::Missing,
        Ok(None) => ObjectComparison::Deleted,
        Err(error) => ObjectComparison::Unreadable(format!("{error:#}")),
    }
}

fn compare_content(
    a: &dyn Store,
    b: &dyn Store,
    original: &Object,
    copy: &Object,
    reading: ReadPolicy,
) -> Result<ObjectComparison> {
    if reading == ReadPolicy::WhereNeeded {
        let (Some(of_original), of_copy) = (a.head(&original.key)?, b.head(&copy.key)?) else {
            return Ok(ObjectComparison::Deleted);
        };
        let Some(of_copy) = of_copy else { return Ok(ObjectComparison::Missing) };
        match same_by_checksum(&of_original, &of_copy) {
            Some(true) if of_original.size == of_copy.size => return Ok(ObjectComparison::EqualByChecksum),
            Some(_) => return Ok(difference(original, copy)),
            None => {}
        }
    }
    let Some(of_original) = digest(a, &original.key)? else { return Ok(ObjectComparison::Deleted) };
    let Some(of_copy) = digest(b, &copy.key)? else { return Ok(ObjectComparison::Missing) };
    Ok(if of_original == of_copy { ObjectComparison::EqualByReading } else { difference(original, copy) })
}

/// The SHA-256 of what is read now.
fn digest(bucket: &dyn Store, key: &str) -> Result<Option<[u8; 32]>> {
    let mut hashing = Hashing(Sha256::new());
    Ok(bucket.read(key, &mut hashing)?.map(|_| hashing.0.finalize().into()))
}

struct Hashing(Sha256);

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use anyhow::anyhow;
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn a_copy_is_missing_only_while_its_original_is_there() {
        let (modified, checksums) = (Timestamp::UNIX_EPOCH, BTreeMap::new());
        let head = Head { size: 1, modified, checksums, replication: None, locked_until: None };
        for (original, outcome) in [
            (Ok(Some(head)), ObjectComparison::Missing),
            (Ok(None), ObjectComparison::Deleted),
            (Err(anyhow!("no answer")), ObjectComparison::Unreadable("no answer".to_owned())),
        ] {
            assert_eq!(without_copy(original), outcome);
        }
    }
}
