//! The referrers of a manifest: by the referrers API, or by the index that takes its place (distribution specification 1.1).

use std::collections::HashSet;

use http::{HeaderMap, Method, StatusCode, header::LINK};
use url::Url;

use super::Repository;
use crate::{
    model::Digest,
    registry::{
        client::request::{Permit, Request, Target},
        error::Error,
        fault::Fault,
        http::{request::Payload, response::Response},
        manifest::{MAX_MANIFEST, TagOrDigest, referrers::ReferrerEntry},
    },
};

/// The most referrers of one manifest that are read. Real images have a handful.
pub const MAX_REFERRERS: usize = 1000;

/// Registries cut pages at 4 MiB, or at a number of entries; an endless list is cut off.
const MAX_PAGES: usize = 50;

/// The referrers that a registry lists.
#[derive(Clone, Debug, Default)]
pub struct ReferrerList {
    /// At most [`MAX_REFERRERS`].
    pub entries: Vec<ReferrerEntry>,
    /// Whether the registry lists more.
    pub is_cut: bool,
}

/// A page of the referrers API.
struct Page {
    entries: Vec<ReferrerEntry>,
    is_cut: bool,
    /// Path and query.
    next: Option<(String, Option<String>)>,
}

impl Repository {
    /// The referrers of a manifest by the referrers API; none if the registry does not have this API. One request for each
    /// page.
    ///
    /// # Errors
    /// When the registry can't be reached, denies the request, or responds with something else than a list.
    pub async fn referrers(&self, subject: &Digest) -> Result<Option<ReferrerList>, Error> {
        let listed = self.list_referrers(subject).await;
        listed.map_err(|fault| self.manifest_error("listing the referrers of", TagOrDigest::Digest(subject), fault))
    }

    /// The referrers of a manifest by the index that takes the place of the referrers API; up to two requests.
    ///
    /// # Errors
    /// When the registry can't be reached, denies the request, or the tag of the index has something else.
    pub async fn fallback_referrers(&self, subject: &Digest) -> Result<ReferrerList, Error> {
        let tag = subject.referrers_tag();
        let Some(digest) = self.head(TagOrDigest::Tag(&tag)).await? else { return Ok(ReferrerList::default()) };
        let index = self.manifest(TagOrDigest::Digest(&digest)).await?;
        let listed = ReferrerEntry::list(index.bytes(), MAX_REFERRERS);
        let listed =
            listed.map_err(|fault| self.manifest_error("listing the referrers in", TagOrDigest::Tag(&tag), fault));
        listed.map(|(entries, is_cut)| ReferrerList { entries, is_cut })
    }

    async fn list_referrers(&self, subject: &Digest) -> Result<Option<ReferrerList>, Fault> {
        let mut list = ReferrerList::default();
        let mut next = (format!("/v2/{}/referrers/{subject}", self.name), None);
        let mut seen = HashSet::new();
        loop {
            let max = MAX_REFERRERS - list.entries.len();
            let Some(page) = self.client.retry(&self.host, || self.referrers_page(&next, max, &seen)).await? else {
                return Ok(None);
            };
            list.entries.extend(page.entries);
            list.is_cut |= page.is_cut;
            seen.insert(next);
            match page.next {
                None => return Ok(Some(list)),
                // A list that leads back to a page that was read, or that never ends.
                Some(page) if list.is_cut || seen.len() >= MAX_PAGES || seen.contains(&page) => {
                    return Ok(Some(ReferrerList { is_cut: true, ..list }));
                }
                Some(page) => next = page,
            }
        }
    }

    /// None if the registry does not have the API.
    async fn referrers_page(
        &self,
        (path, query): &(String, Option<String>),
        max: usize,
        seen: &HashSet<(String, Option<String>)>,
    ) -> Result<Option<Page>, Fault> {
        let scope = self.pull_scope();
        let request = Request {
            method: Method::GET,
            target: Target::Path(path, query.as_deref()),
            headers: HeaderMap::new(),
            scopes: &[scope],
            permit: Permit::Acquire,
            payload: Payload::Empty,
        };
        let mut response = self.client.send(&self.host, request).await?;
        match response.status() {
            StatusCode::OK => {}
            // By the specification 404; registries answer an unknown path with others.
            StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_IMPLEMENTED
            | StatusCode::BAD_REQUEST
                if seen.is_empty() =>
            {
                return Ok(None);
            }
            _ => return Err(self.fault(response).await),
        }
        let next = next_page(&response)?;
        let body = response.read_all(MAX_MANIFEST).await?;
        let (entries, is_cut) = ReferrerEntry::list(&body, max)?;
        Ok(Some(Page { entries, is_cut, next }))
    }
}

/// Path and query of the next page. It must be at the same registry: credentials go there.
fn next_page(response: &Response) -> Result<Option<(String, Option<String>)>, Fault> {
    let Some(link) = response.header(LINK.as_str()).and_then(next_link) else { return Ok(None) };
    let from = response.url();
    let to = from.join(link).map_err(|error| {
        Fault::InvalidResponse(format!("the next page of the list of referrers has an invalid URL: {error}"))
    })?;
    if to.host() != from.host() {
        let host = to.host_str().unwrap_or_default();
        return Err(Fault::Permanent(format!("the list of referrers continues at another host, {host}: not followed")));
    }
    Ok(Some(path_and_query(&to)))
}

fn path_and_query(url: &Url) -> (String, Option<String>) {
    (url.path().to_owned(), url.query().map(str::to_owned))
}

/// The URL with `rel="next"` of a `Link` header (RFC 8288).
fn next_link(header: &str) -> Option<&str> {
    header.split('<').skip(1).find_map(|link| {
        let (url, parameters) = link.split_once('>')?;
        let is_next = parameters.split(';').any(|parameter| {
            let parameter = parameter.trim().trim_end_matches(',').trim_end();
            parameter.split_once('=').is_some_and(|(key, value)| {
                key.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
            })
        });
        is_next.then_some(url)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::testing::{RecordedRequest, Reply, Server};

    fn digest(number: usize) -> Digest {
        Digest::sha256(number.to_string().as_bytes())
    }

    fn page(numbers: std::ops::Range<usize>) -> Reply {
        let entries = numbers.map(|number| json!({"mediaType": "m", "digest": digest(number).to_string(), "size": 1}));
        Reply::new(200).body(json!({"schemaVersion": 2, "manifests": entries.collect::<Vec<_>>()}).to_string())
    }

    fn number_in(request: &RecordedRequest) -> usize {
        request.target.split_once("n=").map_or(0, |(_, number)| number.parse().unwrap())
    }

    #[tokio::test]
    async fn follows_the_pages_of_the_list() {
        let server = Server::start(|request| match number_in(request) {
            0 => page(0..2).header("Link", "</v2/other>; rel=\"prev\", </v2/team/app/referrers/x?n=1>; rel=\"next\""),
            1 => page(2..4).header("Link", "<x?n=2>; rel=next"),
            _ => page(4..5),
        })
        .await;
        let list = server.repository().referrers(&digest(9)).await.unwrap().unwrap();
        let found: Vec<Digest> = list.entries.iter().map(|entry| entry.digest.clone()).collect();
        assert_eq!((found, list.is_cut), ((0..5).map(digest).collect(), false));
        let first = format!("GET /v2/team/app/referrers/{}", digest(9));
        let next = ["GET /v2/team/app/referrers/x?n=1", "GET /v2/team/app/referrers/x?n=2"].map(str::to_owned);
        assert_eq!(server.request_lines(), [vec![first], next.to_vec()].concat());
    }

    #[tokio::test]
    async fn a_registry_without_the_api_has_no_list() {
        for status in [400, 404, 405, 501] {
            let server = Server::start(move |_| Reply::new(status)).await;
            assert!(server.repository().referrers(&digest(9)).await.unwrap().is_none(), "{status}");
            assert_eq!(server.requests().len(), 1, "{status}");
        }
        for reply in [Reply::new(403), Reply::new(200).body("<html>Sign in</html>"), Reply::new(200).body("{}")] {
            let server = Server::start(move |_| reply.clone()).await;
            let error = server.repository().referrers(&digest(9)).await.unwrap_err();
            assert!(error.to_string().contains("listing the referrers of"), "{error}");
        }
    }

    #[tokio::test]
    async fn an_endless_list_is_cut_off() {
        let server = Server::start(|request| {
            let next = number_in(request) + 1;
            page(next..next + 1).header("Link", format!("<x?n={next}>; rel=\"next\""))
        })
        .await;
        let list = server.repository().referrers(&digest(9)).await.unwrap().unwrap();
        assert_eq!((list.entries.len(), list.is_cut, server.requests().len()), (MAX_PAGES, true, MAX_PAGES));

        let server = Server::start(|_| page(0..2).header("Link", "<x?n=1>; rel=\"next\"")).await;
        let list = server.repository().referrers(&digest(9)).await.unwrap().unwrap();
        assert_eq!((list.entries.len(), list.is_cut, server.requests().len()), (4, true, 2), "it leads in a circle");

        let of_100_000 = |request: &RecordedRequest| match number_in(request) {
            next if next < 100_000 => {
                let link = format!("<x?n={}>; rel=\"next\"", next + 600);
                page(next..next + 600).header("Link", link)
            }
            _ => page(0..0),
        };
        let server = Server::start(of_100_000).await;
        let list = server.repository().referrers(&digest(9)).await.unwrap().unwrap();
        assert_eq!((list.entries.len(), list.is_cut, server.requests().len()), (MAX_REFERRERS, true, 2));

        let server = Server::start(|_| page(0..MAX_REFERRERS + 500)).await;
        let list = server.repository().referrers(&digest(9)).await.unwrap().unwrap();
        assert_eq!((list.entries.len(), list.is_cut, server.requests().len()), (MAX_REFERRERS, true, 1));
    }

    #[tokio::test]
    async fn a_list_does_not_lead_to_another_host() {
        let server = Server::start(|_| page(0..1).header("Link", "<http://192.0.2.1/x>; rel=\"next\"")).await;
        let error = server.repository().referrers(&digest(9)).await.unwrap_err();
        assert!(error.to_string().contains("another host, 192.0.2.1"), "{error}");
    }
}
