//! An object in the making: collected in a file of this machine, and put in one step.

use std::io::{BufWriter, Seek, Write};

use anyhow::{Context, Result};
use tempfile::NamedTempFile;

use super::Bucket;
use verify_drill::store::{Draft, Existing};

/// An object in the making; nothing is in the bucket unless it is kept.
#[derive(Debug)]
pub(crate) struct ObjectDraft {
    bucket: Bucket,
    key: String,
    existing: Existing,
    file: NamedTempFile,
}

impl ObjectDraft {
    /// Checks whether the object may be written, before the work begins.
    pub(crate) fn new(bucket: Bucket, key: &str, existing: Existing) -> Result<Self> {
        bucket.check_free(key, existing)?;
        let file = NamedTempFile::with_prefix("state-lab-").context("failed to create a file in TMPDIR")?;
        Ok(Self { bucket, key: key.to_owned(), existing, file })
    }

    #[cfg(test)]
    pub(crate) fn path(&self) -> &std::path::Path {
        self.file.path()
    }
}

impl Draft for ObjectDraft {
    /// Writes the content to the bucket. Where only that fails, the content stays on this machine, for it may have
    /// taken hours to come by.
    fn keep(mut self: Box<Self>, write: &mut dyn FnMut(&mut dyn Write) -> Result<()>) -> Result<()> {
        let doing = self.bucket.doing("write", &self.key);
        let mut to = BufWriter::new(self.file.as_file_mut());
        write(&mut to).and_then(|()| Ok(to.flush()?)).with_context(|| doing)?;
        drop(to);
        self.file.as_file_mut().rewind().context("failed to read the written document")?;
        let put = self.bucket.put(&self.key, self.file.as_file_mut(), self.existing);
        put.map_err(|error| match self.file.keep() {
            Ok((_, path)) => {
                error.context(format!("failed to store the document; it is complete in {}", path.display()))
            }
            Err(_) => error,
        })
    }
}
