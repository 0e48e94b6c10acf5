//! A bucket, for callers that wait: reading, listing, deleting.

use std::io::Write;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{ChecksumMode, ChecksumType};
use jiff::Timestamp;

use super::client;
use super::client::Limits;
use super::failure::Failure;
use super::object_draft::ObjectDraft;
use super::retention::BucketLock;
use verify_drill::runtime::{block_on, unless_interrupted};
use verify_drill::store::{Checksum, Draft, Existing, Head, Location, Object, Store};

/// An answer that breaks off is taken up again so many times.
const RESUMPTIONS_MAX: u32 = 4;
/// More objects than this are not listed: memory is bounded.
const OBJECTS_MAX: usize = 2_000_000;

/// A folder of a bucket. Keys are those below its prefix.
#[derive(Clone, Debug)]
pub struct Bucket {
    pub(crate) client: Client,
    pub(crate) location: Location,
    pub(crate) limits: Limits,
    pub(crate) lock: OnceLock<BucketLock>,
}

impl Bucket {
    /// Makes the client. Sends no request yet, except for the bucket's region if it is not configured.
    pub fn open(location: &Location) -> Result<Self> {
        Self::open_within(location, Limits::default())
    }

    pub(crate) fn open_within(location: &Location, limits: Limits) -> Result<Self> {
        let client = block_on(unless_interrupted(client::client(location, &limits)))?
            .with_context(|| format!("failed to use {location}"))?;
        Ok(Self { client, location: location.clone(), limits, lock: OnceLock::new() })
    }

    async fn read_resuming(&self, key: &str, to: &mut dyn Write) -> Result<Option<u64>> {
        let (mut done, mut size, mut etag) = (0_u64, None, None);
        for resumption in 0.. {
            let request = self.client.get_object().bucket(&self.location.bucket).key(self.full_key(key));
            let request =
                request.set_if_match(etag.clone()).set_range((done > 0).then(|| format!("bytes={done}-")));
            let answer = match unless_interrupted(request.send()).await? {
                Ok(answer) => answer,
                Err(error) => {
                    let failure = Failure::new(&error);
                    return match failure.is_absence() && done == 0 {
                        true => Ok(None),
                        false if failure.is_condition() => bail!("it was replaced while it was read"),
                        false => Err(failure.into()),
                    };
                }
            };
            let rest = answer.content_length().and_then(|length| u64::try_from(length).ok());
            size = size.or(rest);
            etag = etag.or(answer.e_tag().map(str::to_owned));
            let (mut body, before) = (answer.body, done);
            let broken = loop {
                let next = tokio::time::timeout(self.limits.silence, body.try_next());
                match unless_interrupted(next).await? {
                    Ok(Ok(Some(bytes))) => {
                        to.write_all(&bytes)?;
                        done += bytes.len() as u64;
                    }
                    Ok(Ok(None)) => break None,
                    Ok(Err(error)) => break Some(Failure::broken(&error)),
                    // A service that has sent nothing at all is not asked again.
                    Err(_) if done == before => return Err(Failure::silent(done, self.limits.silence).into()),
                    Err(_) => break Some(Failure::silent(done, self.limits.silence)),
                }
            };
            match (broken, size) {
                (None, None) => return Ok(Some(done)),
                (None, Some(size)) if done == size => return Ok(Some(done)),
                (Some(failure), _) if resumption == RESUMPTIONS_MAX || etag.is_none() => {
                    return Err(failure.into());
                }
                (None, Some(size)) if resumption == RESUMPTIONS_MAX || etag.is_none() || done > size => {
                    bail!("{done} of {size} bytes arrived")
                }
                _ => {}
            }
        }
        unreachable!("the loop ends by returning")
    }

    /// HEAD answers 404 without saying of what; a bucket that is not there must not pass for an absent object.
    fn absent(&self, key: &str) -> Result<Option<Head>> {
        let request = self.client.head_bucket().bucket(&self.location.bucket);
        match block_on(unless_interrupted(request.send()))? {
            Err(error) if error.raw_response().is_some_and(|answer| answer.status().as_u16() == 404) => {
                let doing = self.doing("inspect", key);
                Err(Failure::no_such_bucket(&self.location.bucket)).context(doing)
            }
            // A client that may read objects need not be allowed to list buckets.
            _ => Ok(None),
        }
    }

    async fn each_page(
        &self,
        prefix: &str,
        delimiter: Option<&str>,
        mut take: impl FnMut(&aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output) -> Result<()>,
    ) -> Result<()> {
        let request =
            self.client.list_objects_v2().bucket(&self.location.bucket).prefix(self.full_key(prefix));
        let mut pages = request.set_delimiter(delimiter.map(str::to_owned)).into_paginator().send();
        while let Some(page) = unless_interrupted(pages.next()).await? {
            take(&page.map_err(|error| Failure::new(&error))?)?;
        }
        Ok(())
    }

    fn object(&self, object: &aws_sdk_s3::types::Object) -> Result<Object> {
        let whole = object.key().context("the service lists an object without a key")?;
        let key =
            whole.strip_prefix(&self.full_key("")).with_context(|| format!("{whole:?} was not requested"))?;
        let size = object.size().and_then(|size| u64::try_from(size).ok());
        Ok(Object {
            key: key.to_owned(),
            size: size.with_context(|| format!("the service sent no size of {whole:?}"))?,
            etag: object.e_tag().map(str::to_owned),
            modified: timestamp(object.last_modified()).with_context(|| format!("of {whole:?}"))?,
        })
    }

    pub(crate) fn full_key(&self, key: &str) -> String {
        match self.location.prefix.as_str() {
            "" => key.to_owned(),
            prefix => format!("{prefix}/{key}"),
        }
    }

    /// `failed to read s3://bucket/key at https://minio.example:9000`
    pub(crate) fn doing(&self, verb: &str, key: &str) -> String {
        let at = self.location.endpoint.as_ref().map_or(String::new(), |endpoint| format!(" at {endpoint}"));
        format!("failed to {verb} s3://{}/{}{at}", self.location.bucket, self.full_key(key))
    }

    /// Object lock configuration of the bucket, read once.
    pub(crate) fn lock(&self) -> Result<&BucketLock> {
        if let Some(lock) = self.lock.get() {
            return Ok(lock);
        }
        let request = self.client.get_object_lock_configuration().bucket(&self.location.bucket);
        let lock = match block_on(unless_interrupted(request.send()))? {
            Ok(found) => BucketLock::of(found.object_lock_configuration()),
            Err(error) => {
                let failure = Failure::new(&error);
                if failure.code() != Some("ObjectLockConfigurationNotFoundError") {
                    return Err(failure)
                        .with_context(|| self.doing("read the object lock configuration of", ""));
                }
                BucketLock::None
            }
        };
        Ok(self.lock.get_or_init(|| lock))
    }
}

impl Store for Bucket {
    fn place(&self) -> String {
        self.location.to_string()
    }

    fn read(&self, key: &str, to: &mut dyn Write) -> Result<Option<u64>> {
        block_on(self.read_resuming(key, to)).with_context(|| self.doing("read", key))
    }

    fn head(&self, key: &str) -> Result<Option<Head>> {
        let request = self.client.head_object().bucket(&self.location.bucket).key(self.full_key(key));
        match block_on(unless_interrupted(request.checksum_mode(ChecksumMode::Enabled).send()))? {
            Ok(found) => head(&found).map(Some).with_context(|| self.doing("inspect", key)),
            Err(error) => {
                let failure = Failure::new(&error);
                if failure.is_absence() {
                    self.absent(key)
                } else {
                    Err(failure).with_context(|| self.doing("inspect", key))
                }
            }
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        let doing = || self.doing("list", prefix);
        let mut objects = Vec::new();
        let listed = block_on(self.each_page(prefix, None, |page| {
            for object in page.contents() {
                objects.push(self.object(object)?);
            }
            if objects.len() > OBJECTS_MAX {
                bail!("there are more than {OBJECTS_MAX} objects");
            }
            Ok(())
        }));
        listed.with_context(doing)?;
        objects.sort_by(|one: &Object, other| one.key.cmp(&other.key));
        Ok(objects)
    }

    fn folders(&self, prefix: &str) -> Result<Vec<String>> {
        let whole = self.full_key(prefix);
        let mut names = Vec::new();
        let listed = block_on(self.each_page(prefix, Some("/"), |page| {
            let folders = page.common_prefixes().iter().filter_map(|folder| folder.prefix());
            let name =
                |folder: &str| folder.strip_prefix(&whole).map(|rest| rest.trim_end_matches('/').to_owned());
            names.extend(folders.filter_map(name));
            Ok(())
        }));
        listed.with_context(|| self.doing("list", prefix))?;
        names.sort();
        Ok(names)
    }

    fn draft(&self, key: &str, existing: Existing) -> Result<Box<dyn Draft>> {
        Ok(Box::new(ObjectDraft::new(self.clone(), key, existing)?))
    }

    fn delete(&self, key: &str) -> Result<()> {
        let request = self.client.delete_object().bucket(&self.location.bucket).key(self.full_key(key));
        block_on(unless_interrupted(request.send()))?
            .map_err(|error| Failure::new(&error))
            .with_context(|| self.doing("delete", key))?;
        Ok(())
    }

    /// Writes it in one request that the service refuses where the object is there.
    fn put_new(&self, key: &str, content: &[u8]) -> Result<()> {
        self.put(key, &mut &content[..], Existing::Refuse)
    }
}

fn head(found: &HeadObjectOutput) -> Result<Head> {
    let size = found.content_length().and_then(|size| u64::try_from(size).ok());
    let all = [
        (Checksum::Sha256, found.checksum_sha256()),
        (Checksum::Sha1, found.checksum_sha1()),
        (Checksum::Crc64Nvme, found.checksum_crc64_nvme()),
        (Checksum::Crc32C, found.checksum_crc32_c()),
        (Checksum::Crc32, found.checksum_crc32()),
    ];
    // A checksum of the parts' checksums depends on how the object was cut.
    let whole = |value: &str| found.checksum_type() != Some(&ChecksumType::Composite) && !value.contains('-');
    let checksums =
        all.into_iter().filter_map(|(kind, value)| Some((kind, value.filter(|value| whole(value))?)));
    Ok(Head {
        size: size.context("the service sent no size")?,
        modified: timestamp(found.last_modified())?,
        checksums: checksums.map(|(kind, value)| (kind, value.to_owned())).collect(),
        replication: found.replication_status().map(|status| status.as_str().to_owned()),
        locked_until: found.object_lock_retain_until_date().and_then(|until| instant(until).ok()),
    })
}

fn timestamp(time: Option<&DateTime>) -> Result<Timestamp> {
    instant(time.context("the service sent no modification time")?)
}

fn instant(time: &DateTime) -> Result<Timestamp> {
    let nanoseconds = i32::try_from(time.subsec_nanos()).unwrap_or(0);
    Timestamp::new(time.secs(), nanoseconds).context("the service sent an invalid time")
}
