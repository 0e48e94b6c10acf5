//! `capture --all-databases`: a manifest for each database of a server, in a directory.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use verify_core::capture;
use verify_core::databases::ServerDatabase;
use verify_core::plan::Plan;
use verify_core::table::shown_text;
use verify_drill::backup_name::file_safe;
use verify_drill::failure::is_interruption;
use verify_drill::hint::Hinted;
use verify_drill::interrupt;
use verify_drill::store::{Existing, S3Table, Store};
use verify_local::server_databases;

use crate::connect::Target;
use crate::exit::Exit;
use crate::globals::Globals;
use crate::render::server::{CapturedDatabase, FailedDatabase, ServerCapture};
use crate::store;

/// What the name of each manifest ends with.
pub(super) const EXTENSION: &str = ".manifest";

/// Captures each open database of a server into `folder`, which must be new or empty. An error of one is part of the result.
pub(super) fn run(
    folder: &Path,
    server: &Target,
    plan: &Plan,
    s3: &S3Table,
    globals: &Globals,
) -> Result<Exit> {
    let (settings, databases) = server_databases(&server.settings())?;
    let (open, closed): (Vec<_>, Vec<_>) = databases.into_iter().partition(|database| database.is_open);
    let is_new = !folder.exists();
    store::create_folder(folder)?;
    let manifests = store::folder_or_bucket(folder, s3)?;
    if !manifests.list("")?.is_empty() {
        let text = format!("failed to capture into {}: it is not empty", folder.display());
        return Err(Hinted::new(text, "give a new directory, for example one whose name is the date").into());
    }
    let (mut captured, mut errors) = (Vec::new(), Vec::new());
    for (index, ServerDatabase { name, .. }) in open.iter().enumerate() {
        let key = format!("{}{EXTENSION}", file_safe(name));
        let doing = format!("capturing {}, {} of {}", shown_text(name), index + 1, open.len());
        match capture(&*manifests, &key, &Target::new(settings.with_database(name)), plan, &doing, globals) {
            Ok(manifest) => {
                captured.push(CapturedDatabase::new(&manifest, folder.join(&key).display().to_string()));
            }
            Err(error) if is_interruption(&error) || interrupt::asked() => {
                remove(&*manifests, folder, is_new);
                return Err(error);
            }
            Err(error) => errors.push(FailedDatabase::new(name.clone(), &error)),
        }
    }
    let closed = closed.into_iter().map(|database| database.name).collect();
    let document = ServerCapture::new(folder.display().to_string(), captured, errors, closed);
    globals.terminal().result(&document, |style| document.text(style))?;
    Ok(document.exit())
}

fn capture(
    manifests: &dyn Store,
    key: &str,
    target: &Target,
    plan: &Plan,
    doing: &str,
    globals: &Globals,
) -> Result<verify_core::manifest::Manifest> {
    let draft = manifests.draft(key, Existing::Refuse)?;
    let progress = globals.terminal().progress(doing);
    let manifest = capture::capture(&target.database().or_standby(), plan, &|event| progress.take(event))
        .with_context(|| format!("failed to capture {}", target.place))?;
    drop(progress);
    draft.keep(&mut |to| Ok(manifest.write(to)?))?;
    Ok(manifest)
}

/// Removes what an interrupted run has written: some of the databases are not the server.
fn remove(manifests: &dyn Store, folder: &Path, is_new: bool) {
    // What is left can be seen; the error that is reported is the interruption.
    for object in manifests.list("").unwrap_or_default() {
        let _ = manifests.delete(&object.key);
    }
    if is_new {
        let _ = fs::remove_dir(folder);
    }
}
