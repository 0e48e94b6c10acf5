//! The files of manifests, put together from their pieces.

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::message::Part;

/// More is refused, were the other side hostile.
const BYTES_MAX: usize = 8 << 30;

/// The files of manifests, as far as they have arrived, in order.
#[derive(Debug, Default)]
pub struct Assembly {
    files: Vec<Vec<u8>>,
    bytes: usize,
    /// True if the last file is incomplete.
    open: bool,
}

impl Assembly {
    /// Takes the next piece.
    ///
    /// # Errors
    ///
    /// If it does not continue what has arrived.
    pub fn take(&mut self, part: &Part) -> Result<()> {
        if !self.open {
            self.files.push(Vec::new());
        }
        if part.database + 1 != self.files.len() {
            bail!("failed to receive a manifest: a part is missing");
        }
        let bytes =
            STANDARD.decode(&part.base64).context("failed to receive a manifest: a part is damaged")?;
        self.bytes = self.bytes.saturating_add(bytes.len());
        if self.bytes > BYTES_MAX {
            bail!("failed to receive the manifests: they are larger than {} GiB", BYTES_MAX >> 30);
        }
        if let Some(file) = self.files.last_mut() {
            file.extend(bytes);
        }
        self.open = !part.last;
        Ok(())
    }

    /// Number of complete files.
    pub fn whole(&self) -> usize {
        self.files.len() - usize::from(self.open)
    }

    /// All files.
    ///
    /// # Errors
    ///
    /// If there are not as many whole ones as expected.
    pub fn finish(self, expected: usize) -> Result<Vec<Vec<u8>>> {
        if self.open || self.files.len() != expected {
            bail!("failed to receive the manifests: {} of {expected} arrived", self.whole());
        }
        Ok(self.files)
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::parts;
    use super::*;

    #[test]
    fn files_of_any_size_arrive_whole_and_a_lost_piece_is_noticed() {
        let files = [Vec::new(), vec![7; 1_000_000], vec![1, 2, 3]];
        let all = || files.iter().enumerate().flat_map(|(index, file)| parts(index, file));
        let mut assembly = Assembly::default();
        all().try_for_each(|part| assembly.take(&part)).unwrap();
        assert_eq!(assembly.finish(3).unwrap(), files);
        let without = |lost: usize| {
            let mut assembly = Assembly::default();
            let kept = all().enumerate().filter(|(index, _)| *index != lost).map(|(_, part)| part);
            kept.into_iter().try_for_each(|part| assembly.take(&part))?;
            let files = assembly.finish(3)?;
            anyhow::Ok(files.iter().map(Vec::len).sum::<usize>())
        };
        for lost in [0, 3, 4] {
            assert!(without(lost).is_err(), "{lost}");
        }
        // The record's hash finds a piece that was lost in the middle.
        assert!(without(1).unwrap() < 1_000_003);
    }
}
