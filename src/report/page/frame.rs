//! What all pages have in common.

use super::{
    assets::Addresses,
    moment::{Moment, Now},
};
use crate::report::status::document::Status;

/// Head and foot of a page.
pub struct Frame {
    pub title: String,
    pub assets: Addresses,
    pub version: &'static str,
    /// None on a page that tells no state.
    pub replica: Option<Replica>,
    /// The same as JSON.
    pub json: String,
}

/// What a replica is and does.
pub struct Replica {
    /// `mirroring`
    pub phase: String,
    pub leader: String,
    pub as_of: Moment,
    pub banners: Vec<Banner>,
}

/// A fact that changes what everything else on the page means.
pub struct Banner {
    pub title: &'static str,
    pub text: String,
    /// A command that helps.
    pub command: Option<String>,
}

impl Frame {
    pub fn new(title: String, status: Option<&Status>, json: String) -> Self {
        let replica = status.map(|status| Replica {
            phase: status.phase.clone(),
            leader: leader(status),
            as_of: Now::new(&status.time).moment(&status.time),
            banners: banners(status),
        });
        Self { title, assets: Addresses::get(), version: env!("CARGO_PKG_VERSION"), replica, json }
    }
}

fn leader(status: &Status) -> String {
    match (status.leader.is_leader, &status.leader.identity) {
        (true, Some(identity)) => format!("this replica leads ({identity})"),
        (true, None) => "this replica leads".to_owned(),
        // It can't ask who leads now.
        (false, Some(identity)) if status.phase == "paused" => format!("last known leader: {identity}"),
        (false, Some(identity)) => format!("{identity} leads"),
        (false, None) => "no leader is known yet".to_owned(),
    }
}

fn banners(status: &Status) -> Vec<Banner> {
    let mut banners = Vec::new();
    let mut add = |title, text: &str, command| banners.push(Banner { title, text: text.to_owned(), command });
    match (&*status.phase, &status.leader.identity) {
        ("standby", Some(identity)) => {
            // The identity is the Pod's name, an underscore and a random suffix.
            let pod = identity.rsplit_once('_').map_or(&**identity, |(pod, _)| pod);
            let text =
                format!("{identity} leads and mirrors. This replica knows nothing of images itself: ask the leader.");
            add("Standby", &text, Some(format!("kubectl port-forward -n NAMESPACE pod/{pod} 8080")));
        }
        ("standby", None) => {
            let text = "This replica does not mirror, and does not know yet which one leads. It knows nothing of images itself.";
            add("Standby", text, None);
        }
        ("listing", _) => {
            add("Starting", "The workloads are still being listed: the numbers below are not complete.", None)
        }
        ("deciding", _) => add("Starting", "All workloads are being decided; nothing is copied before that.", None),
        ("paused", _) => {
            add(
                "Paused",
                "The Lease could not be renewed, so no copy is started. Copies that were running continue.",
                None,
            );
        }
        _ => {}
    }
    if status.dry_pull {
        add("Dry pull", "No registry is contacted and nothing is mirrored: images are only decided and logged.", None);
    } else if status.dry_run {
        add("Dry run", "Sources and targets are read, but nothing is written to a target: nothing is mirrored.", None);
    }
    banners
}
