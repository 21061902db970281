//! The setting `pullSecrets`.

use super::*;
use crate::model::PullSecretScope;

fn some(names: &[&str]) -> PullSecretScope {
    PullSecretScope::Namespaces(names.iter().map(|&name| name.to_owned()).collect())
}

#[test]
fn pull_secrets_are_those_of_nobody_of_all_or_of_some_namespaces() {
    for (file, variable, expected) in [
        ("", None, PullSecretScope::Off),
        ("pullSecrets: off\n", None, PullSecretScope::Off),
        // As Helm writes it.
        ("pullSecrets: false\n", None, PullSecretScope::Off),
        ("pullSecrets: ALL\n", None, PullSecretScope::All),
        ("pullSecrets: { namespaces: [b, a, b] }\n", None, some(&["a", "b"])),
        ("pullSecrets: { namespaces: [] }\n", None, some(&[])),
        ("pullSecrets: all\n", Some("off"), PullSecretScope::Off),
        ("pullSecrets: { namespaces: [a] }\n", Some("all"), PullSecretScope::All),
        ("pullSecrets: all\n", Some(" b, c ,"), some(&["b", "c"])),
        ("pullSecrets: all\n", Some(" "), PullSecretScope::All),
    ] {
        let setup = Setup::with_target(file);
        let setup = match variable {
            Some(value) => setup.var("PULL_SECRETS", value),
            None => setup,
        };
        assert_eq!(setup.config().watch.pull_secrets, expected, "{file:?} {variable:?}");
    }
}

#[test]
fn anything_else_is_named_with_what_is_allowed() {
    for (file, text) in [
        ("pullSecrets: some\n", "\"some\" is not one of off, all"),
        ("pullSecrets: true\n", "\"true\" is not one of off, all"),
        ("pullSecrets: [a]\n", "expected a single value"),
        ("pullSecrets: {}\n", "namespaces is missing"),
        ("pullSecrets: { namespaces: ['*'] }\n", "\"*\" is not the name of a namespace; write exact names, or all"),
        ("pullSecrets: { namespace: [a] }\n", "did you mean \"namespaces\"?"),
    ] {
        let errors = Setup::with_target(file).load().unwrap_err().to_string();
        assert!(errors.contains(text), "{file}: {errors}");
    }
    let errors = Setup::with_target("").var("PULL_SECRETS", "team-*").load().unwrap_err().to_string();
    assert!(errors.contains("PULL_SECRETS") && errors.contains("\"team-*\" is not the name"), "{errors}");
}
