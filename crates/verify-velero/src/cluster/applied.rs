//! Objects of any kind, from YAML: created, read and deleted by a drill.

use anyhow::{Context, Result, bail};
use kube::api::{Api, DeleteParams, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use serde_json::Value;
use verify_drill::runtime::{block_on, unless_interrupted};
use verify_drill::until::{Check, Pace, Waited, never, until};

use super::Cluster;

/// More objects in one file are refused.
const OBJECTS_MAX: usize = 50;
/// Time for the deletion of an object.
const DELETION: std::time::Duration = std::time::Duration::from_secs(300);

/// An object, and the address of its kind.
struct Applied {
    object: DynamicObject,
    api: Api<DynamicObject>,
    /// `NetworkPolicy app/cut`.
    what: String,
}

impl Cluster {
    /// Creates the objects of a YAML text.
    ///
    /// # Errors
    ///
    /// If one is not valid, of an unknown kind, or exists already.
    pub fn create_applied(&self, yaml: &str) -> Result<()> {
        for Applied { object, api, what } in self.applied(yaml)? {
            let created = async { api.create(&PostParams::default(), &object).await };
            block_on(unless_interrupted(created))?.with_context(|| format!("failed to create {what}"))?;
        }
        Ok(())
    }

    /// A value of the first object of a YAML text, as text; `None` if it is absent.
    ///
    /// # Errors
    ///
    /// If the object cannot be read.
    pub fn applied_value(&self, yaml: &str, pointer: &str) -> Result<Option<String>> {
        let first = self.applied(yaml)?.into_iter().next().context("the file has no object")?;
        let Applied { object, api, what } = first;
        let name = object.metadata.name.unwrap_or_default();
        let found = block_on(unless_interrupted(async { api.get_opt(&name).await }))?;
        let found = found.with_context(|| format!("failed to read {what}"))?;
        let value = found.map(serde_json::to_value).transpose()?.unwrap_or_default();
        Ok(value
            .pointer(pointer)
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
    }

    /// Deletes the objects of a YAML text, the last first, and waits until they are deleted.
    ///
    /// # Errors
    ///
    /// If one cannot be deleted. One that does not exist is deleted.
    pub fn delete_applied(&self, yaml: &str) -> Result<()> {
        for Applied { object, api, what } in self.applied(yaml)?.into_iter().rev() {
            let name = object.metadata.name.unwrap_or_default();
            // The request for the end is why objects are deleted: it does not stop the deletion.
            let deleted = block_on(async { api.delete(&name, &DeleteParams::foreground()).await });
            if let Err(error) = deleted
                && !matches!(&error, kube::Error::Api(status) if status.code == 404)
            {
                return Err(error).with_context(|| format!("failed to delete {what}"));
            }
            let waited = until(DELETION, Pace::REMOTE, never, || {
                let found = block_on(async { api.get_opt(&name).await });
                Ok::<_, anyhow::Error>(match found.with_context(|| format!("failed to read {what}"))? {
                    None => Check::Done(()),
                    Some(_) => Check::Waiting(()),
                })
            })?;
            if !matches!(waited, Waited::Done(())) {
                bail!("failed to delete {what}: it still exists");
            }
        }
        Ok(())
    }

    fn applied(&self, yaml: &str) -> Result<Vec<Applied>> {
        let values: Vec<Value> = serde_saphyr::from_multiple(yaml).context("failed to read the objects")?;
        if values.len() > OBJECTS_MAX {
            bail!("failed to read the objects: there are more than {OBJECTS_MAX}");
        }
        values.into_iter().filter(|value| !value.is_null()).map(|value| self.find_kind(value)).collect()
    }

    /// Asks the API server for the address of an object's kind.
    fn find_kind(&self, value: Value) -> Result<Applied> {
        let object: DynamicObject = serde_json::from_value(value).context("failed to read an object")?;
        let types =
            object.types.clone().context("failed to read an object: it has no apiVersion and kind")?;
        let Some(name) = &object.metadata.name else {
            bail!("failed to read an object of the kind {}: it has no name", types.kind);
        };
        let kind = GroupVersionKind::try_from(&types).context("failed to read an object's apiVersion")?;
        let client = self.client();
        let found = block_on(unless_interrupted(async { pinned_kind(&client, &kind).await }))?;
        let (resource, capabilities) =
            found.with_context(|| format!("failed to find the kind {} {}", types.api_version, types.kind))?;
        let namespace = object.metadata.namespace.as_deref().unwrap_or(self.default_namespace());
        let (what, api) = match capabilities.scope {
            Scope::Namespaced => (
                format!("{} {namespace}/{name}", types.kind),
                Api::namespaced_with(client.clone(), namespace, &resource),
            ),
            Scope::Cluster => (format!("{} {name}", types.kind), Api::all_with(client.clone(), &resource)),
        };
        Ok(Applied { object, api, what })
    }
}
