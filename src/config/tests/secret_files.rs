use std::fs;

use super::*;

/// Files beside the configuration, of which `DIR` in `file` is the folder.
fn setup(file: &str) -> Setup {
    let setup = Setup::with_target("");
    let dir = setup.dir.path();
    for (name, text) in [
        ("user", "me\n".as_bytes()),
        ("password", b" s3cret word\r\n\n"),
        ("token", b"ghp_hunter2"),
        ("empty", b"\n"),
        ("binary", b"hunter2\xff"),
        ("long", &[b'x'; (64 << 10) + 1]),
        ("config.yaml", file.replace("DIR", dir.to_str().unwrap()).as_bytes()),
    ] {
        fs::write(dir.join(name), text).unwrap();
    }
    setup
}

/// User name, and password or token.
fn parts(login: &Login) -> (Option<&str>, &str) {
    match login {
        Login::Password { username, password } => (Some(username), password.expose_secret()),
        Login::Token(token) => (None, token.expose_secret()),
    }
}

fn password<'a>(username: &'a str, password: &'a str) -> (Option<&'a str>, &'a str) {
    (Some(username), password)
}

#[test]
fn credentials_are_read_from_files_and_these_are_watched() {
    let setup = setup(
        "docker: {usernameFile: DIR/user, passwordFile: DIR/password}
registryCredentials:
  - {registry: a.io, usernameFile: DIR/user, passwordFile: DIR/password}
  - {registry: b.io, tokenFile: DIR/token}
",
    );
    let loaded = setup.load().unwrap();
    let logins: Vec<_> = loaded.config.credentials.iter().map(|credential| parts(&credential.login)).collect();
    assert_eq!(logins, [password("me", " s3cret word"), (None, "ghp_hunter2")]);
    assert_eq!(parts(loaded.config.targets[0].login.as_ref().unwrap()), password("me", " s3cret word"));
    for name in ["user", "password", "token"] {
        assert!(loaded.files.contains(&setup.dir.path().join(name)), "{name}: {:?}", loaded.files);
    }
}

#[test]
fn a_named_variable_wins_over_the_file_and_the_file_over_the_literal() {
    let file = "registryCredentials:
  - {registry: a.io, username: me, password: literal, passwordFile: DIR/password, passwordEnv: PASSWORD}
";
    let of = |setup: Setup| {
        let login = setup.config().credentials[0].login.clone();
        parts(&login).1.to_owned()
    };
    assert_eq!(of(setup(file)), " s3cret word");
    assert_eq!(of(setup(file).var("PASSWORD", "variable")), "variable");
    assert_eq!(of(setup(&file.replace("passwordFile: DIR/password, ", ""))), "literal");
    // A file that is not used need not exist.
    let missing = setup(&file.replace("DIR/password", "/nowhere/password")).var("PASSWORD", "variable");
    assert_eq!(of(missing), "variable");

    let target = |setup: Setup| {
        let login = setup.config().targets[0].login.clone().unwrap();
        parts(&login).1.to_owned()
    };
    let file = "docker: {username: me, password: literal, passwordFile: DIR/token}";
    assert_eq!(target(setup(file)), "ghp_hunter2");
    let named = setup(file);
    let password = path(named.dir.path(), "password");
    let named = named.var("TARGET_PASSWORD_FILE", &password);
    assert!(named.load().unwrap().files.contains(&password.into()));
    assert_eq!(target(named), " s3cret word");
    let both = setup(file).var("TARGET_PASSWORD", "variable").var("TARGET_PASSWORD_FILE", "/nowhere/password");
    assert_eq!(target(both), "variable");
    let setup = setup("");
    let user = path(setup.dir.path(), "user");
    let login = setup.var("TARGET_USERNAME_FILE", &user).var("TARGET_PASSWORD", "pw").config().targets[0].login.clone();
    assert_eq!(parts(&login.unwrap()), (Some("me"), "pw"));
}

#[test]
fn an_unusable_file_is_named_and_its_content_is_not() {
    for (key, value, message) in [
        ("passwordFile", "DIR/missing", "DIR/missing can't be read: No such file"),
        ("passwordFile", "DIR", "DIR can't be read: not a regular file"),
        ("passwordFile", "DIR/empty", "DIR/empty can't be read: it is empty"),
        ("passwordFile", "DIR/binary", "DIR/binary can't be read: not UTF-8"),
        ("passwordFile", "DIR/long", "DIR/long can't be read: larger than 64 KiB"),
        ("tokenFile", "hunter2", "the file can't be read: No such file"),
    ] {
        let setup = setup(&format!("registryCredentials: [{{registry: a.io, username: me, {key}: {value}}}]"));
        let errors = setup.errors();
        let message = message.replace("DIR", setup.dir.path().to_str().unwrap());
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].contains(&format!("registryCredentials[0].{key}: {message}")), "{errors:?}");
        assert!(!errors[0].contains("hunter2") && !errors[0].contains("xxxx"), "{errors:?}");
    }
    let errors = Setup::with_target("").var("TARGET_PASSWORD_FILE", "/nowhere/pw").errors();
    assert!(
        errors.iter().any(|error| error.starts_with("TARGET_PASSWORD_FILE: /nowhere/pw can't be read")),
        "{errors:?}"
    );
}

#[test]
fn the_list_of_targets_takes_files_and_excludes_the_variables() {
    let file = "targets:
  - {name: near, kind: docker, registry: near.io, username: me, passwordFile: DIR/password}
";
    let mut near = setup(file);
    near.env.retain(|name, _| !name.starts_with("TARGET_"));
    let config = near.config();
    assert_eq!(parts(config.targets[0].login.as_ref().unwrap()), password("me", " s3cret word"));
    let errors = near.var("TARGET_PASSWORD_FILE", "/run/pw").errors();
    assert!(errors.iter().any(|error| error.starts_with("TARGET_PASSWORD_FILE: ")), "{errors:?}");
}
