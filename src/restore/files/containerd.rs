//! containerd: a folder with a hosts.toml for each registry.

use std::collections::BTreeMap;

use super::{
    File, Laid, ORIGIN,
    daemon_set::{self, AUTHORITY, Hosts},
};
use crate::restore::{quote::quoted, rule::Rule};

pub fn files(laid: &Laid<'_>, notes: &mut Vec<String>) -> Vec<File> {
    let mut registries = BTreeMap::<&str, Vec<&Rule>>::new();
    for rule in &laid.solution.rules {
        registries.entry(&rule.registry).or_default().push(rule);
    }
    let authority = laid.access.certificates();
    let hosts: Vec<Hosts> =
        registries.iter().map(|(registry, rules)| hosts(laid, registry, rules, authority.is_some())).collect();
    let mut files: Vec<File> = hosts
        .iter()
        .map(|hosts| File::new(format!("certs.d/{}/hosts.toml", hosts.registry), hosts.text.as_str()))
        .collect();
    match daemon_set::manifest(&hosts, authority.as_deref()) {
        Some(manifest) => files.push(File::new("daemonset.yaml", manifest)),
        None => notes.push("the files are too large for a ConfigMap: there is no daemonset.yaml".to_owned()),
    }
    files.extend(authority.map(|text| File::new(format!("certs.d/{AUTHORITY}"), text)));
    files
}

fn hosts(laid: &Laid<'_>, registry: &str, rules: &[&Rule], has_authority: bool) -> Hosts {
    let server = match registry {
        "docker.io" => "https://registry-1.docker.io".to_owned(),
        registry => format!("{}://{registry}", laid.access.source_scheme(registry)),
    };
    let mut text = format!(
        r#"{ORIGIN}# Place: /etc/containerd/certs.d/{registry}/hosts.toml on every node; daemonset.yaml lays it there.
# containerd reads it at each pull. It does so if its own configuration names the folder (a change of that needs a restart):
#   2.x: [plugins."io.containerd.cri.v1.images".registry]   config_path = "/etc/containerd/certs.d"
#   1.x: [plugins."io.containerd.grpc.v1.cri".registry]     config_path = "/etc/containerd/certs.d"

# Asked last: the registry itself.
server = {}
"#,
        quoted(&server)
    );
    let mut urls = Vec::new();
    for rule in rules {
        let path = if rule.mirror.is_empty() { "/v2".to_owned() } else { format!("/v2/{}", rule.mirror) };
        let url = laid.url(&path);
        let key = quoted(&url);
        text += &format!("\n# The mirror: REPOSITORY of {registry} is at {}.\n[host.{key}]\n", place(laid.host, rule));
        text += if rule.tags {
            "  # Serve images by digest (pull), and say what a tag means (resolve).\n  capabilities = [\"pull\", \"resolve\"]\n"
        } else {
            "  # Serve images by digest alone; what a tag means is left to the registry (no \"resolve\").\n  \
             capabilities = [\"pull\"]\n"
        };
        text += "  # The URL is complete: nothing is inserted before the repository.\n  override_path = true\n";
        if has_authority {
            text += &format!("  # The mirror's authority, relative to this file.\n  ca = \"../{AUTHORITY}\"\n");
        }
        if laid.access.skip_verify {
            text += "  # As configured: the mirror's certificate is not verified.\n  skip_verify = true\n";
        }
        if laid.access.wants_client_certificate {
            text += "  # The mirror wants a client certificate: put both files beside this one.\n  \
                     #client = [[\"client.crt\", \"client.key\"]]\n";
        }
        text += &format!(
            "  # If the mirror wants a login: that of an account that can only pull; then chmod 600 this file. containerd sends\n  \
             # no login of a Pod or of the kubelet to the mirror unless it is for {registry}.\n  #[host.{key}.header]\n  \
             #  Authorization = \"Basic BASE64_OF_USER_COLON_PASSWORD\"\n"
        );
        urls.push(url);
    }
    Hosts { registry: registry.to_owned(), text, urls }
}

fn place(host: &str, rule: &Rule) -> String {
    if rule.mirror.is_empty() { format!("{host}/REPOSITORY") } else { format!("{host}/{}/REPOSITORY", rule.mirror) }
}
