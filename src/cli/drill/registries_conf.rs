//! podman and skopeo with the files for CRI-O, which has the same library.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::process::Command;

use super::{
    error::DrillError,
    login::auth_file,
    tool::{Tool, command, run, version},
    unreachable,
};
use crate::{
    model::{Reference, TargetAddress},
    restore::Report,
};

/// Where the restore has its drop-in.
const DROP_IN: &str = "registries.conf.d/50-k8s-copycat.conf";

/// A prepared tool.
pub struct WithRegistriesConf {
    tool: Tool,
    version: String,
    store: PathBuf,
    certificates: Option<PathBuf>,
    auth_file: Option<PathBuf>,
    /// The mirror is reached by plain HTTP.
    is_plain: bool,
    timeout: Duration,
}

impl WithRegistriesConf {
    pub async fn prepare(
        tool: Tool,
        restored: &Path,
        report: &Report,
        store: &Path,
        login: Option<&Path>,
        timeout: Duration,
    ) -> Result<Self, DrillError> {
        let file = restored.join(DROP_IN);
        let failed = |file: &Path| {
            let file = file.to_owned();
            move |source| DrillError::Prepare { file, source }
        };
        let text = match fs::read_to_string(&file) {
            // Nothing was expressible: the drill shows what that means.
            Err(error) if error.kind() == io::ErrorKind::NotFound && report.files.is_empty() => String::new(),
            text => text.map_err(failed(&file))?,
        };
        let (host, _) = TargetAddress::host_and_path(&report.target.registry);
        let sources: Vec<Reference> = report.images.iter().filter_map(|image| image.image.parse().ok()).collect();
        let registries: BTreeSet<&str> = sources.iter().map(Reference::registry).collect();
        let changed = unreachable::registries_conf(&text, &registries, host);
        // The home's drop-ins replace the system's of the same prefix, so that files which are in use already do no harm.
        let folder = store.join("home/.config/containers/registries.conf.d");
        fs::create_dir_all(&folder).map_err(failed(&folder))?;
        for file in [folder.join("99-drill.conf"), store.join("registries.conf")] {
            fs::write(&file, &changed).map_err(failed(&file))?;
        }
        let policy = store.join("policy.json");
        fs::write(&policy, r#"{"default":[{"type":"insecureAcceptAnything"}]}"#).map_err(failed(&policy))?;
        let certificates = Some(restored.join("certs.d").join(host)).filter(|folder| folder.is_dir());
        Ok(Self {
            tool,
            version: version(tool.name()).await?,
            store: store.to_owned(),
            certificates,
            auth_file: auth_file(login),
            is_plain: report.target.scheme == "http",
            timeout,
        })
    }

    pub fn description(&self) -> String {
        self.version.clone()
    }

    pub async fn pull(&self, image: &str) -> Result<(), String> {
        // Both refuse a tag beside a digest; CRI-O leaves it out as well.
        let image = match image.parse::<Reference>() {
            Ok(reference) => {
                reference.digest().map_or_else(|| image.to_owned(), |digest| reference.at(digest.clone()).to_string())
            }
            Err(error) => return Err(error.to_string()),
        };
        match self.tool {
            Tool::Podman => {
                let mut arguments = self.podman("pull");
                arguments.extend([
                    "--quiet".into(),
                    "--signature-policy".into(),
                    self.store.join("policy.json").into(),
                ]);
                arguments.extend(self.access("--cert-dir", "--authfile", "--tls-verify"));
                arguments.push(image.as_str().into());
                run(self.command(arguments), self.timeout).await?;
                let mut arguments = self.podman("rmi");
                arguments.extend(["--all".into(), "--force".into()]);
                run(self.command(arguments), self.timeout).await
            }
            Tool::Skopeo | Tool::Containerd => {
                let copy = self.store.join("image");
                let mut arguments: Vec<OsString> =
                    vec!["--policy".into(), self.store.join("policy.json").into(), "copy".into(), "--quiet".into()];
                arguments.extend(self.access("--src-cert-dir", "--src-authfile", "--src-tls-verify"));
                arguments.extend([format!("docker://{image}").into(), format!("dir:{}", copy.display()).into()]);
                let result = run(self.command(arguments), self.timeout).await;
                // It may be partly there, or not at all.
                let _ = fs::remove_dir_all(&copy);
                result
            }
        }
    }

    fn podman(&self, subcommand: &str) -> Vec<OsString> {
        vec![
            "--root".into(),
            self.store.join("storage").into(),
            "--runroot".into(),
            self.store.join("run").into(),
            // Needs no mounts, which a drill that is killed would leave behind.
            "--storage-driver".into(),
            "vfs".into(),
            subcommand.into(),
        ]
    }

    fn access(&self, certificates: &str, auth_file: &str, verify: &str) -> Vec<OsString> {
        let with = |flag: &str, file: &Option<PathBuf>| -> Vec<OsString> {
            file.iter().flat_map(|file| [flag.into(), file.clone().into()]).collect()
        };
        let mut arguments = with(certificates, &self.certificates);
        arguments.extend(with(auth_file, &self.auth_file));
        if self.is_plain {
            arguments.push(format!("{verify}=false").into());
        }
        arguments
    }

    fn command(&self, arguments: Vec<OsString>) -> Command {
        let mut command = command(self.tool.name(), arguments);
        let home = self.store.join("home");
        command
            .env("CONTAINERS_REGISTRIES_CONF", self.store.join("registries.conf"))
            .env("XDG_CONFIG_HOME", home.join(".config"))
            .env("HOME", home)
            .env_remove("REGISTRY_AUTH_FILE")
            // podman would leave images there if they are larger than it likes to keep in /var/tmp.
            .env("TMPDIR", &self.store);
        command
    }
}
