//! The network between the program and a server, to be cut.

use std::net::Ipv4Addr;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::background::Serving;

/// Passes bytes on to a port of this machine while it is whole.
pub struct Link {
    whole: watch::Sender<bool>,
    serving: Serving,
}

impl Link {
    /// A whole one.
    pub fn to(port: u16) -> Self {
        let (whole, state) = watch::channel(true);
        Self { whole, serving: Serving::run(move |listener| pass_on(listener, port, state)) }
    }

    /// Where it begins.
    pub fn port(&self) -> u16 {
        self.serving.port()
    }

    /// From now on nothing comes through, and nobody is told: connections stay open, and silent.
    pub fn cut(&self) {
        self.whole.send_replace(false);
    }

    /// It is whole again; what was connected before has to connect anew.
    pub fn mend(&self) {
        self.whole.send_replace(true);
    }
}

async fn pass_on(listener: TcpListener, port: u16, whole: watch::Receiver<bool>) {
    loop {
        let Ok((mut near, _)) = listener.accept().await else { return };
        let mut whole = whole.clone();
        tokio::spawn(async move {
            if whole.wait_for(|whole| *whole).await.is_err() {
                return;
            }
            let Ok(mut far) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
            let is_cut = {
                let mut whole = whole.clone();
                async move { whole.wait_for(|whole| !*whole).await.is_ok() }
            };
            let cut = tokio::select! {
                _ = copy_bidirectional(&mut near, &mut far) => false,
                cut = is_cut => cut,
            };
            if cut {
                let _ = whole.wait_for(|whole| *whole).await;
            }
        });
    }
}
