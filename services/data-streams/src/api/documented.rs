//! What the OpenAPI document says of each route, where a layer can keep to it: query
//! parameters of a route that takes none are refused, and caches are told which answers
//! depend on `Accept`.

use std::{collections::HashMap, sync::Arc};

use axum::{
    extract::{MatchedPath, Query, Request, State},
    http::{HeaderValue, Method, Uri, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use utoipa::openapi::{
    OpenApi, RefOr,
    path::{Operation, ParameterIn},
};

use super::{
    body::{parameter, refuse_all},
    error::ApiError,
    records::unknown_parameter,
};
use crate::control::MAX_UNKNOWN;

/// Before the paths that it is about: the others serve browsers and probes.
const PREFIX: &str = "/v1/";

/// What is documented of a route with a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Traits {
    /// Whether it takes query parameters, and looks at them itself.
    takes_parameters: bool,
    /// Whether it answers in several forms, by `Accept`.
    has_forms: bool,
}

impl Traits {
    fn of(operation: &Operation) -> Self {
        let mut parameters = operation.parameters.iter().flatten();
        let takes_parameters = parameters.any(
            |it| matches!(it, RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Query),
        );
        let ok = operation.responses.responses.get("200");
        Self {
            takes_parameters,
            has_forms: matches!(ok, Some(RefOr::T(response)) if response.content.len() > 1),
        }
    }
}

/// What is documented of all routes, by path. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Documented {
    routes: Arc<HashMap<String, Vec<(Method, Traits)>>>,
}

impl Documented {
    pub(super) fn new(document: &OpenApi) -> Self {
        let paths = document.paths.paths.iter();
        let routes = paths.filter(|(path, _)| path.starts_with(PREFIX));
        let routes = routes.map(|(path, item)| {
            let operations = [
                (Method::GET, &item.get),
                // Routes of GET answer it too.
                (Method::HEAD, &item.get),
                (Method::PUT, &item.put),
                (Method::POST, &item.post),
                (Method::PATCH, &item.patch),
                (Method::DELETE, &item.delete),
            ];
            let traits = operations
                .into_iter()
                .filter_map(|(method, it)| Some((method, Traits::of(it.as_ref()?))));
            (path.clone(), traits.collect::<Vec<_>>())
        });
        Self {
            routes: Arc::new(routes.collect()),
        }
    }

    /// What is documented of the route of a request; `None` if nothing is.
    fn of(&self, request: &Request) -> Option<Traits> {
        let path = request.extensions().get::<MatchedPath>()?;
        let methods = self.routes.get(path.as_str())?;
        let found = methods.iter().find(|(it, _)| it == request.method());
        found.map(|(_, traits)| *traits)
    }
}

/// Keeps to what is documented.
pub(super) async fn follow(
    State(documented): State<Documented>,
    request: Request,
    next: Next,
) -> Response {
    let Some(traits) = documented.of(&request) else {
        return next.run(request).await;
    };
    if !traits.takes_parameters
        && let Err(refused) = refuse_parameters(request.uri())
    {
        return refused.into_response();
    }
    let mut response = next.run(request).await;
    if traits.has_forms {
        // The compression adds its own.
        let accept = HeaderValue::from_static("accept");
        response.headers_mut().append(header::VARY, accept);
    }
    response
}

/// Refuses all query parameters: a misplaced one, such as `?streams=` of a sync, would
/// otherwise change what is asked for unnoticed.
fn refuse_parameters(uri: &Uri) -> Result<(), ApiError> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|_error| parameter("query", "cannot be parsed"))?;
    let wrong = pairs.iter().take(MAX_UNKNOWN);
    let wrong = wrong.map(|(name, _)| unknown_parameter(name, "none"));
    refuse_all(wrong, ApiError::InvalidParameter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_known_with_their_parameters_and_forms() {
        let documented = Documented::new(&crate::api::specification());
        let find = |path: &str, method: Method| {
            let methods = documented.routes.get(path)?;
            let found = methods.iter().find(|(it, _)| *it == method);
            found.map(|(_, it)| (it.takes_parameters, it.has_forms))
        };
        let of = "/v1/connections/{name}";
        for (path, method, expected) in [
            (
                "/v1/connections".to_owned(),
                Method::GET,
                Some((false, true)),
            ),
            (
                "/v1/connections".to_owned(),
                Method::HEAD,
                Some((false, true)),
            ),
            ("/v1/connections".to_owned(), Method::POST, None),
            (of.to_owned(), Method::GET, Some((false, false))),
            (of.to_owned(), Method::DELETE, Some((true, false))),
            (format!("{of}/sync"), Method::POST, Some((false, false))),
            (format!("{of}/runs"), Method::GET, Some((true, false))),
            (format!("{of}/changes"), Method::GET, Some((true, true))),
            ("/v1/sql".to_owned(), Method::POST, Some((false, true))),
            ("/health/live".to_owned(), Method::GET, None),
        ] {
            assert_eq!(find(&path, method), expected, "{path}");
        }
    }

    #[test]
    fn each_parameter_is_refused_by_its_name() {
        let refuse = |uri: &'static str| refuse_parameters(&Uri::from_static(uri));
        assert!(refuse("/v1/connections").is_ok() && refuse("/v1/connections?").is_ok());
        let Err(ApiError::InvalidParameter(wrong)) = refuse("/a?streams=contacts&x") else {
            panic!("both are unknown");
        };
        assert_eq!(wrong.first.field, "streams");
        assert_eq!(wrong.others.len(), 1);
    }
}
