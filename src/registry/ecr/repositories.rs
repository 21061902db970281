//! Repositories, which ECR wants to exist before anything is written to them.

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

use super::{Aws, AwsError, call::Call};
use crate::{
    model::{EcrRegistry, NewRepositories, Retry, TagMutability},
    registry::{
        error::{Error, Fault},
        shared_cache::Shared,
    },
};

/// So many repositories are remembered before those are forgotten that were not written to for long: to find out that one
/// is there costs a call.
const MOST_REPOSITORIES: usize = 16_384;

/// The repositories of one registry. A clone is cheap and shares what is known of them.
#[derive(Clone)]
pub struct EcrRepositories {
    inner: Arc<Inner>,
}

struct Inner {
    aws: Aws,
    registry: EcrRegistry,
    new: Option<NewRepositories>,
    client: OnceCell<aws_sdk_ecr::Client>,
    known: Shared<String, tokio::sync::Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    stage: Stage,
    failed: Option<(Instant, AwsError)>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Unknown,
    /// We asked for it, and don't know what came of that.
    Creating,
    /// Made by us, and its policies may still be missing.
    Unfinished,
    Ready,
}

impl EcrRepositories {
    /// `new` is for those that are missing; none: none is made.
    pub fn new(aws: Aws, registry: EcrRegistry, new: Option<NewRepositories>) -> Self {
        // What is made and not complete would be taken for somebody else's.
        let is_settled = |known: &tokio::sync::Mutex<Known>| {
            known.try_lock().is_ok_and(|known| matches!(known.stage, Stage::Unknown | Stage::Ready))
        };
        let known = Shared::keeping(MOST_REPOSITORIES, is_settled);
        let inner = Inner { aws, registry, new, client: OnceCell::new(), known };
        Self { inner: Arc::new(inner) }
    }

    /// Sees to it that a repository can be written to, once for all who need it at the same time.
    ///
    /// # Errors
    /// When AWS can't be asked, or refuses. What is half made then is completed at the next call.
    pub(in crate::registry) async fn ensure(&self, name: &str) -> Result<(), AwsError> {
        if self.inner.new.is_none() {
            return Ok(());
        }
        let asked = Instant::now();
        let known = self.inner.known.get(name, tokio::sync::Mutex::default);
        let mut known = known.lock_owned().await;
        if known.stage == Stage::Ready {
            return Ok(());
        }
        // Whoever waited for a failed attempt has seen it fail.
        if let Some((at, error)) = &known.failed
            && asked <= *at
        {
            return Err(error.clone());
        }
        // What has begun is ended, even if the image that wants it fails meanwhile: a repository that is made and not
        // completed would be taken for somebody else's.
        let (this, name) = (self.clone(), name.to_owned());
        let making = tokio::spawn(async move {
            let made = this.make(&name, &mut known.stage).await;
            known.failed = made.as_ref().err().map(|error| (Instant::now(), error.clone()));
            made
        });
        making.await.unwrap_or_else(|broken| {
            Err(AwsError::new("looking for a repository".to_owned(), broken.to_string(), Retry::Soon))
        })
    }

    /// What an error means where a repository may be missing. One that was there is looked for anew from then on.
    pub(in crate::registry) async fn explain(&self, name: &str, error: Error) -> Error {
        if !error.is_name_unknown() {
            return error;
        }
        if self.inner.new.is_none() {
            let text = format!(
                "the repository {name} does not exist {}, and ECR_CREATE_REPO (in the file ecr.createRepo) is false: \
                 create it, or let it be created",
                self.place()
            );
            return error.because(Fault::Refused(text));
        }
        let known = self.inner.known.get(name, tokio::sync::Mutex::default);
        {
            let mut known = known.lock().await;
            if known.stage == Stage::Ready {
                known.stage = Stage::Unknown;
            }
        }
        let text = format!("the repository {name} is not there any more {}; it is created again", self.place());
        error.because(Fault::Gone(text))
    }

    async fn make(&self, name: &str, stage: &mut Stage) -> Result<(), AwsError> {
        let Some(new) = &self.inner.new else { return Ok(()) };
        match *stage {
            Stage::Unknown | Stage::Creating => match self.exists(name).await? {
                true if *stage == Stage::Creating => *stage = Stage::Unfinished,
                true => *stage = Stage::Ready,
                false => self.create(name, new, stage).await?,
            },
            Stage::Unfinished | Stage::Ready => {}
        }
        if *stage == Stage::Unfinished {
            self.complete(name, new).await?;
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
            Err(error) => Err(self.call("looking for", name, "ecr:DescribeRepositories").failed(error)),
        }
    }

    async fn create(&self, name: &str, new: &NewRepositories, stage: &mut Stage) -> Result<(), AwsError> {
        let request = self.client().await.create_repository();
        let request = request.registry_id(&self.inner.registry.account).repository_name(name);
        let call = self.call("creating", name, "ecr:CreateRepository");
        let request = with_settings(request, new).map_err(|problem| {
            AwsError::new(call.operation.clone(), format!("AWS takes no such settings: {problem}"), Retry::Later)
        })?;
        // Sent once: of two tries the second may find what the first has made.
        let once = aws_sdk_ecr::config::Builder::new().retry_config(RetryConfig::disabled());
        match request.customize().config_override(once).send().await {
            Ok(_) => {
                tracing::info!(repository = name, registry = %self.inner.registry, "repository created");
                *stage = Stage::Unfinished;
                Ok(())
            }
            // Somebody else was quicker, and what they made is theirs.
            Err(error)
                if error.as_service_error().is_some_and(|error| error.is_repository_already_exists_exception()) =>
            {
                *stage = Stage::Ready;
                Ok(())
            }
            Err(error) => {
                *stage = match &error {
                    SdkError::ServiceError(answer) if answer.raw().status().is_client_error() => Stage::Unknown,
                    _ => Stage::Creating,
                };
                Err(call.failed(error))
            }
        }
    }

    async fn complete(&self, name: &str, new: &NewRepositories) -> Result<(), AwsError> {
        let account = &self.inner.registry.account;
        if let Some(policy) = &new.lifecycle_policy {
            let request = self.client().await.put_lifecycle_policy().registry_id(account).repository_name(name);
            request.lifecycle_policy_text(policy).send().await.map_err(|error| {
                self.call("setting the lifecycle policy of", name, "ecr:PutLifecyclePolicy").failed(error)
            })?;
        }
        if let Some(policy) = &new.repository_policy {
            let request = self.client().await.set_repository_policy().registry_id(account).repository_name(name);
            request.policy_text(policy).send().await.map_err(|error| {
                self.call("setting the repository policy of", name, "ecr:SetRepositoryPolicy").failed(error)
            })?;
        }
        Ok(())
    }

    async fn client(&self) -> &aws_sdk_ecr::Client {
        self.inner.client.get_or_init(|| self.inner.aws.ecr(&self.inner.registry)).await
    }

    fn call(&self, doing: &str, name: &str, action: &'static str) -> Call<'_> {
        Call {
            operation: format!("{doing} the repository {name} {}", self.place()),
            action,
            region: &self.inner.registry.region,
            role: self.inner.aws.role(),
        }
    }

    fn place(&self) -> String {
        format!("in account {} ({})", self.inner.registry.account, self.inner.registry.region)
    }
}

fn with_settings(
    mut request: CreateRepositoryFluentBuilder,
    new: &NewRepositories,
) -> Result<CreateRepositoryFluentBuilder, aws_sdk_ecr::error::BuildError> {
    for (key, value) in &new.tags {
        request = request.tags(Tag::builder().key(key).value(value).build()?);
    }
    if new.scan_on_push {
        let scanning = ImageScanningConfiguration::builder().scan_on_push(true).build();
        request = request.image_scanning_configuration(scanning);
    }
    if let Some(key) = &new.kms_key {
        let encryption =
            EncryptionConfiguration::builder().encryption_type(EncryptionType::Kms).kms_key(key).build()?;
        request = request.encryption_configuration(encryption);
    }
    let Some(mutability) = &new.tag_mutability else { return Ok(request) };
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
