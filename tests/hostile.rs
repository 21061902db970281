//! Plugins that violate the contract: each causes one clear error, and the program keeps running.

use std::{fs, io::Write as _, path::Path, sync::LazyLock};

use flate2::{Compression, write::GzEncoder};
use k8s_copycat::authoring::{WrapOptions, wrap};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    guests,
    mirroring::{arrives, single},
    planning::plan,
    support::{Access, Cluster, ConfigMapVolume, Program, Registry, deployment, eventually, list},
};

const REALLOC: &str = "(local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
    (global.set $next (i32.add (local.get $at) (local.get 3)))
    (local.get $at)";
/// The answer `skip` with the reason at `$pointer`, `$length` long, at address 64.
const SKIP: &str = "(i32.store8 (i32.const 64) (i32.const 0)) (i32.store8 (i32.const 68) (i32.const 2))
    (i32.store (i32.const 72) (local.get $pointer)) (i32.store (i32.const 76) (local.get $length)) (i32.const 64)";

/// The code of a handwritten plugin; an empty part is correct.
#[derive(Default)]
pub struct Guest<'a> {
    pub decide: &'a str,
    pub realloc: &'a str,
    pub more: &'a str,
    pub pages: Option<u32>,
}

impl Guest<'_> {
    pub fn component(&self) -> Vec<u8> {
        let decide = if self.decide.is_empty() { "(i32.const 32)" } else { self.decide };
        let realloc = if self.realloc.is_empty() { REALLOC } else { self.realloc };
        let (more, pages) = (self.more, self.pages.unwrap_or(2));
        let text = format!(
            r#"(module
            (import "k8s-copycat:policy/log@1.0.0" "log" (func $log (param i32 i32 i32)))
            (memory (export "memory") {pages})
            (global $next (mut i32) (i32.const 4096))
            (data (i32.const 128) "\ff\fe because")
            (func $realloc (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {realloc})
            (func $decide (export "k8s-copycat:policy/skip@1.0.0#decide") (param i32) (result i32)
                (local $pointer i32) (local $length i32) {decide})
            {more})"#
        );
        wrap(&wat::parse_str(text).unwrap(), &WrapOptions::default()).unwrap()
    }
}

fn deciding(decide: &str) -> Vec<u8> {
    Guest { decide, ..Guest::default() }.component()
}

/// Skips with a valid reason.
fn reason(pointer: &str, length: &str) -> String {
    format!("(local.set $pointer (i32.const {pointer})) (local.set $length (i32.const {length})) {SKIP}")
}

/// Plugins that fail when they are called, with the expected messages.
pub static FAILING: LazyLock<Vec<(&str, Vec<u8>, &str)>> = LazyLock::new(|| {
    let realloc = |realloc| Guest { realloc, ..Guest::default() }.component();
    let more = |decide, more| Guest { decide, more, ..Guest::default() }.component();
    let fifty_megabytes =
        |then: &str| format!("(drop (memory.grow (i32.const 800))) (local.set $length (i32.const 50000000)) {then}");
    vec![
        ("loop", deciding("(loop (br 0)) (unreachable)"), "no answer within 300ms"),
        ("trap", deciding("(unreachable)"), "it trapped: unreachable code was executed"),
        ("recursion", deciding("(call $decide (local.get 0))"), "it trapped: call stack exhausted"),
        ("division", deciding("(i32.div_u (i32.const 1) (local.get $length))"), "it trapped: integer divide by zero"),
        ("load", deciding("(i32.load (i32.const -4))"), "it trapped: out of bounds memory access"),
        (
            "null-call",
            more("(call_indirect (param i32) (result i32) (i32.const 0) (i32.const 0))", "(table 1 funcref)"),
            "it trapped: ",
        ),
        (
            "bomb",
            deciding("(loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (unreachable)"),
            "its limit is 67108864; raise memory",
        ),
        ("not-utf-8", deciding(&reason("128", "2")), "it trapped: "),
        ("string-beyond-memory", deciding(&reason("0x7ffffff0", "10")), "it trapped: "),
        ("endless-string", deciding(&reason("0", "-1")), "it trapped: "),
        ("giant-string", deciding(&fifty_megabytes(SKIP)), "its answer or log message is larger than 1048576 bytes"),
        ("crooked-answer", deciding("(i32.const 3)"), "it trapped: "),
        ("answer-beyond-memory", deciding("(i32.const 0x7ffffff0)"), "it trapped: "),
        ("no-such-result", deciding("(i32.store8 (i32.const 64) (i32.const 7)) (i32.const 64)"), "it trapped: "),
        (
            "no-such-answer",
            deciding(
                "(i32.store8 (i32.const 64) (i32.const 0)) (i32.store8 (i32.const 68) (i32.const 9)) (i32.const 64)",
            ),
            "it trapped: ",
        ),
        ("no-room", realloc("(i32.const -16)"), "it trapped: "),
        ("trap-in-realloc", realloc("(unreachable)"), "it trapped: unreachable code was executed"),
        ("loop-in-realloc", realloc("(loop (br 0)) (unreachable)"), "no answer within 300ms"),
        // The log function must not be called while the host lowers arguments.
        (
            "re-entrance",
            realloc("(call $log (i32.const 2) (i32.const 130) (i32.const 8)) (i32.const 8192)"),
            "it trapped: cannot leave component instance",
        ),
        (
            "trap-afterwards",
            more("", r#"(func (export "cabi_post_k8s-copycat:policy/skip@1.0.0#decide") (param i32) (unreachable))"#),
            "it trapped: unreachable code was executed",
        ),
        (
            "endless-log",
            deciding("(loop (call $log (i32.const 2) (i32.const 130) (i32.const 8)) (br 0)) (unreachable)"),
            "no answer within 300ms",
        ),
        (
            "giant-log",
            deciding(&fifty_megabytes("(call $log (i32.const 2) (i32.const 0) (local.get $length)) (unreachable)")),
            "its answer or log message is larger than 1048576 bytes",
        ),
        (
            "no-such-level",
            deciding("(call $log (i32.const 9) (i32.const 130) (i32.const 8)) (i32.const 32)"),
            "it trapped: ",
        ),
    ]
});

/// A component that imports an empty instance of this name.
fn importing(name: &str) -> Vec<u8> {
    wat::parse_str(format!(r#"(component (import "{name}" (instance)))"#)).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Name, file extension, content, expected message.
pub type Rejected = (&'static str, &'static str, Vec<u8>, &'static str);

/// Plugins that are rejected when they are loaded, with the expected messages.
pub static UNLOADABLE: LazyLock<Vec<Rejected>> = LazyLock::new(|| {
    let more = |more| Guest { more, ..Guest::default() }.component();
    let good = fs::read(guests::hostile()).unwrap();
    let packed = gzip(&good);
    vec![
        (
            "wasi-files",
            "wasm",
            importing("wasi:filesystem/types@0.2.6"),
            "it imports wasi:filesystem/types@0.2.6; plugins have no WASI",
        ),
        (
            "wasi-sockets",
            "wasm",
            importing("wasi:sockets/tcp@0.2.6"),
            "it imports wasi:sockets/tcp@0.2.6; plugins have no WASI",
        ),
        ("host", "wasm", importing("acme:host/exec@1.0.0"), "may import only k8s-copycat:policy/log"),
        ("next-contract", "wasm", importing("k8s-copycat:policy/log@2.0.0"), "another major version of the contract"),
        ("core-module", "wasm", wat::parse_str("(module)").unwrap(), "a core WebAssembly module, not a component"),
        ("no-hook", "wasm", wat::parse_str("(component)").unwrap(), "it exports no hook"),
        (
            "wrong-types",
            "wasm",
            wat::parse_str(
                r#"(component (instance $nothing) (export "k8s-copycat:policy/skip@1.0.0" (instance $nothing)))"#,
            )
            .unwrap(),
            "it does not match the contract",
        ),
        ("text", "wasm", b"(component)".to_vec(), "not a WebAssembly component"),
        ("empty", "wasm", Vec::new(), "not a WebAssembly component"),
        ("cut-off", "wasm", good[..good.len() / 2].to_vec(), "can't be compiled"),
        ("large", "wasm", vec![0; 200 << 20], "larger than 67108864 bytes when decompressed"),
        ("zip-bomb", "wasm.gz", gzip(&vec![0; 65 << 20]), "larger than 67108864 bytes when decompressed"),
        ("cut-off-zip", "wasm.gz", packed[..packed.len() / 2].to_vec(), "can't be decompressed"),
        ("start-loop", "wasm", more("(func $begin (loop (br 0))) (start $begin)"), "no answer within 300ms"),
        ("start-trap", "wasm", more("(func $begin (unreachable)) (start $begin)"), "it can't be started: it trapped"),
        (
            "hungry",
            "wasm",
            Guest { pages: Some(16_384), ..Guest::default() }.component(),
            "bytes of memory, its limit is 67108864",
        ),
        ("wide", "wasm", more("(table 10000000 funcref)"), "it can't be started: "),
    ]
});

/// A plugin folder. The default plugins answer the hooks that these plugins do not export.
fn folder(plugins: &[(&str, Vec<u8>, &str)], settings: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes, _) in plugins {
        fs::write(folder.path().join(format!("{name}.wasm")), bytes).unwrap();
        fs::write(folder.path().join(format!("{name}.yaml")), settings).unwrap();
    }
    folder
}

pub fn planning(plugins: &Path) -> Program {
    let manifests = [deployment("web").image("nginx:1").manifest()];
    Program::new(&["plan", "-o", "json", "-f", "-"])
        .env("TARGET_KIND", "docker")
        .env("TARGET_REGISTRY", "registry.example")
        .env("PLUGIN_DIR", plugins)
        .stdin(&list(&manifests))
}

#[tokio::test]
async fn a_failing_call_fails_the_image_with_one_error() {
    for plugin in FAILING.iter() {
        let (name, _, message) = plugin;
        let folder = folder(std::slice::from_ref(plugin), "timeout: 300ms");
        let lines = plan(planning(folder.path())).await;
        let reason = lines[0]["reason"].as_str().unwrap_or_else(|| panic!("{name}: {lines:#?}"));
        assert!(
            reason.starts_with(&format!("plugin {name}, hook skip: ")) && reason.contains(message),
            "{name}: {reason}"
        );
        assert!(!reason.contains('\n') && reason.len() < 1200, "{name}: {reason}");
    }
}

#[tokio::test]
async fn failing_plugins_are_ignored_with_on_failure_pass() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::crane().await;
    let folder = folder(&FAILING, "timeout: 300ms\nonFailure: pass");
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.kubeconfig(directory.path(), cluster.admin_token());
    let config =
        format!("targetKind: docker\ndocker: {{ registry: '{}' }}\nincludeNamespaces: [{namespace}]\n", target.host());
    let mut program = Program::controller(&kubeconfig).config(&config).env("PLUGIN_DIR", folder.path()).start();
    program.ready().await;
    for number in 0..12 {
        let (name, image) = (format!("app-{number}"), single(&format!("app {number}")));
        deployment(&name)
            .image(&source.push(&format!("team/{name}"), "1", &image).await)
            .apply(&client, &namespace)
            .await;
        arrives(&target, &format!("team/{name}"), "1", &image).await;
    }
    // Twelve failures suspend a plugin.
    let (_, body) = program.get("/plugins").await;
    let page: Value = serde_json::from_str(&body).unwrap();
    for (name, ..) in FAILING.iter() {
        let plugin = page["plugins"].as_array().unwrap().iter().find(|plugin| plugin["name"] == **name).unwrap();
        assert!(plugin["givenUpFor"].is_u64(), "{plugin}");
        assert!(plugin["failures"]["given-up"].as_u64() >= Some(1), "{plugin}");
    }
    assert_eq!(program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn rejects_unloadable_plugins_and_keeps_the_active_ones() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::crane().await;
    let good = fs::read(guests::hostile()).unwrap();
    let settings = b"config: { version: good }".to_vec();
    let before = [("good.wasm", good), ("good.yaml", settings)];
    let mut mount = ConfigMapVolume::new(&before);
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.kubeconfig(directory.path(), cluster.admin_token());
    let config =
        format!("targetKind: docker\ndocker: {{ registry: '{}' }}\nincludeNamespaces: [{namespace}]\n", target.host());
    let mut program = Program::controller(&kubeconfig).config(&config).env("PLUGIN_DIR", mount.path()).start();
    program.ready().await;
    let reload_error = async || {
        let (_, body) = program.get("/plugins").await;
        serde_json::from_str::<Value>(&body).unwrap()["reloadRefused"].as_str().map(str::to_owned)
    };
    for (name, extension, bytes, message) in UNLOADABLE.iter() {
        let (file, beside) = (format!("{name}.{extension}"), format!("{name}.yaml"));
        let settings = b"configureTimeout: 300ms".to_vec();
        let mut files = before.to_vec();
        files.extend([(file.as_str(), bytes.clone()), (beside.as_str(), settings)]);
        mount.swap(&files);
        let reason = eventually(&format!("{name} is rejected"), || async {
            reload_error().await.filter(|reason| reason.contains(&format!("plugin {name} (")))
        })
        .await;
        assert!(reason.contains(message) && reason.lines().count() == 1, "{name}: {reason}");
        program.logged(name, |log| log.contains(message)).await;
    }
    let app = single("app");
    deployment("app").image(&source.push("team/app", "1", &app).await).apply(&client, &namespace).await;
    arrives(&target, "good/good/team/app", "1", &app).await;
    mount.swap(&before);
    eventually("the valid plugin alone is accepted", || async { reload_error().await.is_none().then_some(()) }).await;
    assert_eq!(program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn unloadable_plugins_prevent_the_start() {
    let folder = tempfile::tempdir().unwrap();
    for (name, extension, bytes, _) in UNLOADABLE.iter() {
        fs::write(folder.path().join(format!("{name}.{extension}")), bytes).unwrap();
        fs::write(folder.path().join(format!("{name}.yaml")), "configureTimeout: 300ms").unwrap();
    }
    let finished = planning(folder.path()).run().await.assert_code(2);
    for (name, _, _, message) in UNLOADABLE.iter() {
        let lines: Vec<&str> =
            finished.stderr.lines().filter(|line| line.starts_with(&format!("plugin {name} ("))).collect();
        assert!(lines.len() == 1 && lines[0].contains(message), "{name}: {}", finished.stderr);
    }
    let count = finished.stderr.lines().filter(|line| line.starts_with("plugin ")).count();
    assert_eq!(count, UNLOADABLE.len(), "{}", finished.stderr);
}
