//! Targets of kind ecr.

use super::*;
use crate::model::TagMutability;

#[test]
fn all_of_an_ecr_target() {
    let file = r#"
ecr:
  accountID: 123456789012
  region: us-gov-west-1
  assumeRoleArn: arn:aws-us-gov:iam::210987654321:role/mirror
  dualStack: true
  tags: {team: platform, cost-centre: '007'}
  scanOnPush: true
  kmsKey: alias/mirror
  tagMutability: Immutable
  mutabilityExclusions: [latest, 'dev-*']
  repositoryPolicy: '{"Version": "2012-10-17"}'
"#;
    let target = Setup::new(file).var("AWS_USE_FIPS_ENDPOINT", "true").config().targets.remove(0);
    assert_eq!(target.registry, "123456789012.dkr-ecr-fips.us-gov-west-1.on.aws");
    let ecr = target.ecr.unwrap();
    assert_eq!(ecr.assume_role.as_deref(), Some("arn:aws-us-gov:iam::210987654321:role/mirror"));
    let tags: Vec<_> = ecr.new.tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(tags, [("cost-centre", "007"), ("team", "platform")]);
    assert!(ecr.new.scan_on_push);
    assert_eq!(ecr.new.kms_key.as_deref(), Some("alias/mirror"));
    let except = vec!["latest".to_owned(), "dev-*".to_owned()];
    assert_eq!(ecr.new.tag_mutability, Some(TagMutability::Immutable { except }));
    assert_eq!(ecr.new.repository_policy.as_deref(), Some("{\"Version\": \"2012-10-17\"}"));
}

#[test]
fn an_ecr_target() {
    let file = r#"
ecr:
  accountID: 012345678901
  region: eu-central-1
  repoPrefix: mirrors
  createRepo: false
  lifecyclePolicy: |
    {"rules": []}
"#;
    let target = Setup::new(file).config().targets.remove(0);
    assert_eq!(target.kind, TargetKind::Ecr);
    assert_eq!(target.registry, "012345678901.dkr.ecr.eu-central-1.amazonaws.com");
    assert_eq!(target.repo_prefix, "mirrors");
    let ecr = target.ecr.unwrap();
    assert_eq!((ecr.registry.account.as_str(), ecr.registry.region.as_str()), ("012345678901", "eu-central-1"));
    assert!(!ecr.create_repo);
    assert_eq!(ecr.new.lifecycle_policy.as_deref().map(str::trim), Some("{\"rules\": []}"));

    let setup = Setup::new(file).var("ECR_ACCOUNT_ID", "999999999999").var("AWS_REGION", "cn-north-1");
    let target = setup.var("ECR_REPO_PREFIX", "p").var("ECR_CREATE_REPO", "true").config().targets.remove(0);
    assert_eq!(target.registry, "999999999999.dkr.ecr.cn-north-1.amazonaws.com.cn");
    assert_eq!(target.repo_prefix, "p");
    assert!(target.ecr.unwrap().create_repo);
}
