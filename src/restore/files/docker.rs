//! Docker Engine: a fragment of daemon.json, which can't have comments, and a text that explains it.

use super::{File, Laid};
use crate::restore::quote::quoted;

pub fn files(laid: &Laid<'_>) -> Vec<File> {
    let host = laid.host;
    let is_insecure = laid.access.plain_http || laid.access.skip_verify;
    let mut settings = format!("{{\n  \"registry-mirrors\": [{}]", quoted(&laid.url("")));
    if is_insecure {
        settings += &format!(",\n  \"insecure-registries\": [{}]", quoted(host));
    }
    settings += "\n}\n";
    let authority = laid.access.certificates();
    let mut text = "# Docker Engine\n\nWritten by `k8s-copycat restore` from the decisions for this cluster.\n\n\
        Merge `daemon.json` into `/etc/docker/daemon.json` on every node, then `systemctl reload docker`: containers keep running.\n\n\
        - `registry-mirrors`: asked first for every image of Docker Hub, by tag and by digest; then Docker Hub itself. Docker knows \
        mirrors for no other registry.\n"
        .to_owned();
    if is_insecure {
        text += "- `insecure-registries`: as configured, the mirror is reached by plain HTTP or without a verified certificate.\n";
    }
    if authority.is_some() {
        text += &format!(
            "- `certs.d/{host}/ca.crt`, the mirror's authority, belongs to `/etc/docker/certs.d/{host}/ca.crt`.\n"
        );
    }
    if laid.access.wants_client_certificate {
        text += &format!(
            "- The mirror wants a client certificate: FILL IN `client.cert` and `client.key` in `/etc/docker/certs.d/{host}/`.\n"
        );
    }
    text += "- Docker sends a mirror no login: it has to allow anonymous pulls from the nodes' network.\n";
    let mut files = vec![File::new("daemon.json", settings), File::new("README.md", text)];
    files.extend(authority.map(|text| File::new(format!("certs.d/{host}/ca.crt"), text)));
    files
}
