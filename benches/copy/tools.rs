//! The tools that copy, and their command lines.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use crate::{concurrency, floor, measure::Client, registry::Reference, servers::program};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    Copycat,
    Floor,
    Crane,
    Regctl,
    Skopeo,
}

/// All tools, in the order of the columns.
pub const TOOLS: [Tool; 5] = [Tool::Copycat, Tool::Floor, Tool::Crane, Tool::Regctl, Tool::Skopeo];

/// Images to copy from a source to a target.
pub struct Job<'a> {
    /// `host:port`
    pub source: &'a str,
    /// `host:port`
    pub target: &'a str,
    pub images: &'a [Reference],
    /// The certificate authority of the source, if it uses TLS.
    pub authority: Option<PathBuf>,
    /// Whether the target may have some images already.
    pub again: bool,
    /// For files of the tool.
    pub folder: &'a Path,
}

impl Tool {
    /// The header of its column.
    pub fn name(self) -> &'static str {
        match self {
            Self::Copycat => "k8s-copycat",
            Self::Floor => "floor",
            Self::Crane => "crane",
            Self::Regctl => "regctl",
            Self::Skopeo => "skopeo",
        }
    }

    /// Whether it is another project's tool.
    pub fn is_peer(self) -> bool {
        !matches!(self, Self::Copycat | Self::Floor)
    }

    /// The command for a job; `copycat` is the program's path.
    pub fn client(self, copycat: &Path, job: &Job) -> Client {
        let mut environment = vec![("HOME", job.folder.into()), ("PATH", std::env::var_os("PATH").unwrap_or_default())];
        environment.extend(job.authority.clone().map(|file| ("SSL_CERT_FILE", file.into_os_string())));
        let (program, arguments) = match self {
            Self::Copycat => {
                environment.push(("TARGET_KIND", "docker".into()));
                environment.push(("TARGET_REGISTRY", job.target.into()));
                environment.push(("CONFIG_PATH", configuration(job).into()));
                (copycat.to_owned(), vec!["sync".into(), "-f".into(), workloads(job).into()])
            }
            Self::Floor => {
                let scheme = if job.authority.is_some() { "https" } else { "http" };
                let list = job.images.iter().map(|image| format!("{}:{}\n", image.repository, image.tag));
                let file = job.folder.join("images");
                fs::write(&file, list.collect::<String>()).unwrap();
                let [source, target] = [format!("{scheme}://{}", job.source), format!("http://{}", job.target)];
                let mut arguments = vec![floor::FLAG.into(), source.into(), target.into(), file.into()];
                arguments.extend(job.again.then(|| "again".into()));
                (std::env::current_exe().unwrap(), arguments)
            }
            Self::Crane => each(program("crane"), &["copy"], "", job),
            Self::Regctl => {
                let mut hosts = vec![format!("--host=reg={},tls=disabled", job.target)];
                if job.authority.is_none() {
                    hosts.push(format!("--host=reg={},tls=disabled", job.source));
                }
                let arguments: Vec<&str> = hosts.iter().map(String::as_str).chain(["image", "copy"]).collect();
                each(program("regctl"), &arguments, "", job)
            }
            Self::Skopeo => {
                let verify = format!("--src-tls-verify={}", job.authority.is_some());
                let arguments =
                    ["--insecure-policy", "copy", "--quiet", "--all", "--dest-tls-verify=false", verify.as_str()];
                each(program("skopeo"), &arguments, "docker://", job)
            }
        };
        Client { program, arguments, environment }
    }
}

/// Registries without TLS; the other tools have flags for that.
fn configuration(job: &Job) -> PathBuf {
    let plain: BTreeSet<_> = job.authority.is_none().then_some(job.source).into_iter().chain([job.target]).collect();
    let entries = plain.into_iter().map(|registry| format!("- {{ registry: '{registry}', plainHTTP: true }}\n"));
    let file = job.folder.join("config.yaml");
    fs::write(&file, format!("registries:\n{}", entries.collect::<String>())).unwrap();
    file
}

/// Manifests with a Deployment for each image: the program copies all in one run.
fn workloads(job: &Job) -> PathBuf {
    let mut manifests = String::new();
    for (number, image) in job.images.iter().enumerate() {
        writeln!(
            manifests,
            "---
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: app-{number}, namespace: bench }}
spec:
  selector: {{ matchLabels: {{ app: app-{number} }} }}
  template:
    metadata: {{ labels: {{ app: app-{number} }} }}
    spec: {{ containers: [{{ name: app, image: '{}/{}:{}' }}] }}",
            job.source, image.repository, image.tag
        )
        .unwrap();
    }
    let file = job.folder.join("workloads.yaml");
    fs::write(&file, manifests).unwrap();
    file
}

/// Peers copy one image per process: several images take several processes, as in a script.
fn each(peer: PathBuf, arguments: &[&str], scheme: &str, job: &Job) -> (PathBuf, Vec<OsString>) {
    let reference =
        |registry: &str, image: &Reference| format!("{scheme}{registry}/{}:{}", image.repository, image.tag);
    let pairs = job.images.iter().map(|image| [reference(job.source, image), reference(job.target, image)]);
    let arguments = arguments.iter().map(OsString::from);
    if job.images.len() == 1 {
        return (peer, arguments.chain(pairs.flatten().map(OsString::from)).collect());
    }
    let file = job.folder.join("pairs");
    fs::write(&file, pairs.map(|[from, to]| format!("{from} {to}\n")).collect::<String>()).unwrap();
    let max_procs = format!("--max-procs={}", concurrency::IMAGES);
    let file = format!("--arg-file={}", file.display());
    let xargs = [max_procs.into(), "--max-lines=1".into(), file.into(), peer.into_os_string()];
    (program("xargs"), xargs.into_iter().chain(arguments).collect())
}
