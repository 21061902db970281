//! The query of `/status`: which images, and which page of them.

use url::form_urlencoded;

/// Images on a page unless the query says otherwise.
const DEFAULT_LIMIT: usize = 100;
/// The most images on a page.
const MAX_LIMIT: usize = 1000;
/// The parameters, for errors.
const PARAMETERS: &str = "state, namespace, workload, registry, target, destination, text, offset and limit";

/// The value of `state` for images whose signatures or other referrers are not all at the target.
pub const LACKS_REFERRERS: &str = "lacks_referrers";

/// The values of `state`: what is at the target, or what happens to the image now.
pub const STATES: [&str; 13] = [
    "missing",
    "stale",
    "conflict",
    "undecided",
    "unknown",
    "unverified",
    "dry_run",
    "mirrored",
    "skipped",
    LACKS_REFERRERS,
    "waiting",
    "copying",
    "cooldown",
];

/// Which images are requested. An image matches if it matches every parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// States or activities, of which one matches; empty for all.
    pub states: Vec<String>,
    /// A namespace of one of its workloads.
    pub namespace: Option<String>,
    /// `NAME`, `NAMESPACE/NAME` or `KIND NAMESPACE/NAME` of one of its workloads.
    pub workload: Option<String>,
    /// The source's registry.
    pub registry: Option<String>,
    /// The target's name.
    pub target: Option<String>,
    /// The whole destination.
    pub destination: Option<String>,
    /// A part of the image, the source, the destination, the reason or a workload, in any case.
    pub text: Option<String>,
    /// How many matching images to leave out.
    pub offset: usize,
    /// The largest number of images on the page.
    pub limit: usize,
}

/// A query that can't be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// A parameter does not exist.
    #[error("unknown parameter {0:?}: the parameters are {PARAMETERS}")]
    UnknownParameter(String),
    /// A state does not exist.
    #[error("unknown state {0:?}: the states are {states}", states = STATES.join(", "))]
    UnknownState(String),
    /// A value is not a number in range.
    #[error("invalid {name} {value:?}: a number from {min} to {max}")]
    Number {
        /// The parameter.
        name: &'static str,
        /// Its value.
        value: String,
        /// The least value.
        min: usize,
        /// The largest value.
        max: usize,
    },
}

impl Default for Query {
    fn default() -> Self {
        Self {
            states: Vec::new(),
            namespace: None,
            workload: None,
            registry: None,
            target: None,
            destination: None,
            text: None,
            offset: 0,
            limit: DEFAULT_LIMIT,
        }
    }
}

impl Query {
    /// Parses the query of a URL. Parameters without a value count as missing, as forms send them.
    ///
    /// # Errors
    /// For an unknown parameter or an invalid value.
    pub fn parse(query: &str) -> Result<Self, QueryError> {
        let mut parsed = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.trim();
            let text = || (!value.is_empty()).then(|| value.to_owned());
            match &*name {
                "state" => parsed.add_states(value)?,
                "namespace" => parsed.namespace = text(),
                "workload" => parsed.workload = text(),
                "registry" => parsed.registry = text(),
                "target" => parsed.target = text(),
                "destination" => parsed.destination = text(),
                "text" => parsed.text = text(),
                "offset" if value.is_empty() => {}
                "offset" => parsed.offset = number("offset", value, 0, usize::MAX)?,
                "limit" if value.is_empty() => {}
                "limit" => parsed.limit = number("limit", value, 1, MAX_LIMIT)?,
                _ => return Err(QueryError::UnknownParameter(name.into_owned())),
            }
        }
        Ok(parsed)
    }

    fn add_states(&mut self, list: &str) -> Result<(), QueryError> {
        for state in list.split(',').map(str::trim).filter(|state| !state.is_empty()) {
            if !STATES.contains(&state) {
                return Err(QueryError::UnknownState(state.to_owned()));
            }
            self.states.push(state.to_owned());
        }
        Ok(())
    }

    /// As the query of a URL.
    pub fn encode(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for state in &self.states {
            query.append_pair("state", state);
        }
        for (name, value) in [
            ("namespace", &self.namespace),
            ("workload", &self.workload),
            ("registry", &self.registry),
            ("target", &self.target),
            ("destination", &self.destination),
            ("text", &self.text),
        ] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        if self.offset != 0 {
            query.append_pair("offset", &self.offset.to_string());
        }
        if self.limit != DEFAULT_LIMIT {
            query.append_pair("limit", &self.limit.to_string());
        }
        query.finish()
    }
}

fn number(name: &'static str, value: &str, min: usize, max: usize) -> Result<usize, QueryError> {
    let number = value.parse().ok().filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| QueryError::Number { name, value: value.to_owned(), min, max })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_it_encodes() {
        let query = Query {
            states: vec!["missing".into(), "cooldown".into()],
            namespace: Some("shop".into()),
            workload: Some("deployment shop/web".into()),
            registry: Some("localhost:5000".into()),
            target: Some("eu & us".into()),
            destination: Some("r.io/a:1".into()),
            text: Some("<script>".into()),
            offset: 200,
            limit: 50,
        };
        assert_eq!(Query::parse(&query.encode()), Ok(query));
        assert_eq!(Query::parse(""), Ok(Query::default()));
        assert_eq!(Query::default().encode(), "");
    }

    #[test]
    fn lists_and_empty_values_are_accepted() {
        let query = Query::parse("state=missing,%20stale&state=unverified&text=&offset=&limit=1000").unwrap();
        assert_eq!(query.states, ["missing", "stale", "unverified"]);
        assert_eq!((query.text, query.offset, query.limit), (None, 0, 1000));
    }

    #[test]
    fn errors_name_the_parameter_and_what_is_valid() {
        for (query, message) in [
            ("stat=missing", "unknown parameter \"stat\": the parameters are state, "),
            ("state=down", "unknown state \"down\": the states are missing, stale, "),
            ("limit=0", "invalid limit \"0\": a number from 1 to 1000"),
            ("limit=1001", "invalid limit \"1001\""),
            ("offset=-1", "invalid offset \"-1\""),
        ] {
            let error = Query::parse(query).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
