//! The limits of plugins.

use serde_json::json;

use super::*;

fn small(action: serde_json::Value) -> PluginSettings {
    let limits = PluginLimits { memory: 16 << 20, ..PluginLimits::default() };
    PluginSettings { limits, ..hostile(action) }
}

#[tokio::test]
async fn a_failed_call_fails_only_its_image_use() {
    for (action, kind, message) in [
        (json!("loop"), "deadline", "no answer within 1s"),
        (json!("bomb"), "memory", "its limit is 16777216"),
        (json!("panic"), "trap", "a panic"),
        (json!("recurse"), "trap", "out of bounds memory access"),
        (json!("fail"), "invalid-request", "no such team"),
    ] {
        let failures = Arc::new(Failures::default());
        let observer = Arc::clone(&failures) as Arc<dyn Observer>;
        let policy = Policy::load(settings_with(vec![small(action.clone())]), observer).unwrap();
        let decisions =
            policy.decide(vec![image_use("shop", "a"), image_use("trouble", "b"), image_use("shop", "c")]).await;
        let outcomes: Vec<String> = decisions.iter().map(outcome).collect();
        assert_eq!(outcomes[0], "registry.example/library/a:latest", "{action}");
        assert_eq!(outcomes[2], "registry.example/library/c:latest", "{action}");
        assert!(
            outcomes[1].starts_with("error: plugin hostile, hook skip: ") && outcomes[1].contains(message),
            "{}",
            outcomes[1]
        );
        // Only `invalid-request` is final.
        let is_retryable = kind != "invalid-request";
        assert!(matches!(decisions[1].verdict, Verdict::Error { retry, .. } if retry == is_retryable), "{action}");
        let failed =
            failures.0.lock().unwrap().iter().filter(|(.., error)| error.is_some()).cloned().collect::<Vec<_>>();
        assert_eq!(failed, [("hostile".to_owned(), Hook::Skip, Some(kind))]);
    }
}

#[tokio::test]
async fn on_failure_pass_ignores_failures() {
    let settings = settings_with(vec![PluginSettings { on_failure: OnFailure::Pass, ..hostile(json!("panic")) }]);
    let decision = decide(&load(settings), image_use("trouble", "nginx")).await;
    assert_eq!(outcome(&decision), "registry.example/library/nginx:latest");
    assert!(decision.trace[0].answer.starts_with("error: it trapped"), "{:?}", decision.trace);
}

#[tokio::test]
async fn an_unknown_target_is_an_error_of_the_plugin() {
    let policy = load(settings_with(vec![hostile(json!({"select": ["elsewhere"]}))]));
    let decision = decide(&policy, image_use("trouble", "nginx")).await;
    assert!(outcome(&decision).contains("unknown target \"elsewhere\"; configured targets: default"), "{decision:?}");
    assert!(matches!(decision.verdict, Verdict::Error { retry: true, .. }));
}

#[tokio::test]
async fn shortens_long_answers_and_drops_excess_log_lines() {
    let policy = load(settings_with(vec![hostile(json!("long-reason"))]));
    let decision = decide(&policy, image_use("trouble", "nginx")).await;
    assert!(outcome(&decision).len() < 1100, "{}", outcome(&decision).len());

    let policy = load(settings_with(vec![hostile(json!("chatter"))]));
    let decision = decide(&policy, image_use("trouble", "nginx")).await;
    assert_eq!(outcome(&decision), "registry.example/library/nginx:latest");
}

/// Skips if a NaN differs from the canonical one, or if a relaxed instruction depends on the processor.
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
async fn computes_the_same_on_every_processor() {
    let component =
        crate::authoring::wrap(&wat::parse_str(PARTICULAR).unwrap(), &crate::authoring::WrapOptions::default());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), component.unwrap()).unwrap();
    let policy = load(settings_with(vec![plugin("particular", file.path().to_owned(), None)]));
    let decision = decide(&policy, image_use("shop", "nginx")).await;
    assert_eq!(outcome(&decision), "registry.example/library/nginx:latest");
}
