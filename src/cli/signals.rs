//! SIGTERM and SIGINT.

use std::{
    future::pending,
    io,
    process::{self, ExitCode},
    sync::mpsc,
    thread,
};

use tokio::{
    runtime,
    signal::unix::{self, SignalKind},
    sync::watch,
};

/// A signal that ends the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: Ctrl-C.
    Interrupt,
    Terminate,
}

impl Signal {
    pub fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        }
    }

    /// The exit code that shells use: 128 plus the number of the signal.
    fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }

    pub fn code(self) -> ExitCode {
        self.exit_code().into()
    }
}

/// The first signal that was received. Clones share it.
#[derive(Clone)]
pub struct Signals {
    first: watch::Receiver<Option<Signal>>,
}

impl Signals {
    /// From now on, SIGTERM and SIGINT are stored and do not end the process; but a SIGINT after another signal does, at once.
    /// A separate thread receives them, because all others may be busy.
    ///
    /// # Errors
    ///
    /// If the thread or the signal handlers cannot be created.
    pub fn listen() -> io::Result<Self> {
        let (sender, first) = watch::channel(None);
        let (started, is_started) = mpsc::sync_channel(1);
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let result = runtime::Builder::new_current_thread().enable_all().build().map(|runtime| {
                runtime.block_on(async {
                    let signals = unix::signal(SignalKind::terminate())
                        .and_then(|terminate| Ok((terminate, unix::signal(SignalKind::interrupt())?)));
                    match signals {
                        Ok((terminate, interrupt)) => {
                            let _ = started.send(Ok(()));
                            receive(terminate, interrupt, &sender).await;
                        }
                        Err(error) => drop(started.send(Err(error))),
                    }
                });
            });
            if let Err(error) = result {
                let _ = started.send(Err(error));
            }
        })?;
        is_started.recv().map_err(io::Error::other)??;
        Ok(Self { first })
    }

    /// Waits for the first signal; returns at once if one was received.
    pub async fn received(&self) -> Signal {
        let mut first = self.first.clone();
        match first.wait_for(Option::is_some).await.map(|signal| *signal) {
            Ok(Some(signal)) => signal,
            // The thread has ended, so no signal will come.
            Ok(None) | Err(_) => pending().await,
        }
    }

    /// Runs `work`; if a signal comes first, drops `work` and returns the signal.
    pub async fn interruptible<T>(&self, work: impl Future<Output = T>) -> Result<T, Signal> {
        tokio::select! {
            biased;
            signal = self.received() => Err(signal),
            result = work => Ok(result),
        }
    }

    /// Signals that a test sends.
    #[cfg(test)]
    pub fn fake() -> (watch::Sender<Option<Signal>>, Self) {
        let (sender, first) = watch::channel(None);
        (sender, Self { first })
    }
}

async fn receive(mut terminate: unix::Signal, mut interrupt: unix::Signal, sender: &watch::Sender<Option<Signal>>) {
    loop {
        let signal = tokio::select! {
            _ = terminate.recv() => Signal::Terminate,
            _ = interrupt.recv() => Signal::Interrupt,
        };
        let is_first = sender.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert(signal);
            is_first
        });
        if !is_first && signal == Signal::Interrupt {
            process::exit(signal.exit_code().into());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn an_early_signal_is_stored() {
        let (sender, signals) = Signals::fake();
        assert_eq!(signals.interruptible(async { 1 }).await, Ok(1));
        sender.send_replace(Some(Signal::Terminate));
        let other = signals.clone();
        for _ in 0..2 {
            assert_eq!((signals.received().await, other.received().await), (Signal::Terminate, Signal::Terminate));
        }
        assert_eq!(
            signals.interruptible(async { 1 }).await,
            Err(Signal::Terminate),
            "work does not start after a signal"
        );
        drop(sender);
        assert_eq!(signals.received().await, Signal::Terminate);
    }

    #[tokio::test]
    async fn without_a_sender_no_signal_is_reported() {
        let (sender, signals) = Signals::fake();
        drop(sender);
        let waited = tokio::time::timeout(Duration::from_millis(10), signals.received()).await;
        assert!(waited.is_err(), "{waited:?}");
    }
}
