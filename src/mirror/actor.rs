//! Holds what is wanted, decided and under way, and is the only one to change it.

mod copying;
mod reconfiguration;

use std::{collections::HashMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tracing::{debug, error, info, warn};

use crate::{
    model::{Decision, Destination, Event, ImageUse, Observer, Outcome, Reference, Verdict, WorkloadId},
    policy::Policy,
};

use super::{
    claims::{Claims, Name},
    copy::Copier,
    defect,
    pass::{Pass, PassReport},
    queue::{Admission, Lengths, Queue},
    told::Told,
    undecided::Undecided,
};

use copying::Copied;

pub use reconfiguration::Reconfiguration;

/// Workloads that are decided on at once; each takes microseconds, unless a plugin hangs.
const DECISIONS_AT_ONCE: usize = 8;
/// How long the first copies wait for the first decisions, so that equal images become one copy.
const LONGEST_GATHERING: Duration = Duration::from_secs(10);
const FIRST_REDECISION: Duration = Duration::from_secs(1);
const LONGEST_REDECISION: Duration = Duration::from_secs(300);

/// What the actor is to do.
pub enum Command {
    /// Take something in.
    Tell(News),
    /// Start nothing new, and give what is under way this long to end.
    Stop(Duration, oneshot::Sender<()>),
}

/// What the actor is told.
pub enum News {
    /// These are all image uses of a workload now.
    Set(WorkloadId, Vec<ImageUse>),
    /// The workload is gone.
    Removed(WorkloadId),
    /// Every workload that existed at the start has been told.
    Ready,
    /// From now on images may be copied.
    Begin,
    /// Look at everything once more.
    Pass(oneshot::Sender<PassReport>),
    /// Begin, look at everything that was told so far, and at nothing twice.
    OnlyPass(oneshot::Sender<PassReport>),
    /// Decide and copy otherwise from now on.
    Reconfigured(Box<Reconfiguration>),
    /// End all cooldowns; answers how many there were, nothing where none are kept.
    ResetCooldown(oneshot::Sender<Option<usize>>),
}

struct Known {
    uses: Vec<ImageUse>,
    version: u64,
    redecisions: u32,
    redecide_at: Option<Instant>,
}

struct Decided {
    workload: WorkloadId,
    version: u64,
    uses: Vec<ImageUse>,
    decisions: Vec<Decision>,
}

/// See the module.
pub struct Actor {
    policy: Arc<Policy>,
    copier: Arc<Copier>,
    observer: Arc<dyn Observer>,
    places: usize,
    claims: Claims,
    queue: Queue,
    workloads: HashMap<WorkloadId, Known>,
    versions: u64,
    turns: Arc<Semaphore>,
    deciding: JoinSet<Decided>,
    copying: JoinSet<Copied>,
    passes: Vec<(Pass, oneshot::Sender<PassReport>)>,
    begun: bool,
    ready: bool,
    only_pass: bool,
    gathering_until: Option<Instant>,
    settled: bool,
    /// What observers were told last of the queue.
    lengths: Lengths,
    told: Told,
    undecided: Undecided,
}

impl Actor {
    /// `places` is how many names are worked on at once.
    pub fn new(
        policy: Arc<Policy>,
        copier: Copier,
        observer: Arc<dyn Observer>,
        cooldown: Option<Duration>,
        places: usize,
    ) -> Self {
        Self {
            policy,
            copier: Arc::new(copier),
            observer,
            places,
            claims: Claims::default(),
            queue: Queue::new(cooldown),
            workloads: HashMap::new(),
            versions: 0,
            turns: Arc::new(Semaphore::new(DECISIONS_AT_ONCE)),
            deciding: JoinSet::new(),
            copying: JoinSet::new(),
            passes: Vec::new(),
            begun: false,
            ready: false,
            only_pass: false,
            gathering_until: None,
            settled: false,
            lengths: Lengths::default(),
            told: Told::default(),
            undecided: Undecided::default(),
        }
    }

    /// Works until it is told to stop, or nobody is left who could tell it anything.
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            let wake = self.next_wake();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Stop(grace, done)) => {
                        self.wind_down(grace).await;
                        self.tell_what_was_done();
                        let _ = done.send(());
                        return;
                    }
                    Some(Command::Tell(news)) => self.learn(news),
                    None => return,
                },
                Some(decided) = self.deciding.join_next() => match decided {
                    Ok(decided) => self.decided(decided),
                    Err(broken) => error!(error = %broken, "a decision broke off"),
                },
                Some(copied) = self.copying.join_next() => match copied {
                    Ok(copied) => self.copied(copied),
                    Err(broken) => error!(error = %broken, "a copy broke off"),
                },
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
            self.go_on();
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        let redecision = self.workloads.values().filter_map(|known| known.redecide_at).min();
        let gathered = self.gathering_until.filter(|_| !self.settled);
        let rested = self.queue.next_wake().filter(|_| !self.only_pass);
        [redecision, gathered, rested].into_iter().flatten().min()
    }

    fn learn(&mut self, news: News) {
        match news {
            News::Set(workload, uses) => {
                let known = Known { uses, version: 0, redecisions: 0, redecide_at: None };
                self.workloads.insert(workload.clone(), known);
                self.decide(&workload);
            }
            News::Removed(workload) => {
                self.workloads.remove(&workload);
                self.undecided.set(&workload, 0);
                self.claim(&workload, Vec::new());
                for (pass, _) in &mut self.passes {
                    pass.decided(&workload);
                }
            }
            News::Ready => self.ready = true,
            News::Begin => {
                self.begun = true;
                self.decide_all();
            }
            News::Pass(done) => {
                self.passes.push((Pass::over(self.workloads.keys().cloned()), done));
                self.decide_all();
            }
            News::OnlyPass(done) => {
                (self.begun, self.ready, self.only_pass) = (true, true, true);
                self.learn(News::Pass(done));
            }
            News::Reconfigured(new) => self.reconfigure(*new),
            News::ResetCooldown(done) => {
                let _ = done.send(self.queue.reset_cooldown());
            }
        }
    }

    fn decide_all(&mut self) {
        let all: Vec<WorkloadId> = self.workloads.keys().cloned().collect();
        for workload in all {
            self.decide(&workload);
        }
    }

    /// A replica that does not lead decides nothing: it would tell the same failures once more.
    fn decide(&mut self, workload: &WorkloadId) {
        if !self.begun {
            return;
        }
        let Some(known) = self.workloads.get_mut(workload) else { return };
        self.versions += 1;
        known.version = self.versions;
        known.redecide_at = None;
        let (policy, turns) = (self.policy.clone(), self.turns.clone());
        let (workload, version, uses) = (workload.clone(), known.version, known.uses.clone());
        self.deciding.spawn(async move {
            let _turn = turns.acquire().await;
            // A defect in one decision must not keep a pass waiting for ever.
            let decisions = AssertUnwindSafe(policy.decide(uses.clone())).catch_unwind().await;
            let decisions = decisions.unwrap_or_else(|_| vec![defect::undecided(); uses.len()]);
            Decided { workload, version, uses, decisions }
        });
    }

    fn decided(&mut self, decided: Decided) {
        let Decided { workload, version, uses, decisions } = decided;
        if self.workloads.get(&workload).is_none_or(|known| known.version != version) {
            return;
        }
        let mut wishes = Vec::new();
        let mut failed = Vec::new();
        let mut containers = Vec::new();
        let mut ask_again = false;
        for (image_use, decision) in uses.into_iter().zip(decisions) {
            let id = &image_use.workload.id;
            match (decision.verdict, decision.source) {
                (Verdict::Mirror(destinations), Some(source)) => {
                    containers.push((image_use.clone(), source.clone()));
                    wishes.push((image_use, source, destinations));
                }
                (Verdict::Mirror(_), None) => {}
                (Verdict::Skip(reason), _) => {
                    debug!(workload = %id, container = image_use.container.name, image = image_use.image, reason, "skipped");
                }
                (Verdict::Error { reason, retry }, _) => {
                    self.observer.observe(&Event::Undecided { workload: id, image: &image_use.image, reason: &reason });
                    failed.push(format!("{}: {reason}", image_use.image));
                    ask_again |= retry;
                    // What was decided before holds until there is another decision: its name is not for others.
                    if let Some((source, destinations)) = self.claims.wish_of(&image_use).filter(|_| retry) {
                        wishes.push((image_use, source, destinations));
                    }
                }
            }
        }
        self.undecided.set(&workload, failed.len());
        if let Some(known) = self.workloads.get_mut(&workload) {
            if ask_again && !self.only_pass {
                let pause = FIRST_REDECISION.saturating_mul(1 << known.redecisions.min(16)).min(LONGEST_REDECISION);
                known.redecide_at = Some(Instant::now() + pause);
                known.redecisions += 1;
            } else {
                known.redecisions = 0;
            }
        }
        self.claim(&workload, wishes);
        let now = Instant::now();
        for (pass, _) in &mut self.passes {
            if !pass.decided(&workload) {
                continue;
            }
            for reason in &failed {
                pass.failed(&workload, reason.clone());
            }
            for (image_use, source) in &containers {
                let names = self.claims.names_of(image_use);
                for name in &names {
                    // Another workload of this pass wanted it as well, and it has been looked at meanwhile.
                    if pass.has_finished(name) && !self.queue.is_due(name) {
                        continue;
                    }
                    match self.queue.want(name, now) {
                        Admission::Queued | Admission::Active => pass.awaits(name),
                        Admission::Cooling { left, error } => {
                            let minutes = left.as_secs().div_ceil(60);
                            pass.cooling(name, format!("{name} is in cooldown for {minutes} more minutes: {error}"));
                        }
                    }
                }
                pass.container(&workload, source.clone(), names);
            }
        }
    }

    fn claim(&mut self, workload: &WorkloadId, wishes: Vec<(ImageUse, Reference, Vec<Destination>)>) {
        let effect = self.claims.set(workload, wishes);
        let now = Instant::now();
        for name in effect.wanted.iter().chain(&effect.released) {
            if let Admission::Cooling { left, error } = self.queue.want(name, now) {
                debug!(target = %name, left = ?left, error, "in cooldown");
            }
        }
        for name in &effect.forgotten {
            self.queue.forget(name);
            self.forget_told(name, &[]);
            for (pass, _) in &mut self.passes {
                pass.forgotten(name);
            }
        }
    }

    /// These outcomes are what observers are to know of a name from now on.
    fn forget_told(&mut self, name: &Name, outcomes: &[Outcome]) {
        for (destination, source) in self.told.replace(name, outcomes) {
            self.observer.observe(&Event::Forgotten { destination: &destination, source: &source });
        }
    }

    fn go_on(&mut self) {
        let now = Instant::now();
        if !self.only_pass {
            self.queue.wake(now);
        }
        let due: Vec<WorkloadId> = self
            .workloads
            .iter()
            .filter(|(_, known)| known.redecide_at.is_some_and(|at| at <= now))
            .map(|(workload, _)| workload.clone())
            .collect();
        for workload in due {
            self.decide(&workload);
        }
        if self.begun && self.ready && !self.settled {
            let until = *self.gathering_until.get_or_insert(now + LONGEST_GATHERING);
            let all_decided =
                self.deciding.is_empty() && self.workloads.values().all(|known| known.redecide_at.is_none());
            self.settled = all_decided || now >= until;
        }
        while self.settled && self.copying.len() < self.places {
            let Some(name) = self.queue.next() else { break };
            self.start(name);
        }
        // A pass whose asker has gone away is given up; what it has queued is done all the same.
        self.passes.retain(|(_, done)| !done.is_closed());
        for (pass, done) in self.passes.extract_if(.., |(pass, _)| pass.is_over()) {
            let _ = done.send(pass.report());
        }
        if let Some(count) = self.undecided.change() {
            self.observer.observe(&Event::UndecidedNow(count));
        }
        let lengths = self.queue.lengths();
        if lengths != self.lengths {
            self.lengths = lengths;
            let Lengths { waiting, active, cooling } = lengths;
            self.observer.observe(&Event::Queue { waiting, active, cooling });
        }
    }

    /// Who has waited for the only pass is told how far it came. To others it must not look like a whole one.
    fn tell_what_was_done(&mut self) {
        if self.only_pass {
            for (pass, done) in self.passes.drain(..) {
                let _ = done.send(pass.report());
            }
        }
    }

    async fn wind_down(&mut self, grace: Duration) {
        if !self.copying.is_empty() {
            info!(active = self.copying.len(), seconds = grace.as_secs(), "stopping: copies under way may end");
        }
        let deadline = Instant::now() + grace;
        while let Ok(Some(copied)) = tokio::time::timeout_at(deadline, self.copying.join_next()).await {
            if let Ok(copied) = copied {
                self.copied(copied);
            }
        }
        if !self.copying.is_empty() {
            warn!(
                abandoned = self.copying.len(),
                "stopped before all copies ended; the next start takes them up again"
            );
        }
        self.copying.abort_all();
        self.deciding.abort_all();
    }
}
