//! k3s and RKE2: registries.yaml.

use std::collections::BTreeMap;

use super::{File, Laid, ORIGIN};
use crate::restore::{
    quote::quoted,
    rule::{Rule, Scope, escaped},
};

const AUTHORITY: &str = "k8s-copycat-ca.crt";
/// A repository that nothing is pushed to. Some readers put `library/` before one without a slash.
const NOWHERE: &str = "k8s-copycat/holds-nothing-here";

pub fn files(laid: &Laid<'_>) -> Vec<File> {
    let authority = laid.access.certificates();
    let mut files = vec![File::new("registries.yaml", text(laid, authority.is_some()))];
    files.extend(authority.map(|text| File::new(AUTHORITY, text)));
    files
}

fn text(laid: &Laid<'_>, has_authority: bool) -> String {
    let mut text = format!(
        "{ORIGIN}# Place: /etc/rancher/k3s/registries.yaml on every node, servers and agents (RKE2: /etc/rancher/rke2/registries.yaml).
# Restart k3s or RKE2 afterwards, one node after another; Pods keep running, nothing drains. An existing file has to be merged.
mirrors:
"
    );
    let mut registries = BTreeMap::<&str, Vec<&Rule>>::new();
    for rule in &laid.solution.rules {
        registries.entry(&rule.registry).or_default().push(rule);
    }
    for (registry, rules) in registries {
        text += &format!(
            "  # Names of this registry are asked for at the mirror first, then at the registry itself.\n  {}:\n",
            quoted(registry)
        );
        text += &format!("    endpoint:\n      - {}\n", quoted(&laid.url("")));
        let rewrites = rewrites(&rules);
        let shadowed = laid.solution.shadowed.get(registry);
        if !rewrites.is_empty() || shadowed.is_some() {
            text += "    # A repository, as a regular expression, and where the mirror has it. Never two for one repository.\n    rewrite:\n";
        }
        for (pattern, replacement) in rewrites {
            text += &format!("      {}: {}\n", quoted(&pattern), quoted(&replacement));
        }
        if let Some(patterns) = shadowed {
            text += "      # Without a rewrite the mirror would be asked for these too, and has other images there: lead them nowhere.\n";
            for pattern in patterns {
                text += &format!("      {}: {}\n", quoted(pattern), quoted(NOWHERE));
            }
        }
    }
    text += &format!("configs:\n  # The mirror.\n  {}:\n", quoted(laid.host));
    let mut tls = String::new();
    if has_authority {
        tls += &format!(
            "      # FILL IN the place where you put {AUTHORITY}.\n      ca_file: \"/etc/rancher/k3s/{AUTHORITY}\"\n"
        );
    }
    if laid.access.skip_verify {
        tls += "      # As configured: the certificate is not verified.\n      insecure_skip_verify: true\n";
    }
    if laid.access.wants_client_certificate {
        tls += "      # The mirror wants a client certificate.\n      #cert_file: FILL_IN\n      #key_file: FILL_IN\n";
    }
    text += "    # If the mirror wants a login: that of an account that can only pull; then chmod 600 this file.\n    \
             #auth:\n    #  username: FILL_IN\n    #  password: FILL_IN\n";
    // A key without a value is valid too, but would say nothing.
    text += &if tls.is_empty() { "    tls: {}\n".to_owned() } else { format!("    tls:\n{tls}") };
    text
}

/// Of a repository that has the same path in the mirror there is none.
fn rewrites(rules: &[&Rule]) -> Vec<(String, String)> {
    let rewrite = |rule: &&Rule| match &rule.scope {
        Scope::Registry if rule.mirror.is_empty() => None,
        Scope::Registry => Some(("^(.+)$".to_owned(), format!("{}/$1", rule.mirror))),
        Scope::Subtree(repository) | Scope::Repository(repository) if *repository == rule.mirror => None,
        Scope::Subtree(repository) | Scope::Repository(repository) => {
            Some((format!("^{}$", escaped(repository)), rule.mirror.clone()))
        }
    };
    rules.iter().filter_map(rewrite).collect()
}
