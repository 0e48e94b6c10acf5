//! Symbolic links in restored files, which must not lead a server into the directories of another one.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use verify_drill::hint::Hinted;

/// Fails if a link in `directory` leads to a directory outside of `scratch`: a server that runs on it would write there.
pub(super) fn refuse_outside(directory: &Path, scratch: &Path) -> Result<()> {
    let doing = || format!("failed to read the restored directory {}", directory.display());
    for entry in fs::read_dir(directory).with_context(doing)? {
        let entry = entry.with_context(doing)?;
        let (path, kind) = (entry.path(), entry.file_type().with_context(doing)?);
        if kind.is_dir() {
            refuse_outside(&path, scratch)?;
        } else if kind.is_symlink() && path.is_dir() {
            let target = path.canonicalize().with_context(doing)?;
            let scratch = scratch.canonicalize().with_context(doing)?;
            if !target.starts_with(scratch) {
                let text = format!(
                    "failed to use the restored files: {} is a link to {}, which may be in use by another server",
                    path.display(),
                    target.display()
                );
                let hint = "have the tool restore WAL and tablespaces below the data directory";
                return Err(Hinted::new(text, hint).into());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_to_a_directory_elsewhere_is_refused() {
        let (scratch, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let data = scratch.path().join("data");
        fs::create_dir_all(data.join("pg_tblspc")).unwrap();
        fs::create_dir(scratch.path().join("tablespace")).unwrap();
        symlink(scratch.path().join("tablespace"), data.join("pg_tblspc/1")).unwrap();
        symlink("/absent/certificate", data.join("server.crt")).unwrap();
        refuse_outside(&data, scratch.path()).unwrap();
        for name in ["pg_tblspc/2", "pg_wal"] {
            let link = data.join(name);
            symlink(elsewhere.path(), &link).unwrap();
            let error = refuse_outside(&data, scratch.path()).unwrap_err().to_string();
            assert!(error.contains(&link.display().to_string()), "{error}");
            fs::remove_file(link).unwrap();
        }
    }
}
