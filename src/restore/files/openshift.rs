//! OpenShift: mirrors for digests (IDMS) and for tags (ITMS).

use std::collections::BTreeMap;

use super::{File, Laid, ORIGIN};
use crate::restore::{
    quote::{literal_block, quoted},
    rule::{Rule, join},
};

pub fn files(laid: &Laid<'_>) -> Vec<File> {
    let rules: Vec<&Rule> = laid.solution.rules.iter().collect();
    let tags: Vec<&Rule> = rules.iter().copied().filter(|rule| rule.tags).collect();
    let digests = set(laid, "ImageDigestMirrorSet", "imageDigestMirrors", &rules);
    let mut files = vec![File::new("imagedigestmirrorset.yaml", digests)];
    if !tags.is_empty() {
        let tags = set(laid, "ImageTagMirrorSet", "imageTagMirrors", &tags);
        files.push(File::new("imagetagmirrorset.yaml", tags));
    }
    if let Some(authority) = laid.access.certificates() {
        files.push(File::new("additional-trusted-ca.yaml", trusted(laid.host, &authority)));
    }
    files
}

fn set(laid: &Laid<'_>, kind: &str, list: &str, rules: &[&Rule]) -> String {
    let host = laid.host;
    let what = if kind == "ImageDigestMirrorSet" {
        "# For images named by digest, with a tag or without. A node drains only for the first set, or when an entry goes."
    } else {
        "# For images named by tag. The nodes drain and restart one after another when it is applied: plan for it."
    };
    let mut text = format!(
        "{ORIGIN}{what}
#   oc apply -f {}.yaml
#   oc wait --for=condition=Updated machineconfigpool --all --timeout=2h
# Login, if the mirror wants one: FILL IN that of {host} in the global pull secret (Secret pull-secret of openshift-config).
apiVersion: config.openshift.io/v1
kind: {kind}
metadata:
  name: k8s-copycat
spec:
  {list}:
",
        kind.to_lowercase()
    );
    if laid.access.plain_http || laid.access.skip_verify {
        let plain = format!(
            "# The mirror is configured with plain HTTP or an unverified certificate: add {host} to\n\
             # spec.registrySources.insecureRegistries of image.config.openshift.io/cluster.\n"
        );
        text = text.replacen("apiVersion:", &format!("{plain}apiVersion:"), 1);
    }
    let mut entries = BTreeMap::<String, Vec<&Rule>>::new();
    for rule in rules {
        entries.entry(rule.subject()).or_default().push(rule);
    }
    for (subject, rules) in entries {
        text += &format!(
            "    # Names that begin so are asked for at the mirrors, in their order.\n    - source: {}\n      mirrors:\n",
            quoted(&subject)
        );
        for rule in rules {
            text += &format!("        - {}\n", quoted(&join(host, &rule.mirror)));
        }
        text += "      # The registry itself is asked last.\n      mirrorSourcePolicy: AllowContactingSource\n";
    }
    text
}

fn trusted(host: &str, authority: &str) -> String {
    format!(
        "{ORIGIN}# The mirror's authority. If image.config.openshift.io/cluster names a ConfigMap already, add the key there instead.
#   oc apply -f additional-trusted-ca.yaml
#   oc patch image.config.openshift.io/cluster --type=merge \\
#     -p '{{\"spec\":{{\"additionalTrustedCA\":{{\"name\":\"k8s-copycat-mirror\"}}}}}}'
apiVersion: v1
kind: ConfigMap
metadata:
  name: k8s-copycat-mirror
  namespace: openshift-config
data:
  # The mirror's host; a colon is written as two dots.
  {}: |
{}",
        quoted(&host.replace(':', "..")),
        literal_block(authority, 4)
    )
}
