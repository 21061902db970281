//! How the process is asked to end.

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

/// What asks the process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Signal {
    /// As `kill -l` writes it, with SIG before it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        }
    }

    /// What a shell says of a process that a signal ended: 128 and its number.
    fn number(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }

    /// The exit code of who was interrupted.
    pub fn code(self) -> ExitCode {
        self.number().into()
    }
}

/// The first signal that asked for the end, whenever it came and whoever waits for it; a clone hears the same.
#[derive(Clone)]
pub struct Signals {
    first: watch::Receiver<Option<Signal>>,
}

impl Signals {
    /// From now on SIGTERM and SIGINT are kept until somebody asks, and do not end the process by themselves: but a
    /// SIGINT after another signal does, at once. They are heard by a thread of its own, since all others may be busy.
    ///
    /// # Errors
    ///
    /// When the system gives no thread, or lets no signals be waited for.
    pub fn listen() -> io::Result<Self> {
        let (tell, first) = watch::channel(None);
        let (listens, is_listening) = mpsc::sync_channel(1);
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let heard = runtime::Builder::new_current_thread().enable_all().build().map(|runtime| {
                runtime.block_on(async {
                    let signals = unix::signal(SignalKind::terminate())
                        .and_then(|terminate| Ok((terminate, unix::signal(SignalKind::interrupt())?)));
                    match signals {
                        Ok((terminate, interrupt)) => {
                            let _ = listens.send(Ok(()));
                            hear(terminate, interrupt, &tell).await;
                        }
                        Err(error) => drop(listens.send(Err(error))),
                    }
                });
            });
            if let Err(error) = heard {
                let _ = listens.send(Err(error));
            }
        })?;
        is_listening.recv().map_err(io::Error::other)??;
        Ok(Self { first })
    }

    /// Waits until the process is asked to end; at once where it has been.
    pub async fn ended(&self) -> Signal {
        let mut first = self.first.clone();
        match first.wait_for(Option::is_some).await.map(|signal| *signal) {
            Ok(Some(signal)) => signal,
            // Nobody listens any more, so none will come.
            Ok(None) | Err(_) => pending().await,
        }
    }

    /// Does `work`, unless the process is asked to end first: then `work` is dropped.
    pub async fn or<T>(&self, work: impl Future<Output = T>) -> Result<T, Signal> {
        tokio::select! {
            biased;
            signal = self.ended() => Err(signal),
            done = work => Ok(done),
        }
    }

    /// Signals that the test sends.
    #[cfg(test)]
    pub fn scripted() -> (watch::Sender<Option<Signal>>, Self) {
        let (tell, first) = watch::channel(None);
        (tell, Self { first })
    }
}

async fn hear(mut terminate: unix::Signal, mut interrupt: unix::Signal, tell: &watch::Sender<Option<Signal>>) {
    loop {
        let signal = tokio::select! {
            _ = terminate.recv() => Signal::Terminate,
            _ = interrupt.recv() => Signal::Interrupt,
        };
        let is_first = tell.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert(signal);
            is_first
        });
        if !is_first && signal == Signal::Interrupt {
            process::exit(signal.number().into());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_signal_that_nobody_waited_for_is_not_lost() {
        let (tell, signals) = Signals::scripted();
        assert_eq!(signals.or(async { 1 }).await, Ok(1));
        tell.send_replace(Some(Signal::Terminate));
        let other = signals.clone();
        for _ in 0..2 {
            assert_eq!((signals.ended().await, other.ended().await), (Signal::Terminate, Signal::Terminate));
        }
        assert_eq!(signals.or(async { 1 }).await, Err(Signal::Terminate), "nothing begins after it");
        drop(tell);
        assert_eq!(signals.ended().await, Signal::Terminate);
    }

    #[tokio::test]
    async fn where_none_can_come_none_is_waited_out() {
        let (tell, signals) = Signals::scripted();
        drop(tell);
        let waited = tokio::time::timeout(Duration::from_millis(10), signals.ended()).await;
        assert!(waited.is_err(), "{waited:?}");
    }
}
