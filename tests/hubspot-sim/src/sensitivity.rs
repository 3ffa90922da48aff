//! Sensitive properties: their kinds, and what a token without their scope sees.

use serde::{Deserialize, Serialize};

use crate::answer::Answer;

/// How sensitive the values of a property are: HubSpot's `dataSensitivity`.
#[derive(
    Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Sensitivity {
    /// Not sensitive: the only ones that the properties endpoint lists by default.
    #[default]
    NonSensitive,
    /// Its values need a scope.
    Sensitive,
    /// Its values need another scope.
    HighlySensitive,
}

impl Sensitivity {
    /// HubSpot's name of it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NonSensitive => "non_sensitive",
            Self::Sensitive => "sensitive",
            Self::HighlySensitive => "highly_sensitive",
        }
    }

    /// The one of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::NonSensitive, Self::Sensitive, Self::HighlySensitive]
            .into_iter()
            .find(|it| it.as_str() == name)
    }
}

/// What a token without a scope for sensitive values gets. HubSpot's documentation does
/// not say which.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WithheldForm {
    /// The properties are listed; a request that names one is 403.
    #[default]
    Refused,
    /// The properties are listed; answers leave their values out.
    LeftOut,
    /// The list of the properties is 403, a request that names one as well.
    ListRefused,
    /// The list of the properties is empty; answers leave their values out.
    ListEmpty,
}

/// The sensitive values of an object type that a token does not see.
#[derive(Debug)]
pub(crate) struct Withheld {
    pub(crate) kinds: Vec<Sensitivity>,
    pub(crate) form: WithheldForm,
}

impl Withheld {
    /// Whether the properties of a kind are listed; fails where that is refused.
    pub(crate) fn list(&self, object_type: &str, kind: Sensitivity) -> Result<bool, Answer> {
        if !self.kinds.contains(&kind) {
            return Ok(true);
        }
        match self.form {
            WithheldForm::Refused | WithheldForm::LeftOut => Ok(true),
            WithheldForm::ListRefused => Err(refused(object_type, kind)),
            WithheldForm::ListEmpty => Ok(false),
        }
    }

    /// Whether an answer shows the values of a kind; fails where that is refused.
    pub(crate) fn shows(&self, object_type: &str, kind: Sensitivity) -> Result<bool, Answer> {
        if !self.kinds.contains(&kind) {
            return Ok(true);
        }
        match self.form {
            WithheldForm::Refused | WithheldForm::ListRefused => Err(refused(object_type, kind)),
            WithheldForm::LeftOut | WithheldForm::ListEmpty => Ok(false),
        }
    }
}

fn refused(object_type: &str, kind: Sensitivity) -> Answer {
    Answer::missing_scope(&[scope(object_type, kind)])
}

/// The scope for values of a kind.
pub(crate) fn scope(object_type: &str, kind: Sensitivity) -> String {
    let object_type = match object_type {
        name if name.starts_with("p_") => "custom",
        name => name,
    };
    let kind = kind.as_str();
    format!("crm.objects.{object_type}.{kind}.read.v2")
}
