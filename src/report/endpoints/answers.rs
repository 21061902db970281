//! Answers in JSON. Those of `/reset-cooldown` and `/force-reconcile` are the original's.

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::operations::{CooldownReset, ForcedPass};
use crate::model::printable_json;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResetAnswer {
    pub reset: bool,
    pub cleared_targets: usize,
    pub message: &'static str,
}

impl From<CooldownReset> for ResetAnswer {
    fn from(reset: CooldownReset) -> Self {
        let (cleared_targets, message) = match reset {
            CooldownReset::NotReady => (0, "cooldown reset service not ready"),
            CooldownReset::Disabled => (0, "failure cooldown disabled"),
            CooldownReset::Cleared(0) => (0, "no cooldown entries to reset"),
            CooldownReset::Cleared(targets) => (targets, "failure cooldown reset"),
        };
        Self { reset: cleared_targets > 0, cleared_targets, message }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PassAnswer {
    pub triggered: bool,
    pub success: bool,
    pub workloads_processed: usize,
    pub images_mirrored: usize,
    pub message: String,
}

impl From<ForcedPass> for PassAnswer {
    fn from(pass: ForcedPass) -> Self {
        let (triggered, workloads_processed, images_mirrored, failures) = match pass {
            ForcedPass::NotReady => (false, 0, 0, Vec::new()),
            ForcedPass::Ended { workloads, images, failures } => (true, workloads, images, failures),
        };
        let success = triggered && failures.is_empty();
        let message = if !triggered {
            "force reconcile service not ready".to_owned()
        } else if success {
            "force reconcile completed".to_owned()
        } else {
            format!("force reconcile failed: {}", failures.join("\n"))
        };
        Self { triggered, success, workloads_processed, images_mirrored, message }
    }
}

/// 200 even if the operation failed: scripts written for the original check only the body. 503 if another replica has to be
/// asked.
pub(super) fn status_code(is_ready: bool) -> StatusCode {
    if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// One line of JSON.
pub(super) fn json(status: StatusCode, answer: &impl Serialize) -> Response {
    match printable_json(answer) {
        Ok(text) => (status, [(header::CONTENT_TYPE, "application/json")], text + "\n").into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
