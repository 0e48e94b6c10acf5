//! The database as it runs: its primary, the volume of its data, its user, and the way in.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Container, Endpoints, PersistentVolume, Pod, Secret};
use kube::ResourceExt;

use super::settings::Settings;
use super::storage::handles;
use super::waiting::{Pending, wait};
use crate::agent::Access;
use crate::cluster::{
    Cluster, Credentials, PostgresCluster, User, database_container, is_ready, output_of, pull_secrets,
};
use verify_drill::duration::Period;
use verify_drill::problem::Problem;
use verify_drill::until::Check;
use verify_drill::watch::Watch;

const PORT: u16 = 5432;
/// Time limit for a database that is being set up or fails over to be ready.
const READY_PATIENCE: Period = Period::from_ms(300_000);
/// Time limit of the container's answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// The data directory, its owner, and where its WAL is: the postmaster works in the first. deploy/nightly/backup-bounds.yaml
/// lets the account of the nightly backup run this in the database's pods, and nothing else.
const INSPECT: &str = r#"for process in /proc/[0-9]*; do
  case "$(cat "$process/comm" 2>/dev/null)" in postgres|postmaster)
    directory=$(readlink "$process/cwd") && [ -s "$directory/PG_VERSION" ] && break;;
  esac
  directory=
done
[ -n "$directory" ] || exit 3
echo "$directory"
stat -c '%u %g' "$directory"
readlink "$directory/pg_wal" || echo"#;

/// A database in a namespace.
#[derive(Debug)]
pub(super) struct Source {
    pub namespace: String,
    pub cluster: PostgresCluster,
    /// The pod of the primary.
    pub primary: Pod,
    pub image: String,
    pub image_pull_secrets: Vec<String>,
    /// The user and group that own the files.
    pub account: (i64, i64),
    pub data: DataVolume,
    /// Directory of its WAL, if not in the data directory.
    pub wal_elsewhere: Option<String>,
    pub access: Access,
    /// All pods of the namespace.
    pub pods: Vec<Pod>,
    /// The storage handles of the namespace's volumes.
    pub handles: BTreeSet<String>,
}

/// The volume of a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DataVolume {
    /// Its name in the pod.
    pub volume: String,
    pub claim: String,
    /// Path of the data directory in it; empty for its root.
    pub path: String,
}

impl Source {
    /// Finds the database that the settings mean.
    ///
    /// # Errors
    ///
    /// If the namespace has no such cluster, or several; if it has no primary, or one whose files or credentials cannot be found.
    pub(super) fn find(cluster: &Cluster, settings: &Settings, watch: &Watch<'_>) -> Result<Self> {
        let namespace = settings.namespace_in(cluster).to_owned();
        let name = settings.cluster.as_deref();
        let (pods, found, primary) = wait(READY_PATIENCE, watch, || {
            let pods = cluster.of::<Pod>(&namespace).list("")?;
            let endpoints = cluster.of::<Endpoints>(&namespace).list("")?;
            let found = choose(PostgresCluster::among(&pods, &endpoints), name, &namespace)?;
            Ok(match ready_primary(&found, &namespace) {
                Ok(primary) => Check::Done((pods, found, primary)),
                Err(on) => Check::Waiting(Pending { on, state: String::new() }),
            })
        })?;
        let container = database_container(&primary).context("failed to find the database's container")?;
        let inspected = output_of(
            &cluster.of(&namespace),
            &primary.name_any(),
            &container.name,
            &["sh", "-c", INSPECT],
            ANSWER_TIMEOUT,
        )
        .with_context(|| format!("failed to find the data directory of {}", primary.name_any()))?;
        let Inspected { directory, account, wal_elsewhere } = inspected.parse()?;
        let data = volume_of(&primary, container, &directory)?;
        let access = access(cluster, &namespace, &found, &primary, settings)?;
        Ok(Self {
            image: container.image.clone().context("failed to find the database's image")?,
            image_pull_secrets: pull_secrets(&primary),
            account,
            data,
            wal_elsewhere,
            access,
            handles: handles(&cluster.global::<PersistentVolume>().list("")?, &namespace),
            namespace,
            cluster: found,
            primary,
            pods,
        })
    }
}

/// The primary, once it is there and ready; what is waited for until then.
fn ready_primary(found: &PostgresCluster, namespace: &str) -> Result<Pod, Problem> {
    let object = format!("the database {}", found.name);
    let Some(primary) = found.primary.as_deref().and_then(|name| found.pod(name)) else {
        return Err(Problem::failure(object, "has no primary: none of its pods is marked as one"));
    };
    if !is_ready(primary) {
        let name = primary.name_any();
        let on = Problem::failure(object, format!("has a primary, {name}, that is not ready"));
        return Err(on.with_hint(format!("`kubectl -n {namespace} describe pod {name}` shows why")));
    }
    Ok(primary.clone())
}

/// The only cluster, or the one of this name.
pub(crate) fn choose(
    found: Vec<PostgresCluster>,
    name: Option<&str>,
    namespace: &str,
) -> Result<PostgresCluster> {
    let names: Vec<String> = found.iter().map(|cluster| cluster.name.clone()).collect();
    let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let mut wanted = found.into_iter().filter(|cluster| name.is_none_or(|name| cluster.name == name));
    match (wanted.next(), wanted.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => {
            bail!(
                "failed to choose a database in the namespace {namespace}: it has {known}; name one with --cluster"
            )
        }
        (None, _) => bail!(
            "failed to find the database{} in the namespace {namespace}: it has {known}. A database is a pod of a \
             StatefulSet, Patroni, CloudNativePG, Zalando, Crunchy or Bitnami with a container on port 5432",
            name.map(|name| format!(" {name}")).unwrap_or_default()
        ),
    }
}

/// Answer of the database's container about its files.
#[derive(Debug, PartialEq, Eq)]
struct Inspected {
    directory: String,
    account: (i64, i64),
    wal_elsewhere: Option<String>,
}

impl std::str::FromStr for Inspected {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut lines = text.lines();
        let (directory, owner) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        let account =
            owner.split_once(' ').and_then(|(user, group)| Some((user.parse().ok()?, group.parse().ok()?)));
        let Some(account) = account.filter(|_| directory.starts_with('/')) else {
            bail!("failed to find the data directory: the container's answer is malformed");
        };
        let wal_elsewhere = lines.next().filter(|wal| !wal.is_empty()).map(str::to_owned);
        if account.0 == 0 {
            bail!(
                "failed to prepare a backup: root owns the data directory, and PostgreSQL does not start as root; use \
                 `state-lab backup --provider local`"
            );
        }
        Ok(Self { directory: directory.to_owned(), account, wal_elsewhere })
    }
}

/// The claim behind a directory of a container: that of the longest path at which a volume is mounted above it.
pub(super) fn volume_of(pod: &Pod, container: &Container, directory: &str) -> Result<DataVolume> {
    let below = |path: &str| {
        let path = path.trim_end_matches('/');
        directory == path || directory.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
    };
    let mounts = container.volume_mounts.iter().flatten().filter(|mount| below(&mount.mount_path));
    let mount = mounts.max_by_key(|mount| mount.mount_path.len());
    let volumes = || pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let claim = mount.and_then(|mount| {
        let volume = volumes().find(|volume| volume.name == mount.name)?;
        Some((mount, volume.persistent_volume_claim.as_ref()?.claim_name.clone()))
    });
    let Some((mount, claim)) = claim else {
        bail!(
            "failed to prepare a backup: the data directory {directory} of {} is not on a PersistentVolumeClaim; use \
             `state-lab backup --provider local`",
            pod.name_any()
        );
    };
    let within = directory[mount.mount_path.trim_end_matches('/').len()..].trim_start_matches('/');
    let parts = [mount.sub_path.as_deref().unwrap_or_default().trim_matches('/'), within];
    let path = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
    Ok(DataVolume { volume: mount.name.clone(), claim, path })
}

/// A superuser's way in, by the pod's own address: nothing else is sure to be the pod whose volume is copied.
fn access(
    cluster: &Cluster,
    namespace: &str,
    found: &PostgresCluster,
    primary: &Pod,
    settings: &Settings,
) -> Result<Access> {
    let (user, password) = login(cluster, namespace, found, settings)?;
    let host = primary.status.as_ref().and_then(|status| status.pod_ip.clone());
    Ok(Access {
        host: host.with_context(|| format!("failed to reach {}: it has no address", primary.name_any()))?,
        port: PORT,
        user,
        password,
        databases: settings.databases.clone(),
    })
}

/// The name and password of a superuser.
pub(crate) fn login(
    cluster: &Cluster,
    namespace: &str,
    found: &PostgresCluster,
    settings: &Settings,
) -> Result<(String, String)> {
    let given = settings.credentials.as_ref().map(|table| Credentials {
        user: User::Named(table.user.clone().unwrap_or_else(|| "postgres".to_owned())),
        secret: table.secret.clone(),
        password_key: table.password_key.clone().unwrap_or_else(|| "password".to_owned()),
        hint: None,
    });
    let credentials = given.or_else(|| Credentials::of(found)).with_context(|| {
        format!(
            "failed to find the credentials of {}: its container takes none from a Secret; set [velero.credentials] \
             in state-lab.toml",
            found.name
        )
    })?;
    let Credentials { user, secret, password_key, hint } = credentials;
    let data = cluster.of::<Secret>(namespace).get(&secret)?;
    let data = data.with_context(|| {
        let hint = hint.map(|hint| format!(": {hint}; or set [velero.credentials] in state-lab.toml"));
        format!(
            "failed to find the Secret {namespace}/{secret} with the credentials{}",
            hint.unwrap_or_default()
        )
    })?;
    let value = |key: &str| {
        let value = data.data.as_ref().and_then(|data| data.get(key));
        let value = value.and_then(|value| String::from_utf8(value.0.clone()).ok());
        value.with_context(|| {
            format!(
                "failed to find the key {key} in the Secret {namespace}/{secret}; set the `secret`, its \
                 `password_key` and the `user` in [velero.credentials]"
            )
        })
    };
    let user = match user {
        User::Named(name) => name,
        User::Key(key) => value(&key)?,
    };
    Ok((user, value(&password_key)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_admission_policy_knows_the_command() {
        let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/nightly/backup-bounds.yaml");
        let policy = std::fs::read_to_string(policy).unwrap();
        let (_, command) = policy.split_once("r'''").unwrap();
        let (command, _) = command.split_once("'''").unwrap();
        assert_eq!(command.replace("\n        ", "\n"), INSPECT);
    }

    #[test]
    fn the_output_of_a_container_is_parsed_or_refused() {
        let inspected = |text: &str| text.parse::<Inspected>().map_err(|error| error.to_string());
        for (text, wal) in
            [("/data/pg\n999 998\n\n", None), ("/data/pg\n999 998\n/wal/pg_wal\n", Some("/wal/pg_wal"))]
        {
            let expected = Inspected {
                directory: "/data/pg".to_owned(),
                account: (999, 998),
                wal_elsewhere: wal.map(str::to_owned),
            };
            assert_eq!(inspected(text), Ok(expected));
        }
        for (text, reason) in [
            ("", "is malformed"),
            ("pg\n999 999\n\n", "is malformed"),
            ("/pg\nroot root\n\n", "is malformed"),
            ("/pg\n0 0\n\n", "root owns"),
        ] {
            let refused = inspected(text).unwrap_err();
            assert!(refused.contains(reason), "{text:?}: {refused}");
        }
    }

    #[test]
    fn the_claim_is_that_of_the_nearest_mount() {
        let pod = |mounts: serde_json::Value| -> Pod {
            serde_json::from_value(json!({
                "metadata": { "name": "pg-0" },
                "spec": {
                    "containers": [{ "name": "c", "volumeMounts": mounts }],
                    "volumes": [
                        { "name": "data", "persistentVolumeClaim": { "claimName": "data-pg-0" } },
                        { "name": "scratch", "emptyDir": {} },
                    ],
                },
            }))
            .unwrap()
        };
        let found = |mounts, directory| {
            let pod = pod(mounts);
            let container = &pod.spec.as_ref().unwrap().containers[0];
            volume_of(&pod, container, directory).map(|found| found.path)
        };
        let data = |path: &str| json!({ "name": "data", "mountPath": path });
        assert_eq!(found(json!([data("/var/lib/pg")]), "/var/lib/pg/pgdata").unwrap(), "pgdata");
        assert_eq!(found(json!([data("/var/lib/pg/")]), "/var/lib/pg").unwrap(), "");
        let nested = json!([{ "name": "scratch", "mountPath": "/var" }, data("/var/lib/pg")]);
        assert_eq!(found(nested, "/var/lib/pg/a/b").unwrap(), "a/b");
        let sub = json!([{ "name": "data", "mountPath": "/pg", "subPath": "one/" }]);
        assert_eq!(found(sub, "/pg/data").unwrap(), "one/data");
        assert!(found(json!([data("/var/lib/pg")]), "/var/lib/pg2").is_err());
        assert!(found(json!([{ "name": "scratch", "mountPath": "/pg" }]), "/pg").is_err());
    }
}
