//! What is listed: an image at a destination, or an image that is undecided or skipped. Rows are sorted and searched, and only
//! those of a page become entries of the document.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    document, entry,
    query::{LACKS_REFERRERS, Query, STATES},
};
use crate::model::{ImageStatus, Known, UnmirroredUse, Workload, WorkloadId};

/// An image at a destination, or an image that is undecided or skipped.
pub(super) struct Row {
    /// What is at the target, or `undecided`, or `skipped`.
    pub state: &'static str,
    /// What happens to it now.
    pub activity: &'static str,
    /// For sorting, and for searches: the destination, or the image as written.
    pub name: String,
    pub content: RowContent,
}

pub(super) enum RowContent {
    Image(Box<ImageStatus>),
    /// The same image, skipped or undecided for the same reason.
    Uses(Vec<Arc<UnmirroredUse>>),
}

impl Row {
    pub fn of_image(image: ImageStatus) -> Self {
        let (state, activity) = (image.record.state.name(), image.activity.name());
        let name = image.destination.to_string();
        Self { state, activity, name, content: RowContent::Image(Box::new(image)) }
    }

    /// `text` is that of the query, in lower case.
    pub fn matches(&self, query: &Query, text: Option<&str>) -> bool {
        let states = &query.states;
        let is_one = |state: &String| {
            state == self.state || state == self.activity || state == LACKS_REFERRERS && self.lacks_referrers()
        };
        if !states.is_empty() && !states.iter().any(is_one) {
            return false;
        }
        if query.destination.as_ref().is_some_and(|destination| *destination != self.name) {
            return false;
        }
        let image = match &self.content {
            RowContent::Image(image) => Some(image),
            RowContent::Uses(_) => None,
        };
        if let Some(registry) = &query.registry
            && image.is_none_or(|image| image.source.registry() != registry)
        {
            return false;
        }
        if let Some(target) = &query.target
            && image.is_none_or(|image| image.destination.target.name != *target)
        {
            return false;
        }
        if query.namespace.is_some() || query.workload.is_some() {
            let matches = |workload: &Workload| {
                let WorkloadId { namespace, name, .. } = &workload.id;
                query.namespace.as_ref().is_none_or(|wanted| wanted == namespace)
                    && query.workload.as_ref().is_none_or(|wanted| {
                        wanted == name
                            || *wanted == workload.id.to_string()
                            || wanted.split_once('/') == Some((namespace, name))
                    })
            };
            if !self.workloads().any(matches) {
                return false;
            }
        }
        text.is_none_or(|text| self.contains(text))
    }

    /// Whether a signature or another referrer could not be copied at the last look.
    pub fn lacks_referrers(&self) -> bool {
        match &self.content {
            RowContent::Image(image) => Known::from(&image.record).lacks_referrers,
            RowContent::Uses(_) => false,
        }
    }

    /// `text` in lower case.
    fn contains(&self, text: &str) -> bool {
        let contains = |field: &str| field.to_lowercase().contains(text);
        if contains(&self.name) {
            return true;
        }
        let found = match &self.content {
            RowContent::Image(image) => {
                let attempt = image.record.last_attempt.as_ref();
                let reason = attempt.and_then(|attempt| attempt.failure.as_ref()).map(|failure| &*failure.message);
                contains(&image.image) || contains(&image.source.to_string()) || reason.is_some_and(contains)
            }
            RowContent::Uses(uses) => uses.first().is_some_and(|image_use| contains(&image_use.reason)),
        };
        found || self.workloads().any(|workload| contains(&workload.id.to_string()))
    }

    pub fn workloads(&self) -> Box<dyn Iterator<Item = &Workload> + '_> {
        match &self.content {
            RowContent::Image(image) => Box::new(image.workloads.iter().map(|workload| &**workload)),
            RowContent::Uses(uses) => Box::new(uses.iter().map(|image_use| &*image_use.workload)),
        }
    }

    /// The entry of the document.
    pub fn document(&self) -> document::Image {
        match &self.content {
            RowContent::Image(image) => entry::of_image(image),
            RowContent::Uses(uses) => entry::of_uses(&self.name, self.state, uses),
        }
    }

    /// The worst first.
    pub fn rank(&self) -> usize {
        STATES.iter().position(|known| *known == self.state).unwrap_or(usize::MAX)
    }
}

/// One row for each image and reason.
pub(super) fn rows_of_uses(unmirrored: Vec<Arc<UnmirroredUse>>) -> Vec<Row> {
    let mut groups: BTreeMap<(String, bool, String), Vec<Arc<UnmirroredUse>>> = BTreeMap::new();
    for image_use in unmirrored {
        let key = (image_use.image.clone(), image_use.is_skipped, image_use.reason.clone());
        groups.entry(key).or_default().push(image_use);
    }
    let rows = groups.into_iter().map(|((name, ..), mut uses)| {
        uses.sort_by(|one, other| one.workload.id.cmp(&other.workload.id));
        uses.dedup_by(|one, other| one.workload.id == other.workload.id);
        let state = uses.first().map_or("skipped", |image_use| state_of_use(image_use));
        Row { state, activity: "idle", name, content: RowContent::Uses(uses) }
    });
    rows.collect()
}

pub(super) fn state_of_use(image_use: &UnmirroredUse) -> &'static str {
    if image_use.is_skipped { "skipped" } else { "undecided" }
}
