//! The DaemonSet of a restore on a real node: it lays the files, Pods start from the mirror by the names of registries that are
//! out of reach, and it puts back what was there.

use std::fs;

use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::Pod};
use kube::{Api, api::ListParams};

use super::node::{Node, REGISTRY, in_own_network, push_programs};
use crate::support::{Program, deployment, eventually};

/// What the script calls.
const PROGRAMS: [&str; 11] = ["sh", "cat", "cmp", "cp", "grep", "head", "mkdir", "mv", "rm", "sleep", "touch"];

const BEFORE: &str = "server = \"https://before.example\"\n";

#[test]
fn pods_start_from_the_mirror_by_the_files_that_the_daemon_set_lays() {
    in_own_network(|| async {
        let node = Node::start().await;
        let folder = tempfile::tempdir().unwrap();
        push_programs("shell", &PROGRAMS, folder.path());
        let client = node.cluster.admin();
        // No Pod can start: the names mean registries that are not there.
        let web = deployment("web").container("app", "quay.io/team/app:1").container("web", "web:1");
        web.apply(&client, "default").await;
        let hosts = |registry: &str| node.certs_d().join(registry).join("hosts.toml");
        fs::create_dir_all(node.certs_d().join("quay.io")).unwrap();
        fs::write(hosts("quay.io"), BEFORE).unwrap();

        let files = folder.path().join("files");
        let restore = Program::new(&["restore", "--runtime", "containerd", "-o", &files.display().to_string()])
            .env("KUBECONFIG", node.kubeconfig())
            .config(&format!(
                "targetKind: docker\ndocker: {{ registry: '{REGISTRY}/mirror', insecure: true }}\nrepoPrefix: $registry\n\
                 includeNamespaces: [default]\n"
            ));
        let finished = restore.run().await.assert_code(0);
        assert!(finished.stdout.contains("2 images: 2 covered, 0 not covered"), "{finished:?}");
        let manifest = fs::read_to_string(files.join("daemonset.yaml")).unwrap();
        // As its comment says, an image that nodes can pull; and the folder of this containerd.
        let manifest = manifest
            .replace("docker.io/library/busybox:1.37", &format!("{REGISTRY}/shell:1"))
            .replace("/etc/containerd/certs.d, type", &format!("{}, type", node.certs_d().display()));
        // A login that this mirror does not ask for, and that containerd reads all the same.
        let login = "{ apiVersion: v1, kind: Secret, metadata: { name: k8s-copycat-mirror-login, namespace: kube-system }, \
                     stringData: { authorization: Basic bWU6cHc= } }";
        node.cluster.apply(login).await;
        for object in serde_yaml::from_multiple::<serde_json::Value>(&manifest).unwrap() {
            node.cluster.validate(&object).await.unwrap();
        }
        node.cluster.apply(&manifest).await;
        let daemon_sets: Api<DaemonSet> = Api::namespaced(client.clone(), "kube-system");
        let is_laid = || async {
            let set = daemon_sets.get("k8s-copycat-restore").await.unwrap();
            let generation = set.metadata.generation;
            let status = set.status?;
            let is_done = status.observed_generation == generation
                && status.updated_number_scheduled == Some(1)
                && status.number_available == Some(1);
            is_done.then_some(())
        };
        eventually("the files are laid", is_laid).await;
        for registry in ["docker.io", "quay.io"] {
            let laid = fs::read_to_string(hosts(registry)).unwrap();
            let restored = fs::read_to_string(files.join(format!("certs.d/{registry}/hosts.toml"))).unwrap();
            let url = format!("http://{REGISTRY}/v2/mirror/{registry}");
            assert_eq!(laid, format!("{restored}\n[host.\"{url}\".header]\n  Authorization = \"Basic bWU6cHc=\"\n"));
        }
        let kept = hosts("quay.io").with_file_name("hosts.toml.before-k8s-copycat");
        assert_eq!(fs::read_to_string(&kept).unwrap(), BEFORE);

        let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
        eventually("the Pod runs", || async {
            let pods = pods.list(&ListParams::default()).await.unwrap();
            let status = pods.items.first()?.status.as_ref()?;
            let running = status.container_statuses.as_ref()?.iter().filter(|container| container.ready).count();
            (running == 2).then_some(())
        })
        .await;

        let mut undo = manifest;
        let container = "          command: [sh, /files/lay.sh]\n";
        assert!(undo.contains(container));
        undo = undo.replace(container, &format!("{container}          env: [{{ name: UNDO, value: 'true' }}]\n"));
        node.cluster.apply(&undo).await;
        eventually("the files are put back", is_laid).await;
        assert_eq!(fs::read_to_string(hosts("quay.io")).unwrap(), BEFORE);
        assert!(!hosts("docker.io").exists() && !kept.exists());
        // What the restore is not about was never touched.
        let own = fs::read_to_string(hosts(REGISTRY)).unwrap();
        assert_eq!(own, format!("server = \"http://{REGISTRY}\"\n"));
    });
}
