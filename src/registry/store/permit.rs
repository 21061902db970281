//! The permit to transfer a blob from a source to a target.

use std::{pin::pin, time::Duration};

use crate::registry::{
    Repository, StoreRepository,
    limits::connections::{RequestLimit, RequestPermit},
};

/// How long a permit of one registry is held while waiting for one of the other. Without a bound, transfers from a
/// registry that makes no progress would hold all permits of the target that every image goes to.
const MAX_HOLD: Duration = Duration::from_secs(2);

/// The right to transfer one blob: one request to the source and one to the target, until dropped. Both permits are
/// acquired before either request is sent, those of two registries always in the same order, so that transfers can't
/// deadlock. Within one registry they count as two of its requests, even if its maximum is one.
pub struct TransferPermit {
    _permits: Vec<RequestPermit>,
}

impl TransferPermit {
    /// Waits for the permits of both sides; a layout needs none.
    pub async fn acquire(source: &Repository, target: &StoreRepository) -> Self {
        let source: &RequestLimit = &source.host.requests;
        let target = match target {
            StoreRepository::Remote(repository) => Some(repository.request_limit()),
            StoreRepository::Layout(_) => None,
        };
        let permits = match target {
            None => vec![source.acquire().await],
            Some(target) if source.host() == target.host() => vec![source.acquire_many(2).await],
            Some(target) => {
                let (first, second) = if source.host() < target.host() { (source, target) } else { (target, source) };
                acquire_both(first, second).await
            }
        };
        Self { _permits: permits }
    }

    /// The permit to transfer a blob from a layout, which needs none itself.
    pub async fn to(target: &StoreRepository) -> Self {
        let permits = match target {
            StoreRepository::Remote(repository) => vec![repository.request_limit().acquire().await],
            StoreRepository::Layout(_) => Vec::new(),
        };
        Self { _permits: permits }
    }
}

async fn acquire_both(first: &RequestLimit, second: &RequestLimit) -> Vec<RequestPermit> {
    loop {
        let held = first.acquire().await;
        let mut other = pin!(second.acquire());
        match tokio::time::timeout(MAX_HOLD, &mut other).await {
            Ok(other) => return vec![held, other],
            Err(_) => drop(held),
        }
        // Keeps the place in the queue of the second registry, and no permit of the first.
        let held = other.await;
        if let Ok(first) = tokio::time::timeout(MAX_HOLD, first.acquire()).await {
            return vec![first, held];
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;
    use crate::{
        model::{Digest, RegistryAccess},
        registry::{
            Layout, Registries, Store, TagOrDigest,
            testing::{Reply, Server, password, settings, with_login},
        },
    };

    #[tokio::test]
    async fn keeps_the_maximum_of_concurrent_requests() {
        let server = Server::start(|_| Reply::new(404).after(Duration::from_millis(20))).await;
        let address = server.address.to_string();
        let access = RegistryAccess { registry: address.clone(), connections: Some(3), ..RegistryAccess::default() };
        for (registries, most) in [(&[][..], 2), (&[access][..], 3)] {
            server.reset_max_concurrent();
            let registries = Registries::new(settings(), registries, 2).unwrap();
            // As source and as target.
            let sides = [registries.with_settings(settings()), registries];
            let digest = Digest::sha256(b"a");
            let requests = (0..12).map(|n| {
                let repository = sides[n % 2].repository(&address, &format!("a{n}"));
                let digest = digest.clone();
                async move { (repository.head(TagOrDigest::Tag("1")).await, repository.has_blob(&digest).await) }
            });
            for (head, blob) in join_all(requests).await {
                assert_eq!((head.unwrap(), blob.unwrap()), (None, false));
            }
            assert_eq!(server.max_concurrent(), most);
        }
    }

    #[tokio::test]
    async fn a_request_that_leads_to_another_needs_no_second_permit() {
        // A missing digest leads to a GET, and a 401 to a request with credentials.
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        let server = Server::start(move |request| match request.header("authorization") {
            None => Reply::new(401).header("WWW-Authenticate", "Basic"),
            Some(_) => Reply::new(200).body(index),
        })
        .await;
        let registries = Registries::new(with_login(password()), &[], 1).unwrap();
        let repository = registries.repository(&server.address.to_string(), "a");
        let heads = join_all((0..4).map(|_| repository.head(TagOrDigest::Tag("1")))).await;
        assert!(heads.into_iter().all(|head| head.unwrap() == Some(Digest::sha256(index.as_bytes()))));
        assert_eq!(server.max_concurrent(), 1);
    }

    #[tokio::test]
    async fn transfers_in_opposite_directions_do_not_deadlock() {
        let registries = Registries::new(settings(), &[], 1).unwrap();
        let store = |host: &str| Store::registry(registries.clone(), host, "").repository("team/app");
        let repository = |host: &str| registries.repository(host, "team/app");
        let disk = Store::Layout(Layout::new("/nowhere".into())).repository("team/app");
        let pairs = ["a.example", "b.example"].map(|host| (repository(host), store(host)));
        let all = (0..64).map(|n| {
            let (source, target) = (&pairs[n % 2].0, &pairs[n / 2 % 2].1);
            let disk = &disk;
            async move {
                let permit = TransferPermit::acquire(source, if n % 5 == 0 { disk } else { target }).await;
                tokio::task::yield_now().await;
                drop(permit);
            }
        });
        join_all(all).await;
    }

    #[tokio::test]
    async fn transfers_from_a_blocked_registry_do_not_block_others() {
        let registries = Registries::new(settings(), &[], 2).unwrap();
        let target = Store::registry(registries.clone(), "a.example", "").repository("team/app");
        let [blocked, other] = ["z.example", "y.example"].map(|host| registries.repository(host, "team/app"));
        let all = blocked.host.requests.acquire_many(2).await;
        let waiting = join_all((0..8).map(|_| TransferPermit::acquire(&blocked, &target)));
        tokio::pin!(waiting);
        assert!(
            futures::poll!(&mut waiting).is_pending(),
            "they hold all permits of the target and none of the source"
        );
        let permit = tokio::select! {
            _ = &mut waiting => panic!("the source has no permit left"),
            permit = tokio::time::timeout(Duration::from_secs(60), TransferPermit::acquire(&other, &target)) => permit,
        };
        drop(permit.expect("it waits for the blocked transfers"));
        drop(all);
    }
}
