//! Which platforms are copied.

use super::*;

const ON: &str = "digestPull: true\n";

/// Each platform that is asked for, and what else is.
fn asked(config: &Config) -> Option<(bool, Vec<String>, bool, Vec<String>)> {
    let platforms = config.copy.platforms.as_ref()?;
    let listed = platforms.listed.iter().map(ToString::to_string).collect();
    let missing = platforms.expected_missing.iter().map(ToString::to_string).collect();
    Some((platforms.all, listed, platforms.of_nodes, missing))
}

#[test]
fn platforms_are_read_from_file_and_variables() {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    for (file, variable, wanted) in [
        (
            "mirrorPlatforms: [amd64, ' Linux/ARM64', linux/arm/v7]",
            ("MIRROR_PLATFORMS", "amd64, Linux/ARM64 ,linux/arm/v7"),
            (false, texts(&["linux/amd64", "linux/arm64", "linux/arm/v7"]), false, vec![]),
        ),
        ("mirrorPlatforms: [All]", ("MIRROR_PLATFORMS", "all"), (true, vec![], false, vec![])),
        ("checkNodePlatform: yes", ("CHECK_NODE_PLATFORM", "true"), (false, vec![], true, vec![])),
    ] {
        assert_eq!(asked(&Setup::with_target(&format!("{ON}{file}")).config()), Some(wanted.clone()), "{file}");
        let (name, value) = variable;
        assert_eq!(asked(&Setup::with_target(ON).var(name, value).config()), Some(wanted), "{name}");
    }
    let file = format!("{ON}mirrorPlatforms: [arm64]\nignoreMissingPlatforms: ['nginx.*\\|', 'linux/arm64$']\n");
    let missing = texts(&["nginx.*\\|", "linux/arm64$"]);
    assert_eq!(asked(&Setup::with_target(&file).config()).unwrap().3, missing);
    let setup = Setup::with_target(&file).var("IGNORE_MISSING_PLATFORMS", "busybox").var("MIRROR_PLATFORMS", "s390x");
    assert_eq!(asked(&setup.config()), Some((false, texts(&["linux/s390x"]), false, texts(&["busybox"]))));
}

#[test]
fn nothing_that_restricts_is_nothing() {
    for file in ["", "mirrorPlatforms: []\ncheckNodePlatform: false\nignoreMissingPlatforms: []"] {
        let loaded = Setup::with_target(&format!("{ON}{file}")).load().unwrap();
        assert_eq!((asked(&loaded.config), loaded.warnings), (None, vec![]), "{file}");
    }
    assert_eq!(asked(&Setup::with_target(ON).var("CHECK_NODE_PLATFORM", "false").config()), None);
}

#[test]
fn what_has_no_effect_is_told() {
    let loaded = Setup::with_target("mirrorPlatforms: [amd64]").var("CHECK_NODE_PLATFORM", "1").load().unwrap();
    assert_eq!(asked(&loaded.config), None);
    let warnings = &loaded.warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].starts_with("CHECK_NODE_PLATFORM: ") && warnings[0].contains("digestPull"), "{warnings:?}");
    assert!(warnings[1].contains("mirrorPlatforms[0]: ") && warnings[1].contains("digestPull"), "{warnings:?}");
}

#[test]
fn mistakes_are_told_with_their_places() {
    let file = "mirrorPlatforms: [amd64, linux/]\nignoreMissingPlatforms: ['(']\ncheckNodePlatform: maybe\n";
    let mistakes = Setup::with_target(file).mistakes();
    assert_eq!(mistakes.len(), 3, "{mistakes:?}");
    for (mistake, told) in mistakes.iter().zip([
        [":1:26: mirrorPlatforms[1]", "linux/arm/v7"],
        [":2:26: ignoreMissingPlatforms[0]", "no regular expression"],
        [":3:1: checkNodePlatform", "boolean"],
    ]) {
        assert!(told.iter().all(|part| mistake.contains(part)), "{mistake}: {told:?}");
    }
    let mistakes = Setup::with_target("").var("MIRROR_PLATFORMS", "*").mistakes();
    assert!(mistakes.len() == 1 && mistakes[0].starts_with("MIRROR_PLATFORMS: "), "{mistakes:?}");
}
