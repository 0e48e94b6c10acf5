//! The S3 servers of the two regions, and buckets in them that go with the test.

use std::collections::BTreeMap;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials as Keys, Region, RequestChecksumCalculation};
use aws_sdk_s3::types::{
    BucketVersioningStatus, DefaultRetention, ObjectLockConfiguration, ObjectLockEnabled,
    ObjectLockRetentionMode, ObjectLockRule, VersioningConfiguration,
};
use state_lab::s3::{Bucket, Credentials, Location, Secret};

pub(crate) const ACCESS_KEY: &str = "lab-access";
pub(crate) const SECRET_KEY: &str = "lab-secret-key";

/// A server.
pub(crate) struct ObjectStore {
    pub(crate) endpoint: String,
    runtime: tokio::runtime::Runtime,
    client: Client,
}

/// Whether new objects are locked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    /// The bucket has no object lock.
    None,
    OnRequest,
    /// For a day.
    ByDefault,
}

/// A bucket of a test's own.
pub(crate) struct OwnBucket<'a> {
    store: &'a ObjectStore,
    pub(crate) name: String,
    /// The part of the bucket that is the test's own, where not all of it is.
    pub(crate) folder: Option<String>,
}

impl ObjectStore {
    /// The server of region a (STATE_LAB_S3_A) and that of region b (STATE_LAB_S3_B), where both can be reached.
    pub(crate) fn pair(test: &str) -> Option<(Self, Self)> {
        let a = Self::reach("STATE_LAB_S3_A", "http://10.89.0.254:9100", test)?;
        Some((a, Self::reach("STATE_LAB_S3_B", "http://10.89.0.254:9200", test)?))
    }

    fn reach(variable: &str, default: &str, test: &str) -> Option<Self> {
        let endpoint = std::env::var(variable).unwrap_or_else(|_| default.to_owned());
        let host = endpoint.trim_start_matches("http://");
        let mut addresses = host.to_socket_addrs().unwrap();
        if !addresses.any(|address| TcpStream::connect_timeout(&address, Duration::from_secs(2)).is_ok()) {
            eprintln!("skipped: {test}: no S3 server at {endpoint} ({variable})");
            return None;
        }
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .credentials_provider(Keys::new(ACCESS_KEY, SECRET_KEY, None, None, "test"))
            .region(Region::new("us-east-1"))
            .endpoint_url(&endpoint)
            .force_path_style(true)
            // What it writes has no checksum that a service could be asked for.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .build();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Some(Self { endpoint, runtime, client: Client::from_conf(config) })
    }

    /// A folder of the bucket that replicates from region a to region b, where there is one; it is emptied afterwards.
    pub(crate) fn shared_bucket(&self, test: &str) -> Option<OwnBucket<'_>> {
        let name = "velero";
        if self.runtime.block_on(self.client.get_bucket_versioning().bucket(name).send()).is_err() {
            eprintln!("skipped: {test}: no bucket {name} at {}", self.endpoint);
            return None;
        }
        let folder = Some(format!("state-lab-test-{}", std::process::id()));
        Some(OwnBucket { store: self, name: name.to_owned(), folder })
    }

    /// A new, empty bucket that keeps versions.
    pub(crate) fn bucket(&self, lock: Lock) -> OwnBucket<'_> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("state-lab-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        self.runtime.block_on(async {
            let create = self.client.create_bucket().bucket(&name);
            create.object_lock_enabled_for_bucket(lock != Lock::None).send().await.unwrap();
            let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
            let version = self.client.put_bucket_versioning().bucket(&name);
            version.versioning_configuration(enabled).send().await.unwrap();
            if lock == Lock::ByDefault {
                let default = DefaultRetention::builder().mode(ObjectLockRetentionMode::Governance).days(1);
                let rule = ObjectLockRule::builder().default_retention(default.build()).build();
                let lock = ObjectLockConfiguration::builder().object_lock_enabled(ObjectLockEnabled::Enabled);
                let put = self.client.put_object_lock_configuration().bucket(&name);
                put.object_lock_configuration(lock.rule(rule).build()).send().await.unwrap();
            }
        });
        OwnBucket { store: self, name, folder: None }
    }
}

impl OwnBucket<'_> {
    /// Where it is, as a backup storage location of Velero's says it.
    pub(crate) fn location(&self, prefix: &str) -> Location {
        let config =
            [("s3Url", self.store.endpoint.as_str()), ("s3ForcePathStyle", "true"), ("region", "us-east-1")];
        let config: BTreeMap<String, String> =
            config.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let ini =
            format!("[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n");
        let credentials = Credentials::File { ini: Secret::new(ini), profile: "default".to_owned() };
        Location::of_backup_location(&self.name, prefix, &config, None, credentials).unwrap()
    }

    pub(crate) fn open(&self, prefix: &str) -> Bucket {
        Bucket::open(&self.location(prefix)).unwrap()
    }

    /// Writes over what is there, as no command does.
    pub(crate) fn overwrite(&self, key: &str, content: &[u8]) {
        let put = self.store.client.put_object().bucket(&self.name).key(key);
        let put = put.body(content.to_vec().into());
        self.store.runtime.block_on(put.send()).unwrap();
    }

    /// The mode and the end of an object's lock, in seconds since 1970.
    pub(crate) fn retention(&self, key: &str) -> Option<(String, i64)> {
        let head = self.store.client.head_object().bucket(&self.name).key(key);
        let found = self.store.runtime.block_on(head.send()).unwrap();
        let until = found.object_lock_retain_until_date()?.secs();
        Some((found.object_lock_mode()?.as_str().to_owned(), until))
    }

    /// How many uploads were begun and neither finished nor given up.
    pub(crate) fn unfinished(&self) -> usize {
        let list = self.store.client.list_multipart_uploads().bucket(&self.name);
        self.store.runtime.block_on(list.send()).unwrap().uploads().len()
    }
}

impl Drop for OwnBucket<'_> {
    fn drop(&mut self) {
        let (client, name) = (&self.store.client, &self.name);
        self.store.runtime.block_on(async {
            loop {
                let list = client.list_object_versions().bucket(name).set_prefix(self.folder.clone());
                let Ok(found) = list.send().await else { return };
                let versions = found.versions().iter().map(|one| (one.key(), one.version_id()));
                let markers = found.delete_markers().iter().map(|one| (one.key(), one.version_id()));
                for (key, version) in versions.chain(markers) {
                    let delete = client.delete_object().bucket(name).bypass_governance_retention(true);
                    let delete =
                        delete.set_key(key.map(str::to_owned)).set_version_id(version.map(str::to_owned));
                    if delete.send().await.is_err() {
                        return;
                    }
                }
                if found.is_truncated() != Some(true) {
                    break;
                }
            }
            if self.folder.is_some() {
                return;
            }
            let _ = client.delete_bucket().bucket(name).send().await;
        });
    }
}
