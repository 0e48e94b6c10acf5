//! Objects of any kind, from YAML: created, read and deleted by a drill.

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use serde_json::Value;
use verify_drill::until::{Check, Pace, Waited, never, until};

use super::client::Cluster;
use super::error;
use super::kind::Kind;

/// More objects in one file are refused.
const OBJECTS_MAX: usize = 50;
/// Time for the deletion of an object.
const DELETION: std::time::Duration = std::time::Duration::from_secs(300);

/// An object, and the objects of its kind.
struct Applied {
    name: String,
    object: DynamicObject,
    kind: Kind<DynamicObject>,
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
        let params = PostParams::default();
        for Applied { object, kind, what, .. } in self.applied(yaml)? {
            kind.answer(&format!("create {what}"), || kind.api().create(&params, &object))?;
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
        let value = first.read()?.map(serde_json::to_value).transpose()?.unwrap_or_default();
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
        let params = DeleteParams::foreground();
        for applied in self.applied(yaml)?.into_iter().rev() {
            let Applied { name, kind, what, .. } = &applied;
            let doing = format!("delete {what}");
            kind.answer_unless(error::is_absent, &doing, || kind.api().delete(name, &params))?;
            let waited = until(DELETION, Pace::REMOTE, never, || {
                Ok::<_, anyhow::Error>(applied.read()?.map_or(Check::Done(()), |_| Check::Waiting(())))
            })?;
            if !matches!(waited, Waited::Done(())) {
                bail!("failed to {doing}: it still exists");
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
        let Some(name) = object.metadata.name.clone() else {
            bail!("failed to read an object of the kind {}: it has no name", types.kind);
        };
        let kind = GroupVersionKind::try_from(&types).context("failed to read an object's apiVersion")?;
        let client = self.client();
        let doing = format!("find the kind {} {}", types.api_version, types.kind);
        // Of which kind, the question does not depend.
        let asking = self.everywhere::<Pod>();
        let (resource, capabilities) = asking.answer(&doing, || pinned_kind(&client, &kind))?;
        let namespace = object.metadata.namespace.as_deref().unwrap_or(self.default_namespace());
        let (what, api) = match capabilities.scope {
            Scope::Namespaced => (
                format!("{} {namespace}/{name}", types.kind),
                Api::namespaced_with(client, namespace, &resource),
            ),
            Scope::Cluster => (format!("{} {name}", types.kind), Api::all_with(client, &resource)),
        };
        Ok(Applied { name, object, kind: Kind::new(api, self.server()), what })
    }
}

impl Applied {
    fn read(&self) -> Result<Option<DynamicObject>> {
        self.kind.answer(&format!("read {}", self.what), || self.kind.api().get_opt(&self.name))
    }
}
