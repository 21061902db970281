//! Creates, changes and deletes workloads at random.

use std::time::{Duration, Instant};

use fastrand::Rng;
use futures::{StreamExt as _, stream};
use kube::Client;

use super::registries::{DelayedImage, Registries};
use crate::support::{Workload, cron_job, daemon_set, deployment, job, pod, stateful_set};

/// Concurrent requests to the API server in the beginning.
const WRITERS: usize = 8;
/// Between two steps.
const PAUSE: Duration = Duration::from_millis(20);

/// The workloads in the cluster.
pub struct Churn {
    /// The images of each workload that exists.
    images: Vec<Option<Vec<String>>>,
    delayed: Vec<DelayedImage>,
    steps: usize,
}

impl Churn {
    /// At most so many workloads; three of four exist.
    pub fn new(random: &mut Rng, registries: &Registries, workloads: usize) -> Self {
        let mut churn = Self { images: vec![None; workloads], delayed: Vec::new(), steps: 0 };
        for number in 0..workloads {
            if random.u8(..4) > 0 {
                churn.images[number] = Some(churn.choose(random, registries, number));
            }
        }
        churn
    }

    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Creates all workloads.
    pub async fn create_all(&self, client: &Client, namespace: &str) {
        let existing = self.images.iter().enumerate().filter_map(|(number, images)| Some((number, images.as_ref()?)));
        stream::iter(existing)
            .map(|(number, images)| async move { drop(workload(number, images).apply(client, namespace).await) })
            .buffer_unordered(WRITERS)
            .collect::<()>()
            .await;
    }

    /// Creates, changes or deletes one workload, moves a tag, or pushes due images.
    pub async fn step(&mut self, random: &mut Rng, client: &Client, namespace: &str, registries: &Registries) {
        self.steps += 1;
        tokio::time::sleep(PAUSE).await;
        let now = Instant::now();
        self.delayed.retain(|delayed| {
            if delayed.at <= now {
                registries.push_delayed(delayed);
            }
            delayed.at > now
        });
        if random.u8(..40) == 0 {
            return registries.move_tag(random);
        }
        let number = random.usize(..self.images.len());
        let deletes = self.images[number].is_some() && random.u8(..3) == 0;
        // The tempdelayed of a Job is immutable.
        if let Some(images) = self.images[number].take_if(|_| deletes || is_job(number)) {
            workload(number, &images).delete(client, namespace).await;
        }
        if !deletes {
            let images = self.choose(random, registries, number);
            workload(number, &images).apply(client, namespace).await;
            self.images[number] = Some(images);
        }
    }

    fn choose(&mut self, random: &mut Rng, registries: &Registries, number: usize) -> Vec<String> {
        // The containers of a Pod are immutable.
        let count = if is_pod(number) { 1 } else { random.usize(1..=3) };
        let references = (0..count).map(|_| registries.reference(random));
        references
            .map(|(reference, delayed)| {
                self.delayed.extend(delayed);
                reference
            })
            .collect()
    }

    /// Pushes all delayed images.
    pub fn push_all(&mut self, registries: &Registries) {
        for delayed in self.delayed.drain(..) {
            registries.push_delayed(&delayed);
        }
    }

    /// `name container image` of all containers.
    pub fn uses(&self) -> Vec<String> {
        let mut uses = Vec::new();
        for (number, images) in self.images.iter().enumerate() {
            for (container, image) in images.iter().flatten().enumerate() {
                uses.push(format!("{} c{container} {image}", name(number)));
            }
        }
        uses.sort();
        uses
    }
}

fn name(number: usize) -> String {
    format!("app-{number}")
}

fn is_job(number: usize) -> bool {
    number % 8 == 6
}

fn is_pod(number: usize) -> bool {
    number % 8 == 7
}

fn workload(number: usize, images: &[String]) -> Workload {
    let kind = match number % 8 {
        0..3 => deployment,
        3 => stateful_set,
        4 => daemon_set,
        5 => cron_job,
        6 => job,
        _ => pod,
    };
    images
        .iter()
        .enumerate()
        .fold(kind(&name(number)), |workload, (container, image)| workload.container(&format!("c{container}"), image))
}
