//! CRI-O, podman and skopeo: a drop-in of registries.conf.

use std::collections::BTreeMap;

use super::{File, Laid, ORIGIN};
use crate::restore::{quote::quoted, rule::Rule};

pub fn files(laid: &Laid<'_>) -> Vec<File> {
    let mut files = vec![File::new("registries.conf.d/50-k8s-copycat.conf", text(laid))];
    if let Some(authority) = laid.access.certificates() {
        files.push(File::new(format!("certs.d/{}/ca.crt", laid.host), authority));
    }
    files
}

fn text(laid: &Laid<'_>) -> String {
    let host = laid.host;
    let mut text = format!(
        "{ORIGIN}# Place: /etc/containers/registries.conf.d/50-k8s-copycat.conf on every node, for CRI-O, podman and skopeo.
# podman and skopeo read it at each pull; CRI-O when it starts or gets SIGHUP (systemctl reload crio). No node drains.
#
# Login, if the mirror wants one: CRI-O takes that of {host} from its global pull secret (global_auth_file in crio.conf, with the
# kubelet usually /var/lib/kubelet/config.json); podman and skopeo from `podman login {host}`. FILL IN there, not here.
"
    );
    if laid.access.certificates().is_some() {
        text += &format!(
            "# Authority of the mirror: certs.d/{host}/ca.crt belongs to /etc/containers/certs.d/{host}/ca.crt.\n"
        );
    }
    if laid.access.wants_client_certificate {
        text += &format!(
            "# Client certificate, which the mirror wants: client.cert and client.key in /etc/containers/certs.d/{host}/.\n"
        );
    }
    text += "#
# Of each name the entry with the longest prefix holds. The mirrors are asked in their order, then the registry itself.
";
    let mut entries = BTreeMap::<String, Vec<&Rule>>::new();
    for rule in &laid.solution.rules {
        entries.entry(rule.subject()).or_default().push(rule);
    }
    for (subject, rules) in entries {
        text += &format!(
            "\n[[registry]]\n# Names that begin so:\nprefix = {0}\n# are asked for here last.\nlocation = {0}\n",
            quoted(&subject)
        );
        if rules.iter().any(|rule| laid.access.source_scheme(&rule.registry) == "http") {
            text += "# As configured: by plain HTTP too.\ninsecure = true\n";
        }
        for rule in rules {
            text += "\n  [[registry.mirror]]\n  # Takes the place of the prefix.\n";
            text += &format!("  location = {}\n", quoted(&crate::restore::rule::join(host, &rule.mirror)));
            if laid.access.plain_http || laid.access.skip_verify {
                text += "  # As configured: plain HTTP, or a certificate that is not verified.\n  insecure = true\n";
            }
            if !rule.tags {
                text += "  # Images by digest alone; what a tag means is left to the registry.\n  pull-from-mirror = \"digest-only\"\n";
            }
        }
    }
    text
}
