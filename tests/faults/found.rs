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
async fn a_web_page_is_no_manifest_that_was_stored() {
    for after in 0..3 {
        arrives(Access::Anonymous, case(index("page")).lax().target(Kind::ManifestPut, after, Fault::Html)).await;
    }
    let kept = Case { named: Named::Both, ..case(single("page")) };
    arrives(Access::Anonymous, kept.lax().target(Kind::ManifestPut, 0, Fault::Html)).await;
}

#[tokio::test]
async fn a_web_page_is_no_blob_that_was_stored() {
    arrives(Access::Anonymous, case(single("page")).lax().target(Kind::UploadPut, 1, Fault::Html)).await;
}

#[tokio::test]
async fn a_web_page_is_no_answer_to_a_mount() {
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
async fn an_upload_whose_session_is_forgotten_is_begun_anew() {
    arrives(Access::Anonymous, case(single("session")).target(Kind::UploadPut, 1, Fault::SessionGone)).await;
}

#[tokio::test]
async fn a_part_that_a_child_of_an_index_names_is_lost_and_brought_again() {
    for after in 0..3 {
        let case = case(index("part")).target(Kind::ManifestPut, after, Fault::LostPart(after));
        arrives(Access::Anonymous, case).await;
    }
}

#[tokio::test]
async fn a_manifest_that_is_lost_after_it_was_taken_is_sent_again() {
    for (image, after) in [(single("lost"), 0), (index("lost"), 0), (index("lost"), 1), (index("lost"), 2)] {
        arrives(Access::Anonymous, case(image).target(Kind::ManifestPut, after, Fault::Lost)).await;
    }
}

#[tokio::test]
async fn a_wrong_digest_of_what_was_stored_is_asked_for_once_more() {
    arrives(Access::Anonymous, case(single("digest")).target(Kind::ManifestHead, 1, Fault::WrongDigest)).await;
}

#[tokio::test]
async fn a_tag_that_was_said_to_mean_what_is_not_there_is_asked_for_once_more() {
    arrives(Access::Anonymous, case(single("digest")).source(Kind::ManifestHead, 0, Fault::WrongDigest)).await;
}

#[tokio::test]
async fn a_login_that_was_taken_before_is_shown_again_after_a_refusal() {
    let refused = Fault::Unauthorized(Challenge::Renew);
    for (at, after) in [(Kind::ManifestHead, 1), (Kind::UploadPost, 0), (Kind::UploadPut, 0), (Kind::ManifestPut, 0)] {
        arrives(Access::Basic, case(single("login")).target(at, after, refused)).await;
    }
}

#[tokio::test]
async fn a_token_service_that_is_not_there_is_not_believed_in_for_ever() {
    let refused = Fault::Unauthorized(Challenge::DeadRealm);
    for access in [Access::Anonymous, Access::Basic, Access::Token] {
        arrives(access, case(single("realm")).target(Kind::BlobHead, 0, refused)).await;
    }
}

#[tokio::test]
async fn a_new_token_that_is_not_taken_is_replaced_by_another() {
    let refused = Fault::Unauthorized(Challenge::Renew);
    for (at, after) in [(Kind::ManifestHead, 0), (Kind::UploadPost, 0), (Kind::UploadPut, 0), (Kind::ManifestPut, 0)] {
        arrives(Access::Token, case(single("token")).target(at, after, refused)).await;
    }
    arrives(Access::Token, case(single("token")).target(Kind::Token, 0, Fault::BadToken)).await;
}

#[tokio::test]
async fn a_web_page_does_not_say_that_a_manifest_is_there() {
    for case in [case(single("page")), case(index("page"))] {
        arrives(Access::Anonymous, case.target(Kind::ManifestHead, 0, Fault::Html)).await;
    }
}

#[tokio::test]
async fn the_tag_that_keeps_a_digest_is_looked_for_as_well() {
    let case = Case { named: Named::Both, ..case(single("kept")) };
    arrives(Access::Anonymous, case.target(Kind::ManifestPut, 0, Fault::Lost)).await;
}

#[tokio::test]
async fn a_blob_that_stays_out_of_reach_is_asked_for_five_times_and_not_five_times_five() {
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
async fn a_target_that_breaks_down_over_a_question_is_asked_whether_it_is_up_as_it_asks_for_logins() {
    for access in [Access::Anonymous, Access::Basic, Access::Token] {
        let mut case = case(single("question"));
        case.at_target.push(Planned::storm(Kind::ManifestHead, 0, 5, Fault::Status(503, RetryAfter::Unsaid)));
        all_arrive(access, vec![case]).await;
    }
}
