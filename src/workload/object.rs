//! API objects, reduced while they are deserialized to what concerns images: full objects are some ten times as large.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::{Resource, api::ApiResource, core::DynamicResourceScope};
use serde::{Deserialize, Deserializer};

use crate::model::{ContainerKind, LONGEST_REFERENCE, WorkloadKind, cut, cut_image};

/// `kubectl apply`'s copy of the whole object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The longest labels, and the longest annotations, of one object: keys and values together, as in the plugin contract.
const MAX_PAIRS_BYTES: usize = 64 * 1024;

/// The API server accepts 63 bytes; manifest files may have more.
const MAX_CONTAINER_NAME: usize = 253;

/// The longest name of an object.
const MAX_OBJECT_NAME: usize = 253;

/// How many pull secrets of one Pod or template are used.
pub(super) const MAX_PULL_SECRETS: usize = 32;

/// The longest prefix of the reference in an `imageID`, such as `docker-pullable://`.
const MAX_SCHEME: usize = 32;

/// An object of any kind. With `METADATA_ONLY` the API server is asked for its metadata alone.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Object<const METADATA_ONLY: bool = false> {
    #[serde(default, deserialize_with = "slim_metadata")]
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: Option<Spec>,
    #[serde(default)]
    pub status: Option<Status>,
}

impl Object {
    pub fn from_any<const METADATA_ONLY: bool>(object: Object<METADATA_ONLY>) -> Self {
        Self { metadata: object.metadata, spec: object.spec, status: object.status }
    }

    /// The labels as plugins see them.
    pub fn bounded_labels(&self) -> impl Iterator<Item = (&String, &String)> {
        self.metadata.labels.iter().flat_map(bounded)
    }

    /// The annotations as plugins see them.
    pub fn bounded_annotations(&self) -> impl Iterator<Item = (&String, &String)> {
        self.metadata.annotations.iter().flat_map(bounded)
    }

    /// The Pod specification of an object of this kind; none without a Pod template.
    pub fn pod_spec(&self, kind: WorkloadKind) -> Option<&Spec> {
        let spec = self.spec.as_ref()?;
        match kind {
            WorkloadKind::Pod => Some(spec),
            WorkloadKind::CronJob => spec.job_template.as_ref()?.spec.as_ref()?.template.as_ref()?.spec.as_deref(),
            WorkloadKind::Deployment | WorkloadKind::StatefulSet | WorkloadKind::DaemonSet | WorkloadKind::Job => {
                spec.template.as_ref()?.spec.as_deref()
            }
        }
    }
}

/// The pairs that fit into the size limit, in the order of their keys.
pub(super) fn bounded(pairs: &BTreeMap<String, String>) -> impl Iterator<Item = (&String, &String)> {
    let mut left = MAX_PAIRS_BYTES;
    pairs.iter().filter(move |(key, value)| match left.checked_sub(key.len() + value.len()) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    })
}

impl<const METADATA_ONLY: bool> Resource for Object<METADATA_ONLY> {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn metadata_api() -> bool {
        METADATA_ONLY
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// The `spec` of any kind, from a CronJob down to a Pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    job_template: Option<Template>,
    template: Option<Template>,
    init_containers: Option<Vec<ContainerSpec>>,
    containers: Option<Vec<ContainerSpec>>,
    ephemeral_containers: Option<Vec<ContainerSpec>>,
    #[serde(deserialize_with = "image_volumes")]
    volumes: Vec<ContainerSpec>,
    node_name: Option<Text>,
    #[serde(deserialize_with = "secret_names")]
    image_pull_secrets: Vec<String>,
    service_account_name: Option<Text>,
    /// The old name of the field, which some templates still have.
    service_account: Option<Text>,
}

impl Spec {
    /// The node that a Pod is bound to.
    pub fn node(&self) -> Option<&str> {
        self.node_name.as_ref().map(|Text(name)| name.as_str()).filter(|name| !name.is_empty())
    }

    /// The names of the pull secrets, in order; at most [`MAX_PULL_SECRETS`].
    pub fn pull_secrets(&self) -> &[String] {
        &self.image_pull_secrets
    }

    /// The ServiceAccount that is named; none if none is, or if no object can have the name.
    pub fn service_account(&self) -> Option<&str> {
        let names = [&self.service_account_name, &self.service_account];
        let name = names.into_iter().flatten().map(|Text(name)| name.trim()).find(|name| !name.is_empty())?;
        is_object_name(name).then_some(name)
    }

    /// All containers: init, regular, ephemeral; then the volumes with an image.
    pub fn containers(&self) -> impl Iterator<Item = (ContainerKind, &ContainerSpec)> {
        let init = self.init_containers.iter().flatten().map(|c| (ContainerKind::Init, c));
        let regular = self.containers.iter().flatten().map(|c| (ContainerKind::Regular, c));
        let ephemeral = self.ephemeral_containers.iter().flatten().map(|c| (ContainerKind::Ephemeral, c));
        let volumes = self.volumes.iter().map(|c| (ContainerKind::Volume, c));
        init.chain(regular).chain(ephemeral).chain(volumes)
    }
}

/// A Pod template or a Job template.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Template {
    spec: Option<Box<Spec>>,
}

/// A container or an image volume. Its texts are trimmed, and truncated if they are too long to be valid.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerSpec {
    #[serde(deserialize_with = "container_name")]
    pub name: Text,
    #[serde(deserialize_with = "image")]
    pub image: Text,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    pub phase: Option<Text>,
    init_container_statuses: Option<Vec<ContainerStatus>>,
    container_statuses: Option<Vec<ContainerStatus>>,
    ephemeral_container_statuses: Option<Vec<ContainerStatus>>,
}

impl Status {
    /// The image IDs that the container runtime reports, by container and image volume.
    pub fn image_ids(&self) -> HashMap<(ContainerKind, &str), &str> {
        let lists = [
            (ContainerKind::Init, &self.init_container_statuses),
            (ContainerKind::Regular, &self.container_statuses),
            (ContainerKind::Ephemeral, &self.ephemeral_container_statuses),
        ];
        let all = || lists.into_iter().flat_map(|(kind, list)| list.iter().flatten().map(move |status| (kind, status)));
        let of_containers = all().map(|(kind, status)| ((kind, status.name.0.as_str()), status.image_id.0.as_str()));
        let mounts = all().flat_map(|(_, status)| &status.volume_mounts);
        let of_volumes = mounts.map(|mount| ((ContainerKind::Volume, mount.name.0.as_str()), mount.image_ref()));
        of_containers.chain(of_volumes).collect()
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerStatus {
    #[serde(deserialize_with = "container_name")]
    name: Text,
    #[serde(rename = "imageID", deserialize_with = "image_id")]
    image_id: Text,
    #[serde(rename = "volumeMounts", deserialize_with = "image_volume_mounts")]
    volume_mounts: Vec<VolumeMountStatus>,
}

/// A volume that a container has mounted.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct VolumeMountStatus {
    #[serde(deserialize_with = "container_name")]
    name: Text,
    volume_status: Option<VolumeStatus>,
}

impl VolumeMountStatus {
    /// Empty if the volume is not one of an image, or the kubelet does not report it.
    fn image_ref(&self) -> &str {
        let image = self.volume_status.as_ref().and_then(|status| status.image.as_ref());
        image.map_or("", |image| image.image_ref.0.as_str())
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct VolumeStatus {
    image: Option<ImageVolumeStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ImageVolumeStatus {
    /// As a container's `imageID`.
    #[serde(rename = "imageRef", deserialize_with = "image_id")]
    image_ref: Text,
}

/// The names of the objects in a list of references; at most [`MAX_PULL_SECRETS`], without impossible ones.
pub(super) fn secret_names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct ObjectName {
        name: Text,
    }

    let names = Option::<Vec<ObjectName>>::deserialize(deserializer)?.unwrap_or_default();
    let names = names.into_iter().map(|ObjectName { name: Text(name) }| name.trim().to_owned());
    Ok(names.filter(|name| is_object_name(name)).take(MAX_PULL_SECRETS).collect())
}

/// Whether an object can have this name. The API server does not check names that refer to Secrets; they become parts of
/// paths, and must not lead elsewhere.
pub(super) fn is_object_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && !label.starts_with('-') && !label.ends_with('-') && label.bytes().all(is_inner)
    };
    name.len() <= MAX_OBJECT_NAME && name.split('.').all(is_label)
}

/// The volumes whose source is an image. A template may leave the reference blank for some controller to fill in.
fn image_volumes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ContainerSpec>, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Volume {
        #[serde(deserialize_with = "container_name")]
        name: Text,
        image: Option<ImageSource>,
    }

    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct ImageSource {
        #[serde(deserialize_with = "image")]
        reference: Text,
    }

    let volumes = Option::<Vec<Volume>>::deserialize(deserializer)?.unwrap_or_default();
    let with_image = volumes.into_iter().filter_map(|Volume { name, image }| {
        let image = image?.reference;
        (!image.0.is_empty()).then_some(ContainerSpec { name, image })
    });
    Ok(with_image.collect())
}

fn image_volume_mounts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<VolumeMountStatus>, D::Error> {
    let mut mounts = Option::<Vec<VolumeMountStatus>>::deserialize(deserializer)?.unwrap_or_default();
    mounts.retain(|mount| !mount.image_ref().is_empty());
    Ok(mounts)
}

fn container_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
    let Text(text) = Text::deserialize(deserializer)?;
    Ok(Text(cut(text.trim(), MAX_CONTAINER_NAME).into_owned()))
}

fn image<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
    let Text(text) = Text::deserialize(deserializer)?;
    Ok(Text(cut_image(text.trim()).into_owned()))
}

/// Empty if it is too long to end in a reference.
fn image_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
    let Text(text) = Text::deserialize(deserializer)?;
    Ok(if text.len() > MAX_SCHEME + LONGEST_REFERENCE { Text::default() } else { Text(text) })
}

/// A string; in hand-written manifests also a number, a boolean or null.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Text(pub String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = Text;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Text, E> {
                Ok(Text(text))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }

            fn visit_unit<E>(self) -> Result<Text, E> {
                Ok(Text::default())
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// Reads metadata without its managed fields, which are the largest part of it.
fn slim_metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Metadata {
        name: Text,
        generate_name: Text,
        namespace: Text,
        uid: Text,
        resource_version: Text,
        creation_timestamp: Option<Time>,
        labels: Option<BTreeMap<String, Text>>,
        annotations: Option<BTreeMap<String, Text>>,
        owner_references: Option<Vec<Owner>>,
    }

    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Owner {
        api_version: Text,
        kind: Text,
        name: Text,
        controller: Option<bool>,
    }

    let texts = |map: BTreeMap<String, Text>| map.into_iter().map(|(key, Text(value))| (key, value)).collect();
    let non_empty = |Text(text): Text| (!text.is_empty()).then_some(text);
    let read = Option::<Metadata>::deserialize(deserializer)?.unwrap_or_default();
    Ok(ObjectMeta {
        name: non_empty(read.name),
        generate_name: non_empty(read.generate_name),
        namespace: non_empty(read.namespace),
        uid: non_empty(read.uid),
        resource_version: non_empty(read.resource_version),
        creation_timestamp: read.creation_timestamp,
        labels: read.labels.map(texts),
        annotations: read.annotations.map(|mut annotations| {
            annotations.remove(LAST_APPLIED);
            texts(annotations)
        }),
        owner_references: read.owner_references.map(|owners| {
            let owner = |owner: Owner| OwnerReference {
                api_version: owner.api_version.0,
                kind: owner.kind.0,
                name: owner.name.0,
                controller: owner.controller,
                ..OwnerReference::default()
            };
            owners.into_iter().map(owner).collect()
        }),
        ..ObjectMeta::default()
    })
}
