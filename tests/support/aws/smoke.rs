//! Tests of the simulated AWS.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use demo::{Format, Image, Layer};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::*;

const REGION: &str = "eu-central-1";

fn image(content: &str) -> Image {
    Image::single(Format::Oci, "amd64", &[Layer::files(&[("content", content)]).unwrap()])
}

/// A client in a network with this AWS.
struct Client<'a> {
    aws: &'a Aws,
    http: reqwest::Client,
}

impl<'a> Client<'a> {
    fn new(aws: &'a Aws) -> Self {
        let authority = reqwest::Certificate::from_pem(&fs::read(aws.ca_file()).unwrap()).unwrap();
        let http = reqwest::Client::builder()
            .proxy(reqwest::Proxy::https(aws.proxy()).unwrap())
            .tls_certs_only([authority])
            .redirect(reqwest::redirect::Policy::none());
        Self { aws, http: http.build().unwrap() }
    }

    fn signed(&self, key: &str, service: &str, region: &str) -> reqwest::RequestBuilder {
        let scope = format!("AWS4-HMAC-SHA256 Credential={key}/20260101/{region}/{service}/aws4_request");
        self.http.post(self.aws.endpoint()).header("authorization", scope)
    }

    async fn ecr(&self, key: &str, region: &str, action: &str, body: Value) -> Response {
        let request = self.signed(key, "ecr", region).header("content-type", "application/x-amz-json-1.1");
        let request = request.header("x-amz-target", format!("AmazonEC2ContainerRegistry_V20150921.{action}"));
        request.body(body.to_string()).send().await.unwrap()
    }

    async fn sts(&self, key: &str, form: &str) -> Response {
        let request = self.signed(key, "sts", REGION).header("content-type", "application/x-www-form-urlencoded");
        request.body(form.to_owned()).send().await.unwrap()
    }

    /// The `Authorization` header for a registry.
    async fn login(&self, account: &str, region: &str) -> String {
        let body = json!({ "registryIds": [account] });
        let response: Value =
            self.ecr(self.aws.key().0, region, "GetAuthorizationToken", body).await.json().await.unwrap();
        format!("Basic {}", response["authorizationData"][0]["authorizationToken"].as_str().unwrap())
    }

    /// The same for the public gallery, if the region has its token service.
    async fn public_login(&self, region: &str) -> Option<String> {
        let request = self.signed(self.aws.key().0, "ecr-public", region);
        let request = request.header("x-amz-target", "SpencerFrontendService.GetAuthorizationToken").body("{}");
        let response: Value = request.send().await.unwrap().json().await.unwrap();
        response["authorizationData"]["authorizationToken"].as_str().map(|token| format!("Basic {token}"))
    }

    async fn at(&self, method: Method, url: &str, login: &str, body: Vec<u8>) -> Response {
        let request = self.http.request(method, url).body(body);
        let request = if login.is_empty() { request } else { request.header("authorization", login) };
        request.send().await.unwrap()
    }

    async fn put_manifest(&self, url: &str, login: &str, image: &Image) -> Response {
        let request = self.http.put(url).header("authorization", login).header("content-type", image.root().media_type);
        request.body(image.root().bytes.clone()).send().await.unwrap()
    }
}

/// Status, code and message of an error.
async fn refused(answer: Response) -> (u16, String, String) {
    let status = answer.status().as_u16();
    let response: Value = answer.json().await.unwrap();
    let text = |part: &str| response["errors"][0][part].as_str().unwrap().to_owned();
    (status, text("code"), text("message"))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test]
async fn records_calls_and_applies_them_to_their_registry() {
    let aws = Aws::start().await;
    let client = Client::new(&aws);
    let other = new_account();
    let body = json!({ "repositoryName": "team/app", "registryId": other });
    assert_eq!(client.ecr(aws.key().0, REGION, "CreateRepository", body.clone()).await.status(), 200);
    assert_eq!(client.ecr(aws.key().0, REGION, "CreateRepository", body.clone()).await.status(), 400);
    let call = Call {
        action: "ecr:CreateRepository".to_owned(),
        caller: aws.account().to_owned(),
        account: other.clone(),
        region: REGION.to_owned(),
        host: aws.api.host(),
        body: body.to_string(),
    };
    assert_eq!(aws.take_calls(), [call.clone(), call]);
    assert_eq!(aws.registry(&other, REGION).await.repositories().await, ["team/app"]);
    assert_eq!(aws.registry(aws.account(), REGION).await.repositories().await, Vec::<String>::new());
    assert_eq!(aws.registry(&other, "us-east-1").await.repositories().await, Vec::<String>::new());
    assert_eq!(aws.take_calls(), [], "calls of the test itself are not recorded");

    let response = client.ecr("AKIASTRANGER", REGION, "DescribeRepositories", json!({})).await.text().await.unwrap();
    assert!(response.contains("UnrecognizedClientException"), "{response}");
    let response = client.sts(aws.key().0, "Action=GetCallerIdentity&Version=2011-06-15").await.text().await.unwrap();
    assert!(response.contains(&format!("<Account>{}</Account>", aws.account())), "{response}");
}

#[tokio::test]
async fn an_assumed_role_belongs_to_its_account() {
    let aws = Aws::start().await;
    let client = Client::new(&aws);
    let other = new_account();
    let form =
        format!("Action=AssumeRole&Version=2011-06-15&RoleSessionName=x&RoleArn=arn:aws:iam::{other}:role/mirror");
    let response = client.sts(aws.key().0, &form).await.text().await.unwrap();
    let key = response.split_once("<AccessKeyId>").unwrap().1.split_once('<').unwrap().0;
    let response = client.sts(key, "Action=GetCallerIdentity&Version=2011-06-15").await.text().await.unwrap();
    assert!(response.contains(&format!("arn:aws:sts::{other}:assumed-role/mirror/x")), "{response}");
    let calls = aws.take_calls();
    assert_eq!((&*calls[0].caller, &*calls[1].caller), (aws.account(), &*other));
    assert_eq!(calls[0].action, "sts:AssumeRole");

    aws.refuse(1, "sts:AssumeRole", Refusal::AccessDenied);
    let answer = client.sts(aws.key().0, &form).await;
    assert_eq!(answer.status(), 403);
    let response = answer.text().await.unwrap();
    assert!(
        response.contains("<Code>AccessDenied</Code>") && response.contains("to perform: sts:AssumeRole on resource")
    );
    assert_eq!(client.sts(aws.key().0, &form).await.status(), 200);
}

#[tokio::test]
async fn refuses_calls_with_the_errors_of_aws() {
    let aws = Aws::start().await;
    let client = Client::new(&aws);
    for (refusal, code, message) in [
        (
            Refusal::AccessDenied,
            "AccessDeniedException",
            "is not authorized to perform: ecr:CreateRepository on resource",
        ),
        (Refusal::Throttled, "ThrottlingException", "Rate exceeded"),
        (Refusal::InvalidParameter("no such thing"), "InvalidParameterException", "no such thing"),
    ] {
        aws.refuse(1, "ecr:CreateRepository", refusal);
        let body = json!({ "repositoryName": "team/app" });
        let answer = client.ecr(aws.key().0, REGION, "CreateRepository", body).await;
        assert_eq!(answer.status(), 400);
        let response: Value = answer.json().await.unwrap();
        assert_eq!(response["__type"], code);
        assert!(response["message"].as_str().unwrap().contains(message), "{response}");
    }
    let ecr = aws.registry(aws.account(), REGION).await;
    assert_eq!(ecr.repositories().await, Vec::<String>::new());
}

#[tokio::test]
async fn each_token_is_unique_and_valid_for_one_registry() {
    let aws = Aws::start().await;
    let client = Client::new(&aws);
    let ecr = aws.registry(aws.account(), REGION).await;
    let url = format!("https://{}/v2/", ecr.host());
    let answer = client.at(Method::GET, &url, "", vec![]).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let challenge = format!("Basic realm=\"https://{}/\",service=\"ecr.amazonaws.com\"", ecr.host());
    assert_eq!(answer.headers()["www-authenticate"], challenge.as_str());

    let (one, two) = (client.login(aws.account(), REGION).await, client.login(aws.account(), REGION).await);
    assert_ne!(one, two);
    for login in [&one, &two] {
        assert_eq!(client.at(Method::GET, &url, login, vec![]).await.status(), 200);
    }
    for (account, region) in [(aws.account(), "us-east-1"), (&new_account(), REGION)] {
        let elsewhere = client.login(account, region).await;
        let answer = client.at(Method::GET, &url, &elsewhere, vec![]).await;
        assert_eq!(refused(answer).await.0, 403, "{account} {region}");
    }
    aws.expire_tokens();
    let expired = "Your authorization token has expired. Reauthenticate and try again.";
    let answer = client.at(Method::GET, &url, &one, vec![]).await;
    assert_eq!(refused(answer).await, (403, "DENIED".to_owned(), expired.to_owned()));
    let answer = client.at(Method::HEAD, &format!("{url}a/manifests/1"), &one, vec![]).await;
    assert_eq!((answer.status().as_u16(), answer.bytes().await.unwrap().len()), (403, 0));
    aws.answer_401_when_expired();
    assert_eq!(client.at(Method::GET, &url, &one, vec![]).await.status(), 401);
    let requests = aws.take_requests();
    assert_eq!(requests.last().unwrap().authorization.as_ref(), Some(&one));
    assert_eq!(requests[0].host, ecr.host());

    aws.set_token_lifetime(Duration::from_secs(600));
    let body = json!({ "registryIds": [aws.account()] });
    let response: Value = client.ecr(aws.key().0, REGION, "GetAuthorizationToken", body).await.json().await.unwrap();
    let expires = response["authorizationData"][0]["expiresAt"].as_u64().unwrap();
    assert!((now() + 500..=now() + 600).contains(&expires), "{response}");
    let token = response["authorizationData"][0]["authorizationToken"].as_str().unwrap();
    let decoded = String::from_utf8(STANDARD.decode(token).unwrap()).unwrap();
    assert_eq!(aws.find_secret("it is a secret"), None);
    for secret in [token, decoded.trim_start_matches("AWS:"), SECRET_KEY] {
        let text = format!("it is {secret}!");
        assert!(aws.find_secret(&text).is_some(), "{secret}");
    }
}

#[tokio::test]
async fn rejects_requests_to_missing_repositories() {
    let aws = Aws::start().await;
    let client = Client::new(&aws);
    let ecr = aws.registry(aws.account(), REGION).await;
    let login = client.login(aws.account(), REGION).await;
    let base = format!("https://{}/v2/team/app", ecr.host());
    for (method, path) in [
        (Method::GET, "manifests/1"),
        (Method::PUT, "manifests/1"),
        (Method::GET, "blobs/sha256:0"),
        (Method::POST, "blobs/uploads/"),
    ] {
        let answer = client.at(method, &format!("{base}/{path}"), &login, vec![]).await;
        let expected =
            format!("The repository with name 'team/app' does not exist in the registry with id '{}'", aws.account());
        assert_eq!(refused(answer).await, (404, "NAME_UNKNOWN".to_owned(), expected));
    }
    ecr.create("team/app", json!({})).await;
    let start = client.at(Method::POST, &format!("{base}/blobs/uploads/"), &login, vec![]).await;
    assert_eq!(start.status(), 202);
    let location = start.headers()["location"].to_str().unwrap();
    assert!(location.starts_with(&format!("{base}/blobs/uploads/")), "{location}");
    let patched = client.at(Method::PATCH, location, &login, b"some".to_vec()).await;
    assert_eq!(patched.status(), 201, "not 202");
    ecr.delete("team/app").await;
    let answer = client.at(Method::GET, &format!("{base}/manifests/1"), &login, vec![]).await;
    assert_eq!(refused(answer).await.1, "NAME_UNKNOWN");
}

#[tokio::test]
async fn validates_manifests_like_ecr() {
    let aws = Aws::start().await;
    let client = Client::new(&aws);
    let ecr = aws.registry(aws.account(), REGION).await;
    let login = client.login(aws.account(), REGION).await;
    let image = image("app");
    ecr.push("team/app", "1", &image).await;
    let manifests = format!("https://{}/v2/team/app/manifests", ecr.host());
    let by_digest = client.put_manifest(&format!("{manifests}/{}", image.digest()), &login, &image).await;
    assert_eq!((by_digest.status().as_u16(), by_digest.headers().get("location")), (201, None));
    let by_tag = client.put_manifest(&format!("{manifests}/2"), &login, &image).await;
    assert!(by_tag.status() == 201 && by_tag.headers().contains_key("location"));

    let mut referrer: Value = serde_json::from_slice(&image.root().bytes).unwrap();
    referrer["subject"] = json!({ "mediaType": image.root().media_type, "digest": image.digest(), "size": 1 });
    let url = format!("{manifests}/3");
    let answer = client.at(Method::PUT, &url, &login, referrer.to_string().into_bytes()).await;
    assert_eq!(refused(answer).await.0, 405);
    let answer = client.at(Method::PUT, &url, &login, vec![b' '; 4_194_305]).await;
    assert_eq!(refused(answer).await.0, 400);
    referrer["layers"][0]["size"] = (52_001_u64 << 20).into();
    referrer["subject"] = Value::Null;
    let answer = client.at(Method::PUT, &url, &login, referrer.to_string().into_bytes()).await;
    assert_eq!(refused(answer).await.0, 400);
    assert_eq!(ecr.manifest("team/app", "3").await, None);
}

#[tokio::test]
async fn enforces_tag_mutability() {
    let aws = Aws::start().await;
    let client = Client::new(&aws);
    let ecr = aws.registry(aws.account(), REGION).await;
    let login = client.login(aws.account(), REGION).await;
    let image = image("app");
    let filters = json!([{ "filterType": "WILDCARD", "filter": "dev-*" }]);
    for (repository, mutability, moves) in [
        ("mutable", "MUTABLE", [true, true]),
        ("immutable", "IMMUTABLE", [false, false]),
        ("mostly", "IMMUTABLE_WITH_EXCLUSION", [false, true]),
        ("hardly", "MUTABLE_WITH_EXCLUSION", [true, false]),
    ] {
        let mut settings = json!({ "imageTagMutability": mutability });
        if mutability.contains("WITH") {
            settings["imageTagMutabilityExclusionFilters"] = filters.clone();
        }
        ecr.create(repository, settings).await;
        for (tag, moves) in ["1", "dev-1"].into_iter().zip(moves) {
            ecr.push(repository, tag, &image).await;
            let url = format!("https://{}/v2/{repository}/manifests/{tag}", ecr.host());
            let answer = client.put_manifest(&url, &login, &image).await;
            if moves {
                assert_eq!(answer.status(), 201, "{repository}:{tag}");
                continue;
            }
            let message = format!(
                "The image tag '{tag}' already exists in the '{repository}' repository and cannot be overwritten \
                 because the tag is immutable."
            );
            assert_eq!(refused(answer).await, (400, "TAG_INVALID".to_owned(), message));
        }
    }
}

#[tokio::test]
async fn redirects_blobs_and_mounts_only_if_allowed() {
    let aws = Aws::start().await;
    let client = Client::new(&aws);
    let ecr = aws.registry(aws.account(), REGION).await;
    let login = client.login(aws.account(), REGION).await;
    let image = image("app");
    let blob = &image.blobs()[0];
    ecr.push("team/app", "1", &image).await;
    ecr.create("team/other", json!({})).await;
    let base = format!("https://{}/v2", ecr.host());
    let answer = client.at(Method::GET, &format!("{base}/team/app/blobs/{}", blob.digest), &login, vec![]).await;
    assert_eq!(answer.status(), 307);
    let location = answer.headers()["location"].to_str().unwrap();
    assert_eq!(client.at(Method::GET, location, &login, vec![]).await.status(), 400, "two authentication mechanisms");
    let answer = client.at(Method::GET, location, "", vec![]).await;
    assert_eq!(answer.bytes().await.unwrap(), blob.bytes);

    let mount = format!("{base}/team/other/blobs/uploads/?mount={}&from=team/app", blob.digest);
    assert_eq!(client.at(Method::POST, &mount, &login, vec![]).await.status(), 202);
    ecr.allow_mounts();
    assert_eq!(
        client.at(Method::POST, &mount, &login, vec![]).await.status(),
        202,
        "no manifest refers to the blob yet"
    );
    let manifest = format!("{base}/team/app/manifests/1");
    assert_eq!(client.put_manifest(&manifest, &login, &image).await.status(), 201);
    assert_eq!(client.at(Method::POST, &mount, &login, vec![]).await.status(), 201);
}

#[tokio::test]
async fn throttles_the_requested_number_of_times() {
    let aws = Aws::start().await;
    let client = Client::new(&aws);
    let ecr = aws.registry(aws.account(), REGION).await;
    let login = client.login(aws.account(), REGION).await;
    ecr.push("team/app", "1", &image("app")).await;
    aws.throttle(2, Request::is_manifest);
    let url = format!("https://{}/v2/team/app/manifests/1", ecr.host());
    for _ in 0..2 {
        let answer = client.at(Method::GET, &url, &login, vec![]).await;
        assert_eq!(refused(answer).await, (429, "TOOMANYREQUESTS".to_owned(), "Rate exceeded".to_owned()));
    }
    assert_eq!(client.at(Method::HEAD, &url, &login, vec![]).await.status(), 404, "it accepts no OCI manifest");
}

#[tokio::test]
async fn resolves_all_host_names_of_a_registry_and_no_others() {
    let aws = Aws::start().await;
    let client = Client::new(&aws);
    let account = aws.account();
    let login = client.login(account, REGION).await;
    for host in
        ["dkr.ecr.eu-central-1.amazonaws.com", "dkr.ecr-fips.eu-central-1.amazonaws.com", "dkr-ecr.eu-central-1.on.aws"]
    {
        let answer = client.at(Method::GET, &format!("https://{account}.{host}/v2/"), &login, vec![]).await;
        assert_eq!(answer.status(), 200, "{host}");
    }
    let nowhere = format!("https://{account}.dkr.ecr.eu-cental-1.amazonaws.com/v2/");
    assert!(client.http.get(nowhere).send().await.unwrap_err().is_connect());
    let api = client.http.post("https://api.ecr.eu-central-1.amazonaws.com/").send().await.unwrap();
    assert_eq!(api.status(), 400, "the request is not signed");
}

#[tokio::test]
async fn the_public_gallery_is_read_only() {
    let aws = Aws::start().await;
    let client = Client::new(&aws);
    let gallery = aws.gallery().await;
    let image = image("app");
    assert_eq!(gallery.push("team/app", "1", &image).await, "public.ecr.aws/team/app:1");
    let url = format!("https://public.ecr.aws/v2/team/app/blobs/{}", image.blobs()[0].digest);
    let answer = client.at(Method::GET, &url, "", vec![]).await;
    assert_eq!(answer.status(), 401);
    let challenge = "Bearer realm=\"https://public.ecr.aws/token/\",service=\"public.ecr.aws\",scope=\"aws\"";
    assert_eq!(answer.headers()["www-authenticate"], challenge);

    assert_eq!(client.public_login(REGION).await, None, "the service is in one region");
    let basic = client.public_login("us-east-1").await.unwrap();
    for login in [&basic, ""] {
        let token = client.at(Method::GET, "https://public.ecr.aws/token/?scope=aws", login, vec![]).await;
        let token: Value = token.json().await.unwrap();
        let bearer = format!("Bearer {}", token["token"].as_str().unwrap());
        let answer = client.at(Method::GET, &url, &bearer, vec![]).await;
        assert_eq!(answer.status(), 307);
        let location = answer.headers()["location"].to_str().unwrap();
        let answer = client.at(Method::GET, location, "", vec![]).await;
        assert_eq!(answer.bytes().await.unwrap(), image.blobs()[0].bytes);
        let post = client.at(Method::POST, "https://public.ecr.aws/v2/team/app/blobs/uploads/", &bearer, vec![]).await;
        assert_eq!(post.status(), 403);
        aws.expire_tokens();
        let answer = client.at(Method::GET, &url, &bearer, vec![]).await;
        assert_eq!((answer.status().as_u16(), answer.headers().get("www-authenticate")), (400, None));
    }
    let answer = client.at(Method::GET, "https://public.ecr.aws/token/", &basic, vec![]).await;
    assert_eq!(answer.status(), 403, "it has expired");
}
