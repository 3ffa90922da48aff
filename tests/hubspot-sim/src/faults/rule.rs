//! A rule: a fault, and the requests that get it.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value;

use super::fault::Fault;
use crate::route::Kind;

/// The number of `times` that is never used up; `"always"` in JSON.
const ALWAYS: u32 = u32::MAX;

/// A fault, and the requests that get it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Only requests of that kind.
    #[serde(default)]
    pub kind: Option<Kind>,
    /// Only requests for that object type.
    #[serde(default)]
    pub object_type: Option<String>,
    /// Only requests of that portal.
    #[serde(default)]
    pub portal_id: Option<u64>,
    /// Only requests with that token.
    #[serde(default)]
    pub token: Option<String>,
    /// Matching requests to answer normally first.
    #[serde(default)]
    pub skip: u32,
    /// Matching requests that then get the fault; 1 by default. In JSON also
    /// `"always"`.
    #[serde(
        default = "once",
        serialize_with = "write_times",
        deserialize_with = "read_times"
    )]
    pub times: u32,
    /// The fault.
    pub fault: Fault,
    /// How often the endpoint asked for its effect; the number of a random draw.
    #[serde(skip)]
    pub(super) draws: u64,
}

/// What a rule compares of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) kind: Kind,
    /// The name of the object type, or empty.
    pub(crate) object_type: &'a str,
    pub(crate) portal_id: u64,
    pub(crate) token: &'a str,
}

impl Rule {
    /// The next request of that kind gets the fault.
    pub fn next(kind: Kind, fault: Fault) -> Self {
        Self {
            kind: Some(kind),
            ..Self::any(fault)
        }
    }

    /// The next request of any kind gets the fault.
    pub fn any(fault: Fault) -> Self {
        Self {
            kind: None,
            object_type: None,
            portal_id: None,
            token: None,
            skip: 0,
            times: 1,
            fault,
            draws: 0,
        }
    }

    /// Only requests for that object type.
    #[must_use]
    pub fn of(mut self, object_type: &str) -> Self {
        self.object_type = Some(object_type.to_owned());
        self
    }

    /// Only requests with that token.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// That many requests get the fault.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// All requests get the fault until the faults are cleared.
    #[must_use]
    pub fn always(self) -> Self {
        self.times(ALWAYS)
    }

    /// That many requests are answered normally first.
    #[must_use]
    pub fn after(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    /// Whether the rule is for such a request.
    pub(super) fn matches(&self, asked: Asked<'_>) -> bool {
        self.kind.is_none_or(|it| it == asked.kind)
            && self
                .object_type
                .as_deref()
                .is_none_or(|it| it == asked.object_type)
            && self.portal_id.is_none_or(|it| it == asked.portal_id)
            && self.token.as_deref().is_none_or(|it| it == asked.token)
            && self.fault.suits(asked.kind)
    }

    /// Counts a matching request; `false` if it is one of those to skip.
    pub(super) fn count(&mut self) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if self.times != ALWAYS {
            self.times = self.times.saturating_sub(1);
        }
        true
    }
}

fn once() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn write_times<S: Serializer>(times: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    if *times == ALWAYS {
        serializer.serialize_str("always")
    } else {
        serializer.serialize_u32(*times)
    }
}

fn read_times<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let value = Value::deserialize(deserializer)?;
    if value == "always" {
        return Ok(ALWAYS);
    }
    value
        .as_u64()
        .and_then(|times| u32::try_from(times).ok())
        .ok_or_else(|| D::Error::custom("`times` is a number or \"always\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn always_is_a_word_in_json() {
        let text = r#"{"times":"always","fault":{"fault":"reset"}}"#;
        let rule: Rule = serde_json::from_str(text).unwrap();
        assert_eq!(rule.times, ALWAYS);
        let shown = serde_json::to_value(&rule).unwrap();
        assert_eq!(shown["times"], "always");
        let wrong = r#"{"times":"never","fault":{"fault":"reset"}}"#;
        assert!(serde_json::from_str::<Rule>(wrong).is_err());
    }
}
