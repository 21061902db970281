//! The program as users start it: arguments, a clean environment, and a configuration file.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    io::{BufRead as _, BufReader, Read, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use tempfile::TempDir;

use super::{eventually, servers::free_port};

/// Far more than anything here takes, so that no test fails on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(300);

/// A program to start.
pub struct Program {
    binary: PathBuf,
    directory: TempDir,
    arguments: Vec<OsString>,
    environment: BTreeMap<String, OsString>,
    stdin: String,
}

/// An exited program.
#[derive(Debug)]
pub struct Finished {
    /// None if a signal killed it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    fn new(status: ExitStatus, stdout: String, stderr: String) -> Self {
        Self { code: status.code(), stdout, stderr }
    }

    /// Asserts the exit code.
    #[track_caller]
    pub fn assert_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

impl Program {
    /// With these arguments, without configuration and environment.
    pub fn new(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().as_os_str().to_owned();
        // A file that does not exist, so that no file of the machine is read.
        let config = directory.path().join("config.yaml").into_os_string();
        Self {
            binary: env!("CARGO_BIN_EXE_k8s-copycat").into(),
            directory,
            arguments: arguments.iter().map(Into::into).collect(),
            environment: BTreeMap::from([
                ("HOME".to_owned(), home.clone()),
                // Where `podman login` leaves logins.
                ("XDG_RUNTIME_DIR".to_owned(), home),
                ("CONFIG_PATH".to_owned(), config),
                // Tests count requests; those for referrers have tests of their own, which remove this.
                ("REFERRERS".to_owned(), "none".into()),
                // The same of those of verifications in the background.
                ("VERIFY_HOURS".to_owned(), "0".into()),
            ]),
            stdin: String::new(),
        }
    }

    /// The controller for a cluster, without leader election.
    pub fn controller(kubeconfig: &Path) -> Self {
        Self::new(&["run", "--leader-elect=false"]).env("KUBECONFIG", kubeconfig)
    }

    /// Another executable.
    pub fn binary(mut self, path: &Path) -> Self {
        path.clone_into(&mut self.binary);
        self
    }

    pub fn args(self, arguments: &[&str]) -> Self {
        arguments.iter().fold(self, |program, argument| program.arg(*argument))
    }

    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    /// Removes a variable.
    pub fn unset(mut self, name: &str) -> Self {
        self.environment.remove(name);
        self
    }

    /// Writes the configuration file.
    pub fn config(self, yaml: &str) -> Self {
        self.file("config.yaml", yaml)
    }

    /// Writes a file in [`Program::directory`].
    pub fn file(self, name: &str, content: &str) -> Self {
        fs::write(self.directory().join(name), content).unwrap();
        self
    }

    /// Sets standard input.
    pub fn stdin(mut self, text: &str) -> Self {
        text.clone_into(&mut self.stdin);
        self
    }

    /// The working directory and `HOME`.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Runs it until it exits. It can be run again.
    pub async fn run(&self) -> Finished {
        let mut process = Process::start(self);
        process.wait().await
    }

    /// Runs it and kills it (SIGKILL) when `moment` completes; returns its result if it exits before. It can be run again.
    pub async fn run_until(&self, moment: impl Future<Output = ()>) -> Option<Finished> {
        let mut process = Process::start(self);
        tokio::select! {
            () = moment => None,
            finished = process.wait() => Some(finished),
        }
    }

    /// Runs it, sends these signals (as `kill` names them) one after another when `moment` completes, and waits until it
    /// exits. Keeps the result of `moment` until then.
    pub async fn run_and_send<T>(&self, signals: &[&str], moment: impl Future<Output = T>) -> Finished {
        let mut process = Process::start(self);
        let _kept = tokio::select! {
            kept = moment => kept,
            finished = process.wait() => panic!("it has exited before: {finished:?}"),
        };
        for (number, signal) in signals.iter().enumerate() {
            // Two pending signals of the same kind are delivered once.
            if number > 0 {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            let id = process.child.id().to_string();
            assert!(Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap().success());
        }
        process.wait().await
    }

    /// Starts the controller with free ports for metrics and health.
    pub fn start(self) -> Running {
        let [metrics, health] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        let program =
            self.arg(format!("--metrics-bind-address={metrics}")).arg(format!("--health-probe-bind-address={health}"));
        program.start_at(metrics, health)
    }

    /// Starts the controller; other settings make it listen on these addresses.
    pub fn start_at(self, metrics: String, health: String) -> Running {
        let process = Process::start(&self);
        // No keep-alive: an open connection would delay the exit of the program.
        let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
        Running { process, metrics, health, client, program: self }
    }
}

/// A running controller; dropping it kills it.
pub struct Running {
    process: Process,
    metrics: String,
    health: String,
    client: reqwest::Client,
    /// Keeps the directory.
    program: Program,
}

impl Running {
    /// Waits until `/readyz` succeeds.
    pub async fn ready(&mut self) {
        let url = format!("http://{}/readyz", self.health);
        let (client, process) = (&self.client, Mutex::new(&mut self.process));
        eventually("the program is ready", || async {
            let ready = client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success());
            if !ready {
                let mut process = process.lock().unwrap();
                let ended = process.child.try_wait().unwrap();
                assert!(ended.is_none(), "the program has exited: {ended:?}\n{}", process.stderr.text());
            }
            ready.then_some(())
        })
        .await;
    }

    /// The URL of the metrics address.
    pub fn url(&self) -> String {
        format!("http://{}", self.metrics)
    }

    /// Status and body of a path on the metrics address.
    pub async fn get(&self, path: &str) -> (u16, String) {
        self.request_to(reqwest::Method::GET, &self.metrics, path).await
    }

    /// Status and body of a POST to a path on the metrics address.
    pub async fn post(&self, path: &str) -> (u16, String) {
        self.request_to(reqwest::Method::POST, &self.metrics, path).await
    }

    /// Status and body of a request with a bearer token to a path on the metrics address.
    pub async fn request_as(&self, token: &str, method: reqwest::Method, path: &str) -> (u16, String) {
        let request = self.client.request(method, format!("http://{}{path}", self.metrics)).bearer_auth(token);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Status and body of a path on the health address.
    pub async fn health(&self, path: &str) -> (u16, String) {
        self.request_to(reqwest::Method::GET, &self.health, path).await
    }

    async fn request_to(&self, method: reqwest::Method, host: &str, path: &str) -> (u16, String) {
        let answer = self.client.request(method, format!("http://{host}{path}")).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Scrapes the metrics.
    pub async fn metrics(&self) -> Metrics {
        let (status, text) = self.get("/metrics").await;
        assert_eq!(status, 200, "{text}");
        Metrics(text)
    }

    /// The response to a request to a path on the metrics address, or a connection error.
    pub async fn request(&self, method: reqwest::Method, path: &str) -> reqwest::Result<reqwest::Response> {
        self.client.request(method, format!("http://{}{path}", self.metrics)).send().await
    }

    /// Host and port of metrics and endpoints.
    pub fn metrics_address(&self) -> &str {
        &self.metrics
    }

    /// Replaces the configuration file.
    pub fn rewrite_config(&self, yaml: &str) {
        fs::write(self.program.directory().join("config.yaml"), yaml).unwrap();
    }

    /// The log so far.
    pub fn log(&self) -> String {
        self.process.stderr.text() + &self.process.stdout.text()
    }

    /// Waits until `accept` holds for the log.
    pub async fn logged(&self, what: &str, accept: impl Fn(&str) -> bool) {
        eventually(what, || async { accept(&self.log()).then_some(()) }).await;
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.child.id()
    }

    /// Terminates it (SIGTERM) and waits until it exits.
    pub async fn terminate(mut self) -> Finished {
        let id = self.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.process.wait().await
    }

    /// Waits until it exits by itself.
    pub async fn wait_for_exit(mut self) -> Finished {
        self.process.wait().await
    }

    /// Kills it (SIGKILL).
    pub fn kill(self) {
        drop(self);
    }
}

/// The text of a scrape.
#[derive(Debug)]
pub struct Metrics(pub String);

impl Metrics {
    /// The sum of the samples of `name` with all these labels; 0 if there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.0.lines().filter_map(|line| sample(line, name, labels)).sum()
    }
}

/// The value of a line, if it has this name and these labels.
fn sample(line: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let rest = line.strip_prefix(name)?;
    let (found, value) = match rest.strip_prefix('{') {
        Some(rest) => rest.rsplit_once("} ")?,
        None => ("", rest.strip_prefix(' ')?),
    };
    let found = format!(",{found}");
    let all = labels.iter().all(|(label, value)| found.contains(&format!(",{label}=\"{value}\"")));
    all.then(|| value.parse().unwrap())
}

/// A child process whose output is read continuously.
struct Process {
    child: Child,
    stdout: Output,
    stderr: Output,
}

impl Process {
    fn start(program: &Program) -> Self {
        let mut child = Command::new(&program.binary)
            .args(&program.arguments)
            .env_clear()
            .envs(&program.environment)
            .current_dir(program.directory())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // This fails if the program closes its input without reading it.
        let _ = child.stdin.take().unwrap().write_all(program.stdin.as_bytes());
        let stdout = Output::read(child.stdout.take().unwrap());
        let stderr = Output::read(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    async fn wait(&mut self) -> Finished {
        let ended = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        match tokio::time::timeout(TIMEOUT, ended).await {
            Ok(status) => Finished::new(status, self.stdout.end(), self.stderr.end()),
            Err(_) => panic!("the program does not exit:\n{}\n{}", self.stdout.text(), self.stderr.text()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The output from a pipe.
struct Output {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Output {
    fn read(pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let shared = Arc::clone(&text);
        let reader = thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                shared.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Self { text, reader: Some(reader) }
    }

    fn text(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    fn end(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.text()
    }
}

#[test]
fn finds_samples_by_name_and_labels() {
    let metrics = Metrics(
        "# HELP a_total b\na_total{x=\"1\",y=\"2\"} 3\na_total{x=\"1\",y=\"3\"} 4\na_total_more 9\nb 1.5\n".into(),
    );
    assert_eq!(metrics.sum("a_total", &[]), 7.0);
    assert_eq!(metrics.sum("a_total", &[("y", "3"), ("x", "1")]), 4.0);
    assert_eq!(metrics.sum("b", &[]), 1.5);
    assert_eq!(metrics.sum("c", &[]), 0.0);
}
