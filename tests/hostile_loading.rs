//! Files that attack the parser, the compiler, or the reader of files. Each is rejected with one short line, and the
//! active plugins stay active.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{net::UnixListener, process::ExitStatusExt as _},
    path::Path,
    process::{Command, Output, Stdio},
    sync::LazyLock,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    guests,
    hostile::{Guest, planning},
    mirroring::{arrives, single},
    support::{Access, Cluster, Program, Registry, Running, deployment, eventually},
};

/// In bytes.
const MAX_LINE: usize = 800;

const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).unwrap();
        number >>= 7;
        bytes.push(if number > 0 { low | 0x80 } else { low });
        if number == 0 {
            return bytes;
        }
    }
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id], &*leb(content.len()), content].concat()
}

/// Nested types: of components (0x41) or of instances (0x42).
fn nested_types(kind: u8, depth: usize) -> Vec<u8> {
    let mut types = vec![1];
    types.extend([kind, 1, 1].repeat(depth));
    types.extend([kind, 0]);
    [COMPONENT, &section(7, &types)].concat()
}

/// `list<list<list<…>>>`.
fn nested_lists(depth: usize) -> Vec<u8> {
    let mut types = leb(depth);
    types.extend([0x70, 0x7d]);
    for before in 0..depth - 1 {
        types.push(0x70);
        types.extend(leb(before));
    }
    [COMPONENT, &section(7, &types)].concat()
}

fn nested_components(depth: usize) -> Vec<u8> {
    let mut component = COMPONENT.to_vec();
    for _ in 0..depth {
        component = [COMPONENT, &section(4, &component)].concat();
    }
    component
}

/// Each component instantiates the previous one twice.
fn doubled_instances(times: usize) -> Vec<u8> {
    let mut text = String::from("(component (component $c0 (core module $m) (core instance (instantiate $m)))");
    for number in 1..=times {
        let before = format!("(instance (instantiate $c{}))", number - 1);
        text.push_str(&format!("(component $c{number} {before} {before})"));
    }
    text.push_str(&format!("(instance (instantiate $c{times})))"));
    wat::parse_str(text).unwrap()
}

/// A small module with large instances.
fn wide_instances() -> Vec<u8> {
    let globals = "(global i32 (i32.const 0))".repeat(20_000);
    let instances = "(core instance (instantiate $m))".repeat(90);
    wat::parse_str(format!("(component (core module $m {globals}) {instances})")).unwrap()
}

/// A component that instantiates a component exported by an instance.
fn foreign_instance() -> Vec<u8> {
    wat::parse_str(
        r#"(component
            (component $inner (component $c) (export "c" (component $c)))
            (instance $i (instantiate $inner))
            (alias export $i "c" (component $c))
            (instance (instantiate $c)))"#,
    )
    .unwrap()
}

fn with(more: &str) -> Vec<u8> {
    Guest { more, ..Guest::default() }.component()
}

/// Nested loops; the innermost branches to all others.
fn nested_loops(depth: usize) -> Vec<u8> {
    let branches: String = (0..depth).map(|label| format!("local.get 0 br_if {label} ")).collect();
    with(&format!("(func (param i32) {} {branches} {})", "loop ".repeat(depth), "end ".repeat(depth)))
}

/// Name, content, expected message.
pub type Costly = (&'static str, Vec<u8>, &'static str);

/// Small files that would cost a compiler hours or gigabytes.
pub static COSTLY: LazyLock<Vec<Costly>> = LazyLock::new(|| {
    let name = "n".repeat(90_000);
    vec![
        ("nested-component-types", nested_types(0x41, 1_000), "can't be compiled: component type nesting is too deep"),
        ("nested-instance-types", nested_types(0x42, 1_000), "can't be compiled: component type nesting is too deep"),
        ("types-100000-deep", nested_types(0x42, 100_000), "can't be compiled: component type nesting is too deep"),
        ("nested-lists", nested_lists(10_000), "can't be compiled: "),
        ("doubled-instances", doubled_instances(30), "it has more than 1000 instances"),
        ("wide-instances", wide_instances(), "bytes of functions and globals in its instances"),
        ("foreign-instance", foreign_instance(), "it does not define itself"),
        ("nested-components", nested_components(1_000), "it has more than 16 components nested in each other"),
        (
            "many-components",
            [COMPONENT, &section(4, COMPONENT).repeat(10_000)].concat(),
            "it has more than 500 modules and components in it",
        ),
        (
            "elements",
            with(&format!("(table 900000 funcref) (elem (i32.const 0) func {})", "$decide ".repeat(900_000))),
            "it has more than 200000 elements in segments of tables",
        ),
        ("nested-loops", nested_loops(20_000), "it has more than 10000 blocks nested in each other"),
        (
            "long-function",
            with(&format!("(func {})", "(drop (i32.const 1))".repeat(800_000))),
            "it has more than 2097152 bytes in one function",
        ),
        (
            "many-functions",
            with(&"(func (param i32) (result i32) (i32.mul (local.get 0) (local.get 0)))".repeat(99_000)),
            "can't be compiled: compiling it takes more than ",
        ),
        ("too-many-functions", with(&"(func)".repeat(100_000)), "it has more than 100000 functions"),
        ("long-import", import_named(&name), "it imports nnn"),
    ]
});

fn import_named(name: &str) -> Vec<u8> {
    let types = [1, 0x42, 0];
    let imports = [&[1, 0], &*leb(name.len()), name.as_bytes(), &[5, 0]].concat();
    [COMPONENT, &section(7, &types), &section(10, &imports)].concat()
}

/// Whether `text` has one short line with `message` about the plugin.
fn reported<'a>(text: &'a str, name: &str, message: &str) -> Result<(), Vec<&'a str>> {
    let lines: Vec<&str> = text.lines().filter(|line| line.contains(&format!("plugin {name} ("))).collect();
    match *lines.as_slice() {
        [line] if line.contains(message) && line.len() < MAX_LINE => Ok(()),
        _ => Err(lines),
    }
}

#[tokio::test]
async fn rejects_files_that_cost_hours_or_gigabytes_with_one_line() {
    for (name, bytes, message) in COSTLY.iter() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(format!("{name}.wasm")), bytes).unwrap();
        let finished = planning(folder.path()).run().await;
        assert_eq!(finished.code, Some(2), "{name}: {finished:?}");
        reported(&finished.stderr, name, message)
            .unwrap_or_else(|lines| panic!("{name}: {lines:?}\n{}", finished.stderr));
    }
}

#[tokio::test]
async fn tables_count_as_memory() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tables.wasm"), with(&"(table 200000 funcref)".repeat(90))).unwrap();
    fs::write(folder.path().join("tables.yaml"), "memory: 1Mi").unwrap();
    let finished = planning(folder.path()).run().await.assert_code(2);
    reported(&finished.stderr, "tables", "bytes of memory, its limit is 1048576").unwrap();
}

#[tokio::test]
async fn limits_aliases_in_settings() {
    let settings = format!("config:\n  a: &a {}\n  b: [{}]\n", "x".repeat(100_000), vec!["*a"; 90_000].join(", "));
    let folder = tempfile::tempdir().unwrap();
    fs::copy(guests::hostile(), folder.path().join("echoes.wasm")).unwrap();
    fs::write(folder.path().join("echoes.yaml"), &settings).unwrap();
    for program in
        [planning(folder.path()), planning(Path::new("/nowhere")).config(&format!("plugins: []\n{settings}"))]
    {
        let finished = program.run().await.assert_code(2);
        assert!(finished.stderr.contains("more than 4194304 bytes, aliases followed"), "{}", finished.stderr);
    }
}

#[tokio::test]
async fn disables_proposals_that_no_policy_needs() {
    for (name, more) in [
        ("threads", "(memory $shared 1 1 shared)"),
        ("memory64", "(memory i64 1)"),
        ("multi-memory", "(memory 1)"),
        ("exceptions", "(tag)"),
        ("gc", "(type (struct (field i32)))"),
        ("function-references", "(type $f (func)) (func (param (ref $f)))"),
        ("stack-switching", "(type $f (func)) (type (cont $f))"),
        ("wide-arithmetic", "(func (param i64) (drop (drop (i64.mul_wide_s (local.get 0) (local.get 0)))))"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let module = format!("(component (core module (memory 1) {more}))");
        fs::write(folder.path().join(format!("{name}.wasm")), wat::parse_str(module).unwrap()).unwrap();
        let finished = planning(folder.path()).run().await.assert_code(2);
        reported(&finished.stderr, name, "the component can't be compiled: ")
            .unwrap_or_else(|lines| panic!("{name}: {lines:?}"));
    }
}

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[tokio::test]
async fn rejects_files_that_are_not_regular_without_blocking() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fifo(&at("fifo.wasm"));
    fs::create_dir(at("folder.wasm")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", at("device.wasm")).unwrap();
    let _listening = UnixListener::bind(at("socket.wasm")).unwrap();
    for settings in ["fifo", "folder", "device", "socket"] {
        fs::copy(guests::without_lifecycle(), at(&format!("settings-{settings}.wasm"))).unwrap();
    }
    fifo(&at("settings-fifo.yaml"));
    fs::create_dir(at("settings-folder.yaml")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", at("settings-device.yaml")).unwrap();
    let _listening_too = UnixListener::bind(at("settings-socket.yaml")).unwrap();
    let finished = planning(folder.path()).run().await.assert_code(2);
    for name in ["fifo.wasm", "folder.wasm", "device.wasm", "socket.wasm"] {
        let message = format!("{name}: can't be read: not a regular file");
        assert!(finished.stderr.contains(&message), "{message}: {}", finished.stderr);
    }
    for name in ["settings-fifo.yaml", "settings-folder.yaml", "settings-device.yaml"] {
        let message = format!("{name}: can't be read: not a regular file");
        assert!(finished.stderr.contains(&message), "{message}: {}", finished.stderr);
    }
    assert!(finished.stderr.contains("settings-socket.yaml: can't be read"), "{}", finished.stderr);
}

async fn controller(cluster: &Cluster, namespace: &str, target: &Registry, plugins: &Path) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.kubeconfig(directory.path(), cluster.admin_token());
    let kubeconfig_text = fs::read_to_string(&kubeconfig).unwrap();
    let config = config(namespace, target);
    let program = Program::controller(&kubeconfig).file("kubeconfig", &kubeconfig_text).config(&config);
    let kubeconfig = program.directory().join("kubeconfig");
    let mut program = program.env("KUBECONFIG", kubeconfig).env("PLUGIN_DIR", plugins).start();
    program.ready().await;
    program
}

fn config(namespace: &str, target: &Registry) -> String {
    format!("targetKind: docker\ndocker: {{ registry: '{}' }}\nincludeNamespaces: [{namespace}]\n", target.host())
}

async fn reload_error(program: &Running) -> Option<String> {
    let (_, body) = program.get("/plugins").await;
    serde_json::from_str::<Value>(&body).unwrap()["reloadRefused"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn a_fifo_blocks_neither_reload_nor_shutdown() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::crane().await;
    let folder = tempfile::tempdir().unwrap();
    let program = controller(cluster, &namespace, &target, folder.path()).await;
    fifo(&folder.path().join("pipe.wasm"));
    eventually("the FIFO is rejected", || async { reload_error(&program).await }).await;
    fs::remove_file(folder.path().join("pipe.wasm")).unwrap();
    fs::copy(guests::hostile(), folder.path().join("pipe.wasm")).unwrap();
    fifo(&folder.path().join("pipe.yaml"));
    eventually("the FIFO next to a module is rejected", || async {
        reload_error(&program).await.filter(|reason| reason.contains("pipe.yaml"))
    })
    .await;
    fs::remove_file(folder.path().join("pipe.yaml")).unwrap();
    fs::write(folder.path().join("pipe.yaml"), "config: { version: good }").unwrap();
    eventually("the next version is loaded", || async { reload_error(&program).await.is_none().then_some(()) }).await;
    let app = single("app");
    deployment("app").image(&source.push("team/app", "1", &app).await).apply(&client, &namespace).await;
    arrives(&target, "good/good/team/app", "1", &app).await;
    assert_eq!(program.terminate().await.code, Some(0));
}

/// Far longer than a shutdown, and shorter than the timeout of the call.
const IN_TIME: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_running_call_does_not_delay_the_shutdown() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let target = Registry::crane().await;
    let folder = tempfile::tempdir().unwrap();
    let endless = Guest { decide: "(loop (br 0)) (unreachable)", ..Guest::default() }.component();
    fs::write(folder.path().join("endless.wasm"), endless).unwrap();
    fs::write(folder.path().join("endless.yaml"), "timeout: 10m").unwrap();
    let program = controller(cluster, &namespace, &target, folder.path()).await;
    deployment("app").image("registry.invalid/app:1").apply(&client, &namespace).await;
    eventually("the call is running", || async {
        let (_, body) = program.get("/plugins").await;
        let page: Value = serde_json::from_str(&body).unwrap();
        (page["plugins"][0]["calls"].as_u64() >= Some(1)).then_some(())
    })
    .await;
    let start = Instant::now();
    assert_eq!(program.terminate().await.code, Some(0));
    assert!(start.elapsed() < IN_TIME, "it took {:?}", start.elapsed());
}

/// A module that keeps the compiler busy until its limit.
fn large(folder: &Path) {
    fs::write(folder.join("large.wasm"), nested_loops(9_999)).unwrap();
}

/// Terminates the program during compilation; the compiler must end as well.
async fn end_while_compiling(program: Running) {
    let child = eventually("the compilation is running", || async { children(program.id()).first().copied() }).await;
    assert_eq!(program.terminate().await.code, Some(0));
    let gone = || async { (!Path::new(&format!("/proc/{child}")).exists()).then_some(()) };
    eventually("the compiler has ended", gone).await;
}

#[tokio::test]
async fn a_running_compilation_does_not_delay_the_shutdown() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace().await;
    let target = Registry::crane().await;
    let folder = tempfile::tempdir().unwrap();
    let program = controller(cluster, &namespace, &target, folder.path()).await;
    large(folder.path());
    end_while_compiling(program).await;
}

#[tokio::test]
async fn terminates_during_compilation_at_startup() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace().await;
    let target = Registry::crane().await;
    let (folder, directory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    large(folder.path());
    let kubeconfig = cluster.kubeconfig(directory.path(), cluster.admin_token());
    let program = Program::controller(&kubeconfig).config(&config(&namespace, &target));
    end_while_compiling(program.env("PLUGIN_DIR", folder.path()).start()).await;
}

/// The child processes of `parent`.
fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| {
        // The state and the parent follow the name in parentheses.
        let status = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let after = status.rsplit_once(')').map(|(_, after)| after.split_whitespace().nth(1).map(str::to_owned));
        after.flatten().is_some_and(|of| of == parent.to_string())
    })
    .collect()
}

/// Runs the compiler process on `module`, with limits in bytes and seconds.
fn compile(memory: &str, cpu: &str, module: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_k8s-copycat"));
    command.args(["compile-component-and-exit", memory, cpu]).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&u64::try_from(module.len()).unwrap().to_le_bytes()).unwrap();
    stdin.write_all(module).unwrap();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    child.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
    child.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
    // The compiler ends when its input closes.
    drop(stdin);
    Output { status: child.wait().unwrap(), stdout, stderr }
}

#[test]
fn the_compiler_stays_within_its_limits() {
    const SIGXCPU: i32 = 24;
    let functions = with(&"(func (param i32) (result i32) (i32.mul (local.get 0) (local.get 0)))".repeat(50_000));
    let output = compile("60000000", "300", &functions);
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    let output = compile("4000000000", "1", &nested_loops(9_999));
    assert_eq!(output.status.signal(), Some(SIGXCPU), "{output:?}");
    // The limits suffice for an empty component.
    let output = compile("200000000", "10", COMPONENT);
    assert!(output.status.success() && output.stdout.starts_with(b"C"), "{output:?}");
}

#[tokio::test]
async fn the_compiler_process_is_not_documented() {
    let finished = Program::new(&["compile-component-and-exit"]).run().await.assert_code(1);
    assert!(finished.stderr.contains("for internal use"), "{finished:?}");
    let finished = Program::new(&["--help"]).run().await.assert_code(0);
    assert!(!finished.stdout.contains("compile-component"), "{}", finished.stdout);
}
