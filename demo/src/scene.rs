//! The images of the demo, and the manifests that use them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use demo::{Format, Image, Layer, Registry};

const CONFIG: &str = include_str!("../config.yaml");
const MANIFESTS: [(&str, &str); 3] = [
    ("platform.yaml", include_str!("../manifests/platform.yaml")),
    ("reports.yaml", include_str!("../manifests/reports.yaml")),
    ("shop.yaml", include_str!("../manifests/shop.yaml")),
];

/// The images of the demo.
pub struct Scene {
    images: Vec<(&'static str, &'static str, Image)>,
    database_digest: String,
}

/// The files of the demo.
pub struct Files {
    /// The configuration.
    pub config: PathBuf,
    /// The folder of manifests.
    pub manifests: PathBuf,
    /// The OCI image layout that is the target.
    pub layout: PathBuf,
}

impl Scene {
    /// Creates the images.
    pub fn new() -> io::Result<Self> {
        let base = Layer::files(&[("etc/os-release", "NAME=demo\nVERSION_ID=1\n")])?;
        let multi = |format, name: &str| -> io::Result<Image> {
            let mut platforms = Vec::new();
            for architecture in ["amd64", "arm64"] {
                let program = format!("{name} for {architecture}\n");
                let app = Layer::files(&[(&format!("usr/bin/{name}"), &program)])?;
                platforms.push(Image::single(format, architecture, &[base.clone(), app]));
            }
            Ok(Image::index(format, &platforms))
        };
        let single = |name: &str| -> io::Result<Image> {
            let app = Layer::files(&[(&format!("usr/bin/{name}"), name)])?;
            Ok(Image::single(Format::Docker, "amd64", &[base.clone(), app]))
        };
        let database = multi(Format::Docker, "postgres")?;
        let database_digest = database.digest().to_owned();
        let images = vec![
            ("library/nginx", "1.27", multi(Format::Oci, "nginx")?),
            ("shop/web", "2.4.1", multi(Format::Oci, "web")?),
            ("shop/migrate", "2.4.1", single("migrate")?),
            ("data/postgres", "17.2", database),
            ("ops/log-agent", "0.9", multi(Format::Oci, "log-agent")?),
            ("team-a/report", "nightly", single("report")?),
            ("system/dns", "1.12", single("dns")?),
        ];
        Ok(Self { images, database_digest })
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// A registry with all images.
    pub fn registry(&self) -> Registry {
        self.images
            .iter()
            .fold(Registry::default(), |registry, (repository, tag, image)| registry.with(repository, tag, image))
    }

    /// Writes the configuration and the manifests for a registry on `host` to `directory`, and removes those of an earlier run.
    pub fn write(&self, directory: &Path, host: &str) -> io::Result<Files> {
        let files = Files {
            config: directory.join("config.yaml"),
            manifests: directory.join("manifests"),
            layout: directory.join("layout"),
        };
        for folder in [&files.manifests, &files.layout] {
            match fs::remove_dir_all(folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::create_dir_all(&files.manifests)?;
        fs::write(&files.config, CONFIG.replace("path: LAYOUT", &format!("path: {:?}", files.layout)))?;
        for (name, text) in MANIFESTS {
            let text = text
                .replace("REGISTRY/", &format!("{host}/"))
                .replace("@DB_DIGEST", &format!("@{}", self.database_digest));
            fs::write(files.manifests.join(name), text)?;
        }
        Ok(files)
    }
}
