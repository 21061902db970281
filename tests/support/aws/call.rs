//! Calls of the AWS API, and their errors.

use axum::{body::Body, http::Response};
use http::{header, request::Parts};
use serde_json::{Value, json};

/// A recorded call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `ecr:CreateRepository`
    pub action: String,
    /// The account that signed it.
    pub caller: String,
    /// The account of its registry, or else the caller's.
    pub account: String,
    /// From the signature's scope.
    pub region: String,
    /// The host that it was sent to.
    pub host: String,
    /// JSON, or a form for STS.
    pub body: String,
}

impl Call {
    /// Reads a signed request; `caller` returns the account of an access key.
    pub fn read(parts: &Parts, body: &str, caller: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let header = |name: &str| parts.headers.get(name)?.to_str().ok();
        let form = |name| form(body, name);
        let (caller, region) = match header("authorization") {
            Some(authorization) => {
                let mut scope = authorization.split_once("Credential=")?.1.split(',').next()?.split('/');
                (caller(scope.next()?)?, scope.nth(1)?)
            }
            // A Kubernetes token instead of a signature.
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

    /// The JSON body.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// A value of the form.
    pub fn form(&self, name: &str) -> Option<String> {
        form(&self.body, name)
    }

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

/// A response to a call instead of moto's.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// The caller's policies deny it.
    AccessDenied,
    /// Too many calls.
    Throttled,
    /// With this message.
    InvalidParameter(&'static str),
    Unavailable,
    /// The normal response with this delay.
    Late(std::time::Duration),
}

impl Refusal {
    /// The response; none if moto answers.
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

/// An error in the format of the service of `call`.
pub fn error(call: &Call, status: u16, code: &str, message: &str) -> Response<Body> {
    if call.action.starts_with("sts:") {
        let body = format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
             <Code>{code}</Code><Message>{message}</Message></Error><RequestId>0</RequestId></ErrorResponse>"
        );
        return respond(status, "text/xml", body);
    }
    // ECR uses 400 for all client errors.
    let status = if status < 500 { 400 } else { status };
    let body = json!({ "__type": format!("{code}Exception"), "message": message });
    respond(status, "application/x-amz-json-1.1", body.to_string())
}

/// A response of the API.
pub fn respond(status: u16, media_type: &str, body: String) -> Response<Body> {
    Response::builder().status(status).header(header::CONTENT_TYPE, media_type).body(Body::from(body)).unwrap()
}
