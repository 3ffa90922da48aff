//! The scopes that the tokens of a portal have.

use std::collections::BTreeSet;

use super::Portal;
use crate::{
    endpoints::scopes_of,
    sensitivity::{self, Sensitivity, Withheld},
};

impl Portal {
    /// Grants or removes the scope for an object type.
    pub fn set_scope(&self, object_type: &str, granted: bool) {
        let mut rules = self.rules();
        if granted {
            rules.missing_scopes.remove(object_type);
        } else {
            rules.missing_scopes.insert(object_type.to_owned());
        }
    }

    /// Grants or removes the scope for the values of one sensitivity.
    pub fn set_sensitive_scope(&self, object_type: &str, sensitivity: Sensitivity, granted: bool) {
        let scope = (object_type.to_owned(), sensitivity);
        let scopes = &mut self.rules().sensitive_scopes;
        if granted {
            scopes.insert(scope);
        } else {
            scopes.remove(&scope);
        }
    }

    /// The sensitive values of a type that its tokens do not see.
    pub(crate) fn withheld(&self, object_type: &str) -> Withheld {
        let rules = self.rules();
        let kinds = [Sensitivity::Sensitive, Sensitivity::HighlySensitive];
        let lacks = |kind: &Sensitivity| {
            let scope = (object_type.to_owned(), *kind);
            !rules.sensitive_scopes.contains(&scope)
        };
        Withheld {
            kinds: kinds.into_iter().filter(lacks).collect(),
            form: rules.quirks.withheld,
        }
    }

    /// All scopes of its tokens, sorted by name.
    pub(crate) fn scopes(&self) -> BTreeSet<String> {
        let data = self.data();
        let tables = data.state.tables.iter();
        let granted = tables.filter(|it| self.has_scope(&it.name));
        let mut scopes: BTreeSet<String> = granted.flat_map(scopes_of).collect();
        let sensitive = &self.rules().sensitive_scopes;
        scopes.extend(
            sensitive
                .iter()
                .map(|(name, kind)| sensitivity::scope(name, *kind)),
        );
        scopes
    }

    pub(crate) fn has_scope(&self, object_type: &str) -> bool {
        !self.rules().missing_scopes.contains(object_type)
    }
}
