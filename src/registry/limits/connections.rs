//! How many requests a registry gets at once, whoever sends them.
//!
//! Whoever holds a place waits for no other, so that all of them become free again: a request gets its place when
//! nothing but the registry's answer is left to wait for. The way of a blob is two requests, one of which waits for the
//! other; it gets both places before either is sent ([`Room`]), of two registries always those of the same one first,
//! and does not keep the one for long while it waits for the other.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::registry::{Repository, StoreRepository, shared_cache::Shared};

/// So long a place at one registry is kept while one at the other is waited for. Else the places of a registry that all
/// images go to would be kept by those that wait for one which does not get on.
const LONGEST_HELD: Duration = Duration::from_secs(2);

/// Far more than any machine has connections.
const MOST: u32 = 1 << 20;

/// All registries' places.
pub(in crate::registry) struct Connections {
    usual: usize,
    hosts: Shared<String, Places>,
}

/// So many registries are remembered before those are forgotten that nobody has a place at.
const MOST_HOSTS: usize = 4096;

/// The places of one registry.
pub(in crate::registry) struct Places {
    host: String,
    most: u32,
    free: Arc<Semaphore>,
}

/// One place, or two; free again when this is dropped.
pub(in crate::registry) struct Place {
    _taken: Option<OwnedSemaphorePermit>,
}

impl Connections {
    /// So many requests at once for each registry of which nothing else is said; 0 counts as 1.
    pub(in crate::registry) fn new(usual: usize) -> Self {
        Self { usual, hosts: Shared::new(MOST_HOSTS) }
    }

    /// The places of `host`, always the same ones while somebody knows them; `own` where something is said of it.
    pub(in crate::registry) fn to(&self, host: &str, own: Option<usize>) -> Arc<Places> {
        self.hosts.get(host, || {
            let most = u32::try_from(own.unwrap_or(self.usual)).unwrap_or(u32::MAX).clamp(1, MOST);
            Places { host: host.to_owned(), most, free: Arc::new(Semaphore::new(most as usize)) }
        })
    }
}

impl Places {
    /// The next place that becomes free.
    pub(in crate::registry) async fn one(&self) -> Place {
        self.take(1).await
    }

    /// So many, or all where there are fewer.
    async fn take(&self, places: u32) -> Place {
        Place { _taken: Arc::clone(&self.free).acquire_many_owned(places.min(self.most)).await.ok() }
    }
}

/// Room for the way of one blob: its requests at the source and at the target count as one each, until this is dropped.
/// Within one registry they are two of its requests, even where there may be but one at once.
pub struct Room {
    _places: Vec<Place>,
}

impl Room {
    /// Waits until there is room at both.
    pub async fn between(source: &Repository, target: &StoreRepository) -> Self {
        let source: &Places = &source.host.places;
        let target = match target {
            StoreRepository::Remote(repository) => Some(repository.places()),
            StoreRepository::Layout(_) => None,
        };
        let places = match target {
            None => vec![source.one().await],
            Some(target) if source.host == target.host => vec![source.take(2).await],
            Some(target) => {
                let (first, second) = if source.host < target.host { (source, target) } else { (target, source) };
                both(first, second).await
            }
        };
        Self { _places: places }
    }
}

async fn both(first: &Places, second: &Places) -> Vec<Place> {
    loop {
        let held = first.one().await;
        let mut other = pin!(second.one());
        match tokio::time::timeout(LONGEST_HELD, &mut other).await {
            Ok(other) => return vec![held, other],
            Err(_) => drop(held),
        }
        // Its turn in that line is kept, and nothing else.
        let held = other.await;
        if let Ok(first) = tokio::time::timeout(LONGEST_HELD, first.one()).await {
            return vec![first, held];
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;
    use crate::model::{Digest, RegistryAccess};
    use crate::registry::{
        Layout, Registries, Selector, Store,
        testing::{Reply, Server, password, settings, with_login},
    };

    #[tokio::test]
    async fn a_registry_gets_no_more_requests_at_once_than_it_may() {
        let server = Server::start(|_| Reply::new(404).after(Duration::from_millis(20))).await;
        let address = server.address.to_string();
        let access = RegistryAccess { registry: address.clone(), connections: Some(3), ..RegistryAccess::default() };
        for (registries, most) in [(&[][..], 2), (&[access][..], 3)] {
            server.forget();
            let registries = Registries::new(settings(), registries, 2).unwrap();
            // Sources and targets together.
            let sides = [registries.beside(settings()), registries];
            let digest = Digest::sha256(b"a");
            let asked = (0..12).map(|n| {
                let repository = sides[n % 2].repository(&address, &format!("a{n}"));
                let digest = digest.clone();
                async move { (repository.head(Selector::Tag("1")).await, repository.has_blob(&digest).await) }
            });
            for (head, blob) in join_all(asked).await {
                assert_eq!((head.unwrap(), blob.unwrap()), (None, false));
            }
            assert_eq!(server.most_at_once(), most);
        }
    }

    #[tokio::test]
    async fn a_request_that_leads_to_another_needs_no_second_place() {
        // A digest that is missing is made up for by a GET, and a refusal by asking whether we are welcome at all.
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        let server = Server::start(move |asked| match asked.header("authorization") {
            None => Reply::new(401).header("WWW-Authenticate", "Basic"),
            Some(_) => Reply::new(200).body(index),
        })
        .await;
        let registries = Registries::new(with_login(password()), &[], 1).unwrap();
        let repository = registries.repository(&server.address.to_string(), "a");
        let heads = join_all((0..4).map(|_| repository.head(Selector::Tag("1")))).await;
        assert!(heads.into_iter().all(|head| head.unwrap() == Some(Digest::sha256(index.as_bytes()))));
        assert_eq!(server.most_at_once(), 1);
    }

    #[tokio::test]
    async fn room_between_registries_is_made_whichever_is_the_source() {
        let registries = Registries::new(settings(), &[], 1).unwrap();
        let store = |host: &str| Store::registry(registries.clone(), host).repository("team/app");
        let repository = |host: &str| registries.repository(host, "team/app");
        let disk = Store::Layout(Layout::new("/nowhere".into())).repository("team/app");
        let ways = ["a.example", "b.example"].map(|host| (repository(host), store(host)));
        let all = (0..64).map(|n| {
            let (source, target) = (&ways[n % 2].0, &ways[n / 2 % 2].1);
            let disk = &disk;
            async move {
                let room = Room::between(source, if n % 5 == 0 { disk } else { target }).await;
                tokio::task::yield_now().await;
                drop(room);
            }
        });
        join_all(all).await;
    }

    #[tokio::test]
    async fn who_waits_for_one_registry_keeps_nobody_from_another() {
        let registries = Registries::new(settings(), &[], 2).unwrap();
        let target = Store::registry(registries.clone(), "a.example").repository("team/app");
        let [stuck, sound] = ["z.example", "y.example"].map(|host| registries.repository(host, "team/app"));
        let all = stuck.host.places.take(2).await;
        let waiting = join_all((0..8).map(|_| Room::between(&stuck, &target)));
        tokio::pin!(waiting);
        assert!(
            futures::poll!(&mut waiting).is_pending(),
            "they have all places at the target, and none at the source"
        );
        let room = tokio::select! {
            _ = &mut waiting => panic!("there is no room at the source"),
            room = tokio::time::timeout(Duration::from_secs(60), Room::between(&sound, &target)) => room,
        };
        drop(room.expect("it waits for those who wait"));
        drop(all);
    }
}
