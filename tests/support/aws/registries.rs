//! A registry of the stand-in, as a test prepares and examines it.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use demo::Image;
use serde_json::{Value, json};

use super::{
    cloud::{Backing, Cloud, Place},
    hosts::{self, PUBLIC_ACCOUNT},
};

/// The registry of an account in a region, or the public gallery.
pub struct Ecr {
    cloud: Arc<Cloud>,
    backing: Arc<Backing>,
    place: Place,
}

impl Ecr {
    pub(super) fn new(cloud: Arc<Cloud>, backing: Arc<Backing>, place: Place) -> Self {
        Self { cloud, backing, place }
    }

    /// Its name, to be written before a repository.
    pub fn host(&self) -> String {
        hosts::registry(&self.place.account, &self.place.region)
    }

    /// Calls an action of ECR here, unseen.
    ///
    /// # Errors
    ///
    /// What AWS says, if it refuses.
    pub async fn ask(&self, action: &str, mut body: Value) -> Result<Value, Value> {
        body["registryId"] = self.place.account.clone().into();
        let said = self.cloud.moto.ask(&self.place.account, &self.place.region, action, &body).await;
        self.cloud.forget_repositories();
        said
    }

    /// Makes a repository with these settings of `CreateRepository`.
    pub async fn create(&self, repository: &str, mut settings: Value) {
        settings["repositoryName"] = repository.into();
        self.ask("CreateRepository", settings).await.unwrap();
    }

    /// Takes a repository away, with all that is in it.
    pub async fn delete(&self, repository: &str) {
        self.ask("DeleteRepository", json!({ "repositoryName": repository, "force": true })).await.unwrap();
        self.backing.registry.remove_repository(repository);
    }

    /// What `DescribeRepositories` says of a repository, if there is one.
    pub async fn repository(&self, repository: &str) -> Option<Value> {
        self.cloud.repository(&self.place, repository).await
    }

    /// The names of all repositories.
    pub async fn repositories(&self) -> Vec<String> {
        let said = self.ask("DescribeRepositories", json!({})).await.unwrap();
        let all = said["repositories"].as_array().unwrap().iter();
        let mut names: Vec<_> = all.map(|one| one["repositoryName"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    /// Lets blobs be mounted.
    pub fn allow_mounts(&self) {
        self.backing.mounts.store(true, Ordering::Relaxed);
    }

    /// Puts an image there, in a repository that is made for it, and returns its reference.
    pub async fn push(&self, repository: &str, tag: &str, image: &Image) -> String {
        if self.place.account != PUBLIC_ACCOUNT && self.repository(repository).await.is_none() {
            self.create(repository, json!({})).await;
        }
        self.backing.registry.push(repository, tag, image).await;
        format!("{}/{repository}:{tag}", self.host())
    }

    /// Gives an image that is there another tag.
    pub async fn tag(&self, repository: &str, tag: &str, image: &Image) {
        let root = image.root();
        self.backing.registry.put_manifest(repository, tag, root.media_type, root.bytes.clone()).await;
    }

    /// Media type and bytes of the manifest of a tag or digest, if there is one.
    pub async fn manifest(&self, repository: &str, reference: &str) -> Option<(String, Bytes)> {
        self.backing.registry.manifest(repository, reference).await
    }

    /// Insists that `image` is there, byte for byte, and that `reference` leads to it.
    pub async fn assert_has(&self, repository: &str, reference: &str, image: &Image) {
        self.backing.registry.assert_has(repository, reference, image).await;
    }
}
