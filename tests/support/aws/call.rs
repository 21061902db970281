//! Calls of AWS's API, and how they are refused.

use axum::{body::Body, http::Response};
use http::{header, request::Parts};
use serde_json::{Value, json};

/// A call that came by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `ecr:CreateRepository`
    pub action: String,
    /// The account whose credentials signed it.
    pub caller: String,
    /// The account that it is about: that of its registry, else the caller's.
    pub account: String,
    /// From the signature's scope.
    pub region: String,
    /// Whom it was sent to.
    pub host: String,
    /// JSON, or a form for STS.
    pub body: String,
}

impl Call {
    /// Reads a request that says who sends it; `caller` knows the account of an access key.
    pub fn read(parts: &Parts, body: &str, caller: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let header = |name: &str| parts.headers.get(name)?.to_str().ok();
        let form = |name| form(body, name);
        let (caller, region) = match header("authorization") {
            Some(authorization) => {
                let mut scope = authorization.split_once("Credential=")?.1.split(',').next()?.split('/');
                (caller(scope.next()?)?, scope.nth(1)?)
            }
            // A Kubernetes token stands for a signature.
            None => {
                form("WebIdentityToken")?;
                (form("RoleArn")?.split(':').nth(4)?.to_owned(), "us-east-1")
            }
        };
        let action = match header("x-amz-target").and_then(|target| target.split_once('.')) {
            Some((service, action)) if service.starts_with("AmazonEC2ContainerRegistry") => format!("ecr:{action}"),
            Some((_, action)) => format!("ecr-public:{action}"),
            None => format!("sts:{}", form("Action")?),
        };
        let json: Value = serde_json::from_str(body).unwrap_or_default();
        let registry = json["registryId"].as_str().or(json["registryIds"][0].as_str()).map(str::to_owned);
        Some(Self {
            action,
            account: registry.unwrap_or_else(|| caller.clone()),
            caller,
            region: region.to_owned(),
            host: header("host").unwrap_or_default().to_owned(),
            body: body.to_owned(),
        })
    }

    /// Its body, where that is JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// A value of its form.
    pub fn form(&self, name: &str) -> Option<String> {
        form(&self.body, name)
    }

    /// The ARN of what it is about.
    fn resource(&self) -> String {
        if let Some(role) = self.form("RoleArn") {
            return role;
        }
        match serde_json::from_str::<Value>(&self.body).unwrap_or_default()["repositoryName"].as_str() {
            Some(name) => format!("arn:aws:ecr:{}:{}:repository/{name}", self.region, self.account),
            None => "*".to_owned(),
        }
    }
}

fn form(body: &str, name: &str) -> Option<String> {
    let mut values = url::form_urlencoded::parse(body.as_bytes());
    values.find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
}

/// How a call is answered instead of by moto.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// The caller's policies do not allow it.
    AccessDenied,
    /// Too many calls.
    Throttled,
    /// What was sent is not right, for this reason.
    InvalidParameter(&'static str),
    /// The service is at fault.
    Unavailable,
    /// It is answered rightly, but this late.
    Late(std::time::Duration),
}

impl Refusal {
    /// The answer; none where moto is asked all the same.
    pub fn answer(&self, call: &Call) -> Option<Response<Body>> {
        let (status, code, message) = match self {
            Self::AccessDenied => {
                let Call { caller, action, .. } = call;
                let message = format!(
                    "User: arn:aws:sts::{caller}:assumed-role/copycat/session is not authorized to perform: {action} on \
                     resource: {} because no identity-based policy allows the {action} action",
                    call.resource()
                );
                (403, "AccessDenied", message)
            }
            Self::Throttled => (400, "Throttling", "Rate exceeded".to_owned()),
            Self::InvalidParameter(message) => (400, "InvalidParameter", (*message).to_owned()),
            Self::Unavailable => (503, "ServiceUnavailable", "The service is not available".to_owned()),
            Self::Late(_) => return None,
        };
        Some(error(call, status, code, &message))
    }
}

/// An error as the service of `call` writes it.
pub fn error(call: &Call, status: u16, code: &str, message: &str) -> Response<Body> {
    if call.action.starts_with("sts:") {
        let body = format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
             <Code>{code}</Code><Message>{message}</Message></Error><RequestId>0</RequestId></ErrorResponse>"
        );
        return respond(status, "text/xml", body);
    }
    // ECR answers a caller's mistakes with 400, whatever they are.
    let status = if status < 500 { 400 } else { status };
    let body = json!({ "__type": format!("{code}Exception"), "message": message });
    respond(status, "application/x-amz-json-1.1", body.to_string())
}

/// An answer of the API.
pub fn respond(status: u16, media_type: &str, body: String) -> Response<Body> {
    Response::builder().status(status).header(header::CONTENT_TYPE, media_type).body(Body::from(body)).unwrap()
}
