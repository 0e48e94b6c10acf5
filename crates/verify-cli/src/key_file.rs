//! The file with the key of the rows' hash, which all parts of a capture share.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use verify_core::digest::{HashKey, from_hex};

use verify_drill::hint::Hinted;

/// A longer file has something else in it.
const BYTES_MAX: u64 = 100;

/// Reads the key. No part of the file is in an error: it may be another secret.
pub(crate) fn read(path: &Path) -> Result<HashKey> {
    let doing = || format!("failed to read the key in {}", path.display());
    let mut text = Vec::new();
    File::open(path).with_context(doing)?.take(BYTES_MAX).read_to_end(&mut text).with_context(doing)?;
    let key = std::str::from_utf8(&text).ok().and_then(|text| from_hex(text.trim_end())).map(HashKey);
    key.ok_or_else(|| {
        let text = format!("{}: it does not have 64 hexadecimal digits and nothing else", doing());
        Hinted::new(text, "create it after the snapshot was exported: openssl rand -hex 32 > KEY").into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_exactly_its_digits_and_is_never_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let digits = "0aF1".repeat(16);
        for good in [digits.clone(), format!("{digits}\n"), format!("{digits}\r\n")] {
            std::fs::write(&path, good).unwrap();
            assert_eq!(read(&path).unwrap().0[..2], [0x0a, 0xf1]);
        }
        let bad = [
            "",
            "0aF1",
            &digits[1..],
            &format!("{digits}0"),
            &format!("{digits}\n{digits}"),
            &format!(" {digits}"),
        ];
        for bad in bad {
            std::fs::write(&path, bad).unwrap();
            let error = format!("{:#}", read(&path).unwrap_err());
            assert!(!error.contains("aF1"), "{error}");
        }
        assert!(read(&directory.path().join("none")).is_err());
    }
}
