//! Holds what is wanted, decided and under way, and is the only one to change it. What an event costs does not depend on
//! how many workloads there are.

mod claiming;
mod copying;
mod reconfiguration;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tracing::{error, info, warn};

use crate::{
    model::{Event, ImageUse, Observer, WorkloadId},
    policy::Policy,
};

use super::{
    availability::Availability,
    claims::{Claims, Name},
    copy::Copier,
    decisions::Decisions,
    pass::Pass,
    passes::{Asker, Passes},
    queue::{Lengths, Queue},
    registries_in_use::RegistriesInUse,
    told::Told,
    undecided::Undecided,
};

use copying::{Active, Ended};

pub use reconfiguration::Reconfiguration;

/// How long the first copies wait for the first decisions, so that equal images become one copy.
const LONGEST_GATHERING: Duration = Duration::from_secs(10);

/// How long it may take at the end to take back uploads that were broken off.
const LONGEST_CLEANING: Duration = Duration::from_secs(5);

/// Names that are taken up before other events are looked at: each takes microseconds.
const STARTS_AT_ONCE: usize = 256;

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
    /// A pause has begun; answers how many names are being worked on, which may end.
    Paused(oneshot::Sender<usize>),
    /// Look at everything once more.
    Pass(Asker),
    /// Begin, look at everything that was told so far, and at nothing twice.
    OnlyPass(Asker),
    /// Decide and copy otherwise from now on.
    Reconfigured(Box<Reconfiguration>),
    /// End all cooldowns; answers how many there were, nothing where none are kept.
    ResetCooldown(oneshot::Sender<Option<usize>>),
}

/// See the module.
pub struct Actor {
    policy: Arc<Policy>,
    copier: Arc<Copier>,
    observer: Arc<dyn Observer>,
    places: usize,
    decisions: Decisions,
    undecided: Undecided,
    claims: Claims,
    registries_in_use: RegistriesInUse,
    queue: Queue,
    /// Of source registries.
    sources: Availability,
    /// Of the registries of targets.
    targets: Availability,
    /// Registries that have just answered somebody, so that others need not wait until that copy has ended.
    answers: mpsc::UnboundedReceiver<String>,
    answering: mpsc::UnboundedSender<String>,
    copying: JoinSet<Ended>,
    active: HashMap<Name, Active>,
    passes: Passes,
    /// Decisions are taken: this replica leads, or has led.
    begun: bool,
    /// No copy begins. Set by whoever speaks to the mirror, so that a pause does not wait behind other news.
    paused: Arc<AtomicBool>,
    ready: bool,
    only_pass: bool,
    gathering_until: Option<Instant>,
    settled: bool,
    /// What observers were told last of the queue.
    lengths: Lengths,
    told: Told,
}

impl Actor {
    /// `places` is how many names are worked on at once.
    pub fn new(
        policy: Arc<Policy>,
        copier: Copier,
        observer: Arc<dyn Observer>,
        cooldown: Option<Duration>,
        places: usize,
        paused: Arc<AtomicBool>,
    ) -> Self {
        // One for each copy that begins.
        let (answering, answers) = mpsc::unbounded_channel();
        Self {
            policy,
            copier: Arc::new(copier),
            observer,
            places,
            decisions: Decisions::default(),
            undecided: Undecided::default(),
            claims: Claims::default(),
            registries_in_use: RegistriesInUse::default(),
            queue: Queue::new(cooldown),
            sources: Availability::default(),
            targets: Availability::default(),
            answers,
            answering,
            copying: JoinSet::new(),
            active: HashMap::new(),
            passes: Passes::default(),
            begun: false,
            paused,
            ready: false,
            only_pass: false,
            gathering_until: None,
            settled: false,
            lengths: Lengths::default(),
            told: Told::default(),
        }
    }

    /// Works until it is told to stop, or nobody is left who could tell it anything.
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut has_more = false;
        loop {
            let wake = if has_more { Some(Instant::now()) } else { self.next_wake() };
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Stop(grace, done)) => {
                        self.wind_down(grace).await;
                        let _ = done.send(());
                        return;
                    }
                    Some(Command::Tell(news)) => self.learn(news),
                    None => return,
                },
                Some(decided) = self.decisions.ended() => self.decided(decided),
                Some(host) = self.answers.recv() => self.source_answered(&host),
                Some(ended) = self.copying.join_next() => match ended {
                    Ok(ended) => self.ended(ended),
                    Err(broken) => error!(error = %broken, "a copy broke off"),
                },
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
            has_more = self.go_on();
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        let gathered = self.gathering_until.filter(|_| !self.settled);
        let rested = self.queue.next_wake().filter(|_| !self.only_pass);
        [self.decisions.next_wake(), gathered, rested, self.passes.deadline()].into_iter().flatten().min()
    }

    fn learn(&mut self, news: News) {
        match news {
            News::Set(workload, uses) => self.decisions.set(workload, uses),
            News::Removed(workload) => {
                self.decisions.remove(&workload);
                self.undecided_now(&workload, 0);
                self.claim(&workload, Vec::new());
                if let Some(pass) = self.passes.current() {
                    pass.decided(&workload, Instant::now());
                }
            }
            News::Ready => self.ready = true,
            News::Begin => self.begun = true,
            News::Paused(done) => {
                let _ = done.send(self.copying.len());
            }
            News::Pass(asker) => self.passes.ask(asker),
            News::OnlyPass(asker) => {
                (self.begun, self.ready, self.only_pass) = (true, true, true);
                self.passes.ask(asker);
            }
            News::Reconfigured(new) => self.reconfigure(*new),
            News::ResetCooldown(done) => {
                self.sources.reset();
                self.targets.reset();
                self.copier.reset_pauses();
                let claims = &self.claims;
                let _ = done.send(self.queue.reset_cooldown(|name| claims.source_registry(name).map(str::to_owned)));
                self.queue.limits_changed();
            }
        }
    }

    /// What follows from what has happened. Says whether there is more to be done at once.
    fn go_on(&mut self) -> bool {
        let now = Instant::now();
        let claims = &self.claims;
        if !self.only_pass {
            self.queue.wake(now, |name| claims.source_registry(name).map(str::to_owned));
        }
        if self.passes.is_due() {
            self.passes.begin(Pass::over(self.decisions.workloads().cloned(), now));
            self.decisions.redo_all();
        }
        self.decisions.wake(now);
        // A replica that does not lead decides nothing: it would tell the same failures once more.
        if self.begun {
            self.decisions.start(&self.policy);
        }
        if self.begun && self.ready && !self.settled {
            let until = *self.gathering_until.get_or_insert(now + LONGEST_GATHERING);
            self.settled = self.decisions.are_done() || now >= until;
        }
        let has_more = self.start_copies();
        self.passes.step(now);
        if let Some(count) = self.undecided.change() {
            self.observer.observe(&Event::UndecidedNow(count));
        }
        let lengths = self.queue.lengths();
        if lengths != self.lengths {
            self.lengths = lengths;
            let Lengths { waiting, active, cooling } = lengths;
            self.observer.observe(&Event::Queue { waiting, active, cooling });
        }
        has_more || self.passes.is_due()
    }

    fn may_start(&self) -> bool {
        self.settled && !self.paused.load(Ordering::Acquire)
    }

    async fn wind_down(&mut self, grace: Duration) {
        if !self.copying.is_empty() {
            info!(active = self.copying.len(), seconds = grace.as_secs(), "stopping: copies under way may end");
        }
        self.paused.store(true, Ordering::Release);
        let deadline = Instant::now() + grace;
        while let Ok(Some(ended)) = tokio::time::timeout_at(deadline, self.copying.join_next()).await {
            if let Ok(ended) = ended {
                self.ended(ended);
            }
        }
        if !self.copying.is_empty() {
            warn!(
                abandoned = self.copying.len(),
                "stopped before all copies ended; the next start takes them up again"
            );
        }
        self.passes.end("the program was stopped before");
        self.decisions.stop();
        self.copying.shutdown().await;
        // What was broken off is not to lie about at the targets.
        if tokio::time::timeout(LONGEST_CLEANING, self.copier.cleared()).await.is_err() {
            warn!("stopped before all uploads that were broken off were taken back at the targets");
        }
    }
}

/// The same moment for people, and for who measures time without a clock.
fn as_time(moment: Instant) -> SystemTime {
    SystemTime::now() + moment.saturating_duration_since(Instant::now())
}
