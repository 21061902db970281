//! Addresses of pages. All are relative to this server.

use url::form_urlencoded::Serializer;

use crate::report::status::{Query, document};

/// The images that match a query.
pub fn images(query: &Query) -> String {
    format!("/?{}#images", query.encode())
}

/// The images in one of these states.
pub fn states<'a>(states: impl IntoIterator<Item = &'a str>) -> String {
    images(&Query { states: states.into_iter().map(str::to_owned).collect(), ..Query::default() })
}

pub fn of_registry(registry: &str) -> String {
    images(&Query { registry: Some(registry.to_owned()), ..Query::default() })
}

pub fn of_target(target: &str) -> String {
    images(&Query { target: Some(target.to_owned()), ..Query::default() })
}

pub fn of_workload(workload: &document::Workload) -> String {
    let document::Workload { kind, namespace, name } = workload;
    let workload = format!("{} {namespace}/{name}", kind.to_ascii_lowercase());
    images(&Query { workload: Some(workload), ..Query::default() })
}

/// The page of an image, by its destination, or by its name if it has none.
pub fn image(image: &document::Image) -> String {
    let name = image.destination.as_ref().unwrap_or(&image.image);
    format!("/image?{}", Serializer::new(String::new()).append_pair("destination", name).finish())
}

/// The same images as JSON.
pub fn as_json(query: &Query) -> String {
    match query.encode() {
        query if query.is_empty() => "/status".to_owned(),
        query => format!("/status?{query}"),
    }
}
