//! The controller within the resource limits of the shipped manifest, while hostile plugins appear in its ConfigMap.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use crate::{
    guests,
    hostile::{FAILING, UNLOADABLE},
    hostile_loading::COSTLY,
    mirroring::{arrives, single},
    support::{Access, Cluster, ConfigMapVolume, Program, Registry, Running, deployment, eventually},
};

/// As in `manifests/k8s.yaml`.
const MEMORY: u64 = 256 << 20;
const CPU_PERIOD: u64 = 100_000;
const CPU_QUOTA: u64 = 50_000;

/// Cgroups (v1 or v2) with the shipped limits.
struct Limits {
    groups: Vec<PathBuf>,
    /// The file with the number of OOM kills.
    events: PathBuf,
}

impl Limits {
    /// The error is the reason that no cgroup can be created: it requires root and a writable file system.
    fn new() -> Result<Self, String> {
        let name = format!("k8s-copycat-test-{}", std::process::id());
        let root = Path::new("/sys/fs/cgroup");
        let write = |file: PathBuf, text: String| {
            fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))
        };
        let make = |group: &Path| fs::create_dir(group).map_err(|error| format!("{}: {error}", group.display()));
        if root.join("cgroup.controllers").exists() {
            write(root.join("cgroup.subtree_control"), "+memory +cpu".to_owned())?;
            let group = root.join(name);
            make(&group)?;
            let limits = Self { events: group.join("memory.events"), groups: vec![group.clone()] };
            write(group.join("memory.max"), MEMORY.to_string())?;
            write(group.join("cpu.max"), format!("{CPU_QUOTA} {CPU_PERIOD}"))?;
            return Ok(limits);
        }
        let [memory, cpu] = ["memory", "cpu"].map(|controller| root.join(controller).join(&name));
        make(&memory)?;
        let mut limits = Self { events: memory.join("memory.oom_control"), groups: vec![memory.clone()] };
        make(&cpu)?;
        limits.groups.push(cpu.clone());
        write(memory.join("memory.limit_in_bytes"), MEMORY.to_string())?;
        write(cpu.join("cpu.cfs_period_us"), CPU_PERIOD.to_string())?;
        write(cpu.join("cpu.cfs_quota_us"), CPU_QUOTA.to_string())?;
        Ok(limits)
    }

    /// A script that starts the program in them.
    fn program(&self, folder: &Path) -> PathBuf {
        let enter: String = self
            .groups
            .iter()
            .map(|group| format!("echo $$ >'{}/cgroup.procs' || exit 1\n", group.display()))
            .collect();
        let script = folder.join("confined");
        let text = format!("#!/bin/sh\n{enter}exec '{}' \"$@\"\n", env!("CARGO_BIN_EXE_k8s-copycat"));
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        script
    }

    /// The number of processes that the kernel killed because memory ran out.
    fn killed(&self) -> u64 {
        let events = fs::read_to_string(&self.events).unwrap();
        let killed = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
        killed.unwrap_or_else(|| panic!("{events}")).parse().unwrap()
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        for group in &self.groups {
            // Its processes may take a moment to end.
            for _ in 0..100 {
                if fs::remove_dir(group).is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

/// Probes forever, as the kubelet does; with longer timeouts, since the machine is busy with other tests.
async fn probe(program: &Running) {
    loop {
        for path in ["/healthz", "/readyz"] {
            let answer = tokio::time::timeout(Duration::from_secs(30), program.health(path)).await;
            assert_eq!(answer.unwrap_or_else(|_| panic!("{path} does not answer")).0, 200, "{path}");
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test]
async fn keeps_mirroring_within_its_limits_while_hostile_plugins_are_loaded() {
    let limits = match Limits::new() {
        Ok(limits) => Some(limits),
        Err(reason) => {
            eprintln!("no control group can be made ({reason}): without the limits, what is left is that it goes on");
            None
        }
    };
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::crane().await;
    let good = fs::read(guests::hostile()).unwrap();
    let before = [("good.wasm", good), ("good.yaml", b"config: { version: good }".to_vec())];
    let mut mount = ConfigMapVolume::new(&before);
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.kubeconfig(directory.path(), cluster.admin_token());
    let config =
        format!("targetKind: docker\ndocker: {{ registry: '{}' }}\nincludeNamespaces: [{namespace}]\n", target.host());
    let program = Program::controller(&kubeconfig).config(&config).env("PLUGIN_DIR", mount.path());
    let program = match &limits {
        Some(limits) => program.binary(&limits.program(directory.path())),
        None => program,
    };
    let mut program = program.start();
    program.ready().await;
    let (id, program) = (program.id(), &program);

    let unloadable =
        UNLOADABLE.iter().map(|(name, extension, bytes, message)| (*name, *extension, bytes, Some(*message)));
    let costly = COSTLY.iter().map(|(name, bytes, message)| (*name, "wasm", bytes, Some(*message)));
    let failing = FAILING.iter().map(|(name, bytes, _)| (*name, "wasm", bytes, None));
    let settings = "configureTimeout: 2s\ntimeout: 300ms\nonFailure: pass\n";
    let work = async {
        for (number, (name, extension, bytes, message)) in unloadable.chain(costly).chain(failing).enumerate() {
            let (file, beside) = (format!("{name}.{extension}"), format!("{name}.yaml"));
            let mut files = before.to_vec();
            files.extend([(file.as_str(), bytes.clone()), (beside.as_str(), settings.as_bytes().to_vec())]);
            mount.swap(&files);
            eventually(&format!("{name} is rejected or loaded"), || async {
                let (_, body) = program.get("/plugins").await;
                let page: Value = serde_json::from_str(&body).unwrap();
                let is_there = page["plugins"].as_array()?.iter().any(|plugin| plugin["name"] == name);
                let reason = page["reloadRefused"].as_str().unwrap_or_default();
                let is_rejected = reason.contains(&format!("plugin {name} ("));
                if let (true, Some(message)) = (is_rejected, message) {
                    // With so little memory, some are rejected earlier.
                    let scarce = reason.contains("of memory that are available") || reason.contains("no answer within");
                    assert!(scarce || reason.contains(message), "{name}: {reason}");
                    assert_eq!(reason.lines().count(), 1, "{name}: {reason}");
                }
                (is_there || is_rejected).then_some(())
            })
            .await;
            let (app, image) = (format!("app-{number}"), single(&format!("app {number}")));
            let reference = source.push(&format!("team/{app}"), "1", &image).await;
            deployment(&app).image(&reference).apply(&client, &namespace).await;
            arrives(&target, &format!("good/good/team/{app}"), "1", &image).await;
        }
    };
    tokio::select! {
        () = probe(program) => {}
        () = work => {}
    }
    assert!(Path::new(&format!("/proc/{id}")).exists());
    if let Some(limits) = &limits {
        assert_eq!(limits.killed(), 0, "the compiler stays within the available memory");
    }
}
