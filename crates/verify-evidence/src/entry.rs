//! The entries of a store: reading them, whether or not they are genuine.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::thread;

use anyhow::Result;
use ring::digest;
use verify_drill::store::{Object, Store};

use crate::envelope::Envelope;

/// Name of the report in the folder of its entry.
pub const REPORT: &str = "report.json";
/// Name of its SSHSIG signature.
pub const SIGNATURE: &str = "report.json.sig";
/// Name of its Sigstore bundle.
pub const BUNDLE: &str = "report.json.sigstore.json";
/// Name of its page, which is derived from the report and not signed.
pub const PAGE: &str = "report.html";

/// A larger report is not read.
pub const REPORT_BYTES_MAX: u64 = 64 << 20;
/// A larger signature or bundle is not read.
pub const SIGNATURE_BYTES_MAX: u64 = 256 << 10;

/// Entries that are read at the same time, each of which may be as large as a report.
const AT_ONCE: usize = 8;
/// Digits of an entry's number in the name of its folder, at least.
const DIGITS: usize = 6;
/// Beginning of the names of unfinished files.
const DRAFT: &str = ".state-lab-";

/// An entry of a store.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Number, from the name of its folder.
    pub sequence: u64,
    /// The report, or the reason why it cannot be read.
    pub report: Result<StoredReport, String>,
    /// True if there are both an SSHSIG signature and a Sigstore bundle. Whether they are genuine, only
    /// [`crate::verify`] finds out.
    pub has_signatures: bool,
}

/// A report that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredReport {
    /// SHA-256 of `report.json`, in hexadecimal.
    pub sha256: String,
    /// The content.
    pub envelope: Envelope,
}

/// Reads all reports of a store, in the order of their numbers, and gives each to `take`. Nothing is verified.
///
/// # Errors
///
/// If the store cannot be listed or read. A file that is not a report is not an error.
pub fn each(store: &dyn Store, mut take: impl FnMut(Entry)) -> Result<()> {
    let read = |sequence, names: &BTreeMap<String, u64>| entry(store, sequence, names);
    Listing::read(store)?.each(read, |_, entry| {
        take(entry);
        Ok(())
    })
}

/// Reads all reports of a store at once.
///
/// # Errors
///
/// As for [`each`].
pub fn entries(store: &dyn Store) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    each(store, |entry| entries.push(entry))?;
    Ok(entries)
}

/// Reads one report; `None` if the store has no entry of this number.
///
/// # Errors
///
/// As for [`each`].
pub fn find(store: &dyn Store, sequence: u64) -> Result<Option<Entry>> {
    let prefix = format!("{}/", folder(sequence));
    let listing = Listing::of(store.list(&prefix)?);
    listing.entries.get(&sequence).map(|names| entry(store, sequence, names)).transpose()
}

fn entry(store: &dyn Store, sequence: u64, names: &BTreeMap<String, u64>) -> Result<Entry> {
    let report = match content(store, sequence, REPORT, names, REPORT_BYTES_MAX)? {
        Ok(text) => Envelope::from_json(&text)
            .map(|envelope| StoredReport { sha256: sha256(&text), envelope })
            .map_err(|error| format!("{error:#}")),
        Err(reason) => Err(reason),
    };
    let has_signatures = [SIGNATURE, BUNDLE].iter().all(|name| names.contains_key(*name));
    Ok(Entry { sequence, report, has_signatures })
}

/// Reads an object of an entry; the inner error says why it has no usable content.
pub(crate) fn content(
    store: &dyn Store,
    sequence: u64,
    name: &str,
    names: &BTreeMap<String, u64>,
    bytes_max: u64,
) -> Result<Result<Vec<u8>, String>> {
    match names.get(name) {
        None => Ok(Err(format!("{name} does not exist"))),
        Some(size) if *size > bytes_max => Ok(Err(format!("{name} is larger than {bytes_max} bytes"))),
        Some(_) => {
            let found = store.get(&key(sequence, name), bytes_max)?;
            Ok(found.ok_or_else(|| format!("{name} does not exist")))
        }
    }
}

/// The key of an object of an entry.
pub fn key(sequence: u64, name: &str) -> String {
    format!("{}/{name}", folder(sequence))
}

/// The name of the folder of an entry.
pub fn folder(sequence: u64) -> String {
    format!("{sequence:0DIGITS$}")
}

/// The number of an entry, from the name of its folder as [`folder`] gives it.
pub fn number(name: &str) -> Option<u64> {
    name.parse().ok().filter(|number| *number > 0 && folder(*number) == name)
}

/// Returns whether an object is an unfinished file of a folder of this machine.
pub fn is_draft(key: &str) -> bool {
    key.rsplit('/').next().unwrap_or_default().starts_with(DRAFT)
}

/// SHA-256, in hexadecimal.
pub fn sha256(content: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, content).as_ref())
}

/// SHA-256 of what is read, in hexadecimal.
///
/// # Errors
///
/// If it cannot be read.
pub fn sha256_of(mut from: impl Read) -> io::Result<String> {
    let (mut context, mut buffer) = (digest::Context::new(&digest::SHA256), vec![0; 1 << 16]);
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(hex(context.finish().as_ref())),
            length => context.update(&buffer[..length]),
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The objects of a store, without unfinished files.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    entries: BTreeMap<u64, BTreeMap<String, u64>>,
    /// Keys that belong to no entry.
    pub(crate) foreign: Vec<String>,
}

impl Listing {
    pub(crate) fn read(store: &dyn Store) -> Result<Self> {
        Ok(Self::of(store.list("")?))
    }

    fn of(objects: Vec<Object>) -> Self {
        let mut listing = Self::default();
        for object in objects {
            if is_draft(&object.key) {
                continue;
            }
            match object.key.split_once('/').and_then(|(folder, name)| Some((number(folder)?, name))) {
                Some((sequence, name)) if !name.contains('/') => {
                    listing.entries.entry(sequence).or_default().insert(name.to_owned(), object.size);
                }
                _ => listing.foreign.push(object.key),
            }
        }
        listing
    }

    /// Reads the entries, several at a time, since a bucket takes its time to answer, and takes them in order. `read` gets
    /// the names and sizes of an entry's objects.
    pub(crate) fn each<T: Send>(
        &self,
        read: impl Fn(u64, &BTreeMap<String, u64>) -> Result<T> + Sync,
        mut take: impl FnMut(u64, T) -> Result<()>,
    ) -> Result<()> {
        let entries: Vec<_> = self.entries.iter().collect();
        for some in entries.chunks(AT_ONCE) {
            let results: Vec<Result<T>> = thread::scope(|scope| {
                let read = &read;
                let threads: Vec<_> = some
                    .iter()
                    .map(|(sequence, names)| scope.spawn(move || read(**sequence, names)))
                    .collect();
                let join = |thread: thread::ScopedJoinHandle<'_, _>| {
                    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                };
                threads.into_iter().map(join).collect()
            });
            for ((sequence, _), result) in some.iter().zip(results) {
                take(**sequence, result?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_a_number_in_one_spelling() {
        for (name, sequence) in [("000001", Some(1)), ("999999", Some(999_999)), ("1000000", Some(1_000_000))]
        {
            assert_eq!(number(name), sequence, "{name}");
        }
        for name in ["", "1", "000000", "0000001", "01000000", "00001a", "+00001", "99999999999999999999"] {
            assert_eq!(number(name), None, "{name}");
        }
    }
}
