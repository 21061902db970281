//! A real Prometheus scrapes the program, and every query of the dashboard and of the rules has an answer.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use regex::Regex;
use serde_json::{Value, json};

use super::{
    alerts::rules,
    dashboard::{dashboard, queries},
    helm::chart,
};
use crate::{
    hostile::FAILING,
    mirroring::{arrives, single},
    support::{
        Access, Cluster, Fault, Program, Registry, Request, Running, ServerProcess, deployment, eventually, free_port,
    },
};

/// Prometheus with the shipped rules, which scrapes one address every second.
struct Prometheus {
    url: String,
    client: reqwest::Client,
    _server: ServerProcess,
}

impl Prometheus {
    async fn start(scraped: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("prometheus-").tempdir().unwrap().keep();
        let config = json!({
            "global": { "scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s" },
            "rule_files": [chart().join("files/rules.yaml")],
            "scrape_configs": [{
                "job_name": "k8s-copycat",
                "static_configs": [{
                    "targets": [scraped],
                    // As the operator labels what a ServiceMonitor selects.
                    "labels": { "cluster": "test", "namespace": "k8s-copycat", "pod": "k8s-copycat-0" },
                }],
            }],
        });
        fs::write(directory.join("prometheus.yaml"), config.to_string()).unwrap();
        let host = format!("127.0.0.1:{}", free_port());
        let arguments = [
            format!("--config.file={}", directory.join("prometheus.yaml").display()),
            format!("--storage.tsdb.path={}", directory.join("data").display()),
            format!("--web.listen-address={host}"),
        ];
        let server = ServerProcess::start(
            Path::new("prometheus"),
            &arguments.map(Into::into),
            &directory.join("log"),
            Some(&directory),
        );
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let prometheus = Self { url: format!("http://{host}"), client, _server: server };
        eventually("Prometheus is ready", || async {
            assert!(prometheus._server.is_running(), "{}", prometheus._server.log_tail());
            let answer = prometheus.client.get(format!("{}/-/ready", prometheus.url)).send().await;
            answer.is_ok_and(|answer| answer.status().is_success()).then_some(())
        })
        .await;
        prometheus
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let mut url = url::Url::parse(&format!("{}/api/v1/{path}", self.url)).unwrap();
        url.query_pairs_mut().extend_pairs(query);
        let answer = self.client.get(url).send().await.unwrap().text().await.unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["status"], "success", "{query:?}: {answer}");
        answer["data"].clone()
    }

    /// The number of series that a query answers with, those without a number left out.
    async fn answers(&self, query: &str) -> usize {
        let data = self.get("query", &[("query", query)]).await;
        let series = data["result"].as_array().unwrap().iter();
        series.filter(|series| series["value"][1] != "NaN").count()
    }

    /// Names of the alerts that are pending or fire.
    async fn alerts(&self) -> BTreeSet<String> {
        let data = self.get("alerts", &[]).await;
        let alerts = data["alerts"].as_array().unwrap().iter();
        alerts.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect()
    }
}

/// The program with a source, one that limits requests, one that reports a quota, one with the same repositories, a target, and
/// a failing plugin; it may not write events.
struct Installation {
    cluster: &'static Cluster,
    namespace: String,
    source: Registry,
    limited: Registry,
    counting: Registry,
    other: Registry,
    target: Registry,
    program: Running,
    copied: AtomicUsize,
}

impl Installation {
    async fn start() -> Self {
        let cluster = Cluster::shared().await;
        let namespace = cluster.namespace().await;
        let rights = [
            json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "copycat", "namespace": namespace } }),
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "Role",
                "metadata": { "name": "copycat", "namespace": namespace },
                "rules": [{ "apiGroups": ["", "apps", "batch"], "resources": ["*"], "verbs": ["get", "list", "watch"] }],
            }),
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": { "name": "copycat", "namespace": namespace },
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "copycat" },
                "subjects": [{ "kind": "ServiceAccount", "name": "copycat", "namespace": namespace }],
            }),
        ];
        for object in rights {
            cluster.apply(&object.to_string()).await;
        }
        let source = Registry::distribution(Access::Anonymous).await;
        let limited = Registry::distribution(Access::Anonymous).await;
        limited.inject(usize::MAX, |request| request.is_manifest(), Fault::Answer(429, vec![("retry-after", "1")]));
        // A quota is reported where it is used: by an answer to GET.
        let counting = Registry::distribution(Access::Anonymous).await;
        let counted = |request: &Request| request.is_manifest() && request.method == "GET";
        let quota = vec![("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "76;w=21600")];
        counting.inject(usize::MAX, counted, Fault::Answer(404, quota));
        let other = Registry::distribution(Access::Anonymous).await;
        let target = Registry::crane().await;
        let program = Program::new(&["run", "--leader-elect=false"]);
        let token = cluster.service_account_token(&namespace, "copycat").await;
        let kubeconfig = cluster.kubeconfig(program.directory(), &token);
        let plugins = program.directory().join("plugins");
        fs::create_dir(&plugins).unwrap();
        let (_, failing, _) = FAILING.iter().find(|(name, ..)| *name == "trap").unwrap();
        fs::write(plugins.join("trap.wasm"), failing).unwrap();
        fs::write(plugins.join("trap.yaml"), "onFailure: pass\n").unwrap();
        let config = format!(
            "targetKind: docker\ndocker: {{ registry: '{}' }}\nincludeNamespaces: [{namespace}]\nregistryRetryAttempts: 2\n",
            target.host()
        );
        let mut program = program.env("KUBECONFIG", kubeconfig).env("PLUGIN_DIR", plugins).config(&config).start();
        program.ready().await;
        program.rewrite_config(&format!("{config}skipNamespaces: [kube-system]\n"));
        Self { cluster, namespace, source, limited, counting, other, target, program, copied: AtomicUsize::new(0) }
    }

    async fn deploy(&self, name: &str, image: &str) {
        deployment(name).image(image).apply(&self.cluster.admin(), &self.namespace).await;
    }

    /// One more image to copy, and another try of those that fail.
    async fn go_on(&self) {
        let name = format!("app-{}", self.copied.fetch_add(1, Ordering::Relaxed));
        let image = self.source.push(&format!("team/{name}"), "1", &single(&name)).await;
        self.deploy(&name, &image).await;
        self.program.post("/reset-cooldown").await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }

    /// Everything that can go wrong.
    async fn fail(&self) {
        self.deploy("missing", &format!("{}/team/missing:1", self.source.host())).await;
        self.deploy("undecided", "Not/a/Reference").await;
        self.deploy("counted", &self.counting.push("team/counted", "1", &single("counted")).await).await;
        self.deploy("limited", &format!("{}/team/limited:1", self.limited.host())).await;
        // Nothing listens there.
        self.deploy("unreachable", &format!("127.0.0.1:{}/team/unreachable:1", free_port())).await;
        let image = self.other.push("team/app-0", "1", &single("another image")).await;
        self.deploy("conflict", &image).await;
    }
}

/// A query without the variables of the dashboard, over times that this test lasts.
fn concrete(query: &str) -> String {
    query.replace("$cluster", ".*").replace("$namespace", ".*").replace("$__rate_interval", "1m")
}

/// The selectors of a rule: alerts that do not fire have an empty answer, but their series are there.
fn selectors(expression: &str) -> Vec<String> {
    let selector = Regex::new(r"\b(?:k8s_copycat|process)_\w+(?:\{[^}]*\})?").unwrap();
    selector.find_iter(expression).map(|found| found.as_str().to_owned()).collect()
}

#[tokio::test]
async fn every_query_has_an_answer_and_metrics_are_well_formed() {
    let installation = Installation::start().await;
    let prometheus = Prometheus::start(installation.program.metrics_address()).await;
    // The first pass succeeds.
    installation.go_on().await;
    arrives(&installation.target, "team/app-0", "1", &single("app-0")).await;
    let answer = installation.program.post("/force-reconcile").await.1;
    assert!(answer.contains(r#""success":true"#), "{answer}");
    installation.fail().await;

    let dashboard_queries = queries(&dashboard()).into_iter().map(|(title, query)| (title, concrete(&query)));
    let rule_queries = rules().into_iter().flat_map(|rule| {
        let name = rule["alert"].as_str().or(rule["record"].as_str()).unwrap().to_owned();
        let own = rule.get("record").map(|record| (name.clone(), record.as_str().unwrap().to_owned()));
        let selectors = selectors(rule["expr"].as_str().unwrap());
        assert!(!selectors.is_empty(), "{rule}");
        selectors.into_iter().map(move |selector| (name.clone(), selector)).chain(own).collect::<Vec<_>>()
    });
    let mut pending: Vec<(String, String)> = dashboard_queries.chain(rule_queries).collect();
    assert!(pending.len() > 50, "{}", pending.len());
    let answered = async {
        while !pending.is_empty() {
            installation.go_on().await;
            let mut unanswered = Vec::new();
            for (place, query) in pending {
                if prometheus.answers(&query).await == 0 {
                    unanswered.push((place, query));
                }
            }
            eprintln!("{} queries without data: {unanswered:#?}", unanswered.len());
            pending = unanswered;
        }
    };
    tokio::time::timeout(Duration::from_secs(300), answered).await.expect("some queries have no data, see above");

    let groups = prometheus.get("rules", &[]).await;
    for rule in groups["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()) {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    let expected = ["NameConflict", "ImagesUndecided", "PluginFails"];
    // Until the next evaluation.
    let mut alerts = BTreeSet::new();
    for _ in 0..30 {
        alerts = prometheus.alerts().await;
        if expected.iter().all(|name| alerts.contains(&format!("K8sCopycat{name}"))) {
            break;
        }
        installation.go_on().await;
    }
    for name in expected {
        assert!(
            alerts.contains(&format!("K8sCopycat{name}")),
            "{name}: {alerts:?}\n{}",
            installation.program.metrics().await.0
        );
    }
    for quiet in ["Absent", "NotOneLeader", "TargetNotAsked", "ReloadRefused", "QuotaUsedUp", "Restarts"] {
        assert!(!alerts.contains(&format!("K8sCopycat{quiet}")), "{alerts:?}");
    }
    check_metrics(&installation.program.metrics().await.0);
}

fn check_metrics(scrape: &str) {
    use std::io::Write as _;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(scrape.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).join("");
    assert!(output.status.success() && text.is_empty(), "{text}");
}

#[test]
fn rules_and_dashboard_use_documented_metrics_only() {
    let documented = include_str!("../../docs/metrics.md");
    let expressions = rules().into_iter().map(|rule| rule["expr"].as_str().unwrap().to_owned());
    let used = expressions.chain(queries(&dashboard()).into_iter().map(|(_, query)| query));
    let name = Regex::new(r"\bk8s_copycat_\w+").unwrap();
    for expression in used {
        for found in name.find_iter(&expression) {
            let metric = found.as_str().trim_end_matches("_bucket");
            let recorded = expression.contains(&format!(":{metric}:"));
            assert!(recorded || documented.contains(&format!("`{metric}`")), "{metric}");
        }
    }
}
