//! Measures decisions of the policy: CPU time per image use, image uses per second, and the memory of plugins and of further
//! instances. It runs the library in this process, as a release build.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::indexing_slicing, reason = "it prints results")]

use std::{
    collections::BTreeMap,
    env, fs,
    process::{Command, ExitCode},
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_copycat::{
    model::{
        Container, ContainerKind, Hook, ImageUse, Target, TargetKind, Verdict, Workload, WorkloadId, WorkloadKind,
    },
    policy::{PathMapRule, Policy, Settings, SkipSettings},
};

/// Image uses per call: more than a Deployment has, fewer than are split among threads.
const BATCH: usize = 64;
const WORKERS: usize = 8;
/// The usual number of labels and annotations of a Deployment and labels of its namespace together.
const PAIRS: usize = 6;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        // In a separate process, because memory is not returned to the system.
        ["memory", workers] => workers.parse().map_err(Into::into).and_then(memory),
        [] => all(),
        _ => Err("usage: cargo bench --bench policy".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

type Error = Box<dyn std::error::Error>;

fn all() -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let started = Instant::now();
    let policy = load(2, &Hook::ALL)?;
    println!("| | |\n|---|---|");
    println!("| four default plugins loaded after, ms | {:.1} |", started.elapsed().as_secs_f64() * 1e3);

    for pairs in [PAIRS, 6 * PAIRS] {
        let uses = uses(BATCH, pairs);
        runtime.block_on(decide(&policy, &uses, 100))?;
        let mut costs = Vec::new();
        for _ in 0..200 {
            let before = cpu_time()?;
            runtime.block_on(decide(&policy, &uses, 4))?;
            costs.push((cpu_time()? - before).as_secs_f64() * 1e6 / (BATCH * 4) as f64);
        }
        costs.sort_by(f64::total_cmp);
        let (median, most) = (costs[costs.len() / 2], costs[costs.len() * 99 / 100]);
        println!(
            "| CPU time of an image use of {pairs} labels and annotations through four hooks, µs, median | {median:.1} |"
        );
        println!("| 99 of 100 are below | {most:.1} |");
    }

    let (policy, uses) = (Arc::new(policy), uses(BATCH, PAIRS));
    let started = Instant::now();
    let rounds = 200;
    runtime
        .block_on(async {
            let workers = (0..WORKERS).map(|_| {
                let (policy, uses) = (policy.clone(), uses.clone());
                tokio::spawn(async move { decide(&policy, &uses, rounds).await.map_err(|error| error.to_string()) })
            });
            futures::future::try_join_all(workers).await
        })?
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    let decided = (WORKERS * rounds * BATCH) as f64;
    println!("| image uses in a second, {WORKERS} workers | {:.0} |", decided / started.elapsed().as_secs_f64());

    let (without, _) = in_own_process(0)?;
    let (one, few) = in_own_process(1)?;
    let (eight, many) = in_own_process(WORKERS)?;
    println!("| memory without plugins, MiB | {without:.1} |");
    println!("| more with four plugins and one worker, MiB | {:.1} |", one - without);
    println!("| more with four plugins and {WORKERS} workers, MiB | {:.1} |", eight - without);
    println!(
        "| each of the {} further instances, MiB | {:.2} |",
        many - few,
        (eight - one) / (many - few).max(1) as f64
    );
    Ok(())
}

/// Decides with this many concurrent workers (0: without plugins), then prints the resident memory and the number of
/// instances.
fn memory(workers: usize) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    let policy = Arc::new(load(workers.max(1), if workers == 0 { &[] } else { &Hook::ALL })?);
    let uses = uses(BATCH, PAIRS);
    runtime.block_on(async {
        let barrier = Arc::new(tokio::sync::Barrier::new(WORKERS));
        let tasks = (0..WORKERS).map(|_| {
            let (policy, uses, barrier) = (policy.clone(), uses.clone(), barrier.clone());
            tokio::spawn(async move {
                barrier.wait().await;
                for _ in 0..200 {
                    policy.decide(uses.clone()).await;
                }
            })
        });
        futures::future::join_all(tasks).await
    });
    let instances: usize = policy.plugins().iter().map(|plugin| plugin.instances).sum();
    println!("{} {instances}", resident()?);
    Ok(())
}

/// Resident memory in MiB and the number of plugin instances.
fn in_own_process(workers: usize) -> Result<(f64, usize), Error> {
    let output = Command::new(env::current_exe()?).args(["memory", &workers.to_string()]).output()?;
    let text = String::from_utf8(output.stdout)?;
    let numbers =
        text.trim().split_once(' ').and_then(|(memory, count)| Some((memory.parse().ok()?, count.parse().ok()?)));
    numbers.ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned().into())
}

/// Resident memory in MiB.
fn resident() -> Result<f64, Error> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

/// CPU time of all threads of this process.
fn cpu_time() -> Result<Duration, Error> {
    // `stat` counts in clock ticks, which are too coarse.
    let text = fs::read_dir("/proc/self/task")?
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|line| line.split(' ').next()?.parse::<u64>().ok());
    Ok(Duration::from_nanos(text.sum()))
}

async fn decide(policy: &Policy, uses: &[ImageUse], rounds: usize) -> Result<(), Error> {
    for _ in 0..rounds {
        for decision in policy.decide(uses.to_vec()).await {
            if !matches!(decision.verdict, Verdict::Mirror { .. }) {
                return Err(format!("{decision:?}").into());
            }
        }
    }
    Ok(())
}

fn load(threads: usize, defaults: &[Hook]) -> Result<Policy, Error> {
    let target = Target {
        name: "default".to_owned(),
        kind: TargetKind::Docker,
        registry: "registry.example/mirror".to_owned(),
        repo_prefix: "$namespace/$podname".to_owned(),
    };
    let rule = |from: &str, to: &str, regex| PathMapRule { from: from.to_owned(), to: to.to_owned(), regex };
    let settings = Settings {
        plugins: Vec::new(),
        defaults: defaults.to_vec(),
        skip: SkipSettings {
            include_namespaces: vec!["team-*".to_owned()],
            skip_namespaces: vec!["kube-system".to_owned()],
            skip_names: BTreeMap::new(),
            exclude_registries: vec!["registry.internal".to_owned()],
        },
        path_map: vec![rule("library/", "official/", false), rule("^(.*)/charts/(.*)$", "$1/$2", true)],
        targets: vec![Arc::new(target)],
        threads,
    };
    Policy::load(settings, Arc::new(())).map_err(|errors| format!("{errors:?}").into())
}

/// Image uses of one workload that has `pairs` labels and annotations, including namespace labels.
fn uses(count: usize, pairs: usize) -> Vec<ImageUse> {
    let some = |kind: &str| -> BTreeMap<String, String> {
        (0..pairs / 3).map(|number| (format!("app.example.com/{kind}-{number}"), format!("value-{number}"))).collect()
    };
    let workload = Arc::new(Workload {
        id: WorkloadId {
            kind: WorkloadKind::Deployment,
            namespace: "team-red".to_owned(),
            name: "storefront".to_owned(),
        },
        uid: String::new(),
        owners: Vec::new(),
        labels: some("label"),
        annotations: some("annotation"),
        namespace_labels: some("namespace").into(),
        created: 0,
    });
    let image_use = |number: usize| ImageUse {
        workload: workload.clone(),
        container: Container { name: format!("container-{number}"), kind: ContainerKind::Regular },
        image: format!("quay.io/acme/storefront/service-{number}:1.{number}.0"),
        running: Vec::new(),
        platforms: None,
        pull_secrets: Vec::new(),
    };
    (0..count).map(image_use).collect()
}
