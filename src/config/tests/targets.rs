//! Settings of targets.

use super::*;

#[test]
fn a_docker_target() {
    let target = |setup: Setup| setup.config().targets.remove(0);
    let file =
        "targetKind: Docker\ndocker:\n  registry: in.file:5000/team\n  repoPrefix: $namespace\n  insecure: true\n";
    let from_file = target(Setup::new(file));
    assert_eq!((from_file.name.as_str(), from_file.kind), ("default", TargetKind::Docker));
    assert_eq!((from_file.registry.as_str(), from_file.repo_prefix.as_str()), ("in.file:5000/team", "$namespace"));
    assert!(from_file.insecure && from_file.login.is_none());

    let setup = Setup::new(file).var("TARGET_REGISTRY", "in.variable").var("TARGET_REPO_PREFIX", "x/$registry");
    let setup = setup.var("TARGET_INSECURE", "0").var("TARGET_USERNAME", "me").var("TARGET_PASSWORD", " secret ");
    let from_variables = target(setup);
    assert_eq!((from_variables.registry.as_str(), from_variables.repo_prefix.as_str()), ("in.variable", "x/$registry"));
    assert!(!from_variables.insecure);
    let login = Login::Password { username: "me".to_owned(), password: " secret ".to_owned().into() };
    assert_eq!(from_variables.login, Some(login));
}

#[test]
fn a_layout_target() {
    let file = "targetKind: oci-layout\nociLayout: {path: /data, repoPrefix: p}\n";
    let target = Setup::new(file).config().targets.remove(0);
    assert_eq!(
        (target.kind, target.registry.as_str(), target.repo_prefix.as_str()),
        (TargetKind::OciLayout, "/data", "p")
    );
    let setup = Setup::new(file).var("TARGET_PATH", "/other").var("TARGET_REPO_PREFIX", "q");
    let target = setup.config().targets.remove(0);
    assert_eq!((target.registry.as_str(), target.repo_prefix.as_str()), ("/other", "q"));
}

#[test]
fn names_missing_settings_of_a_target() {
    for (kind, names) in [
        ("ecr", &["ECR_ACCOUNT_ID", "AWS_REGION", "ecr.accountID", "ecr.region"][..]),
        ("docker", &["TARGET_REGISTRY", "docker.registry"]),
        ("oci-layout", &["TARGET_PATH", "ociLayout.path"]),
    ] {
        let errors = Setup::new("").var("TARGET_KIND", kind).errors();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(names.iter().all(|name| errors[0].contains(name)), "{errors:?}");
    }
    assert!(Setup::new("").var("TARGET_KIND", "dokcer").errors()[0].contains("did you mean \"docker\"?"));
    assert_eq!(Setup::new("targetKind: docker\ndocker: {insecure: maybe}").errors().len(), 2);
    assert_eq!(Setup::new("").var("ECR_ACCOUNT_ID", "12").var("AWS_REGION", "Frankfurt").errors().len(), 2);
}

#[test]
fn rejects_half_a_login() {
    assert!(Setup::with_target("").var("TARGET_USERNAME", "me").errors()[0].starts_with("TARGET_USERNAME"));
    assert!(Setup::with_target("").var("TARGET_PASSWORD", "x").errors()[0].starts_with("TARGET_PASSWORD"));
}

#[test]
fn the_top_level_prefix_applies_to_the_selected_target() {
    let file = "repoPrefix: bare\ntargetKind: docker\ndocker:\n  registry: a.io\n";
    assert_eq!(Setup::new(file).config().targets[0].repo_prefix, "bare");
    assert_eq!(Setup::new(file).var("TARGET_REPO_PREFIX", "v").config().targets[0].repo_prefix, "v");
    assert!(Setup::new(&format!("{file}  repoPrefix: own\n")).errors()[0].contains("keep one"));
}

#[test]
fn a_list_of_targets() {
    let file = "
targets:
  - {name: near, kind: docker, registry: near.io/x, insecure: yes, usernameEnv: NEAR_USER, passwordEnv: NEAR_PASSWORD}
  - {name: far, kind: ecr, accountID: 012345678901, createRepo: no}
  - {name: disk, kind: oci-layout, path: /data, repoPrefix: p}
";
    let setup = Setup::new(file).var("NEAR_USER", "me").var("NEAR_PASSWORD", "pw").var("AWS_REGION", "eu-west-1");
    let targets = setup.config().targets;
    let names: Vec<_> = targets.iter().map(|target| (target.name.as_str(), target.registry.as_str())).collect();
    assert_eq!(
        names,
        [("near", "near.io/x"), ("far", "012345678901.dkr.ecr.eu-west-1.amazonaws.com"), ("disk", "/data")]
    );
    assert_eq!(targets[2].repo_prefix, "p");
    assert!(targets[0].insecure && !targets[1].ecr.as_ref().unwrap().create_repo);
    let login = Login::Password { username: "me".to_owned(), password: "pw".to_owned().into() };
    assert_eq!(targets[0].login, Some(login));
}

#[test]
fn rejects_two_paths_to_one_layout() {
    let folder = tempfile::tempdir().unwrap();
    let [real, link] = ["real", "link"].map(|name| folder.path().join(name));
    std::fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let layouts = |one: &Path, other: &Path| {
        let layout = |name: &str, path: &Path| format!("{{name: {name}, kind: oci-layout, path: {path:?}}}");
        Setup::new(&format!("targets: [{}, {}]", layout("a", one), layout("b", other)))
    };
    let errors = layouts(&real, &link).errors();
    assert!(errors.len() == 1 && errors[0].contains("are one folder"), "{errors:?}");
    assert_eq!(layouts(&real, &real).config().targets.len(), 2);
    assert_eq!(layouts(&real, &folder.path().join("none")).config().targets.len(), 2);
}

#[test]
fn rejects_a_list_of_targets_with_a_single_target() {
    let list = "targets:\n  - {name: disk, kind: oci-layout, path: /data}\n";
    for key in
        ["targetKind: ecr", "repoPrefix: p", "docker: {insecure: true}", "ecr: {region: x}", "ociLayout: {path: x}"]
    {
        let errors = Setup::new(&format!("{list}{key}\n")).errors();
        let name = key.split(':').next().unwrap();
        assert!(errors.len() == 1 && errors[0].contains(name) && errors[0].contains("targets:"), "{errors:?}");
    }
    for name in [
        "TARGET_KIND",
        "TARGET_REGISTRY",
        "TARGET_REPO_PREFIX",
        "TARGET_USERNAME",
        "TARGET_PASSWORD",
        "TARGET_INSECURE",
        "TARGET_PATH",
        "ECR_ACCOUNT_ID",
        "ECR_REPO_PREFIX",
        "ECR_CREATE_REPO",
    ] {
        let errors = Setup::new(list).var(name, "x").errors();
        assert!(errors.len() == 1 && errors[0].starts_with(&format!("{name}: ")), "{errors:?}");
    }
    Setup::new(list).var("AWS_REGION", "eu-west-1").config();
    assert_eq!(Setup::new(&format!("{list}docker: {{}}\necr:\n")).config().targets.len(), 1);
    for (entries, hint) in [
        ("[{kind: docker, registry: a.io}]", "name"),
        ("[{name: a, registry: a.io}]", "kind"),
        ("[{name: a, kind: docker}]", "registry"),
        ("[{name: a, kind: docker, path: /x, registry: a.io}]", "unknown key"),
        ("[{name: a, kind: oci-layout, path: /x}, {name: a, kind: oci-layout, path: /y}]", "duplicate target"),
    ] {
        let errors = Setup::new(&format!("targets: {entries}")).errors();
        assert!(errors.len() == 1 && errors[0].contains(hint), "{entries}: {errors:?}");
    }
}
