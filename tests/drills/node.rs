//! One node in a network of its own: kubelet, containerd, scheduler, controllers and a registry, so that Pods run.

use std::{
    fs,
    future::Future,
    panic,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::Api;
use serde_json::json;

use crate::support::{Cluster, PodNetwork, ServerProcess, eventually, program};

/// Addresses of the bridge that Pods are connected to. Without kube-proxy the API server's service address is one of them.
const NETWORK: PodNetwork = PodNetwork { node: "10.88.0.1", service: "10.0.0.1" };

/// The registry that the node pulls from.
pub const REGISTRY: &str = "10.88.0.1:5000";

/// The smallest program that runs until it is told to end.
const PAUSE: &str = "
#include <signal.h>
#include <unistd.h>
static void end(int signal) { (void)signal; _exit(0); }
int main(void) {
	signal(SIGINT, end);
	signal(SIGTERM, end);
	for (;;) pause();
}
";

/// Starts containerd and the kubelet in namespaces for processes and mounts: all Pods end and all mounts vanish with them.
const IN_NAMESPACES: &str = r#"
for folder in /var/lib/kubelet /var/log/containers /run/containerd; do
	mkdir -p "$folder" && mount -t tmpfs none "$folder" || exit 1
done
containerd --config "$0/containerd.toml" >"$0/containerd.log" 2>&1 &
# The kubelet ends if nothing listens there.
for _ in $(seq 300); do [ -S "$0/containerd.sock" ] && break; sleep 0.1; done
exec kubelet --config="$0/kubelet.json" --kubeconfig="$0/kubeconfig" --root-dir="$0/kubelet" \
	--hostname-override=node --node-ip="$1"
"#;

/// Runs a test in a network namespace of its own, with the bridge of [`NETWORK`]. It ends with the test.
///
/// # Panics
///
/// Without root, or if the test does.
pub fn in_own_network<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    // Threads and processes inherit the namespace of the thread that starts them.
    let tested = thread::spawn(|| {
        leave_network();
        for arguments in [
            "link set lo up".to_owned(),
            "link add cni0 type bridge".to_owned(),
            format!("addr add {}/16 dev cni0", NETWORK.node),
            format!("addr add {}/32 dev cni0", NETWORK.service),
            "link set cni0 up".to_owned(),
        ] {
            run("ip", &arguments.split(' ').collect::<Vec<_>>());
        }
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test());
    });
    if let Err(cause) = tested.join() {
        panic::resume_unwind(cause);
    }
}

#[allow(unsafe_code, reason = "the standard library can't leave a namespace")]
fn leave_network() {
    // SAFETY: the call has no pointers; it concerns this thread alone.
    let left = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(left, 0, "a network namespace needs root: {}", std::io::Error::last_os_error());
}

/// Runs a program of the system or of `tests/servers/install`; returns its output.
#[track_caller]
pub fn run(name: &str, arguments: &[&str]) -> String {
    let path = if name == "crane" { program(name) } else { PathBuf::from(name) };
    let output = Command::new(path).args(arguments).output().unwrap_or_else(|error| panic!("{name}: {error}"));
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{name} {arguments:?}: {stderr}");
    stdout
}

/// A cluster with one node.
pub struct Node {
    pub cluster: Cluster,
    directory: PathBuf,
    // Stopped before the API server.
    processes: Vec<ServerProcess>,
}

impl Node {
    /// Waits until the node is ready.
    pub async fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("node-").tempdir().unwrap().keep();
        let mut processes = vec![start_registry(&directory).await];
        push_images(&directory);
        let cluster = Cluster::start_for_pods(NETWORK).await;
        let kubeconfig = cluster.kubeconfig(&directory, cluster.admin_token()).display().to_string();
        let controllers = [
            "daemonset",
            "deployment",
            "endpointslice",
            "replicaset",
            "serviceaccount",
            "root-ca-certificate-publisher",
            "namespace",
            "garbage-collector",
        ];
        let controllers: Vec<_> = controllers.iter().map(|name| format!("{name}-controller")).collect();
        let common = [format!("--kubeconfig={kubeconfig}"), "--leader-elect=false".into(), "--secure-port=0".into()];
        let manager = [
            format!("--controllers={}", controllers.join(",")),
            format!("--root-ca-file={}", cluster.authority_file().display()),
        ];
        for (name, more) in [("kube-controller-manager", &manager[..]), ("kube-scheduler", &[])] {
            let arguments: Vec<_> = common.iter().chain(more).map(Into::into).collect();
            let log = directory.join(format!("{name}.log"));
            processes.push(ServerProcess::start(&program(name), &arguments, &log, None));
        }
        let mut node = Self { cluster, directory, processes };
        node.start_kubelet().await;
        node
    }

    async fn start_kubelet(&mut self) {
        let folder = &self.directory;
        for cgroup in cgroups(folder) {
            fs::create_dir_all(&cgroup).unwrap_or_else(|error| panic!("{}: {error}", cgroup.display()));
        }
        write_configuration(folder);
        let binaries = program("kubelet").parent().unwrap().display().to_string();
        let path = format!("PATH={binaries}:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin");
        let place = folder.display().to_string();
        let arguments = [
            "--mount",
            "--pid",
            "--fork",
            "--kill-child=SIGKILL",
            "--mount-proc",
            "env",
            &path,
            "sh",
            "-c",
            IN_NAMESPACES,
            &place,
            NETWORK.node,
        ];
        let log = folder.join("kubelet.log");
        let kubelet = ServerProcess::start(Path::new("unshare"), &arguments.map(Into::into), &log, None);
        let nodes: Api<NodeObject> = Api::all(self.cluster.admin());
        eventually("the node is ready", || async {
            assert!(kubelet.is_running(), "{}", kubelet.log_tail());
            let node = nodes.get_opt("node").await.unwrap()?;
            let conditions = node.status?.conditions?;
            conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True").then_some(())
        })
        .await;
        self.processes.push(kubelet);
    }

    /// The folder of containerd's `hosts.toml` files.
    pub fn certs_d(&self) -> PathBuf {
        self.directory.join("certs.d")
    }

    /// The kubeconfig of an administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.join("kubeconfig")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // The kubelet first, so that nothing restarts; the API server, a field, last.
        while self.processes.pop().is_some() {}
        cgroups(&self.directory).iter().for_each(|cgroup| remove_cgroup(cgroup));
        let _ = fs::remove_dir_all(&self.directory);
    }
}

async fn start_registry(folder: &Path) -> ServerProcess {
    let config = json!({
        "version": "0.1",
        "log": { "level": "warn" },
        "storage": { "filesystem": { "rootdirectory": folder.join("registry") } },
        "http": { "addr": REGISTRY },
    });
    let file = folder.join("registry.yaml");
    fs::write(&file, config.to_string()).unwrap();
    let arguments = ["serve".into(), file.into_os_string()];
    let registry = ServerProcess::start(&program("registry"), &arguments, &folder.join("registry.log"), None);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    eventually("the registry is ready", || async {
        assert!(registry.is_running(), "{}", registry.log_tail());
        client.get(format!("http://{REGISTRY}/v2/")).send().await.ok()
    })
    .await;
    registry
}

/// Pushes the image `name:1` that runs `/entrypoint` of a folder as the user of the container image.
pub fn push_image(name: &str, folder: &Path, entrypoint: &str) {
    let layer = folder.with_extension("tar").display().to_string();
    run("tar", &["-C", &folder.display().to_string(), "-cf", &layer, "."]);
    let reference = format!("{REGISTRY}/{name}:1");
    run("crane", &["append", "--insecure", "--new_layer", &layer, "--new_tag", &reference]);
    let entrypoint = format!("/{entrypoint}");
    let settings = ["--entrypoint", &entrypoint, "--user", "65532:65532", "--set-platform", "linux/amd64"];
    let settings = settings.map(|text| if text == "linux/amd64" { PLATFORM } else { text });
    run("crane", &[&["mutate", "--insecure", &reference, "--tag", &reference], &settings[..]].concat());
}

#[cfg(target_arch = "x86_64")]
const PLATFORM: &str = "linux/amd64";
#[cfg(target_arch = "aarch64")]
const PLATFORM: &str = "linux/arm64";

/// Pushes an image with these programs of the machine and the libraries that they are linked to.
pub fn push_programs(name: &str, programs: &[&str], folder: &Path) {
    let root = folder.join(name.replace('/', "-"));
    for program in programs {
        let path = run("sh", &["-c", &format!("command -v {program}")]).trim().to_owned();
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::copy(&path, root.join("bin").join(program)).unwrap();
        copy_libraries(&path, &root);
    }
    push_image(name, &root, programs.first().unwrap());
}

fn copy_libraries(program: &str, root: &Path) {
    for word in run("ldd", &[program]).split_whitespace().filter(|word| word.starts_with('/')) {
        let place = root.join(word.trim_start_matches('/'));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::copy(word, place).unwrap();
    }
}

fn push_images(folder: &Path) {
    let source = folder.join("pause.c");
    fs::write(&source, PAUSE).unwrap();
    let pause = folder.join("pause");
    fs::create_dir(&pause).unwrap();
    let [source, executable] = [&source, &pause.join("pause")].map(|path| path.display().to_string());
    run("cc", &["-static", "-Os", "-o", &executable, &source]);
    push_image("pause", &pause, "pause");
    push_image("team/app", &pause, "pause");
    // What a mirror has of other registries.
    for name in ["quay.io/team/app", "docker.io/library/web"] {
        push_image(&format!("mirror/{name}"), &pause, "pause");
    }

    // The program of this build with the libraries that it is linked to; the container image has a static one.
    let root = folder.join("program");
    fs::create_dir(&root).unwrap();
    let built = env!("CARGO_BIN_EXE_k8s-copycat");
    run("strip", &["-o", &root.join("k8s-copycat").display().to_string(), built]);
    copy_libraries(built, &root);
    push_image("k8s-copycat", &root, "k8s-copycat");
}

fn write_configuration(folder: &Path) {
    let place = folder.display();
    let cni = folder.join("cni");
    fs::create_dir(&cni).unwrap();
    let bridge = json!({
        "cniVersion": "0.4.0",
        "name": "drill",
        "plugins": [{
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": true,
            "ipam": {
                "type": "host-local",
                "dataDir": folder.join("addresses"),
                "ranges": [[{ "subnet": "10.88.0.0/16", "rangeStart": "10.88.1.1", "gateway": NETWORK.node }]],
                "routes": [{ "dst": "0.0.0.0/0" }],
            },
        }],
    });
    fs::write(cni.join("10-drill.conflist"), bridge.to_string()).unwrap();
    let hosts = folder.join("certs.d").join(REGISTRY);
    fs::create_dir_all(&hosts).unwrap();
    fs::write(hosts.join("hosts.toml"), format!("server = \"http://{REGISTRY}\"\n")).unwrap();
    let containerd = format!(
        r#"
version = 3
root = "{place}/containerd"
state = "{place}/containerd-state"
[grpc]
  address = "{place}/containerd.sock"
[ttrpc]
  address = "{place}/containerd.ttrpc"
[plugins."io.containerd.cri.v1.images"]
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{REGISTRY}/pause:1"
  [plugins."io.containerd.cri.v1.images".registry]
    config_path = "{place}/certs.d"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "{place}/cni"
"#
    );
    fs::write(folder.join("containerd.toml"), containerd).unwrap();
    let kubelet = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": format!("unix://{place}/containerd.sock"),
        "authentication": { "anonymous": { "enabled": true }, "webhook": { "enabled": false } },
        "authorization": { "mode": "AlwaysAllow" },
        "cgroupDriver": "cgroupfs",
        // A kubelet ends what it does not know in its cgroup.
        "cgroupRoot": format!("/{}", cgroup_name(folder)),
        "failCgroupV1": false,
        "failSwapOn": false,
        "oomScoreAdj": 0,
        "resolvConf": "",
        "makeIPTablesUtilChains": false,
        "enforceNodeAllocatable": ["pods"],
        "podLogsDir": folder.join("pods"),
        // Changes of ConfigMaps reach Pods soon.
        "syncFrequency": "5s",
        // The machine's disk may be fuller than a node's.
        "evictionHard": { "nodefs.available": "0%", "imagefs.available": "0%", "memory.available": "0%" },
        "imageGCHighThresholdPercent": 100,
    });
    fs::write(folder.join("kubelet.json"), kubelet.to_string()).unwrap();
}

/// The parent of all cgroups of the node's Pods.
fn cgroup_name(folder: &Path) -> String {
    format!("k8s-copycat-{}", folder.file_name().unwrap().display())
}

/// Its folders: one, or one for each controller with version 1.
fn cgroups(folder: &Path) -> Vec<PathBuf> {
    let (root, name) = (Path::new("/sys/fs/cgroup"), cgroup_name(folder));
    if root.join("cgroup.controllers").exists() {
        return vec![root.join(name)];
    }
    let controllers = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    controllers
        .filter(|controller| controller.join("cgroup.procs").exists())
        .map(|controller| controller.join(&name))
        .collect()
}

/// Removes a cgroup and those in it. Processes that have been killed may take a moment to end.
fn remove_cgroup(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    for _ in 0..100 {
        if fs::remove_dir(cgroup).is_ok() || !cgroup.exists() {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
}
