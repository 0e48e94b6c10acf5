//! Writing an object: whole or not at all, and never over an existing one unless asked to.

use std::io::Read;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::Bucket;
use super::client::Limits;
use super::failure::Failure;
use super::retention::Retention;
use verify_drill::interrupt::{self, interrupted};
use verify_drill::runtime::{block_on, unless_interrupted};
use verify_drill::store::{Existing, Store as _};
use verify_drill::until::{Check, Pace, Waited, until};

/// Size of the parts of longer objects, of which a service accepts 10,000.
const PART_BYTES: usize = 16 << 20;
const ATTEMPTS_MAX: u32 = 4;
const ANY: &str = "*";

/// Hint for a name that is taken.
const TAKEN: &str = "it already exists, and evidence is never overwritten; use another key";

impl Bucket {
    /// Writes what `from` gives. It is in the bucket when this returns without an error, and not before.
    pub(crate) fn put(&self, key: &str, from: &mut dyn Read, existing: Existing) -> Result<()> {
        let mut put = || {
            let retention = self.retention()?;
            let first = part(from)?;
            if first.len() < PART_BYTES {
                self.put_whole(key, &first, existing, retention.as_ref())
            } else {
                block_on(self.put_parts(key, first, from, existing, retention.as_ref()))
            }
        };
        put().with_context(|| self.doing("write", key))
    }

    /// Checks that an object could be written there, as far as possible without writing.
    pub(crate) fn check_free(&self, key: &str, existing: Existing) -> Result<()> {
        let there = self.head(key)?.is_some();
        if there && existing == Existing::Refuse {
            bail!("{}: it already exists; replace it with --force", self.doing("write", key));
        }
        self.retention().map(drop).with_context(|| self.doing("write", key))
    }

    fn retention(&self) -> Result<Option<Retention>> {
        match self.location.retain {
            None => Ok(None),
            asked => self.lock()?.retention(asked, self.location.retain_mode, SystemTime::now()),
        }
    }

    /// One request. The retries are ours: one that follows a lost answer may find what the first one wrote.
    fn put_whole(
        &self,
        key: &str,
        content: &[u8],
        existing: Existing,
        retention: Option<&Retention>,
    ) -> Result<()> {
        let sha256 = STANDARD.encode(Sha256::digest(content));
        let (mut attempts, mut unsure, cleaning_up) = (0, false, interrupt::asked());
        let stop = || !cleaning_up && interrupt::asked();
        let put = until(self.limits.total, Pace::REMOTE, stop, || {
            attempts += 1;
            let mut request = self
                .client
                .put_object()
                .bucket(&self.location.bucket)
                .key(self.full_key(key))
                .set_if_none_match(condition(existing))
                .checksum_sha256(&sha256)
                .body(ByteStream::from(content.to_vec()));
            if let Some(Retention { mode, until }) = retention {
                request = request
                    .object_lock_mode(mode.as_str().into())
                    .object_lock_retain_until_date(DateTime::from(*until));
            }
            let request = request.customize().config_override(self.limits.upload(content.len(), 1));
            let Err(error) = block_on(unless_interrupted(request.send()))? else {
                return Ok(Check::Done(()));
            };
            let failure = Failure::new(&error);
            if failure.is_condition() {
                return if unsure && block_on(self.holds(key, content, &sha256))? {
                    Ok(Check::Done(()))
                } else {
                    bail!(TAKEN)
                };
            }
            unsure |= failure.is_unsure();
            if !failure.is_passing() || attempts == ATTEMPTS_MAX || cleaning_up {
                return Err(failure.into());
            }
            Ok(Check::Waiting(failure))
        })?;
        match put {
            Waited::Done(()) => Ok(()),
            Waited::TimedOut(failure) => Err(failure.into()),
            Waited::Stopped => Err(interrupted().into()),
        }
    }

    /// Returns whether the existing object has this content.
    async fn holds(&self, key: &str, content: &[u8], sha256: &str) -> Result<bool> {
        let request = self.client.head_object().bucket(&self.location.bucket).key(self.full_key(key));
        let mode = aws_sdk_s3::types::ChecksumMode::Enabled;
        let found = unless_interrupted(request.checksum_mode(mode).send()).await?;
        let found = found.map_err(|error| Failure::new(&error))?;
        let same_size =
            found.content_length().and_then(|size| usize::try_from(size).ok()) == Some(content.len());
        Ok(same_size && found.checksum_sha256() == Some(sha256))
    }

    /// Several requests; the object appears with the last one.
    async fn put_parts(
        &self,
        key: &str,
        first: Vec<u8>,
        from: &mut dyn Read,
        existing: Existing,
        retention: Option<&Retention>,
    ) -> Result<()> {
        let mut request = self
            .client
            .create_multipart_upload()
            .bucket(&self.location.bucket)
            .key(self.full_key(key))
            .checksum_algorithm(ChecksumAlgorithm::Sha256);
        if let Some(Retention { mode, until }) = retention {
            request = request
                .object_lock_mode(mode.as_str().into())
                .object_lock_retain_until_date(DateTime::from(*until));
        }
        let begun = unless_interrupted(request.send()).await?.map_err(|error| Failure::new(&error))?;
        let upload = begun.upload_id().context("the service sent no upload ID")?;
        let sent = self.send_parts(key, upload, first, from).await;
        let put = match sent {
            Ok(parts) => self.complete(key, upload, parts, existing).await,
            Err(error) => Err(error),
        };
        if put.is_err() {
            // Parts cost money until a rule of the bucket removes them; there is nothing else to do about it.
            let abort = self.client.abort_multipart_upload().bucket(&self.location.bucket);
            let abort = abort.key(self.full_key(key)).upload_id(upload);
            let _ = match interrupt::asked() {
                true => abort.customize().config_override(Limits::cleanup()).send().await,
                false => abort.send().await,
            };
        }
        put
    }

    async fn send_parts(
        &self,
        key: &str,
        upload: &str,
        first: Vec<u8>,
        from: &mut dyn Read,
    ) -> Result<Vec<CompletedPart>> {
        let (mut parts, mut content) = (Vec::new(), first);
        while !content.is_empty() {
            if interrupt::asked() {
                return Err(interrupted().into());
            }
            let number = i32::try_from(parts.len() + 1)?;
            let sha256 = STANDARD.encode(Sha256::digest(&content));
            let request = self.client.upload_part().bucket(&self.location.bucket).key(self.full_key(key));
            let request = request.upload_id(upload).part_number(number).checksum_sha256(&sha256);
            let limits = self.limits.upload(content.len(), ATTEMPTS_MAX);
            let request = request.body(ByteStream::from(content)).customize().config_override(limits);
            let sent = unless_interrupted(request.send()).await?.map_err(|error| Failure::new(&error))?;
            let done = CompletedPart::builder().part_number(number).checksum_sha256(sha256);
            parts.push(done.set_e_tag(sent.e_tag().map(str::to_owned)).build());
            content = part(from)?;
        }
        Ok(parts)
    }

    async fn complete(
        &self,
        key: &str,
        upload: &str,
        parts: Vec<CompletedPart>,
        existing: Existing,
    ) -> Result<()> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let request = self
            .client
            .complete_multipart_upload()
            .bucket(&self.location.bucket)
            .key(self.full_key(key))
            .upload_id(upload)
            .set_if_none_match(condition(existing))
            .multipart_upload(parts);
        let request = request.customize().config_override(self.limits.assembly());
        match unless_interrupted(request.send()).await? {
            Ok(_) => Ok(()),
            Err(error) => {
                let failure = Failure::new(&error);
                if failure.is_condition() || failure.is_conflict() {
                    bail!(TAKEN);
                }
                let unsure = failure.is_unsure();
                let failed = Err(failure);
                if unsure {
                    failed.context("the answer was lost; checking whether the object exists")
                } else {
                    Ok(failed?)
                }
            }
        }
    }
}

fn condition(existing: Existing) -> Option<String> {
    (existing == Existing::Refuse).then(|| ANY.to_owned())
}

/// The next part, shorter than the others only at the end.
fn part(from: &mut dyn Read) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    from.take(PART_BYTES as u64)
        .read_to_end(&mut content)
        .context("failed to read the document to be written")?;
    Ok(content)
}
