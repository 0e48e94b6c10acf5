//! Artefacts that Velero keeps of a backup or restore: where they are in the bucket, and how they are unpacked.

use std::io::Read;

use anyhow::{Context, Result, ensure};
use flate2::read::MultiGzDecoder;
use serde::de::DeserializeOwned;

/// The most that is unpacked, in bytes. Untrusted data may unpack to anything.
pub(super) const UNPACKED_LEN_MAX: u64 = 64 << 20;

/// File that Velero writes to the bucket at the end of a backup or restore.
#[derive(Clone, Copy, Debug)]
pub enum Artefact {
    /// The texts of errors and warnings.
    Results,
    /// Volumes of a backup, and their data.
    VolumeInfos,
    /// Velero's own log.
    Logs,
}

impl Artefact {
    /// The key of a backup's.
    pub fn of_backup(self, name: &str) -> String {
        format!("backups/{name}/{name}-{}", self.file())
    }

    /// The key of a restore's.
    pub fn of_restore(self, name: &str) -> String {
        format!("restores/{name}/restore-{name}-{}", self.file())
    }

    const fn file(self) -> &'static str {
        match self {
            Self::Results => "results.gz",
            Self::VolumeInfos => "volumeinfo.json.gz",
            Self::Logs => "logs.gz",
        }
    }
}

/// The value that a packed JSON artefact holds.
///
/// # Errors
///
/// If it is not gzip, is cut, is too large, or holds something else.
pub(super) fn decode_json<T: DeserializeOwned>(packed: &[u8], what: &str) -> Result<T> {
    let mut text = Vec::new();
    MultiGzDecoder::new(packed)
        .take(UNPACKED_LEN_MAX + 1)
        .read_to_end(&mut text)
        .with_context(|| format!("failed to unpack {what}"))?;
    ensure!(text.len() as u64 <= UNPACKED_LEN_MAX, "{what} unpack to more than {UNPACKED_LEN_MAX} bytes");
    serde_json::from_slice(&text).with_context(|| format!("failed to read {what}"))
}

#[cfg(test)]
pub(super) fn pack(text: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    flate2::read::GzEncoder::new(text, flate2::Compression::fast()).read_to_end(&mut packed).unwrap();
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(packed: &[u8]) -> String {
        format!("{:#}", decode_json::<Vec<u8>>(packed, "the results").unwrap_err())
    }

    #[test]
    fn what_is_cut_or_no_gzip_or_too_large_is_refused() {
        let packed = pack(b"[1, 2]");
        assert_eq!(decode_json::<Vec<u8>>(&packed, "the results").unwrap(), [1, 2]);
        assert!(error(b"[1, 2]").starts_with("failed to unpack the results: "), "{}", error(b"[1, 2]"));
        assert!(error(&packed[..packed.len() - 9]).starts_with("failed to unpack the results: "));
        assert!(error(&pack(b"{}")).starts_with("failed to read the results: "));
        let huge = pack(&vec![b' '; UNPACKED_LEN_MAX as usize + 1]);
        assert_eq!(error(&huge), "the results unpack to more than 67108864 bytes");
    }
}
