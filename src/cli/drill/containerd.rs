//! A containerd of its own with the files for containerd: the node's own, with its images and its configuration, is not touched.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use super::{
    error::DrillError,
    tool::{command, find, run, version},
    unreachable::{self, NOWHERE},
};
use crate::{
    model::{Reference, TargetAddress, cut, one_line},
    restore::Report,
};

const START_DEADLINE: Duration = Duration::from_secs(60);
const STOP_DEADLINE: Duration = Duration::from_secs(20);
/// Of containerd's log, when it does not start.
const LONGEST_LOG: usize = 1_000;
/// Of the DaemonSet and of `restore` alike.
const AUTHORITY: &str = "k8s-copycat-ca.crt";

/// A running containerd.
pub struct Containerd {
    process: Child,
    folder: PathBuf,
    version: String,
    has_crictl: bool,
    /// Version 1.
    is_first: bool,
    timeout: Duration,
}

impl Containerd {
    /// Waits until it answers.
    pub async fn start(restored: &Path, report: &Report, store: &Path, timeout: Duration) -> Result<Self, DrillError> {
        let version = version("containerd").await?;
        let has_crictl = find("crictl").is_some();
        if !has_crictl && find("ctr").is_none() {
            return Err(DrillError::Missing("crictl or ctr"));
        }
        lay_hosts(restored, report, &store.join("certs.d"))?;
        let config = store.join("containerd.toml");
        // " containerd github.com/containerd/containerd 1.7.27 05044ec"
        let is_first = version.split(' ').any(|word| word.trim_start_matches('v').starts_with("1."));
        write(&config, &configuration(store, is_first))?;
        write(&store.join("crictl.yaml"), "")?;
        let log = store.join("containerd.log");
        let log_file = fs::File::create(&log).map_err(|source| DrillError::Prepare { file: log.clone(), source })?;
        let mut starting = in_own_mounts(&config);
        starting.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log_file).kill_on_drop(true);
        let process = starting.spawn().map_err(|source| DrillError::Run { tool: "containerd", source })?;
        let mut started = Self { process, folder: store.to_owned(), version, has_crictl, is_first, timeout };
        started.wait_until_it_answers(&log).await?;
        Ok(started)
    }

    async fn wait_until_it_answers(&mut self, log: &Path) -> Result<(), DrillError> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            let answer = run(self.client(["version"]), Duration::from_secs(10)).await;
            let Err(error) = answer else { return Ok(()) };
            let has_ended = self.process.try_wait().is_ok_and(|status| status.is_some());
            if has_ended || Instant::now() > deadline {
                let text = fs::read(log).unwrap_or_default();
                let text = String::from_utf8_lossy(&text).into_owned();
                let last = text.lines().rev().find(|line| line.contains("level=fatal") || line.contains("level=error"));
                let why = last.or_else(|| text.lines().next_back()).map_or(error, |line| one_line(line).into_owned());
                return Err(DrillError::Containerd(cut(&why, LONGEST_LOG).into_owned()));
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    pub fn description(&self) -> String {
        let (version, how) = (&self.version, if self.has_crictl { "through the CRI" } else { "with ctr" });
        format!("{version}, {how}")
    }

    /// Pulls an image and removes it.
    pub async fn pull(&self, image: &str) -> Result<(), String> {
        if self.has_crictl {
            run(self.client(["pull", image]), self.timeout).await?;
            // By name and digest crictl finds it too; if not, it is removed with the store.
            let _ = run(self.client(["rmi", "--all"]), self.timeout).await;
        } else {
            let hosts = self.folder.join("certs.d");
            let mut pull = self.client(["images", "pull", "--hosts-dir"]);
            pull.arg(hosts);
            // Else containerd pulls by itself, and not all of version 2 do so by these files.
            if !self.is_first {
                pull.arg("--local");
            }
            pull.arg(image);
            run(pull, self.timeout).await?;
            let _ = run(self.client(["images", "remove", "--sync", image]), self.timeout).await;
        }
        Ok(())
    }

    fn client<const N: usize>(&self, arguments: [&str; N]) -> Command {
        let socket = self.folder.join("containerd.sock");
        let mut client = if self.has_crictl {
            let endpoint = format!("unix://{}", socket.display());
            let timeout = format!("{}s", self.timeout.as_secs());
            // The node's own configuration would name the node's socket.
            let config = self.folder.join("crictl.yaml").into_os_string();
            let flags = ["--config".into(), config, "--runtime-endpoint".into(), endpoint.clone().into()];
            let more = ["--image-endpoint", &endpoint, "--timeout", &timeout].map(OsString::from);
            command("crictl", flags.into_iter().chain(more))
        } else {
            command(
                "ctr",
                ["--address".into(), socket.into_os_string(), "--namespace".into(), "k8s-copycat-drill".into()],
            )
        };
        client.args(arguments);
        client
    }

    /// Lets it end by itself, so that nothing stays mounted in its store.
    pub async fn stop(mut self) {
        let id = self.process.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(id) = id {
            let _ = kill_process(id, Signal::TERM);
            let _ = timeout(STOP_DEADLINE, self.process.wait()).await;
        }
    }
}

/// containerd, with mounts of its own where that is possible: they end with it, also if it is killed.
fn in_own_mounts(config: &Path) -> Command {
    let arguments = [OsString::from("--config"), config.into()];
    match (find("unshare"), find("containerd")) {
        (Some(_), Some(containerd)) => {
            let own: [OsString; 4] = ["--mount".into(), "--propagation".into(), "private".into(), containerd.into()];
            command("unshare", own.into_iter().chain(arguments))
        }
        _ => command("containerd", arguments),
    }
}

/// The restore's folders, and one for everything else, that lead to the mirror or nowhere.
fn lay_hosts(restored: &Path, report: &Report, to: &Path) -> Result<(), DrillError> {
    let from = restored.join("certs.d");
    let (host, _) = TargetAddress::host_and_path(&report.target.registry);
    let mut login = None;
    for listed in report.files.iter().filter(|file| file.path.ends_with("/hosts.toml")) {
        let file = restored.join(&listed.path);
        let text = fs::read_to_string(&file).map_err(|source| DrillError::Prepare { file: file.clone(), source })?;
        let is_mirrors_own = listed.path == format!("certs.d/{host}/hosts.toml");
        let changed = match is_mirrors_own {
            true => text.clone(),
            false => unreachable::hosts_toml(&text)
                .ok_or(DrillError::Changed {
                    file, problem: "there is no line `server = …` before the first table"
                })?,
        };
        let is_login = |line: &&str| line.trim_start().starts_with("Authorization");
        login = login.or_else(|| text.lines().find(is_login).map(str::to_owned));
        write(&restored_place(&listed.path, to), &changed)?;
    }
    let authority = from.join(AUTHORITY);
    let has_authority = authority.is_file();
    if has_authority {
        let place = to.join(AUTHORITY);
        fs::create_dir_all(to)
            .and_then(|()| fs::copy(&authority, &place))
            .map_err(|source| DrillError::Prepare { file: place, source })?;
    }
    write(&to.join("_default/hosts.toml"), &format!("server = \"{NOWHERE}\"\n"))?;
    let registries: BTreeSet<String> = report
        .images
        .iter()
        .filter_map(|image| image.image.parse::<Reference>().ok())
        .map(|source| source.registry().to_owned())
        .collect();
    // Images that are named as the mirror's are its own.
    if registries.contains(host) && !to.join(host).is_dir() {
        let mut text = format!("server = \"{0}://{host}\"\n[host.\"{0}://{host}\"]\n", report.target.scheme);
        if has_authority {
            text += &format!("  ca = \"../{AUTHORITY}\"\n");
        }
        if let Some(login) = login {
            text += &format!("[host.\"{}://{host}\".header]\n{login}\n", report.target.scheme);
        }
        write(&to.join(host).join("hosts.toml"), &text)?;
    }
    Ok(())
}

/// Where a listed file `certs.d/REGISTRY/hosts.toml` goes.
fn restored_place(listed: &str, to: &Path) -> PathBuf {
    to.join(listed.strip_prefix("certs.d/").unwrap_or(listed))
}

fn write(file: &Path, text: &str) -> Result<(), DrillError> {
    let parent = file.parent().unwrap_or(Path::new("."));
    // A login may be in it.
    let written = fs::create_dir_all(parent)
        .and_then(|()| private(file))
        .and_then(|mut out| io::Write::write_all(&mut out, text.as_bytes()));
    written.map_err(|source| DrillError::Prepare { file: file.to_owned(), source })
}

fn private(file: &Path) -> io::Result<fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)
}

fn configuration(store: &Path, is_first: bool) -> String {
    let place = |name: &str| format!("{:?}", store.join(name).display().to_string());
    let (version, registry) = if is_first {
        (2, r#"plugins."io.containerd.grpc.v1.cri".registry"#)
    } else {
        (3, r#"plugins."io.containerd.cri.v1.images".registry"#)
    };
    format!(
        r#"version = {version}
root = {}
state = {}
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = {}
[ttrpc]
  address = {}
[plugins."io.containerd.nri.v1.nri"]
  disable = true
[{registry}]
  config_path = {}
"#,
        place("root"),
        place("state"),
        place("containerd.sock"),
        place("containerd.ttrpc"),
        place("certs.d")
    )
}
