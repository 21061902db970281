//! A DaemonSet that lays containerd's files on the nodes.

use super::ORIGIN;
use crate::{
    model::Digest,
    restore::quote::{literal_block, quoted},
};

/// The authority of the mirror, beside the folders of the registries.
pub const AUTHORITY: &str = "k8s-copycat-ca.crt";

/// A registry's file, and what it needs beside it.
pub struct Hosts {
    pub registry: String,
    pub text: String,
    /// The URLs that a login is for.
    pub urls: Vec<String>,
}

/// Of a ConfigMap's 1 MiB, with room for its metadata.
const MOST_BYTES: usize = 900 * 1024;

const HEAD: &str = "\
# Lays hosts.toml files on the nodes. containerd reads them at each pull: no node restarts or drains.
#
#   kubectl apply -f daemonset.yaml
#   kubectl rollout status -n kube-system daemonset/k8s-copycat-restore      # until the files are on all nodes
#
# What was there before is kept beside it as hosts.toml.before-k8s-copycat. To put it back:
#   kubectl set env -n kube-system daemonset/k8s-copycat-restore UNDO=true
#   kubectl rollout status -n kube-system daemonset/k8s-copycat-restore
#   kubectl delete -f daemonset.yaml
#
# If the mirror wants a login, that of an account that can only pull:
#   kubectl create secret generic k8s-copycat-mirror-login -n kube-system \\
#     --from-literal=authorization=\"Basic $(printf %s USER:PASSWORD | base64 -w0)\"
#
# FILL IN below, if your nodes can't pull it: the image. It needs sh, cat, cmp, cp, grep, head, mkdir,
# mv, rm, sleep and touch.
";

/// Lays one file after another: by a new file and a rename, so that containerd never reads half of one.
const SCRIPT: &str = r#"set -eu
umask 077
# is_ours FILE: a restore wrote what is there.
is_ours() {
  [ "$1" = k8s-copycat-ca.crt ] || head -n 1 "/certs.d/$1" | grep -q 'k8s-copycat restore'
}
# lay FILE [URL]...: FILE with the login for each URL, if there is one.
lay() {
  file=$1
  shift
  at=/certs.d/$file
  kept=$at.before-k8s-copycat
  if [ "${UNDO:-}" = true ]; then
    if [ ! -e "$at" ] || ! is_ours "$file"; then return; fi
    if [ -e "$kept" ]; then mv "$kept" "$at"; else rm "$at"; fi
    return
  fi
  mkdir -p "${at%/*}"
  cat "/files/$file" > "$at.k8s-copycat-new"
  if [ -s /login/authorization ]; then
    for url in "$@"; do
      printf '\n[host."%s".header]\n  Authorization = "%s"\n' "$url" "$(cat /login/authorization)" >> "$at.k8s-copycat-new"
    done
  fi
  if [ -e "$at" ] && ! is_ours "$file"; then cp -p "$at" "$kept"; fi
  if cmp -s "$at.k8s-copycat-new" "$at"; then rm "$at.k8s-copycat-new"; else mv "$at.k8s-copycat-new" "$at"; fi
}
"#;

/// None if it would not fit into a ConfigMap.
pub fn manifest(hosts: &[Hosts], authority: Option<&str>) -> Option<String> {
    let mut script = SCRIPT.to_owned();
    let mut data = String::new();
    let mut items = String::new();
    let mut add = |key: &str, path: &str, text: &str| {
        data += &format!("  {key}: |\n{}", literal_block(text, 4));
        items += &format!("              - {{ key: {key}, path: {} }}\n", quoted(path));
    };
    if let Some(authority) = authority {
        add("ca.crt", AUTHORITY, authority);
        script += &format!("lay {AUTHORITY}\n");
    }
    for (number, Hosts { registry, text, urls }) in hosts.iter().enumerate() {
        let path = format!("{registry}/hosts.toml");
        add(&format!("hosts-{number}.toml"), &path, text);
        script += &format!("lay {}", single_quoted(&path));
        urls.iter().for_each(|url| script += &format!(" {}", single_quoted(url)));
        script.push('\n');
    }
    script += "touch /laid\ntrap 'exit 0' TERM INT\nsleep 2147483647 &\nwait\n";
    data += &format!("  lay.sh: |\n{}", literal_block(&script, 4));
    if data.len() > MOST_BYTES {
        return None;
    }
    // Pods start anew when the files change.
    let hash = Digest::sha256(data.as_bytes()).hex().to_owned();
    Some(format!(
        r#"{ORIGIN}{HEAD}apiVersion: v1
kind: ConfigMap
metadata:
  name: k8s-copycat-restore
  namespace: kube-system
data:
{data}---
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: k8s-copycat-restore
  namespace: kube-system
  labels: {{ app.kubernetes.io/name: k8s-copycat-restore }}
spec:
  selector: {{ matchLabels: {{ app.kubernetes.io/name: k8s-copycat-restore }} }}
  # All nodes at once: a file changes no running container.
  updateStrategy: {{ type: RollingUpdate, rollingUpdate: {{ maxUnavailable: "100%" }} }}
  template:
    metadata:
      labels: {{ app.kubernetes.io/name: k8s-copycat-restore }}
      # The files' hash: other files start the Pods anew.
      annotations: {{ k8s-copycat/files: "{hash}" }}
    spec:
      nodeSelector: {{ kubernetes.io/os: linux }}
      tolerations: [{{ operator: Exists }}]
      priorityClassName: system-node-critical
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 5
      containers:
        - name: lay
          image: docker.io/library/busybox:1.37
          command: [sh, /files/lay.sh]
          # Ready when the files are on the node.
          readinessProbe: {{ exec: {{ command: [sh, -c, test -f /laid] }}, periodSeconds: 5 }}
          resources: {{ requests: {{ cpu: 1m, memory: 8Mi }}, limits: {{ memory: 32Mi }} }}
          securityContext:
            runAsUser: 0
            allowPrivilegeEscalation: false
            capabilities: {{ drop: [ALL], add: [DAC_OVERRIDE] }}
          volumeMounts:
            - {{ name: files, mountPath: /files, readOnly: true }}
            - {{ name: login, mountPath: /login, readOnly: true }}
            - {{ name: certs, mountPath: /certs.d }}
      volumes:
        - name: files
          configMap:
            name: k8s-copycat-restore
            items:
              - {{ key: lay.sh, path: lay.sh }}
{items}        - name: login
          secret: {{ secretName: k8s-copycat-mirror-login, optional: true, defaultMode: 0400 }}
        - name: certs
          hostPath: {{ path: /etc/containerd/certs.d, type: DirectoryOrCreate }}
"#
    ))
}

/// A word of a shell.
fn single_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_a_shell_ends_where_it_should() {
        assert_eq!(single_quoted("a'; rm -rf /; '"), r"'a'\''; rm -rf /; '\'''");
    }

    #[test]
    fn files_that_are_too_large_for_a_config_map_make_no_manifest() {
        let hosts = |bytes| Hosts { registry: "a.io".to_owned(), text: "#".repeat(bytes), urls: Vec::new() };
        assert!(manifest(&[hosts(1000)], None).is_some());
        assert!(manifest(&[hosts(MOST_BYTES)], None).is_none());
    }
}
