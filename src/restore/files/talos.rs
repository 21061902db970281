//! Talos Linux: documents of the machine configuration.

use std::collections::BTreeMap;

use super::{File, Laid, ORIGIN};
use crate::restore::{
    quote::{literal_block, quoted},
    rule::Rule,
};

pub fn files(laid: &Laid<'_>) -> Vec<File> {
    vec![File::new("talos-registries.yaml", text(laid))]
}

fn text(laid: &Laid<'_>) -> String {
    let mut text = format!(
        "{ORIGIN}# For Talos 1.12 or later, on every node; applied without a reboot and without draining:
#   talosctl patch machineconfig --nodes NODES --patch @talos-registries.yaml
"
    );
    let mut registries = BTreeMap::<&str, Vec<&Rule>>::new();
    for rule in &laid.solution.rules {
        registries.entry(&rule.registry).or_default().push(rule);
    }
    for (registry, rules) in registries {
        text += &format!(
            "---
apiVersion: v1alpha1
kind: RegistryMirrorConfig
# The registry of an image's name.
name: {}
# Asked in this order; the registry itself last.
endpoints:
",
            quoted(registry)
        );
        for rule in rules {
            let path = if rule.mirror.is_empty() { "/v2".to_owned() } else { format!("/v2/{}", rule.mirror) };
            text += &format!("  - url: {}\n", quoted(&laid.url(&path)));
            text += "    # The URL is complete: nothing is inserted before the repository.\n    overridePath: true\n";
        }
        text += "# Ask the registry itself if the mirror does not have an image.\nskipFallback: false\n";
    }
    let authority = laid.access.certificates();
    if authority.is_some() || laid.access.skip_verify || laid.access.wants_client_certificate {
        text += &format!(
            "---\napiVersion: v1alpha1\nkind: RegistryTLSConfig\n# The mirror.\nname: {}\n",
            quoted(laid.host)
        );
        if let Some(authority) = authority {
            text += &format!("# Its authority.\nca: |-\n{}", literal_block(&authority, 2));
        }
        if laid.access.skip_verify {
            text += "# As configured: its certificate is not verified.\ninsecureSkipVerify: true\n";
        }
        if laid.access.wants_client_certificate {
            text += "# It wants a client certificate.\n#clientIdentity:\n#  cert: FILL_IN\n#  key: FILL_IN\n";
        }
    }
    text += &format!(
        "# If the mirror wants a login: that of an account that can only pull. It is stored in the machine configuration.
#---
#apiVersion: v1alpha1
#kind: RegistryAuthConfig
#name: {}
#username: FILL_IN
#password: FILL_IN
",
        quoted(laid.host)
    );
    text
}
