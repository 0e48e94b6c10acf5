//! What makes a struct an object of the Kubernetes API: its group, version and kind, in one place each.

/// Says which resource of which group a struct with a `metadata` field is, so that `kube::Api` takes it.
macro_rules! resource {
    ($kind:ident, $scope:ident, $group:literal, $version:literal, $plural:literal) => {
        impl kube::Resource for $kind {
            type DynamicType = ();
            type Scope = k8s_openapi::$scope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                stringify!($kind).into()
            }

            fn group((): &()) -> std::borrow::Cow<'_, str> {
                $group.into()
            }

            fn version((): &()) -> std::borrow::Cow<'_, str> {
                $version.into()
            }

            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &kube::api::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut kube::api::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

/// A resource with a spec and a status. A status that is missing reads as an empty one, and an empty one is not sent:
/// Velero has no status subresource, so that whatever is sent is believed.
macro_rules! object {
    (
        $(#[$doc:meta])*
        $kind:ident { $spec:ty, $status:ty } = $scope:ident, $group:literal, $version:literal, $plural:literal
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
        pub(crate) struct $kind {
            /// Name, labels and the like.
            #[serde(default)]
            pub(crate) metadata: kube::api::ObjectMeta,
            /// What is asked for.
            #[serde(default)]
            pub(crate) spec: $spec,
            /// What became of it.
            #[serde(default)]
            pub(crate) status: $status,
        }

        $crate::velero::object::resource!($kind, $scope, $group, $version, $plural);

        impl serde::Serialize for $kind {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeStruct;
                let told = self.status != <$status>::default();
                let mut object = serializer.serialize_struct(stringify!($kind), 4 + usize::from(told))?;
                object.serialize_field("apiVersion", concat!($group, "/", $version))?;
                object.serialize_field("kind", stringify!($kind))?;
                object.serialize_field("metadata", &self.metadata)?;
                object.serialize_field("spec", &self.spec)?;
                if told {
                    object.serialize_field("status", &self.status)?;
                }
                object.end()
            }
        }
    };
}

pub(super) use {object, resource};
