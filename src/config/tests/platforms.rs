//! Which platforms are copied.

use super::*;

const ON: &str = "digestPull: true\n";

/// The platform settings as comparable values.
fn settings(config: &Config) -> Option<(bool, Vec<String>, bool, Vec<String>)> {
    let platforms = config.copy.platforms.as_ref()?;
    let listed = platforms.listed.iter().map(ToString::to_string).collect();
    let missing = platforms.expected_missing.iter().map(ToString::to_string).collect();
    Some((platforms.all, listed, platforms.of_nodes, missing))
}

#[test]
fn reads_platforms_from_file_and_variables() {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    for (file, variable, expected) in [
        (
            "mirrorPlatforms: [amd64, ' Linux/ARM64', linux/arm/v7]",
            ("MIRROR_PLATFORMS", "amd64, Linux/ARM64 ,linux/arm/v7"),
            (false, texts(&["linux/amd64", "linux/arm64", "linux/arm/v7"]), false, vec![]),
        ),
        ("mirrorPlatforms: [All]", ("MIRROR_PLATFORMS", "all"), (true, vec![], false, vec![])),
        ("checkNodePlatform: yes", ("CHECK_NODE_PLATFORM", "true"), (false, vec![], true, vec![])),
    ] {
        assert_eq!(settings(&Setup::with_target(&format!("{ON}{file}")).config()), Some(expected.clone()), "{file}");
        let (name, value) = variable;
        assert_eq!(settings(&Setup::with_target(ON).var(name, value).config()), Some(expected), "{name}");
    }
    let file = format!("{ON}mirrorPlatforms: [arm64]\nignoreMissingPlatforms: ['nginx.*\\|', 'linux/arm64$']\n");
    let missing = texts(&["nginx.*\\|", "linux/arm64$"]);
    assert_eq!(settings(&Setup::with_target(&file).config()).unwrap().3, missing);
    let setup = Setup::with_target(&file).var("IGNORE_MISSING_PLATFORMS", "busybox").var("MIRROR_PLATFORMS", "s390x");
    assert_eq!(settings(&setup.config()), Some((false, texts(&["linux/s390x"]), false, texts(&["busybox"]))));
}

#[test]
fn no_restriction_means_all_platforms() {
    for file in ["", "mirrorPlatforms: []\ncheckNodePlatform: false\nignoreMissingPlatforms: []"] {
        let loaded = Setup::with_target(&format!("{ON}{file}")).load().unwrap();
        assert_eq!((settings(&loaded.config), loaded.warnings), (None, vec![]), "{file}");
    }
    assert_eq!(settings(&Setup::with_target(ON).var("CHECK_NODE_PLATFORM", "false").config()), None);
}

#[test]
fn warns_about_settings_without_effect() {
    let loaded = Setup::with_target("mirrorPlatforms: [amd64]").var("CHECK_NODE_PLATFORM", "1").load().unwrap();
    assert_eq!(settings(&loaded.config), None);
    let warnings = &loaded.warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].starts_with("CHECK_NODE_PLATFORM: ") && warnings[0].contains("digestPull"), "{warnings:?}");
    assert!(warnings[1].contains("mirrorPlatforms[0]: ") && warnings[1].contains("digestPull"), "{warnings:?}");
}

#[test]
fn reports_errors_with_their_locations() {
    let file = "mirrorPlatforms: [amd64, linux/]\nignoreMissingPlatforms: ['(']\ncheckNodePlatform: maybe\n";
    let errors = Setup::with_target(file).errors();
    assert_eq!(errors.len(), 3, "{errors:?}");
    for (error, parts) in errors.iter().zip([
        [":1:26: mirrorPlatforms[1]", "linux/arm/v7"],
        [":2:26: ignoreMissingPlatforms[0]", "not a valid regular expression"],
        [":3:1: checkNodePlatform", "boolean"],
    ]) {
        assert!(parts.iter().all(|part| error.contains(part)), "{error}: {parts:?}");
    }
    let errors = Setup::with_target("").var("MIRROR_PLATFORMS", "*").errors();
    assert!(errors.len() == 1 && errors[0].starts_with("MIRROR_PLATFORMS: "), "{errors:?}");
}
