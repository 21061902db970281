use std::fs;

use super::*;

/// Writes `files` to a folder and reads that.
fn read(files: &[(&str, &str)]) -> Result<Manifests, Vec<ManifestError>> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    read_manifests(&[folder.path().to_owned()], &WorkloadKind::ALL)
}

fn uses(manifests: &Manifests) -> Vec<String> {
    let line = |one: &ImageUse| format!("{} {}={}", one.workload.id, one.container.name, one.image);
    manifests.uses.iter().map(line).collect()
}

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  template:
    spec:
      containers: [{ name: app, image: nginx:1 }]
";

const DEPLOYMENT_IN_BRACES: &str = "{ apiVersion: apps/v1, kind: Deployment, metadata: { name: web },
    spec: { template: { spec: { containers: [{ name: app, image: nginx:1 }] } } } }";

#[test]
fn every_kind_is_read_from_a_file_of_several_documents() {
    let template = "template: { spec: { containers: [{ name: c, image: i:1 }] } }";
    let mut text = String::from("# only a comment\n---\n");
    for (api_version, kind) in [
        ("apps/v1", "Deployment"),
        ("apps/v1beta2", "StatefulSet"),
        ("extensions/v1beta1", "DaemonSet"),
        ("batch/v1", "Job"),
    ] {
        let metadata = "metadata: { name: x, namespace: shop }";
        text += &format!("---\napiVersion: {api_version}\nkind: {kind}\n{metadata}\nspec: {{ {template} }}\n");
    }
    text += &format!(
        "---\napiVersion: batch/v1beta1\nkind: CronJob\nmetadata: {{ name: x }}\nspec: {{ jobTemplate: {{ spec: {{ {template} }} }} }}\n"
    );
    text +=
        "---\napiVersion: v1\nkind: Pod\nmetadata: { name: x }\nspec: { containers: [{ name: c, image: i:1 }] }\n---\n";
    let manifests = read(&[("all.yaml", &text)]).unwrap();
    assert_eq!(
        uses(&manifests),
        [
            "deployment shop/x c=i:1",
            "statefulset shop/x c=i:1",
            "daemonset shop/x c=i:1",
            "job shop/x c=i:1",
            "cronjob default/x c=i:1",
            "pod default/x c=i:1",
        ]
    );
    assert_eq!(manifests.ignored, [""; 0]);
}

#[test]
fn only_manifests_in_a_folder_are_read() {
    let json = r#"{ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p" },
        "spec": { "containers": [{ "name": "c", "image": "i:1" }] } }"#;
    let manifests = read(&[
        ("b/web.yml", DEPLOYMENT),
        ("a.json", json),
        ("README.md", "kind: [broken"),
        ("..data/web.yaml", "kind: [broken"),
    ])
    .unwrap();
    assert_eq!(uses(&manifests), ["deployment default/web app=nginx:1", "pod default/p c=i:1"]);
}

#[test]
fn lists_are_flattened() {
    let text = r#"
apiVersion: v1
items:
- apiVersion: v1
  kind: List
  items:
  - { apiVersion: v1, kind: Pod, metadata: { name: p }, spec: { containers: [{ name: c, image: "i:1" }] } }
kind: List
---
apiVersion: apps/v1
kind: DeploymentList
items:
- metadata: { name: d }
  spec: { template: { spec: { containers: [{ name: c, image: "i:2" }] } } }
"#;
    let manifests = read(&[("list.yaml", text)]).unwrap();
    assert_eq!(uses(&manifests), ["deployment default/d c=i:2", "pod default/p c=i:1"]);
}

#[test]
fn objects_of_a_dump_are_counted_under_their_owners_and_its_digests_are_read() {
    let digest = format!("docker.io/library/nginx@sha256:{}", "0a".repeat(32));
    let owner = |api: &str, kind: &str, name: &str| {
        format!("ownerReferences: [{{ apiVersion: {api}, kind: {kind}, name: {name}, uid: u, controller: true }}]")
    };
    let text = format!(
        "{DEPLOYMENT}---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {{ name: web-1, {} }}
spec: {{ template: {{ spec: {{ containers: [{{ name: app, image: nginx:1 }}] }} }} }}
---
apiVersion: v1
kind: Pod
metadata: {{ name: web-1-a, creationTimestamp: 2026-01-01T00:00:00Z, {} }}
spec: {{ containers: [{{ name: app, image: nginx:1 }}] }}
status: {{ phase: Running, containerStatuses: [{{ name: app, imageID: {digest:?} }}] }}
---
{{ apiVersion: v1, kind: Namespace, metadata: {{ name: default, labels: {{ team: a }} }} }}
",
        owner("apps/v1", "Deployment", "web"),
        owner("apps/v1", "ReplicaSet", "web-1"),
    );
    let manifests = read(&[("dump.yaml", &text)]).unwrap();
    assert_eq!(uses(&manifests), ["deployment default/web app=nginx:1"]);
    assert_eq!(manifests.uses[0].running[0].image, digest.parse().unwrap());
    assert_eq!(manifests.uses[0].running.len(), 1);
    assert_eq!(manifests.uses[0].workload.namespace_labels["team"], "a");
    assert_eq!(manifests.ignored, [""; 0]);
}

#[test]
fn unsupported_kinds_with_containers_are_reported_as_ignored() {
    let text = "
{ apiVersion: v1, kind: ConfigMap, metadata: { name: c }, data: { a: b } }
---
{ apiVersion: v1, kind: ReplicationController, metadata: { name: rc }, spec: { template: { spec: { containers: [{ image: a }] } } } }
---
{ apiVersion: apps/v1, kind: ReplicaSet, metadata: { name: rs } }
---
{ apiVersion: serving.knative.dev/v1, kind: Service, metadata: { name: s }, spec: { template: { spec: { containers: [] } } } }
---
{ apiVersion: example.org/v1, kind: Thing, metadata: { name: t }, spec: { template: text, containers: 3 } }
---
{ apiVersion: example.org/v1, kind: Job, metadata: { name: j }, spec: [] }
---
{ apiVersion: apps/v1, kind: Deployment, metadata: { name: empty } }
---
{ replicas: 3 }
---
just text
";
    let manifests = read(&[("x.yaml", text)]).unwrap();
    assert_eq!(uses(&manifests), [""; 0]);
    let reported: Vec<_> =
        manifests.ignored.iter().map(|line| line.rsplit_once("x.yaml, ").unwrap().1.to_owned()).collect();
    assert_eq!(
        reported,
        [
            "document 2: ReplicationController default/rc may run containers, but its kind is not mirrored",
            "document 3: ReplicaSet default/rs may run containers, but its kind is not mirrored",
            "document 4: Service default/s may run containers, but its kind is not mirrored",
            "document 7: Deployment default/empty has no pod template with containers",
            "document 8: not a Kubernetes object: it has no kind",
            "document 9: not a Kubernetes object: it has no kind",
        ]
    );
}

#[test]
fn a_duplicate_object_replaces_the_first_with_a_warning() {
    let second = DEPLOYMENT.replace("nginx:1", "nginx:2");
    let manifests = read(&[("a.yaml", DEPLOYMENT), ("b.yaml", &second)]).unwrap();
    assert_eq!(uses(&manifests), ["deployment default/web app=nginx:2"]);
    assert!(manifests.ignored[0].contains("Deployment default/web is defined a second time"), "{manifests:?}");
}

#[test]
fn other_scalars_are_read_as_strings() {
    let text = "
apiVersion: v1
kind: Pod
metadata: { name: 7, namespace: null, labels: { build: 0123, on: yes, empty: , big: 123456789012345678901 } }
spec: { containers: [{ name: 0x1, image: 12, ports: null }], initContainers: null }
";
    let manifests = read(&[("p.yaml", text)]).unwrap();
    assert_eq!(uses(&manifests), ["pod default/7 1=12"]);
    let labels = &manifests.uses[0].workload.labels;
    assert_eq!((labels["build"].as_str(), labels["on"].as_str(), labels["empty"].as_str()), ("0123", "yes", ""));
}

#[test]
fn a_syntax_error_names_its_line_and_quotes_nothing() {
    let broken =
        format!("{DEPLOYMENT}---\nkind: Secret\nstringData:\n  password: hunter2\n  next: [a\nother: hunter2\n");
    for (name, text, location) in [
        ("broken.yaml", broken.as_str(), "document 2"),
        ("broken.json", "{\"kind\": \"Secret\",\n \"data\": \"hunter2\"\n \"x\"}", "document 1"),
    ] {
        let error = read(&[(name, text)]).unwrap_err();
        let [reported] = error.iter().map(ToString::to_string).collect::<Vec<_>>().try_into().unwrap();
        assert!(reported.contains(name) && reported.contains(location) && reported.contains("line"), "{reported}");
        assert!(!reported.contains("hunter2") && !format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}

#[test]
fn a_container_without_an_image_is_an_image_use_with_an_empty_image() {
    let text = "
{ apiVersion: v1, kind: Pod, metadata: { name: p }, spec: { initContainers: [{ name: a, image: '' }], containers: [{ name: b }, { name: c, image: ' ' }, { name: d, image: i }] } }
---
{ apiVersion: apps/v1, kind: Deployment, metadata: { name: d }, spec: { template: { spec: { containers: [{ name: a, image: null }] } } } }
";
    let manifests = read(&[("x.yaml", text)]).unwrap();
    assert_eq!(
        uses(&manifests),
        ["deployment default/d a=", "pod default/p a=", "pod default/p b=", "pod default/p c=", "pod default/p d=i"]
    );
    assert_eq!(manifests.ignored, [""; 0]);
}

#[test]
fn a_malformed_workload_is_named_in_the_error() {
    let text = DEPLOYMENT.replace("[{ name: app, image: nginx:1 }]", "{ name: app }");
    let reported = read(&[("web.yaml", &text)]).unwrap_err()[0].to_string();
    assert!(reported.contains("document 1: Deployment default/web is malformed"), "{reported}");
}

#[test]
fn a_missing_path_is_an_error() {
    let missing = read_manifests(&["/nowhere/web.yaml".into()], &WorkloadKind::ALL).unwrap_err()[0].to_string();
    assert!(missing.contains("/nowhere/web.yaml"), "{missing}");
    let empty = read(&[("README.md", "")]).unwrap_err()[0].to_string();
    assert!(empty.contains("has no file"), "{empty}");
}

#[test]
fn a_large_dump_is_read() {
    let many = "0, ".repeat(300_000);
    let text = format!("{{ kind: List, apiVersion: v1, items: [{DEPLOYMENT_IN_BRACES}, {{ data: [{many}] }}] }}");
    assert_eq!(read(&[("dump.yaml", &text)]).unwrap().uses.len(), 1);
}

#[test]
fn every_broken_document_is_reported_with_its_file_document_and_line() {
    let malformed = DEPLOYMENT.replace("[{ name: app, image: nginx:1 }]", "{ name: app }");
    let item = r#"{ apiVersion: v1, kind: Pod, metadata: { name: NAME }, spec: SPEC }"#;
    let pod = |name: &str, spec: &str| item.replace("NAME", name).replace("SPEC", spec);
    let list = format!(
        "{{ apiVersion: v1, kind: List, items: [{}, {}, {}] }}",
        pod("a", "7"),
        pod("b", "{}"),
        pod("c", "text")
    );
    let many =
        format!("# a comment\n---\n{DEPLOYMENT}---\nkind: [a\n---\n---\nother: *b\n---{malformed}--- # end\n\"x\n");
    let files = [
        ("a.yaml", many.as_str()),
        ("b.json", "{}\n{\"kind\": }\n{"),
        ("c.yaml", &list),
        ("d.yaml", DEPLOYMENT),
        ("e.yaml", "a: b: c"),
    ];
    let errors = read(&files).unwrap_err();
    let reported: Vec<String> = errors
        .iter()
        .map(|error| {
            let text = error.to_string();
            let line =
                text.split_once("line ").map(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap());
            let (place, message) = text.split_once(": ").unwrap();
            let (_, place) = place.rsplit_once('/').unwrap();
            let object = message.split_once(" is malformed").map_or("", |(object, _)| object);
            format!("{place} {object} {}", line.unwrap_or_default())
        })
        .collect();
    assert_eq!(
        reported,
        [
            "a.yaml, document 2  12",
            "a.yaml, document 3  15",
            "a.yaml, document 4 Deployment default/web ",
            "a.yaml, document 5  25",
            "b.json, document 2  2",
            "c.yaml, document 1 Pod default/a ",
            "c.yaml, document 1 Pod default/c ",
            "e.yaml, document 1  1",
        ],
        "{errors:#?}"
    );
}
