//! What plugins can't do to the program.

use serde_json::json;

use super::*;

fn small(deed: serde_json::Value) -> PluginSettings {
    let limits = PluginLimits { memory: 16 << 20, ..PluginLimits::default() };
    PluginSettings { limits, ..hostile(deed) }
}

#[tokio::test]
async fn a_broken_call_fails_its_image_use_and_no_other() {
    for (deed, kind, message) in [
        (json!("loop"), "deadline", "no answer within 1s"),
        (json!("bomb"), "memory", "and may have 16777216"),
        (json!("panic"), "trap", "as by a panic"),
        (json!("recurse"), "trap", "out of bounds memory access"),
        (json!("fail"), "invalid-request", "no such team"),
    ] {
        let failures = Arc::new(Failures::default());
        let observer = Arc::clone(&failures) as Arc<dyn Observer>;
        let policy = Policy::load(settings_with(vec![small(deed.clone())]), observer).unwrap();
        let decisions =
            policy.decide(vec![image_use("shop", "a"), image_use("trouble", "b"), image_use("shop", "c")]).await;
        let told: Vec<String> = decisions.iter().map(told).collect();
        assert_eq!(told[0], "registry.example/library/a:latest", "{deed}");
        assert_eq!(told[2], "registry.example/library/c:latest", "{deed}");
        assert!(told[1].starts_with("error: plugin hostile, hook skip: ") && told[1].contains(message), "{}", told[1]);
        // A plugin that has no answer has none later; one that broke down may have.
        let can_pass = kind != "invalid-request";
        assert!(matches!(decisions[1].verdict, Verdict::Error { retry, .. } if retry == can_pass), "{deed}");
        let failed =
            failures.0.lock().unwrap().iter().filter(|(.., error)| error.is_some()).cloned().collect::<Vec<_>>();
        assert_eq!(failed, [("hostile".to_owned(), Hook::Skip, Some(kind))]);
    }
}

#[tokio::test]
async fn a_plugin_may_be_passed_over_when_it_fails() {
    let settings = settings_with(vec![PluginSettings { on_failure: OnFailure::Pass, ..hostile(json!("panic")) }]);
    let decision = decide(&load(settings), image_use("trouble", "nginx")).await;
    assert_eq!(told(&decision), "registry.example/library/nginx:latest");
    assert!(decision.trace[0].answer.starts_with("error: it trapped"), "{:?}", decision.trace);
}

#[tokio::test]
async fn a_target_that_is_not_configured_is_the_plugins_error() {
    let policy = load(settings_with(vec![hostile(json!({"select": ["elsewhere"]}))]));
    let decision = decide(&policy, image_use("trouble", "nginx")).await;
    assert!(told(&decision).contains("there is no target \"elsewhere\"; there are default"), "{decision:?}");
    assert!(matches!(decision.verdict, Verdict::Error { retry: true, .. }));
}

#[tokio::test]
async fn long_answers_are_cut_and_many_lines_are_dropped() {
    let policy = load(settings_with(vec![hostile(json!("long-reason"))]));
    let decision = decide(&policy, image_use("trouble", "nginx")).await;
    assert!(told(&decision).len() < 1100, "{}", told(&decision).len());

    let policy = load(settings_with(vec![hostile(json!("chatter"))]));
    let decision = decide(&policy, image_use("trouble", "nginx")).await;
    assert_eq!(told(&decision), "registry.example/library/nginx:latest");
}

/// Skips where a NaN has other bits than the standard's, or where a relaxed instruction does what this processor likes.
const PARTICULAR: &str = r#"(module
    (memory (export "memory") 1)
    (data (i32.const 64) "\00\00\00\00\02\00\00\00\80\00\00\00\0a\00\00\00")
    (data (i32.const 128) "particular")
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
    (func (export "k8s-copycat:policy/skip@1.0.0#decide") (param i32) (result i32)
        (if (i32.and
            (i32.eq
                (i32.reinterpret_f32 (f32.div (f32.load (i32.const 0)) (f32.load (i32.const 4))))
                (i32.const 0x7fc00000))
            (i32.eqz (i8x16.extract_lane_u 0 (i8x16.relaxed_swizzle (v128.load (i32.const 128)) (i8x16.splat (i32.const 16))))))
            (then (return (i32.const 32))))
        (i32.const 64)))"#;

#[tokio::test]
async fn computing_is_the_same_on_every_processor() {
    let component =
        crate::authoring::wrap(&wat::parse_str(PARTICULAR).unwrap(), &crate::authoring::WrapOptions::default());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), component.unwrap()).unwrap();
    let policy = load(settings_with(vec![plugin("particular", file.path().to_owned(), None)]));
    let decision = decide(&policy, image_use("shop", "nginx")).await;
    assert_eq!(told(&decision), "registry.example/library/nginx:latest");
}
