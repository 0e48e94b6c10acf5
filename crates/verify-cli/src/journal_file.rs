//! The file of `--resume`: the journal of a comparison, which one run at a time appends to.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use clap::Args;
use verify_core::journal::Journal;
use verify_core::reuse::{AppendLine, OpenJournal};
use verify_core::{Error, ErrorKind};

use crate::terminal;
use verify_drill::hint::Hinted;
use verify_drill::store::refuse_remote;

/// The remedy where there can be no journal.
const OTHER_PATH: &str = "name a file in a directory that exists and that you may write to";

/// Where a run that is cut off can go on.
#[derive(Args)]
pub(crate) struct ResumeFlag {
    /// Keep the measurement of each table in this file as soon as it is complete, and use those that an interrupted run has left in it:
    /// the same command goes on where it was cut off. If a transaction has written to the server since, or the server was restarted,
    /// the tables are read again, and the reason is printed. The file is removed when the report is complete
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
}

/// The open file, which other runs cannot use meanwhile.
pub(crate) struct JournalFile {
    path: PathBuf,
    content: Journal,
    /// Appends a line. It has the file, hence the lock.
    append: Box<AppendLine<'static>>,
}

impl ResumeFlag {
    /// Opens the file, and creates it if it does not exist.
    ///
    /// # Errors
    ///
    /// If it cannot be written, another run uses it, or it is not a journal.
    pub(crate) fn open(&self) -> Result<Option<JournalFile>> {
        let open = |path: &PathBuf| {
            JournalFile::open(path).with_context(|| format!("failed to resume from {}", path.display()))
        };
        self.resume.as_ref().map(open).transpose()
    }
}

impl JournalFile {
    fn open(path: &Path) -> Result<Self> {
        refuse_remote(path)?;
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(Hinted::new("it is not a regular file", OTHER_PATH).into());
        }
        let opened = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path);
        let mut file = opened.map_err(|error| Hinted::new(error.to_string(), OTHER_PATH))?;
        let is_free = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(error)) => return Err(error.into()),
        };
        // The run that had it may have removed it after it was opened here.
        if !is_free || file.metadata()?.nlink() == 0 {
            return Err(Hinted::new("another run uses it", "wait for its end, or name another file").into());
        }
        let content = Journal::read(BufReader::new(&file))?;
        end_torn_line(&mut file)?;
        let (file, doing) = (Mutex::new(file), format!("append to {}", path.display()));
        let append = move |line: &[u8]| {
            let written = file.lock().unwrap_or_else(PoisonError::into_inner).write_all(line);
            written.map_err(|error| Error::with_source(ErrorKind::File, doing.clone(), error))
        };
        Ok(Self { path: path.to_owned(), content, append: Box::new(append) })
    }

    /// The journal for a comparison.
    pub(crate) fn lend(&self) -> OpenJournal<'_> {
        OpenJournal { content: &self.content, append: &*self.append }
    }

    /// Removes the file: the report has everything that it was kept for.
    pub(crate) fn remove(self) {
        if let Err(error) = fs::remove_file(&self.path) {
            terminal::print_note(&format!("could not remove {}: {error}\n", self.path.display()));
        }
    }
}

/// Ends a line that was torn, so that the next one has a line of its own.
fn end_torn_line(file: &mut File) -> Result<()> {
    let mut last = [b'\n'];
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    if last != [b'\n'] {
        file.write_all(b"\n")?;
    }
    Ok(())
}

/// Where rows must be those of one snapshot, which does not outlive a run.
#[derive(Args)]
pub(crate) struct NoResumeFlag {
    #[arg(long, value_name = "FILE", num_args = 0..=1, hide = true)]
    resume: Option<Option<PathBuf>>,
}

impl NoResumeFlag {
    /// Refuses the flag.
    pub(crate) fn check(&self, command: &str) -> Result<()> {
        if self.resume.is_none() {
            return Ok(());
        }
        let text = format!(
            "failed to resume: `{command}` cannot go on where it was cut off, since all rows must be those of one snapshot, and that of \
             the interrupted run has ended with it"
        );
        Err(Hinted::new(text, "run it again without --resume; `verify` and `compare` can go on").into())
    }
}
