//! Schedules that once caused a false success, or a failure that a retry would have avoided.

use demo::Image;

use super::{
    batch,
    case::{Case, ReferenceForm},
};
use crate::{
    mirroring::{index, single},
    support::{
        Access,
        faulty::{Challenge, Fault, RequestKind, RetryAfter, ScheduledFault},
    },
};

async fn assert_arrives(access: Access, case: Case) {
    assert_all_arrive(access, vec![case]).await;
}

async fn assert_all_arrive(access: Access, cases: Vec<Case>) {
    let batch = batch::run(access, cases).await;
    assert!(batch.errors.is_empty(), "{}", batch.errors.join("\n"));
    for result in batch.results {
        assert!(result.is_success(), "{}{}\n{:?}", result.case, result.line, result.injected);
        assert!(!result.injected.is_empty(), "no fault was injected:\n{}", result.case);
    }
}

fn case(image: Image) -> Case {
    Case::new("team/app", image)
}

#[tokio::test]
async fn retries_a_manifest_put_answered_by_a_web_page() {
    for after in 0..3 {
        assert_arrives(
            Access::Anonymous,
            case(index("page")).skip_validation().target(RequestKind::ManifestPut, after, Fault::Html),
        )
        .await;
    }
    let pinned = Case { reference_form: ReferenceForm::Both, ..case(single("page")) };
    assert_arrives(Access::Anonymous, pinned.skip_validation().target(RequestKind::ManifestPut, 0, Fault::Html)).await;
}

#[tokio::test]
async fn retries_an_upload_answered_by_a_web_page() {
    assert_arrives(
        Access::Anonymous,
        case(single("page")).skip_validation().target(RequestKind::UploadPut, 1, Fault::Html),
    )
    .await;
}

#[tokio::test]
async fn retries_a_mount_answered_by_a_web_page() {
    // The second one mounts the layer of the first.
    let cases = ["team/one", "team/two"].map(|repository| {
        Case::new(repository, single("shared")).target(RequestKind::UploadPost, 0, Fault::Html).target(
            RequestKind::UploadPost,
            2,
            Fault::Html,
        )
    });
    assert_all_arrive(Access::Anonymous, cases.to_vec()).await;
}

#[tokio::test]
async fn restarts_an_upload_whose_session_is_unknown() {
    assert_arrives(Access::Anonymous, case(single("session")).target(RequestKind::UploadPut, 1, Fault::UploadUnknown))
        .await;
}

#[tokio::test]
async fn uploads_content_of_a_child_manifest_again_after_its_loss() {
    for after in 0..3 {
        let case = case(index("part")).target(RequestKind::ManifestPut, after, Fault::LoseContent(after));
        assert_arrives(Access::Anonymous, case).await;
    }
}

#[tokio::test]
async fn puts_a_manifest_again_that_was_accepted_but_not_stored() {
    for (image, after) in [(single("lost"), 0), (index("lost"), 0), (index("lost"), 1), (index("lost"), 2)] {
        assert_arrives(Access::Anonymous, case(image).target(RequestKind::ManifestPut, after, Fault::NotStored)).await;
    }
}

#[tokio::test]
async fn repeats_the_check_after_a_wrong_digest_at_the_target() {
    assert_arrives(Access::Anonymous, case(single("digest")).target(RequestKind::ManifestHead, 1, Fault::WrongDigest))
        .await;
}

#[tokio::test]
async fn resolves_a_tag_again_if_its_digest_does_not_exist() {
    assert_arrives(Access::Anonymous, case(single("digest")).source(RequestKind::ManifestHead, 0, Fault::WrongDigest))
        .await;
}

#[tokio::test]
async fn retries_a_rejected_login_that_was_accepted_before() {
    let refused = Fault::Unauthorized(Challenge::Revoked);
    for (at, after) in [
        (RequestKind::ManifestHead, 1),
        (RequestKind::UploadPost, 0),
        (RequestKind::UploadPut, 0),
        (RequestKind::ManifestPut, 0),
    ] {
        assert_arrives(Access::Basic, case(single("login")).target(at, after, refused)).await;
    }
}

#[tokio::test]
async fn ignores_a_challenge_to_an_unreachable_token_service() {
    let refused = Fault::Unauthorized(Challenge::UnreachableRealm);
    for access in [Access::Anonymous, Access::Basic, Access::Token] {
        assert_arrives(access, case(single("realm")).target(RequestKind::BlobHead, 0, refused)).await;
    }
}

#[tokio::test]
async fn replaces_a_rejected_new_token() {
    let refused = Fault::Unauthorized(Challenge::Revoked);
    for (at, after) in [
        (RequestKind::ManifestHead, 0),
        (RequestKind::UploadPost, 0),
        (RequestKind::UploadPut, 0),
        (RequestKind::ManifestPut, 0),
    ] {
        assert_arrives(Access::Token, case(single("token")).target(at, after, refused)).await;
    }
    assert_arrives(Access::Token, case(single("token")).target(RequestKind::Token, 0, Fault::InvalidToken)).await;
}

#[tokio::test]
async fn a_web_page_does_not_prove_that_a_manifest_exists() {
    for case in [case(single("page")), case(index("page"))] {
        assert_arrives(Access::Anonymous, case.target(RequestKind::ManifestHead, 0, Fault::Html)).await;
    }
}

#[tokio::test]
async fn verifies_the_keep_alive_tag() {
    let case = Case { reference_form: ReferenceForm::Both, ..case(single("pinned")) };
    assert_arrives(Access::Anonymous, case.target(RequestKind::ManifestPut, 0, Fault::NotStored)).await;
}

#[tokio::test]
async fn requests_an_unreachable_blob_at_most_five_times() {
    let mut case = case(single("unreachable"));
    case.source_faults.push(ScheduledFault::permanent(RequestKind::BlobGet, 0, Fault::CutHead(0)));
    let batch = batch::run(Access::Anonymous, vec![case]).await;
    assert!(batch.errors.is_empty(), "{}", batch.errors.join("\n"));
    let [result] = batch.results.as_slice() else { panic!("one case") };
    assert!(!result.is_success());
    // There are two blobs; the first failure ends the copy.
    assert!((5..=10).contains(&result.injected.len()), "{:?}", result.injected);
}

#[tokio::test]
async fn probes_a_failing_target_with_its_login() {
    for access in [Access::Anonymous, Access::Basic, Access::Token] {
        let mut case = case(single("question"));
        case.target_faults.push(ScheduledFault::burst(
            RequestKind::ManifestHead,
            0,
            5,
            Fault::Status(503, RetryAfter::Absent),
        ));
        assert_all_arrive(access, vec![case]).await;
    }
}

/// They failed the fourth, untried: the registry counted as down.
#[tokio::test]
async fn repositories_that_fail_at_a_target_do_not_fail_the_others() {
    let mut cases: Vec<Case> = (0..3)
        .map(|number| {
            let mut case = Case::new(&format!("team/broken{number}"), single(&format!("broken{number}")));
            case.target_faults.push(ScheduledFault::permanent(
                RequestKind::UploadPost,
                0,
                Fault::Status(500, RetryAfter::Absent),
            ));
            case
        })
        .collect();
    cases.push(Case::new("team/healthy", single("healthy")));
    let batch = batch::run_one_by_one(Access::Anonymous, cases).await;
    assert!(batch.errors.is_empty(), "{}", batch.errors.join("\n"));
    let results: Vec<bool> = batch.results.iter().map(|result| result.is_success()).collect();
    assert_eq!(results, [false, false, false, true], "{}", batch.results.last().unwrap().line);
}
