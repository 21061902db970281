//! `k8s-copycat plugin …`: the tools for plugin authors.

use std::{env, fs, path::Path};

use flate2::{Compression, write::GzEncoder};
use wit_bindgen_core::{Files, wit_parser::Resolve};

use crate::{
    guests,
    support::{Finished, Program},
};

/// A core module that uses WASI, as C and Go compilers create it. It keeps an image use if a sleep of 30 s, two random
/// numbers, a written line and the environment have the results of the stub, and passes otherwise.
const REACHES_FOR_WASI: &str = r#"
(module
  (import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environment (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (memory (export "memory") 2)
  (global $free (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get $size)))
    (local.get $at))
  (func (export "k8s-copycat:policy/skip@1.0.0#decide") (param i32) (result i32)
    ;; A clock's subscription at 1024, with a relative timeout; two buffers of 5 and 7 bytes at 2048.
    (i64.store (i32.const 1048) (i64.const 30000000000))
    (i32.store (i32.const 2052) (i32.const 5))
    (i32.store (i32.const 2060) (i32.const 7))
    (i32.store (i32.const 1400) (i32.const 9))
    (i32.store8 (i32.const 16) (i32.const 0))
    (i32.store8 (i32.const 20)
      (i32.and
        (i32.and
          (i32.and
            (i32.eqz (call $poll (i32.const 1024) (i32.const 1152) (i32.const 1) (i32.const 1300)))
            (i32.eq (i32.load (i32.const 1300)) (i32.const 1)))
          (i32.and
            (i32.eqz (call $time (i32.const 0) (i64.const 0) (i32.const 1304)))
            (i64.gt_u (i64.load (i32.const 1304)) (i64.const 30000000000))))
        (i32.and
          (i32.and
            (i32.eqz (call $write (i32.const 1) (i32.const 2048) (i32.const 2) (i32.const 1320)))
            (i32.eq (i32.load (i32.const 1320)) (i32.const 12)))
          (i32.and
            (i32.and
              (i32.eqz (call $environment (i32.const 1400) (i32.const 1404)))
              (i32.eqz (i32.load (i32.const 1400))))
            (i32.and
              (i32.eqz (call $random (i32.const 1408) (i32.const 16)))
              (i32.and
                (i64.ne (i64.load (i32.const 1408)) (i64.load (i32.const 1416)))
                (i32.eq (i32.const 8)
                  (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0)
                    (i64.const 0) (i32.const 0) (i32.const 1424)))))))))
    (i32.const 16)))
"#;

/// `plugin` with these arguments. Its configuration file is invalid, since it must not be read.
fn plugin(arguments: &[&str]) -> Program {
    Program::new(&[&["plugin"], arguments].concat()).config("targetKind: [")
}

async fn run(program: Program, code: i32) -> Finished {
    program.run().await.assert_code(code)
}

#[track_caller]
fn assert_prints(finished: &Finished, what: &[&str]) {
    for what in what {
        assert!(finished.stdout.contains(what) || finished.stderr.contains(what), "{what}: {finished:?}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// `plugin test` of the plugin `hostile` with these cases.
fn test_hostile(cases: &str) -> Program {
    plugin(&["test", text(&guests::hostile()), "--cases", "cases.yaml"]).file("cases.yaml", cases)
}

#[tokio::test]
async fn wrap_stubs_wasi_out() {
    let folder = tempfile::tempdir().unwrap();
    let (core, wrapped) = (folder.path().join("core.wasm"), folder.path().join("wrapped.wasm"));
    fs::write(&core, wat::parse_str(REACHES_FOR_WASI).unwrap()).unwrap();
    assert_prints(&run(plugin(&["inspect", text(&core)]), 1).await, &["a core WebAssembly module"]);

    run(plugin(&["wrap", text(&core), "-o", text(&wrapped)]), 0).await;
    let inspected = run(plugin(&["inspect", text(&wrapped)]), 0).await;
    assert_prints(&inspected, &["hooks     skip\n", "config    none", "imports   k8s-copycat:policy/types@1.0.0\n"]);
    let cases = "cases: [{ name: stub, image: nginx, expect: { skip: keep } }]";
    let tested = plugin(&["test", text(&wrapped), "--cases", "cases.yaml"]).file("cases.yaml", cases);
    assert_prints(&run(tested, 0).await, &["ok    stub", "1 passed, 0 failed"]);

    let world = ["wrap", text(&core), "-o", text(&wrapped), "--world"];
    run(plugin(&[&world[..], &["skip-hook"]].concat()), 0).await;
    assert_prints(&run(plugin(&[&world[..], &["skip-plugin"]].concat()), 1).await, &["lifecycle"]);
    assert_prints(
        &run(plugin(&[&world[..], &["nothing"]].concat()), 1).await,
        &["no world \"nothing\"", "skip-hook, skip-plugin"],
    );
}

#[tokio::test]
async fn wrap_uses_the_world_in_the_module() {
    let folder = tempfile::tempdir().unwrap();
    let wrapped = folder.path().join("wrapped.wasm");
    run(plugin(&["wrap", text(&guests::hostile_core()), "-o", text(&wrapped)]), 0).await;
    let hooks = "hooks     skip, target-selection, path-mapping, repository-prefix\nconfig    taken";
    assert_prints(
        &run(plugin(&["inspect", text(&wrapped)]), 0).await,
        &[hooks, "imports   k8s-copycat:policy/log@1.0.0"],
    );
}

#[tokio::test]
async fn wrap_rejects_other_files() {
    for (name, content, why) in [
        ("text", b"not a module".to_vec(), "not a WebAssembly module"),
        ("empty", b"\0asm\x01\0\0\0".to_vec(), "it exports no function of the contract"),
        ("component", fs::read(guests::hostile()).unwrap(), "already a component"),
        (
            "future",
            wat::parse_str("(module (func (export \"k8s-copycat:policy/skip@2.0.0#decide\")))").unwrap(),
            "skip@2.0.0",
        ),
        (
            "other",
            wat::parse_str("(module (func (export \"k8s-copycat:policy/skip@1.0.0#decide\")))").unwrap(),
            "decide",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let core = folder.path().join(name);
        fs::write(&core, content).unwrap();
        let output = folder.path().join("out.wasm");
        assert_prints(&run(plugin(&["wrap", text(&core), "-o", text(&output)]), 1).await, &[name, why]);
        assert!(!output.exists(), "{name}");
    }
    assert_prints(&run(plugin(&["wrap", "/nonexistent", "-o", "x"]), 1).await, &["cannot read /nonexistent"]);
}

#[tokio::test]
async fn inspect_prints_the_same_for_a_compressed_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let packed = folder.path().join("hostile.wasm.gz");
    let mut encoder = GzEncoder::new(fs::File::create(&packed).unwrap(), Compression::best());
    std::io::copy(&mut fs::File::open(guests::hostile()).unwrap(), &mut encoder).unwrap();
    encoder.finish().unwrap();
    let [plain, gzip] = [guests::hostile(), packed.clone()].map(|file| fs::metadata(file).unwrap().len());
    let same = ["contract  k8s-copycat:policy@1.0.0", "hooks     skip, target-selection, path-mapping", "compile   "];
    for file in [guests::hostile(), packed] {
        let inspected = run(plugin(&["inspect", text(&file)]), 0).await;
        assert_prints(&inspected, &same);
        assert_prints(&inspected, &[&format!("size      {plain} bytes"), &format!("gzip      {gzip} bytes")]);
    }
}

#[tokio::test]
async fn every_kind_of_answer_can_be_expected() {
    let cases = r#"
targets: [{ name: a, registry: a.example }, { name: b, registry: b.example, prefix: p }]
cases:
- { name: pass, config: keep, image: x, expect: { configure: ok, skip: pass, target-selection: pass, path-mapping: pass } }
- { name: keep, config: keep, workload: &t { namespace: trouble }, image: x, expect: { skip: keep } }
- { name: skip, config: skip, workload: *t, image: x, expect: { skip: skip } }
- { name: reason, config: skip, workload: *t, image: x, expect: { skip: { skip: because } } }
- { name: targets, config: { select: [b, a] }, workload: *t, image: x, expect: { target-selection: [b, a] } }
- { name: path, config: { path: p/q }, workload: *t, image: x, expect: { path-mapping: p/q } }
- { name: word, config: { prefix: pass }, workload: *t, image: x, expect: { repository-prefix: { text: pass } } }
- { name: unknown target, config: { select: [c] }, workload: *t, image: x, expect: { target-selection: { error: internal } } }
- { name: request, config: fail, workload: *t, image: x, expect: { skip: { error: invalid-request } } }
- { name: trap, config: panic, workload: *t, image: x, expect: { skip: { error: trap } } }
- { name: deadline, config: loop, workload: *t, image: x, expect: { skip: { error: deadline } } }
- { name: config, config: refuse-config, image: x, expect: { configure: { error: invalid-config } } }
- { name: broken config, config: panic-in-configure, image: x, expect: { configure: { error: trap } } }
"#;
    assert_prints(&run(test_hostile(cases), 0).await, &["ok    deadline", "13 passed, 0 failed"]);
}

#[tokio::test]
async fn test_prints_unexpected_answers_and_the_log() {
    let cases = r#"
targets: [{ name: a, registry: a.example }, { name: b, registry: b.example }]
cases:
- { name: fine, config: keep, image: x, expect: { skip: pass } }
- { name: wrong reason, config: skip, workload: &t { namespace: trouble }, image: x, expect: { skip: { skip: hunger } } }
- { name: wrong path, config: { path: p }, workload: *t, image: x, expect: { skip: pass, path-mapping: pass } }
- { name: no error, config: keep, workload: *t, image: x, expect: { skip: { error: trap } } }
- { name: talks, config: chatter, workload: *t, image: x, expect: { skip: keep } }
- { name: refuses, config: refuse-config, image: x, expect: { skip: pass } }
- { name: takes it, config: keep, image: x, expect: { configure: { error: invalid-config } } }
"#;
    let finished = run(test_hostile(cases), 1).await;
    assert_prints(
        &finished,
        &[
            "ok    fine\n",
            "FAIL  wrong reason\n      skip\n        expected  skip: hunger\n        got       skip: because\n",
            "      path-mapping, target b\n        expected  pass\n        got       \"p\"\n",
            "        expected  error trap\n        got       keep\n",
            "log: INFO line 0 ",
            "FAIL  refuses\n      configure\n        expected  ok\n        got       it can't be started: invalid configuration: owner",
            "FAIL  takes it\n      configure\n        expected  error invalid-config\n        got       ok\n",
            "1 passed, 6 failed",
        ],
    );

    let one = guests::without_lifecycle();
    let cases = "cases: [{ name: n, config: {}, image: x, expect: { skip: pass } }, { name: o, image: x, expect: { skip: pass } }]";
    let finished = plugin(&["test", text(&one), "--cases", "cases.yaml"]).file("cases.yaml", cases).run().await;
    assert_prints(&finished.assert_code(1), &["does not export lifecycle", "it does not export this hook"]);
}

#[tokio::test]
async fn an_invalid_case_file_exits_with_2() {
    for (cases, why) in [
        ("cases: []", "no cases"),
        ("cases: [", "line 1"),
        ("case: 1", "unknown field `case`"),
        ("cases: [{ name: a, image: b, expect: {} }]", "case \"a\": no expected answer"),
        ("cases: [{ name: a, image: b, expect: { skip: maybe } }]", "write pass, keep, skip, { skip: REASON }"),
        ("cases: [{ name: a, image: b, expect: { path-mapping: [b] } }]", "write pass, a string"),
        ("cases: [{ name: a, image: b, expect: { target-selection: b } }]", "a list of target names"),
        ("cases: [{ name: a, image: b, expect: { skip: { error: trip } } }]", "invalid-config, invalid-request"),
        ("cases: [{ name: a, image: b, expect: { configure: { error: trap }, skip: pass } }]", "so no hook can answer"),
        ("cases: [{ name: a, image: B C, expect: { skip: pass } }]", "invalid image reference"),
        ("cases: [{ name: a, image: b, workload: { kind: Car }, expect: { skip: pass } }]", "known kinds: Deployment"),
        ("cases: [&a { name: a, image: b, expect: { skip: pass } }, *a]", "duplicate case \"a\""),
    ] {
        let finished = run(test_hostile(cases), 2).await;
        assert_prints(&finished, &["cases.yaml: ", why]);
    }
    assert_prints(&run(plugin(&["test", "x.wasm", "--cases", "none.yaml"]), 1).await, &["cannot read none.yaml"]);
}

#[tokio::test]
async fn a_case_name_can_not_imitate_a_result() {
    let cases =
        r#"cases: [{ name: "one\nok    two\u2028ok    three\u202e", config: keep, image: x, expect: { skip: keep } }]"#;
    let finished = run(test_hostile(cases), 1).await;
    assert!(!finished.stdout.lines().any(|line| line.starts_with("ok")), "{finished:?}");
    assert!(finished.stdout.starts_with(r"FAIL  one\nok    two\u{2028}ok    three\u{202e}"), "{finished:?}");
}

#[tokio::test]
async fn a_case_can_remove_the_configuration_of_the_file() {
    let cases = r#"
config: keep
cases:
- { name: has it, image: x, expect: { configure: ok } }
- { name: has none, config: null, image: x, expect: { configure: { error: invalid-config } } }
"#;
    assert_prints(&run(test_hostile(cases), 0).await, &["2 passed, 0 failed"]);
}

#[tokio::test]
async fn errors_of_a_case_file_are_readable() {
    let case = "name: n, image: x, expect: { skip: pass }";
    let keys = "expected keys with values";
    for (cases, why) in [
        ("cases: []\n---\ncases: []".to_owned(), "only single YAML document expected"),
        ("- a".to_owned(), keys),
        ("cases: a".to_owned(), "expected a list"),
        ("cases: [a]".to_owned(), keys),
        (format!("cases: [{{ {case}, workload: [] }}]"), keys),
        (format!("cases: [{{ {case}, container: main }}]"), keys),
        (format!("cases: [{{ {case}, targets: [a] }}]"), keys),
        ("cases: [{ name: {}, image: x, expect: { skip: pass } }]".to_owned(), "expected a string"),
        ("cases: [{ name: n, image: x, expect: pass }]".to_owned(), keys),
        (
            format!("cases: [{{ {case}, container: {{ kind: car }} }}]"),
            "expected one of init, regular, ephemeral, volume",
        ),
        (String::new(), "unexpected end of file"),
    ] {
        let finished = run(test_hostile(&cases), 2).await;
        assert_prints(&finished, &["cases.yaml: ", why]);
        for word in ["struct", "from_str", "deserializ", "mapping start", "sequence start", "scalar"] {
            assert!(!finished.stderr.contains(word), "{word}: {finished:?}");
        }
    }
}

#[tokio::test]
async fn bench_does_not_measure_cases_that_expect_an_error() {
    let hostile = guests::hostile();
    let bench = ["bench", text(&hostile), "--cases", "cases.yaml"];
    let cases = r#"
config: fail
cases:
- { name: says no, workload: { namespace: trouble }, image: x, expect: { skip: { error: invalid-request } } }
- { name: says yes, image: x, expect: { skip: pass } }
"#;
    assert_prints(&run(plugin(&bench).file("cases.yaml", cases), 0).await, &["instantiate ", "skip ", "path-mapping "]);
    let only = cases.lines().filter(|line| !line.contains("yes")).collect::<Vec<_>>().join("\n");
    let finished = run(plugin(&bench).file("cases.yaml", &only), 0).await;
    assert_prints(&finished, &["skip                      not timed: every case expects an error", "path-mapping "]);
    let wrong = cases.replace("{ error: invalid-request }", "pass");
    assert_prints(
        &run(plugin(&bench).file("cases.yaml", &wrong), 1).await,
        &["case \"says no\", hook skip: no such team"],
    );
}

#[tokio::test]
async fn wrap_accepts_the_text_format() {
    let folder = tempfile::tempdir().unwrap();
    let (core, wrapped) = (folder.path().join("core.wat"), folder.path().join("wrapped.wasm"));
    fs::write(&core, REACHES_FOR_WASI).unwrap();
    run(plugin(&["wrap", text(&core), "-o", text(&wrapped)]), 0).await;
    assert_prints(&run(plugin(&["inspect", text(&wrapped)]), 0).await, &["hooks     skip\n"]);
    fs::write(&core, "(module\n  (func (exprot \"x\")))").unwrap();
    assert_prints(&run(plugin(&["wrap", text(&core), "-o", "x"]), 1).await, &["invalid WebAssembly text", ":2:10"]);
    for bytes in [&b"\x7fELF\x02\x01\x01 and more"[..], b"", b"\0as", b"\0asm\x07\0\0\0"] {
        fs::write(&core, bytes).unwrap();
        let finished = run(plugin(&["wrap", text(&core), "-o", "x"]), 1).await;
        assert_prints(&finished, &["WebAssembly module"]);
        assert!(!finished.stderr.contains(['[', '=']) && finished.stderr.lines().count() == 1, "{finished:?}");
    }
}

#[tokio::test]
async fn bench_measures_each_hook_with_default_or_given_cases() {
    let hooks = [
        "instantiate ",
        "instantiate and configure",
        "skip ",
        "target-selection ",
        "path-mapping ",
        "repository-prefix ",
    ];
    let hostile = guests::hostile();
    let bench = ["bench", text(&hostile), "--cases", "cases.yaml"];
    let cases =
        "cases: [{ name: a, config: keep, workload: { namespace: trouble }, image: x, expect: { skip: keep } }]";
    assert_prints(&run(plugin(&bench).file("cases.yaml", cases), 0).await, &hooks);
    let failing = cases.replace("keep", "fail");
    assert_prints(
        &run(plugin(&bench).file("cases.yaml", &failing.replace("skip: fail", "skip: pass")), 1).await,
        &["hook skip: no such team"],
    );
    assert_prints(&run(plugin(&["bench", text(&guests::without_lifecycle())]), 0).await, &["target-selection "]);
}

#[tokio::test]
async fn new_writes_the_files_of_the_language_and_overwrites_nothing() {
    for (language, files) in [
        ("rust", &["Cargo.lock", "Cargo.toml", "src/lib.rs", "wit/world.wit", "wit/deps/policy.wit"][..]),
        ("c", &["policy.c"]),
        ("js", &["policy.js", "package.json", "wit/deps/policy.wit"]),
        ("python", &["policy.py", "requirements.txt", "wit/world.wit"]),
        ("go", &["go.mod", "go.sum", "policy/policy.go"]),
        ("zig", &["policy.zig"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let project = folder.path().join("deep/policy");
        let new = ["new", "--lang", language, text(&project)];
        assert_prints(&run(plugin(&new), 0).await, &["make test"]);
        for file in [files, &["Makefile", "README.md", "cases.yaml", ".gitignore"]].concat() {
            assert!(project.join(file).is_file(), "{language}: {file}");
        }
        assert_prints(&run(plugin(&new), 1).await, &["is not empty"]);
    }
}

#[tokio::test]
async fn new_accepts_an_empty_repository_and_names_the_plugin_after_the_folder() {
    for language in ["rust", "c", "js", "python", "go", "zig"] {
        let folder = tempfile::tempdir().unwrap();
        let project = folder.path().join("Team A.policy");
        fs::create_dir_all(project.join(".git/objects")).unwrap();
        fs::write(project.join(".git/HEAD"), "ref: refs/heads/main").unwrap();
        // A path without a folder name, as `.`.
        run(plugin(&["new", "--lang", language, text(&project.join(".git/.."))]), 0).await;
        let read = |file: &str| fs::read_to_string(project.join(file)).unwrap();
        assert!(read("Makefile").contains("PLUGIN := team-a-policy.wasm\n"), "{}", read("Makefile"));
        let readme = read("README.md");
        assert!(readme.contains("builds team-a-policy.wasm") && !readme.contains(" policy.wasm"), "{readme}");
        assert!(read(".gitignore").contains("*.wasm\n"));
        assert_eq!(read(".git/HEAD"), "ref: refs/heads/main");
    }
}

#[tokio::test]
async fn bindings_are_generated_for_the_requested_hooks() {
    let folder = tempfile::tempdir().unwrap();
    let output = text(folder.path());
    run(plugin(&["bindings", "--lang", "c", "--hooks", "skip,path-mapping", "--configured", "-o", output]), 0).await;
    let header = fs::read_to_string(folder.path().join("plugin.h")).unwrap();
    for (function, is_declared) in
        [("skip_decide(", true), ("path_mapping_rewrite(", true), ("lifecycle_configure(", true), ("select(", false)]
    {
        assert_eq!(header.contains(function), is_declared, "{function}");
    }
    fs::write(folder.path().join("go.mod"), "module mine\n").unwrap();
    run(plugin(&["bindings", "--lang", "go", "--hooks", "skip", "-o", output]), 0).await;
    assert!(folder.path().join("k8s_copycat_policy_skip/wit_bindings.go").is_file());
    assert_eq!(fs::read_to_string(folder.path().join("go.mod")).unwrap(), "module mine\n", "it is the author's");
}

/// docs/plugins/reference.md is generated from the contract. To write it: `UPDATE_REFERENCE=1 cargo test --workspace
/// the_reference`.
#[test]
fn the_reference_is_up_to_date() {
    let root = Path::new(&env::var_os("CARGO_MANIFEST_DIR").unwrap()).to_owned();
    let mut resolve = Resolve::default();
    let wit = fs::read_to_string(root.join("wit/policy.wit")).unwrap();
    let package = resolve.push_source("policy.wit", &wit).unwrap();
    let world = resolve.select_world(&[package], Some("plugin")).unwrap();
    let mut files = Files::default();
    wit_bindgen_markdown::Opts::default().build().generate(&mut resolve, world, &mut files).unwrap();
    let (_, generated) = files.iter().find(|(name, _)| *name == "plugin.md").unwrap();
    let page = root.join("docs/plugins/reference.md");
    if env::var_os("UPDATE_REFERENCE").is_some() {
        fs::write(&page, generated).unwrap();
    }
    assert!(fs::read(&page).unwrap() == generated, "docs/plugins/reference.md is not what wit/policy.wit says");
}
