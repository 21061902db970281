//! SIGTERM and SIGINT end the program cleanly at any time.

use std::{net::Ipv4Addr, process::Command, time::Duration};

use tokio::{net::TcpListener, time::sleep};

use crate::{
    mirroring::{arrives, single},
    planning::command,
    support::{Access, Cluster, Program, Registry, deployment, list},
};

/// Accepts connections and never responds.
struct SilentHost(TcpListener);

impl SilentHost {
    async fn start() -> Self {
        Self(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap())
    }

    fn host(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    /// Waits for a connection; it stays open until the result is dropped.
    async fn accept(&self) -> tokio::net::TcpStream {
        self.0.accept().await.unwrap().0
    }
}

#[tokio::test]
async fn sigterm_during_startup_ends_the_controller_cleanly() {
    // The program waits up to two minutes for a plugin's registry.
    let registry = SilentHost::start().await;
    let plugin = format!("plugins: [{{ name: slow, oci: '{}/slow:1@sha256:{}' }}]", registry.host(), "0a".repeat(32));
    let program = Program::new(&["run", "--leader-elect=false"])
        .env("TARGET_KIND", "docker")
        .env("TARGET_REGISTRY", "mirror.test")
        .config(&plugin)
        .start();
    let _connection = registry.accept().await;
    let finished = program.terminate().await.assert_code(0);
    assert!(finished.stdout.contains("shutting down during startup"), "{finished:?}");
}

#[tokio::test]
async fn sigterm_at_any_step_ends_the_controller_cleanly() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace().await;
    for step in ["listening", "waiting for leadership", "\"mirroring\"", "all existing workloads are known"] {
        let program = Program::new(&[]);
        let kubeconfig = cluster.kubeconfig(program.directory(), cluster.admin_token());
        let program = program
            .env("KUBECONFIG", kubeconfig)
            .env("POD_NAMESPACE", &namespace)
            .env("TARGET_KIND", "docker")
            .env("TARGET_REGISTRY", "mirror.test")
            .env("INCLUDE_NAMESPACES", &namespace)
            .start();
        program.logged(step, |log| log.contains(step)).await;
        let finished = program.terminate().await.assert_code(0);
        assert!(finished.stdout.contains("\"shutting down"), "{step}: {finished:?}");
    }
}

#[tokio::test]
async fn an_interrupted_sync_prints_what_it_has_done() {
    for (signal, code, name) in [("INT", 130, "SIGINT"), ("TERM", 143, "SIGTERM")] {
        let (source, silent) = (Registry::distribution(Access::Anonymous).await, SilentHost::start().await);
        let target = Registry::crane().await;
        let image = single("done");
        let done = source.push("team/done", "1", &image).await;
        let stuck = format!("{}/team/stuck:1", silent.host());
        let manifests = list(&[deployment("a").image(&done).manifest(), deployment("b").image(&stuck).manifest()]);
        let program = command(&["sync", "-f", "-"], &manifests).env("TARGET_REGISTRY", target.host());
        let moment = async {
            let connection = silent.accept().await;
            arrives(&target, "team/done", "1", &image).await;
            connection
        };
        let finished = program.run_and_send(&[signal], moment).await.assert_code(code);
        let summary = format!("interrupted by {name}: 1 copied, 1 not done; 2 workloads, ");
        assert!(finished.stdout.lines().last().unwrap().starts_with(&summary), "{finished:?}");
        assert!(finished.stdout.lines().any(|line| line.starts_with("copied ")), "{finished:?}");
    }
}

#[tokio::test]
async fn a_sync_is_interrupted_at_once_before_it_begins() {
    let program = command(&["sync", "-f", "pipe.yaml"], "");
    let pipe = program.directory().join("pipe.yaml");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Opening for writing succeeds as soon as the program reads the pipe.
    let moment = tokio::task::spawn_blocking(move || std::fs::File::options().write(true).open(pipe).unwrap());
    let finished = program.run_and_send(&["INT"], async { moment.await.unwrap() }).await.assert_code(130);
    assert_eq!(finished.stdout, "interrupted by SIGINT: nothing was processed yet\n");
}

#[tokio::test]
async fn a_second_ctrl_c_exits_at_once() {
    let silent = SilentHost::start().await;
    let manifests = list(&[deployment("a").image(&format!("{}/team/stuck:1", silent.host())).manifest()]);
    let program = command(&["sync", "-f", "-"], &manifests);
    let finished = program.run_and_send(&["INT", "INT"], silent.accept()).await.assert_code(130);
    assert_eq!(finished.stdout, "", "active copies are not awaited");
}

#[tokio::test]
async fn a_plan_is_ended_by_the_signal_itself() {
    let program = command(&["plan", "-f", "pipe.yaml"], "");
    let pipe = program.directory().join("pipe.yaml");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let moment = async {
        let opened = tokio::task::spawn_blocking(move || std::fs::File::options().write(true).open(pipe).unwrap());
        let pipe = opened.await.unwrap();
        sleep(Duration::from_millis(10)).await;
        pipe
    };
    assert_eq!(program.run_and_send(&["TERM"], moment).await.code, None);
}
