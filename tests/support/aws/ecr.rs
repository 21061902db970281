//! Access of tests to a simulated registry.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use demo::Image;
use serde_json::{Value, json};

use super::{
    hosts::{self, PUBLIC_ACCOUNT},
    state::{AwsState, Backend, RegistryId},
};

/// The registry of an account in a region, or the public gallery.
pub struct Ecr {
    state: Arc<AwsState>,
    backend: Arc<Backend>,
    registry_id: RegistryId,
}

impl Ecr {
    pub(super) fn new(state: Arc<AwsState>, backend: Arc<Backend>, registry_id: RegistryId) -> Self {
        Self { state, backend, registry_id }
    }

    /// The host name.
    pub fn host(&self) -> String {
        hosts::registry(&self.registry_id.account, &self.registry_id.region)
    }

    /// Calls an action of ECR without recording it.
    ///
    /// # Errors
    ///
    /// The error of AWS.
    pub async fn call(&self, action: &str, mut body: Value) -> Result<Value, Value> {
        body["registryId"] = self.registry_id.account.clone().into();
        let response = self.state.moto.call(&self.registry_id.account, &self.registry_id.region, action, &body).await;
        self.state.clear_repository_cache();
        response
    }

    /// Creates a repository with these settings of `CreateRepository`.
    pub async fn create(&self, repository: &str, mut settings: Value) {
        settings["repositoryName"] = repository.into();
        self.call("CreateRepository", settings).await.unwrap();
    }

    /// Deletes a repository with its content.
    pub async fn delete(&self, repository: &str) {
        self.call("DeleteRepository", json!({ "repositoryName": repository, "force": true })).await.unwrap();
        self.backend.registry.remove_repository(repository);
    }

    /// The description of a repository, if it exists.
    pub async fn repository(&self, repository: &str) -> Option<Value> {
        self.state.repository(&self.registry_id, repository).await
    }

    /// The names of all repositories.
    pub async fn repositories(&self) -> Vec<String> {
        let response = self.call("DescribeRepositories", json!({})).await.unwrap();
        let all = response["repositories"].as_array().unwrap().iter();
        let mut names: Vec<_> = all.map(|one| one["repositoryName"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    /// Allows cross-repository mounts.
    pub fn allow_mounts(&self) {
        self.backend.mounts.store(true, Ordering::Relaxed);
    }

    /// Pushes an image, creates its repository if needed, and returns the reference.
    pub async fn push(&self, repository: &str, tag: &str, image: &Image) -> String {
        if self.registry_id.account != PUBLIC_ACCOUNT && self.repository(repository).await.is_none() {
            self.create(repository, json!({})).await;
        }
        self.backend.registry.push(repository, tag, image).await;
        format!("{}/{repository}:{tag}", self.host())
    }

    /// Adds a tag to an existing image.
    pub async fn tag(&self, repository: &str, tag: &str, image: &Image) {
        let root = image.root();
        self.backend.registry.put_manifest(repository, tag, root.media_type, root.bytes.clone()).await;
    }

    /// Media type and bytes of the manifest of a tag or digest, if there is one.
    pub async fn manifest(&self, repository: &str, reference: &str) -> Option<(String, Bytes)> {
        self.backend.registry.manifest(repository, reference).await
    }

    /// Asserts that `image` exists, byte for byte, and that `reference` refers to it.
    pub async fn assert_has(&self, repository: &str, reference: &str, image: &Image) {
        self.backend.registry.assert_has(repository, reference, image).await;
    }
}
