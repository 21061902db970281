//! kustomize: a component that renames images.

use super::{File, Laid, ORIGIN};
use crate::restore::quote::quoted;

pub fn files(laid: &Laid<'_>) -> Vec<File> {
    let host = laid.host;
    let mut text = format!(
        "{ORIGIN}# A component: it changes the manifests of a kustomization that lists it. Workloads then name the mirror, also when their own
# registries are well again; take it out of the list to go back.
#   components: [PATH_TO_THIS_FOLDER]
# Login, if the mirror wants one: FILL IN imagePullSecrets for {host}, or use the kubelet's credential provider for it.
"
    );
    if laid.access.certificates().is_some() {
        text += "# The nodes have to trust the mirror's authority, as for every image of it.\n";
    }
    text += "apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
images:
  # The name as manifests write it, and its name in the mirror; tag and digest stay.
";
    for rename in &laid.solution.renames {
        text += &format!("  - name: {}\n    newName: {}\n", quoted(&rename.name), quoted(&rename.new_name));
        if let Some(tag) = &rename.new_tag {
            text += &format!("    # The mirror has it under this tag.\n    newTag: {}\n", quoted(tag));
        }
    }
    vec![File::new("kustomization.yaml", text)]
}
