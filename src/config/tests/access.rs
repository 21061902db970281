use std::fs;

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};

use super::*;

/// `ca.pem`, `client.pem` and `client.key` beside the file, and others that are none.
fn setup(file: impl Fn(&str) -> String) -> Setup {
    let setup = Setup::with_target("");
    let dir = setup.dir.path();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["a.io".to_owned()]).unwrap();
    for (name, text) in [
        ("ca.pem", format!("# Ümlaut\n{}{}", cert.pem(), cert.pem())),
        ("client.pem", cert.pem()),
        ("client.key", signing_key.serialize_pem()),
        ("empty.pem", String::new()),
        ("cut.pem", cert.pem().split_at(100).0.to_owned()),
        ("locked.key", KeyPair::generate().unwrap().serialize_pem().replace("PRIVATE", "ENCRYPTED PRIVATE")),
        ("config.yaml", file(&dir.display().to_string())),
    ] {
        fs::write(dir.join(name), text).unwrap();
    }
    setup
}

#[test]
fn reads_settings_of_registries() {
    let setup = setup(|dir| {
        format!(
            "registries:
  - {{registry: 'Plain.io:5000', plainHTTP: yes, connections: 3}}
  - {{registry: '*.a.io', caFile: {dir}/ca.pem, clientCertFile: {dir}/client.pem, clientKeyFile: {dir}/client.key}}
  - {{registry: b.io, skipVerify: true}}
"
        )
    });
    let loaded = setup.load().unwrap();
    for name in ["ca.pem", "client.pem", "client.key"] {
        assert!(loaded.files.contains(&setup.dir.path().join(name)), "{name}: {:?}", loaded.files);
    }
    let registries = loaded.config.registries;
    let [plain, private, unchecked] = &registries[..] else { panic!("{registries:?}") };
    assert_eq!((plain.registry.as_str(), plain.plain_http, plain.connections), ("plain.io:5000", true, Some(3)));
    assert!(!plain.wants_tls() && private.wants_tls() && unchecked.wants_tls());
    assert_eq!((private.registry.as_str(), private.connections), ("*.a.io", None));
    assert!(private.authorities.as_ref().unwrap().text.matches("BEGIN CERTIFICATE").count() == 2);
    let client = private.client.as_ref().unwrap();
    assert!(client.key_path.ends_with("client.key") && client.certificates.path.ends_with("client.pem"));
    assert!(unchecked.skip_verify && !private.skip_verify);
    let key = client.key.expose_secret().lines().nth(1).unwrap();
    assert!(!format!("{registries:?}").contains(key));
}

#[test]
fn rejects_unusable_files_by_name() {
    for (entry, hints) in [
        ("plainHTTP: true", &["has no registry"][..]),
        ("registry: a.io, caFile: DIR/nowhere.pem", &["registries[0].caFile", "DIR/nowhere.pem can't be read"]),
        ("registry: a.io, caFile: DIR", &["DIR can't be read: not a regular file"]),
        ("registry: a.io, caFile: DIR/empty.pem", &["DIR/empty.pem has no certificate"]),
        ("registry: a.io, caFile: DIR/client.key", &["DIR/client.key has no certificate"]),
        ("registry: a.io, caFile: DIR/cut.pem", &["DIR/cut.pem is not valid PEM"]),
        ("registry: a.io, clientCertFile: DIR/client.pem", &["set clientKeyFile as well"]),
        ("registry: a.io, clientKeyFile: DIR/client.key", &["set clientCertFile as well"]),
        (
            "registry: a.io, clientCertFile: DIR/client.pem, clientKeyFile: DIR/ca.pem",
            &["registries[0].clientKeyFile", "DIR/ca.pem has no usable private key"],
        ),
        (
            "registry: a.io, clientCertFile: DIR/client.pem, clientKeyFile: DIR/locked.key",
            &["DIR/locked.key has no usable private key", "passphrase"],
        ),
        ("registry: a.io, caFile: DIR/ca.pem, skipVerify: true", &["keep one of the two"]),
        ("registry: a.io, plainHTTP: true, skipVerify: true", &["plainHTTP uses no certificates"]),
        ("registry: a.io, plainHTTP: true, caFile: DIR/ca.pem", &["plainHTTP uses no certificates"]),
        ("registry: a.io, connections: 0", &["the minimum is 1"]),
        ("registry: a.io, plainHttps: true", &["did you mean \"plainHTTP\"?"]),
        ("registry: a.io}, {registry: A.io", &["duplicate registry \"a.io\""]),
    ] {
        let setup = setup(|dir| format!("registries: [{{{}}}]", entry.replace("DIR", dir)));
        let dir = setup.dir.path().display().to_string();
        let errors = setup.errors();
        assert_eq!(errors.len(), 1, "{entry}: {errors:?}");
        for hint in hints {
            assert!(errors[0].contains(&hint.replace("DIR", &dir)), "{entry}: {errors:?}");
        }
        let key = fs::read_to_string(setup.dir.path().join("client.key")).unwrap();
        assert!(!errors[0].contains(key.lines().nth(1).unwrap()));
    }
}
