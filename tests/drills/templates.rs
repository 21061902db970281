//! Each set of values in the chart's folder `ci` gives objects that a real API server takes and a configuration that the
//! program takes.

use std::{collections::BTreeMap, fs, io::Write as _, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use super::helm::{Helm, chart, configuration, object};
use crate::{
    guests,
    support::{Cluster, Program, Registry, program},
};

/// The names of the sets of values.
const SETS: [&str; 8] =
    ["dry-run", "registry", "ecr", "namespaced", "high-availability", "monitoring", "plugins", "locked-down"];

fn render(set: &str, more: &[&str]) -> Vec<Value> {
    let values = chart().join(format!("ci/{set}-values.yaml")).display().to_string();
    let rendered = Helm::new().template(&[&["--values", &values], more].concat());
    rendered.unwrap_or_else(|error| panic!("{set}: {error}"))
}

/// Applies the definitions of the Prometheus operator's objects.
pub async fn define_monitoring_objects(cluster: &Cluster) {
    // A folder beside the programs.
    let folder = program("helm").with_file_name("prometheus-operator-crds");
    for kind in ["servicemonitors", "prometheusrules"] {
        let definition = fs::read_to_string(folder.join(format!("monitoring.coreos.com_{kind}.yaml"))).unwrap();
        cluster.apply(&definition).await;
    }
}

#[test]
fn every_set_of_values_is_tested() {
    let mut files: Vec<_> = fs::read_dir(chart().join("ci"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap().replace("-values.yaml", ""))
        .collect();
    files.sort();
    let mut sets = SETS;
    sets.sort_unstable();
    assert_eq!(files, sets);
}

#[tokio::test]
async fn a_real_api_server_takes_all_objects() {
    let cluster = Cluster::start().await;
    for namespace in ["k8s-copycat", "team-a", "team-b", "monitoring"] {
        let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
        let metadata = json!({ "name": namespace, "labels": labels });
        cluster.apply(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata }).to_string()).await;
    }
    define_monitoring_objects(&cluster).await;
    for set in SETS {
        let objects = render(set, &[]);
        assert!(objects.len() > 3, "{set}");
        for object in &objects {
            let identity = format!("{set}: {} {}", object["kind"], object["metadata"]["name"]);
            let accepted = crate::support::eventually(&identity, || async {
                match cluster.validate(object).await {
                    // The API server takes a moment to serve a new definition.
                    Err(error) if error.to_string().contains("not found") => None,
                    validated => Some(validated),
                }
            });
            accepted.await.unwrap_or_else(|error| panic!("{identity}: {error}\n{object:#}"));
            let expected = ["k8s-copycat", "-reader", "-authorizer", "-operations", "mirror"];
            let name = object["metadata"]["name"].as_str().unwrap();
            assert!(expected.iter().any(|part| name.contains(part)), "{identity}");
            assert_eq!(
                object["metadata"]["labels"]["app.kubernetes.io/managed-by"].as_str(),
                managed(object),
                "{identity}"
            );
        }
        // Pod Security looks at Pods, and there is no controller that creates them.
        let template = object(&objects, "Deployment", "")["spec"]["template"].clone();
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": "pod", "namespace": "k8s-copycat", "labels": template["metadata"]["labels"] },
            "spec": template["spec"],
        });
        cluster.validate(&pod).await.unwrap_or_else(|error| panic!("{set}: {error}"));
    }
}

/// Who manages the objects of the chart; those of `extraObjects` are the user's.
fn managed(object: &Value) -> Option<&'static str> {
    let is_extra = object["metadata"]["name"].as_str().unwrap().ends_with("-notes");
    (!is_extra).then_some("Helm")
}

/// A plugin in base64, compressed.
pub fn plugin() -> String {
    let mut compressed = GzEncoder::new(Vec::new(), Compression::best());
    compressed.write_all(&fs::read(guests::without_lifecycle()).unwrap()).unwrap();
    STANDARD.encode(compressed.finish().unwrap())
}

/// Writes the files of a ConfigMap as the kubelet does.
fn mount(config_map: &Value, folder: &Path) {
    for (name, text) in config_map["data"].as_object().into_iter().flatten() {
        fs::write(folder.join(name), text.as_str().unwrap()).unwrap();
    }
    for (name, text) in config_map["binaryData"].as_object().into_iter().flatten() {
        fs::write(folder.join(name), STANDARD.decode(text.as_str().unwrap()).unwrap()).unwrap();
    }
}

/// The files that the Pod's logins are in, with the key of the Secret that each has: `SECRET KEY`.
fn logins(objects: &[Value]) -> BTreeMap<String, String> {
    let pod = &object(objects, "Deployment", "")["spec"]["template"]["spec"];
    let named =
        |list: &Value| list.as_array().unwrap().iter().find(|item| item["name"] == "k8s-copycat-logins").cloned();
    let Some(volume) = named(&pod["volumes"]) else { return BTreeMap::new() };
    let mount = named(&pod["containers"][0]["volumeMounts"]).unwrap();
    assert_eq!(mount["readOnly"], true);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut files = BTreeMap::new();
    for source in volume["projected"]["sources"].as_array().unwrap() {
        for item in source["secret"]["items"].as_array().unwrap() {
            let file = format!("{}/{}", text(&mount["mountPath"]), text(&item["path"]));
            let key = format!("{} {}", text(&source["secret"]["name"]), text(&item["key"]));
            assert_eq!(files.insert(file, key), None, "a file is there twice");
        }
    }
    files
}

/// `plan` with the configuration, the arguments, the variables and the logins of the Pod.
fn planning(objects: &[Value], plugins: &Path, certificates: &Path) -> Program {
    let secrets = certificates.display().to_string();
    for (file, key) in logins(objects) {
        let file = certificates.join(file.trim_start_matches('/'));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, key).unwrap();
    }
    let config = configuration(objects).replace("/etc/corp-ca", &secrets);
    let config =
        config.replace(": /logins", &format!(": {secrets}/logins")).replace("/docker/", &format!("{secrets}/"));
    let _ = fs::remove_file(certificates.join("config.json"));
    let pod = &object(objects, "Deployment", "")["spec"]["template"]["spec"];
    for volume in pod["volumes"].as_array().unwrap() {
        for item in volume["secret"]["items"].as_array().into_iter().flatten() {
            fs::write(certificates.join(item["path"].as_str().unwrap()), r#"{"auths": {}}"#).unwrap();
        }
    }
    let mut program = Program::new(&["plan", "--output=json", "-f", "-"]).config(&config).env("PLUGIN_DIR", plugins);
    let container = &object(objects, "Deployment", "")["spec"]["template"]["spec"]["containers"][0];
    for argument in container["args"].as_array().into_iter().flatten() {
        program = program.arg(argument.as_str().unwrap());
    }
    for variable in container["env"].as_array().into_iter().flatten() {
        let value = variable["value"].as_str().unwrap_or("secret");
        let value = if value.starts_with("/logins") { format!("{secrets}{value}") } else { value.to_owned() };
        program = program.env(variable["name"].as_str().unwrap(), value);
    }
    program.stdin(&crate::support::deployment("web").image("quay.io/acme/web:1").manifest().to_string())
}

#[test]
fn pull_secrets_are_read_by_name_and_only_where_they_are_listed() {
    let rules = |set: &str, more: &[&str], kind: &str| -> Vec<Value> {
        let objects = render(set, more);
        let roles = objects.iter().filter(|object| object["kind"] == kind);
        let roles = roles.filter(|role| role["metadata"]["name"].as_str().unwrap().ends_with("-pull-secrets"));
        roles.map(|role| json!([role["metadata"]["namespace"], role["rules"]])).collect()
    };
    let rule = |resource: &str, names: Value| {
        let mut rule = json!({ "apiGroups": [""], "resources": [resource], "verbs": ["get"] });
        if names.is_array() {
            rule["resourceNames"] = names;
        }
        rule
    };
    let by_name = json!(["team-a", [rule("serviceaccounts", json!(["default"])), rule("secrets", json!(["regcred"]))]]);
    assert_eq!(rules("namespaced", &[], "Role"), [by_name]);
    assert_eq!(rules("namespaced", &[], "ClusterRole"), [Value::Null; 0]);
    assert_eq!(rules("registry", &[], "Role"), [Value::Null; 0]);
    let everywhere = ["--set", "rbac.pullSecrets[0].namespace=*"];
    let all = json!([null, [rule("serviceaccounts", Value::Null), rule("secrets", Value::Null)]]);
    assert_eq!(rules("registry", &everywhere, "ClusterRole"), [all]);
    // A list grants what it names, and a list that is left out beside it nothing.
    let accounts = ["--set", "rbac.pullSecrets[0].namespace=b,rbac.pullSecrets[0].serviceAccounts={default}"];
    let only_accounts = json!(["b", [rule("serviceaccounts", json!(["default"]))]]);
    assert_eq!(rules("registry", &accounts, "Role"), [only_accounts]);
    let nothing = ["--set-json", r#"rbac.pullSecrets=[{"namespace":"b","secrets":[]}]"#];
    assert_eq!(rules("registry", &nothing, "Role"), [json!(["b", []])]);
}

#[tokio::test]
async fn the_program_takes_the_configuration_of_each_set() {
    let certificates = tempfile::tempdir().unwrap();
    fs::copy(Registry::distribution_tls().await.ca_file(), certificates.path().join("ca.pem")).unwrap();
    for (set, destination) in [
        ("dry-run", "registry.example.com/mirror/acme/web:1"),
        ("registry", "registry.example.com/mirror/quay.io/acme/web:1"),
        ("ecr", "123456789012.dkr.ecr.eu-central-1.amazonaws.com/mirror/quay.io/acme/web:1"),
        ("namespaced", "registry.example.com/mirror/acme/web:1"),
        ("high-availability", "registry.example.com/mirror/quay.io/acme/web:1"),
        ("monitoring", "registry.example.com/mirror/acme/web:1"),
        ("plugins", "registry.example.com/mirror/"),
        ("locked-down", "registry.example.com/mirror/acme/web:1"),
    ] {
        let objects = render(set, &[]);
        let plugins = tempfile::tempdir().unwrap();
        // What the other ConfigMap of this set has.
        fs::write(plugins.path().join("tenants.wasm.gz"), STANDARD.decode(plugin()).unwrap()).unwrap();
        let finished = planning(&objects, plugins.path(), certificates.path()).run().await.assert_code(0);
        let namespaced = set == "namespaced";
        assert_eq!(finished.stdout.contains(destination), !namespaced, "{set}: {}", finished.stdout);
        assert!(!finished.stderr.contains("WARN"), "{set}: {}", finished.stderr);
    }
}

#[tokio::test]
async fn the_program_loads_the_plugins_of_the_values() {
    let registry = Registry::crane().await;
    let name = format!("{}/acme/second:1", registry.host());
    let pushed = Program::new(&["plugin", "push"]).arg(guests::hostile()).arg(&name).run().await.assert_code(0);
    let directory = tempfile::tempdir().unwrap();
    let module = directory.path().join("first.b64");
    fs::write(&module, plugin()).unwrap();
    let objects = render(
        "dry-run",
        &[
            "--set",
            "plugins.inline[0].name=first,plugins.inline[0].settings.timeout=2s,plugins.inline[0].settings.onFailure=pass",
            "--set-file",
            &format!("plugins.inline[0].module={}", module.display()),
            "--set",
            &format!(
                "plugins.oci[0].oci={},plugins.oci[0].name=second,plugins.oci[0].config.version=v1",
                pushed.stdout.trim()
            ),
        ],
    );
    let files = object(&objects, "ConfigMap", "-plugins");
    assert!(files["binaryData"]["first.wasm.gz"].is_string() && files["data"]["first.yaml"].is_string(), "{files}");
    mount(files, directory.path());
    let finished = planning(&objects, directory.path(), directory.path()).run().await.assert_code(0);
    let plan: Value = serde_json::from_str(&finished.stdout).unwrap();
    let asked: Vec<_> =
        plan["trace"].as_array().unwrap().iter().map(|answer| answer["plugin"].as_str().unwrap()).collect();
    assert!(asked.contains(&"first") && asked.contains(&"second"), "{plan:#}");

    let volumes = |objects: &[Value]| object(objects, "Deployment", "")["spec"]["template"]["spec"]["volumes"].clone();
    assert_eq!(volumes(&objects)[1]["configMap"]["name"], files["metadata"]["name"]);
    assert_eq!(volumes(&render("plugins", &[]))[1]["configMap"]["name"], "team-plugins");
    let both = render("plugins", &["--set", "plugins.inline[0].name=first,plugins.inline[0].module=AGFzbQ=="]);
    let sources = &volumes(&both)[1]["projected"]["sources"];
    assert_eq!(sources[0]["configMap"]["name"], "k8s-copycat-plugins");
    assert_eq!(sources[1]["configMap"]["name"], "team-plugins");
}

#[test]
fn logins_are_files_from_secrets_so_that_a_change_needs_no_restart() {
    let objects = render(
        "registry",
        &[
            "--set",
            "sourceCredentials[2].registry=quay.io,sourceCredentials[2].existingSecret=ghcr,sourceCredentials[2].tokenKey=quay",
        ],
    );
    let container = &object(&objects, "Deployment", "")["spec"]["template"]["spec"]["containers"][0];
    let expected = json!([
        { "name": "TARGET_USERNAME_FILE", "value": "/logins/mirror-login/user" },
        { "name": "TARGET_PASSWORD_FILE", "value": "/logins/mirror-login/token" },
    ]);
    assert_eq!(container["env"], expected);
    let config: Value = serde_yaml::from_str(configuration(&objects)).unwrap();
    let expected = json!([
        { "registry": "*.corp.example", "usernameEnv": "CORP_USERNAME", "passwordEnv": "CORP_PASSWORD" },
        {
            "registry": "docker.io", "registryAliases": ["registry-1.docker.io"],
            "usernameFile": "/logins/docker-hub/name", "passwordFile": "/logins/docker-hub/password",
        },
        { "registry": "ghcr.io", "tokenFile": "/logins/ghcr/token" },
        { "registry": "quay.io", "tokenFile": "/logins/ghcr/quay" },
    ]);
    assert_eq!(config["registryCredentials"], expected);
    let files = logins(&objects);
    let keys = [
        "docker-hub name",
        "docker-hub password",
        "ghcr quay",
        "ghcr token",
        "mirror-login token",
        "mirror-login user",
    ];
    assert_eq!(files.values().collect::<Vec<_>>(), keys);
    for (file, key) in files {
        assert_eq!(file, format!("/logins/{}", key.replace(' ', "/")));
    }
    assert_eq!(config["dockerConfigFile"], "/docker/config.json");
    let volumes = &object(&objects, "Deployment", "")["spec"]["template"]["spec"]["volumes"];
    assert!(
        volumes.as_array().unwrap().iter().any(|volume| volume["secret"]["secretName"] == "registries"),
        "{volumes}"
    );
    assert!(objects.iter().all(|object| object["kind"] != "Secret"));
    assert!(logins(&render("dry-run", &[])).is_empty());
}

#[test]
fn namespaced_mode_has_no_right_outside_its_namespaces() {
    let objects = render("namespaced", &[]);
    for object in &objects {
        assert!(!object["kind"].as_str().unwrap().starts_with("Cluster"), "{object}");
    }
    let mut places: Vec<_> = objects
        .iter()
        .filter(|object| object["kind"] == "Role")
        .map(|role| format!("{} {}", role["metadata"]["namespace"], role["metadata"]["name"]))
        .collect();
    places.sort();
    let expected = [
        r#""k8s-copycat" "k8s-copycat-leader""#,
        r#""team-a" "k8s-copycat-pull-secrets""#,
        r#""team-a" "k8s-copycat-reader""#,
        r#""team-b" "k8s-copycat-reader""#,
    ];
    assert_eq!(places, expected);
    let config: Value = serde_yaml::from_str(configuration(&objects)).unwrap();
    assert_eq!(config["includeNamespaces"], json!(["team-a", "team-b"]));
    assert!(config.get("operationsAuthorization").is_none(), "a TokenReview needs a ClusterRole");
}

#[test]
fn operations_are_guarded_unless_switched_off() {
    let authorization = |arguments: &[&str]| {
        let objects = render("dry-run", arguments);
        let config: Value = serde_yaml::from_str(configuration(&objects)).unwrap();
        let roles = objects.iter().filter(|object| object["kind"] == "ClusterRole");
        let roles: Vec<_> = roles.map(|role| role["metadata"]["name"].as_str().unwrap().to_owned()).collect();
        (config["operationsAuthorization"].clone(), roles.join(" "))
    };
    let guarded = (json!("kubernetes"), "k8s-copycat-reader k8s-copycat-authorizer k8s-copycat-operations".to_owned());
    assert_eq!(authorization(&[]), guarded);
    assert_eq!(authorization(&["--set", "operationsAuthorization=kubernetes"]), guarded);
    let open = authorization(&["--set", "operationsAuthorization=none"]);
    assert_eq!(open, (Value::Null, "k8s-copycat-reader".to_owned()));
    let objects = render("registry", &[]);
    let binding = object(&objects, "ClusterRoleBinding", "-operations");
    assert_eq!(binding["subjects"][0]["name"], "platform-team");
}

#[test]
fn openshift_chooses_user_and_group() {
    let contexts = |arguments: &[&str]| {
        let objects = render("dry-run", arguments);
        let pod = &object(&objects, "Deployment", "")["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["containers"][0]["securityContext"]["allowPrivilegeEscalation"], false);
        pod["securityContext"]["runAsUser"].clone()
    };
    assert_eq!(contexts(&[]), 65532);
    assert_eq!(contexts(&["--api-versions", "security.openshift.io/v1"]), Value::Null);
    let disabled = ["--api-versions", "security.openshift.io/v1", "--set", "openshift.adaptSecurityContext=disabled"];
    assert_eq!(contexts(&disabled), 65532);
    assert_eq!(contexts(&["--set", "openshift.adaptSecurityContext=force"]), Value::Null);
}

#[test]
fn only_settings_that_need_a_restart_restart_the_pod() {
    let checksum = |arguments: &[&str]| {
        let objects = render("registry", arguments);
        object(&objects, "Deployment", "")["spec"]["template"].to_string()
    };
    let before = checksum(&[]);
    assert_eq!(checksum(&["--set", "config.docker.registry=other.example.com,config.skipNamespaces={a}"]), before);
    assert_ne!(checksum(&["--set", "config.logLevel=info"]), before);
    assert_ne!(checksum(&["--set", "config.forceReconcileMinutes=5"]), before);
}

#[test]
fn alerts_can_be_left_out_labelled_and_explained_elsewhere() {
    let objects = render("monitoring", &[]);
    let groups = &object(&objects, "PrometheusRule", "k8s-copycat")["spec"]["groups"];
    let rules: Vec<&Value> =
        groups.as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    let alerts: Vec<&&Value> = rules.iter().filter(|rule| rule.get("alert").is_some()).collect();
    assert!(alerts.len() > 5 && rules.len() > alerts.len(), "{rules:#?}");
    for alert in alerts {
        let name = alert["alert"].as_str().unwrap();
        assert_ne!(name, "K8sCopycatRegistryThrottled");
        assert_eq!(alert["labels"]["team"], "platform");
        assert!(alert["labels"]["severity"].is_string(), "{alert}");
        assert_eq!(alert["annotations"]["runbook_url"], format!("https://runbooks.example.com/k8s-copycat/{name}.md"));
    }
    let dashboard = object(&objects, "ConfigMap", "-dashboard");
    assert_eq!(dashboard["metadata"]["labels"]["grafana_dashboard"], "1");
    assert_eq!(dashboard["metadata"]["namespace"], "monitoring");
    let text = dashboard["data"]["k8s-copycat.json"].as_str().unwrap();
    let shipped: Value = serde_json::from_str(&super::helm::chart_file("files/dashboard.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), shipped);
    let service = object(&objects, "Service", "k8s-copycat");
    assert!(service["metadata"].get("annotations").is_none(), "it would be scraped twice");
}
