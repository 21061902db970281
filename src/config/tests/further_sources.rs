//! Where images may be had when their registries can't give them.

use super::*;

fn sources(config: &Config) -> Vec<String> {
    config.further_sources.iter().map(ToString::to_string).collect()
}

#[test]
fn keeps_the_order_and_writes_names_as_references_do() {
    let file = "sources:\n- { registry: ' https://Harbor.test/hub/ ', prefix: Index.Docker.io/library/ }\n- { target: default }\n\
                - { layout: /data/rescue.tar, prefix: 'localhost:5000' }\n- { registry: 'mirror.test:5000' }\n";
    let config = Setup::with_target(file).config();
    let expected = [
        "registry Harbor.test/hub for docker.io/library",
        "target default",
        "layout /data/rescue.tar for localhost:5000",
        "registry mirror.test:5000",
    ];
    assert_eq!(sources(&config), expected);
    assert!(Setup::with_target("").config().further_sources.is_empty());
}

#[test]
fn reports_errors_with_their_locations() {
    let file = "sources:\n- { registry: a.test, layout: /l }\n- { prefix: quay.io }\n- { target: defualt }\n- { registry: hub }\n\
                - { layout: /l, prefix: library }\n- { layout: /x }\n- { layout: /x }\n- { registri: a.test }\n";
    let errors = Setup::with_target(file).errors();
    let expected = [
        ("sources[0]", "one of three"),
        ("sources[1]", "one of three"),
        ("sources[3].registry", "user of Docker Hub"),
        ("sources[4].prefix", "user of Docker Hub"),
        ("sources[7].registri", "did you mean \"registry\"?"),
        ("sources[6]", "duplicate source"),
    ];
    for (place, message) in expected {
        let found = errors.iter().any(|error| error.contains(&format!("{place}: ")) && error.contains(message));
        assert!(found, "{place} {message}: {errors:#?}");
    }
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
    let errors = Setup::with_target("sources: [{ target: defualt }]").errors();
    assert!(errors.len() == 1 && errors[0].contains("did you mean \"default\"?"), "{errors:#?}");
    let secret = Setup::with_target("sources: [{ registry: 'user:pa55@a.test' }]").errors();
    assert!(secret.len() == 1 && !secret[0].contains("pa55"), "{secret:#?}");
}
