//! Builders for workloads: `deployment("web").image("nginx:1.27").apply(&client, &namespace)`.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};

/// A workload that can be applied to a cluster.
#[derive(Clone, Debug)]
pub struct Workload {
    group: &'static str,
    kind: &'static str,
    metadata: Value,
    containers: Vec<Value>,
    init_containers: Vec<Value>,
    /// Further fields of the Pod specification.
    pod_spec: Value,
}

/// An apps/v1 Deployment.
pub fn deployment(name: &str) -> Workload {
    Workload::new("apps", "Deployment", name)
}

/// An apps/v1 StatefulSet.
pub fn stateful_set(name: &str) -> Workload {
    Workload::new("apps", "StatefulSet", name)
}

/// An apps/v1 ReplicaSet, which is not mirrored itself.
pub fn replica_set(name: &str) -> Workload {
    Workload::new("apps", "ReplicaSet", name)
}

/// An apps/v1 DaemonSet.
pub fn daemon_set(name: &str) -> Workload {
    Workload::new("apps", "DaemonSet", name)
}

/// A batch/v1 Job.
pub fn job(name: &str) -> Workload {
    Workload::new("batch", "Job", name)
}

/// A batch/v1 CronJob.
pub fn cron_job(name: &str) -> Workload {
    Workload::new("batch", "CronJob", name)
}

/// A v1 Pod.
pub fn pod(name: &str) -> Workload {
    Workload::new("", "Pod", name)
}

/// A list of them, as `kubectl get --output json` prints it.
pub fn list(manifests: &[Value]) -> String {
    json!({ "apiVersion": "v1", "kind": "List", "items": manifests }).to_string()
}

impl Workload {
    fn new(group: &'static str, kind: &'static str, name: &str) -> Self {
        Self {
            group,
            kind,
            metadata: json!({ "name": name }),
            containers: Vec::new(),
            init_containers: Vec::new(),
            pod_spec: json!({}),
        }
    }

    /// Adds a container called `main`, `main-2` and so on.
    pub fn image(self, image: &str) -> Self {
        let name = match self.containers.len() {
            0 => "main".to_owned(),
            n => format!("main-{}", n + 1),
        };
        self.container(&name, image)
    }

    /// Adds a container.
    pub fn container(mut self, name: &str, image: &str) -> Self {
        self.containers.push(json!({ "name": name, "image": image }));
        self
    }

    /// Adds an init container.
    pub fn init(mut self, name: &str, image: &str) -> Self {
        self.init_containers.push(json!({ "name": name, "image": image }));
        self
    }

    /// Adds a sidecar: an init container with `restartPolicy: Always`.
    pub fn sidecar(mut self, name: &str, image: &str) -> Self {
        self.init_containers.push(json!({ "name": name, "image": image, "restartPolicy": "Always" }));
        self
    }

    /// Adds an image volume that no container mounts.
    pub fn image_volume(mut self, name: &str, image: &str) -> Self {
        let volume = json!({ "name": name, "image": { "reference": image } });
        match &mut self.pod_spec["volumes"] {
            Value::Array(volumes) => volumes.push(volume),
            none => *none = json!([volume]),
        }
        self
    }

    /// Sets further fields of the Pod specification.
    pub fn pod_spec(mut self, fields: Value) -> Self {
        for (name, value) in fields.as_object().unwrap() {
            self.pod_spec[name] = value.clone();
        }
        self
    }

    /// Adds a label to the object, not to its template.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.metadata["labels"][key] = value.into();
        self
    }

    /// Adds an annotation to the object.
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.metadata["annotations"][key] = value.into();
        self
    }

    /// Sets the controller that owns it.
    pub fn owned_by(mut self, owner: &DynamicObject) -> Self {
        let types = owner.types.clone().unwrap();
        self.metadata["ownerReferences"] = json!([{
            "apiVersion": types.api_version,
            "kind": types.kind,
            "name": owner.name_any(),
            "uid": owner.uid().unwrap(),
            "controller": true,
        }]);
        self
    }

    /// The manifest.
    pub fn manifest(&self) -> Value {
        let mut pod_spec = self.pod_spec.clone();
        pod_spec["containers"] = self.containers.clone().into();
        pod_spec["initContainers"] = self.init_containers.clone().into();
        let labels = json!({ "copycat-test": self.metadata["name"] });
        let template = json!({ "metadata": { "labels": labels }, "spec": pod_spec });
        let selector = json!({ "matchLabels": labels });
        let mut run_once = template.clone();
        run_once["spec"]["restartPolicy"] = "Never".into();
        let spec = match self.kind {
            "Pod" => pod_spec,
            "StatefulSet" => json!({ "selector": selector, "template": template, "serviceName": "any" }),
            "Job" => json!({ "template": run_once }),
            "CronJob" => json!({ "schedule": "0 3 * * *", "jobTemplate": { "spec": { "template": run_once } } }),
            _ => json!({ "selector": selector, "template": template }),
        };
        let resource = self.resource();
        json!({
            "apiVersion": resource.api_version,
            "kind": self.kind,
            "metadata": self.metadata,
            "spec": spec,
        })
    }

    /// The manifest with a namespace.
    pub fn manifest_in(&self, namespace: &str) -> Value {
        let mut manifest = self.manifest();
        manifest["metadata"]["namespace"] = namespace.into();
        manifest
    }

    /// Creates or updates it in the cluster.
    pub async fn apply(&self, client: &Client, namespace: &str) -> DynamicObject {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &self.resource());
        let name = self.metadata["name"].as_str().unwrap();
        let parameters = PatchParams::apply("k8s-copycat-tests").force();
        let patch = Patch::Apply(self.manifest());
        retry_server_errors(|| api.patch(name, &parameters, &patch)).await.unwrap()
    }

    /// Deletes it if it exists.
    pub async fn delete(&self, client: &Client, namespace: &str) {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &self.resource());
        // Otherwise a Job waits for a controller that does not run here.
        let parameters = DeleteParams::background().grace_period(0);
        let name = self.metadata["name"].as_str().unwrap();
        match retry_server_errors(|| api.delete(name, &parameters)).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn resource(&self) -> ApiResource {
        ApiResource::from_gvk(&GroupVersionKind::gvk(self.group, "v1", self.kind))
    }
}

/// Retries an idempotent request on server errors: on a busy machine etcd is too slow now and then.
async fn retry_server_errors<T, F: Future<Output = kube::Result<T>>>(
    mut request: impl FnMut() -> F,
) -> kube::Result<T> {
    for _ in 0..30 {
        match request().await {
            Err(kube::Error::Api(status)) if status.code >= 500 => tokio::time::sleep(Duration::from_secs(1)).await,
            answer => return answer,
        }
    }
    request().await
}

/// Sets the status of a Pod as a kubelet would: its phase, and the `imageID` of each container.
pub async fn set_pod_status(client: &Client, namespace: &str, name: &str, phase: &str, image_ids: &[(&str, &str)]) {
    let statuses: Vec<_> = image_ids
        .iter()
        .map(|(container, image_id)| {
            json!({
                "name": container,
                "imageID": image_id,
                "image": "",
                "ready": true,
                "restartCount": 0,
                "started": true,
                "state": { "running": {} },
            })
        })
        .collect();
    let status = json!({ "status": { "phase": phase, "containerStatuses": statuses } });
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    pods.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}

/// Adds an ephemeral container to a Pod, like `kubectl debug`.
pub async fn add_ephemeral_container(client: &Client, namespace: &str, pod: &str, name: &str, image: &str) {
    let containers = json!({ "spec": { "ephemeralContainers": [{ "name": name, "image": image }] } });
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    pods.patch_ephemeral_containers(pod, &PatchParams::default(), &Patch::Strategic(containers)).await.unwrap();
}
