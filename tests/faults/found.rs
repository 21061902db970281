//! Schedules that once ended in a false "done", or in a failure where another try would have helped.

use demo::Image;

use super::{
    batch,
    case::{Case, Named},
};
use crate::{
    mirroring::{index, single},
    support::{
        Access,
        faulty::{Challenge, Fault, Kind, Planned, RetryAfter},
    },
};

/// Insists that the image arrives.
async fn arrives(access: Access, case: Case) {
    all_arrive(access, vec![case]).await;
}

async fn all_arrive(access: Access, cases: Vec<Case>) {
    let batch = batch::run(access, cases).await;
    assert!(batch.wrongs.is_empty(), "{}", batch.wrongs.join("\n"));
    for ended in batch.ended {
        assert!(ended.is_done(), "{}{}\n{:?}", ended.case, ended.line, ended.played);
        assert!(!ended.played.is_empty(), "nothing went wrong:\n{}", ended.case);
    }
}

fn case(image: Image) -> Case {
    Case::new("team/app", image)
}

#[tokio::test]
async fn retries_a_manifest_put_answered_by_a_web_page() {
    for after in 0..3 {
        arrives(Access::Anonymous, case(index("page")).lax().target(Kind::ManifestPut, after, Fault::Html)).await;
    }
    let kept = Case { named: Named::Both, ..case(single("page")) };
    arrives(Access::Anonymous, kept.lax().target(Kind::ManifestPut, 0, Fault::Html)).await;
}

#[tokio::test]
async fn retries_an_upload_answered_by_a_web_page() {
    arrives(Access::Anonymous, case(single("page")).lax().target(Kind::UploadPut, 1, Fault::Html)).await;
}

#[tokio::test]
async fn retries_a_mount_answered_by_a_web_page() {
    // The one that comes second is to mount what the first has brought.
    let cases = ["team/one", "team/two"].map(|repository| {
        Case::new(repository, single("shared")).target(Kind::UploadPost, 0, Fault::Html).target(
            Kind::UploadPost,
            2,
            Fault::Html,
        )
    });
    all_arrive(Access::Anonymous, cases.to_vec()).await;
}

#[tokio::test]
async fn restarts_an_upload_whose_session_is_unknown() {
    arrives(Access::Anonymous, case(single("session")).target(Kind::UploadPut, 1, Fault::SessionGone)).await;
}

#[tokio::test]
async fn uploads_content_of_a_child_manifest_again_after_its_loss() {
    for after in 0..3 {
        let case = case(index("part")).target(Kind::ManifestPut, after, Fault::LostPart(after));
        arrives(Access::Anonymous, case).await;
    }
}

#[tokio::test]
async fn puts_a_manifest_again_that_was_accepted_but_not_stored() {
    for (image, after) in [(single("lost"), 0), (index("lost"), 0), (index("lost"), 1), (index("lost"), 2)] {
        arrives(Access::Anonymous, case(image).target(Kind::ManifestPut, after, Fault::Lost)).await;
    }
}

#[tokio::test]
async fn repeats_the_check_after_a_wrong_digest_at_the_target() {
    arrives(Access::Anonymous, case(single("digest")).target(Kind::ManifestHead, 1, Fault::WrongDigest)).await;
}

#[tokio::test]
async fn resolves_a_tag_again_if_its_digest_does_not_exist() {
    arrives(Access::Anonymous, case(single("digest")).source(Kind::ManifestHead, 0, Fault::WrongDigest)).await;
}

#[tokio::test]
async fn retries_a_rejected_login_that_was_accepted_before() {
    let refused = Fault::Unauthorized(Challenge::Renew);
    for (at, after) in [(Kind::ManifestHead, 1), (Kind::UploadPost, 0), (Kind::UploadPut, 0), (Kind::ManifestPut, 0)] {
        arrives(Access::Basic, case(single("login")).target(at, after, refused)).await;
    }
}

#[tokio::test]
async fn ignores_a_challenge_to_an_unreachable_token_service() {
    let refused = Fault::Unauthorized(Challenge::DeadRealm);
    for access in [Access::Anonymous, Access::Basic, Access::Token] {
        arrives(access, case(single("realm")).target(Kind::BlobHead, 0, refused)).await;
    }
}

#[tokio::test]
async fn replaces_a_rejected_new_token() {
    let refused = Fault::Unauthorized(Challenge::Renew);
    for (at, after) in [(Kind::ManifestHead, 0), (Kind::UploadPost, 0), (Kind::UploadPut, 0), (Kind::ManifestPut, 0)] {
        arrives(Access::Token, case(single("token")).target(at, after, refused)).await;
    }
    arrives(Access::Token, case(single("token")).target(Kind::Token, 0, Fault::BadToken)).await;
}

#[tokio::test]
async fn a_web_page_does_not_prove_that_a_manifest_exists() {
    for case in [case(single("page")), case(index("page"))] {
        arrives(Access::Anonymous, case.target(Kind::ManifestHead, 0, Fault::Html)).await;
    }
}

#[tokio::test]
async fn verifies_the_keep_alive_tag() {
    let case = Case { named: Named::Both, ..case(single("kept")) };
    arrives(Access::Anonymous, case.target(Kind::ManifestPut, 0, Fault::Lost)).await;
}

#[tokio::test]
async fn requests_an_unreachable_blob_at_most_five_times() {
    let mut case = case(single("unreachable"));
    case.at_source.push(Planned::staying(Kind::BlobGet, 0, Fault::CutHead(0)));
    let batch = batch::run(Access::Anonymous, vec![case]).await;
    assert!(batch.wrongs.is_empty(), "{}", batch.wrongs.join("\n"));
    let [ended] = batch.ended.as_slice() else { panic!("one case") };
    assert!(!ended.is_done());
    // Of two blobs, and the first that fails ends the copy.
    assert!((5..=10).contains(&ended.played.len()), "{:?}", ended.played);
}

#[tokio::test]
async fn probes_a_failing_target_with_its_login() {
    for access in [Access::Anonymous, Access::Basic, Access::Token] {
        let mut case = case(single("question"));
        case.at_target.push(Planned::storm(Kind::ManifestHead, 0, 5, Fault::Status(503, RetryAfter::Unsaid)));
        all_arrive(access, vec![case]).await;
    }
}
