//! Repositories, which ECR requires to exist before anything is written to them.

use std::{sync::Arc, time::Instant};

use aws_config::retry::RetryConfig;
use aws_sdk_ecr::{
    error::SdkError,
    operation::create_repository::builders::CreateRepositoryFluentBuilder,
    types::{
        EncryptionConfiguration, EncryptionType, ImageScanningConfiguration, ImageTagMutability,
        ImageTagMutabilityExclusionFilter, ImageTagMutabilityExclusionFilterType, Tag,
    },
};
use tokio::sync::OnceCell;

use super::{
    aws::Aws,
    call::{AwsError, Call},
};
use crate::{
    model::{EcrRegistry, NewRepositories, Retry, TagMutability},
    registry::{error::Error, fault::Fault, shared_cache::SharedCache},
};

/// When this many repositories are known, unused ones are removed: checking one again costs a call.
const MAX_REPOSITORIES: usize = 16_384;

/// The repositories of one registry. A clone is cheap and shares what is known about them.
#[derive(Clone)]
pub struct EcrRepositories {
    inner: Arc<Inner>,
}

struct Inner {
    aws: Aws,
    registry: EcrRegistry,
    settings: Option<NewRepositories>,
    client: OnceCell<aws_sdk_ecr::Client>,
    states: SharedCache<String, tokio::sync::Mutex<State>>,
}

#[derive(Default)]
struct State {
    stage: Stage,
    failure: Option<(Instant, AwsError)>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Unknown,
    /// The result of the creation is unknown.
    Creating,
    /// Created by this program; its policies may be missing.
    Incomplete,
    Ready,
}

impl EcrRepositories {
    /// `settings` are those of repositories that are created; None: none is created.
    pub fn new(aws: Aws, registry: EcrRegistry, settings: Option<NewRepositories>) -> Self {
        // An incomplete repository must not be forgotten: it would be taken for one of another owner.
        let is_settled = |state: &tokio::sync::Mutex<State>| {
            state.try_lock().is_ok_and(|state| matches!(state.stage, Stage::Unknown | Stage::Ready))
        };
        let states = SharedCache::with_filter(MAX_REPOSITORIES, is_settled);
        let inner = Inner { aws, registry, settings, client: OnceCell::new(), states };
        Self { inner: Arc::new(inner) }
    }

    /// Whether missing repositories are created.
    pub fn creates_missing(&self) -> bool {
        self.inner.settings.is_some()
    }

    /// Whether a repository exists. Creates nothing.
    ///
    /// # Errors
    /// When AWS can't be reached, or denies it.
    pub async fn has(&self, name: &str) -> Result<bool, AwsError> {
        self.exists(name).await
    }

    /// Creates a repository if it is missing, once for all concurrent callers.
    ///
    /// # Errors
    /// When AWS can't be reached, or denies it. The next call completes an incomplete repository.
    pub(in crate::registry) async fn ensure_exists(&self, name: &str) -> Result<(), AwsError> {
        if self.inner.settings.is_none() {
            return Ok(());
        }
        let begun = Instant::now();
        let state = self.inner.states.get(name, tokio::sync::Mutex::default);
        let mut state = state.lock_owned().await;
        if state.stage == Stage::Ready {
            return Ok(());
        }
        // The attempt that this call waited for has failed.
        if let Some((at, error)) = &state.failure
            && begun <= *at
        {
            return Err(error.clone());
        }
        // In a task of its own, which continues when the caller is cancelled: an incomplete repository would be taken
        // for one of another owner.
        let (this, name) = (self.clone(), name.to_owned());
        let creation = tokio::spawn(async move {
            let result = this.advance(&name, &mut state.stage).await;
            state.failure = result.as_ref().err().map(|error| (Instant::now(), error.clone()));
            result
        });
        creation.await.unwrap_or_else(|aborted| {
            Err(AwsError::new("checking a repository".to_owned(), aborted.to_string(), Retry::Soon))
        })
    }

    /// Replaces the error for a missing repository by one that says what to do; the next write checks for it again.
    pub(in crate::registry) async fn explain_missing(&self, name: &str, error: Error) -> Error {
        if !error.is_name_unknown() {
            return error;
        }
        if self.inner.settings.is_none() {
            let reason = format!(
                "the repository {name} does not exist {}, and ECR_CREATE_REPO (in the file ecr.createRepo) is false: \
                 create it, or set ECR_CREATE_REPO to true",
                self.location()
            );
            return error.with_fault(Fault::Permanent(reason));
        }
        let state = self.inner.states.get(name, tokio::sync::Mutex::default);
        {
            let mut state = state.lock().await;
            if state.stage == Stage::Ready {
                state.stage = Stage::Unknown;
            }
        }
        let reason = format!("the repository {name} no longer exists {}; it is created again", self.location());
        error.with_fault(Fault::RepositoryDeleted(reason))
    }

    async fn advance(&self, name: &str, stage: &mut Stage) -> Result<(), AwsError> {
        let Some(settings) = &self.inner.settings else { return Ok(()) };
        match *stage {
            Stage::Unknown | Stage::Creating => match self.exists(name).await? {
                true if *stage == Stage::Creating => *stage = Stage::Incomplete,
                true => *stage = Stage::Ready,
                false => self.create(name, settings, stage).await?,
            },
            Stage::Incomplete | Stage::Ready => {}
        }
        if *stage == Stage::Incomplete {
            self.complete(name, settings).await?;
            *stage = Stage::Ready;
        }
        Ok(())
    }

    async fn exists(&self, name: &str) -> Result<bool, AwsError> {
        let request = self.client().await.describe_repositories();
        let request = request.registry_id(&self.inner.registry.account).repository_names(name);
        match request.send().await {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_repository_not_found_exception()) => {
                Ok(false)
            }
            Err(error) => Err(self.call("checking for", name, "ecr:DescribeRepositories").into_error(error)),
        }
    }

    async fn create(&self, name: &str, settings: &NewRepositories, stage: &mut Stage) -> Result<(), AwsError> {
        let request = self.client().await.create_repository();
        let request = request.registry_id(&self.inner.registry.account).repository_name(name);
        let call = self.call("creating", name, "ecr:CreateRepository");
        let request = with_settings(request, settings).map_err(|problem| {
            AwsError::new(call.operation.clone(), format!("invalid settings: {problem}"), Retry::Later)
        })?;
        // Without retries: a second attempt could find the repository that the first one created.
        let once = aws_sdk_ecr::config::Builder::new().retry_config(RetryConfig::disabled());
        match request.customize().config_override(once).send().await {
            Ok(_) => {
                tracing::info!(repository = name, registry = %self.inner.registry, "repository created");
                *stage = Stage::Incomplete;
                Ok(())
            }
            // Another owner created it at the same time; its settings are not changed.
            Err(error)
                if error.as_service_error().is_some_and(|error| error.is_repository_already_exists_exception()) =>
            {
                *stage = Stage::Ready;
                Ok(())
            }
            Err(error) => {
                *stage = match &error {
                    SdkError::ServiceError(response) if response.raw().status().is_client_error() => Stage::Unknown,
                    _ => Stage::Creating,
                };
                Err(call.into_error(error))
            }
        }
    }

    async fn complete(&self, name: &str, settings: &NewRepositories) -> Result<(), AwsError> {
        let account = &self.inner.registry.account;
        if let Some(policy) = &settings.lifecycle_policy {
            let request = self.client().await.put_lifecycle_policy().registry_id(account).repository_name(name);
            request.lifecycle_policy_text(policy).send().await.map_err(|error| {
                self.call("setting the lifecycle policy of", name, "ecr:PutLifecyclePolicy").into_error(error)
            })?;
        }
        if let Some(policy) = &settings.repository_policy {
            let request = self.client().await.set_repository_policy().registry_id(account).repository_name(name);
            request.policy_text(policy).send().await.map_err(|error| {
                self.call("setting the repository policy of", name, "ecr:SetRepositoryPolicy").into_error(error)
            })?;
        }
        Ok(())
    }

    async fn client(&self) -> &aws_sdk_ecr::Client {
        self.inner.client.get_or_init(|| self.inner.aws.session().ecr(&self.inner.registry)).await
    }

    fn call(&self, verb: &str, name: &str, action: &'static str) -> Call<'_> {
        Call {
            operation: format!("{verb} the repository {name} {}", self.location()),
            action,
            region: &self.inner.registry.region,
            role: self.inner.aws.role(),
        }
    }

    fn location(&self) -> String {
        format!("in account {} ({})", self.inner.registry.account, self.inner.registry.region)
    }
}

fn with_settings(
    mut request: CreateRepositoryFluentBuilder,
    settings: &NewRepositories,
) -> Result<CreateRepositoryFluentBuilder, aws_sdk_ecr::error::BuildError> {
    for (key, value) in &settings.tags {
        request = request.tags(Tag::builder().key(key).value(value).build()?);
    }
    if settings.scan_on_push {
        let scanning = ImageScanningConfiguration::builder().scan_on_push(true).build();
        request = request.image_scanning_configuration(scanning);
    }
    if let Some(key) = &settings.kms_key {
        let encryption =
            EncryptionConfiguration::builder().encryption_type(EncryptionType::Kms).kms_key(key).build()?;
        request = request.encryption_configuration(encryption);
    }
    let Some(mutability) = &settings.tag_mutability else { return Ok(request) };
    let (mutability, except) = match mutability {
        TagMutability::Mutable { except } if except.is_empty() => (ImageTagMutability::Mutable, except),
        TagMutability::Mutable { except } => (ImageTagMutability::MutableWithExclusion, except),
        TagMutability::Immutable { except } if except.is_empty() => (ImageTagMutability::Immutable, except),
        TagMutability::Immutable { except } => (ImageTagMutability::ImmutableWithExclusion, except),
    };
    for pattern in except {
        let filter = ImageTagMutabilityExclusionFilter::builder()
            .filter_type(ImageTagMutabilityExclusionFilterType::Wildcard)
            .filter(pattern)
            .build()?;
        request = request.image_tag_mutability_exclusion_filters(filter);
    }
    Ok(request.image_tag_mutability(mutability))
}
