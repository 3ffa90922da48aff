//! The parts of the OpenAPI document that do not belong to one route: title,
//! tags, the token, and the answers of the layers around every route.

use utoipa::{
    Modify, OpenApi,
    openapi::{
        PathItem, Ref, RefOr, Response, ResponseBuilder, SecurityRequirement,
        content::ContentBuilder,
        path::Operation,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

use super::{
    body,
    error::{self, ApiError, PROBLEM_JSON},
};

/// Failures that every route may answer with. A route's own text for the same
/// status takes precedence.
fn common_failures() -> [ApiError; 8] {
    [
        body::parameter("path", "cannot be parsed"),
        ApiError::Unauthorized,
        ApiError::ForeignOrigin,
        ApiError::SlowBody,
        ApiError::TooLarge,
        ApiError::Overrun,
        ApiError::Internal,
        ApiError::TimedOut,
    ]
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "data-streams",
        description = "Syncs HubSpot records over Kafka into ClickHouse. Start and stop \
                       connections and read stored records here. Errors are \
                       application/problem+json with a stable code.",
    ),
    tags(
        (name = "connections", description = "HubSpot accounts to sync"),
        (name = "records", description = "Stored records"),
        (name = "dead letters", description = "Messages that could not be stored"),
        (name = "warehouse", description = "ClickHouse as a whole"),
    ),
    components(schemas(error::Problem)),
    modifiers(&Secured),
)]
pub(super) struct Specification;

struct Secured;

impl Modify for Secured {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.add_security_scheme("token", scheme);
        let none = SecurityRequirement::default();
        let token = SecurityRequirement::new("token", std::iter::empty::<String>());
        openapi.security = Some(vec![none, token]);
    }
}

/// Adds the failures of the layers to every route, and gives all failures the
/// content type that they are sent with.
pub(super) fn complete(openapi: &mut utoipa::openapi::OpenApi) {
    let failures = common_failures().map(|error| (error.status_and_code(), error.to_string()));
    for operation in openapi.paths.paths.values_mut().flat_map(operations) {
        let responses = &mut operation.responses.responses;
        for response in responses.values_mut() {
            if let RefOr::T(response) = response {
                set_problem_content_type(response);
            }
        }
        for ((status, code), _) in &failures {
            responses
                .entry(status.as_str().to_owned())
                .or_insert_with(|| Ref::from_response_name(*code).into());
        }
    }
    let components = openapi.components.get_or_insert_default();
    for ((_, code), detail) in failures {
        let content = ContentBuilder::new().schema(Some(problem())).build();
        let response = ResponseBuilder::new()
            .description(detail)
            .content(PROBLEM_JSON, content)
            .build();
        components
            .responses
            .insert(code.to_owned(), response.into());
    }
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let methods = [
        &mut path.get,
        &mut path.put,
        &mut path.post,
        &mut path.patch,
        &mut path.delete,
    ];
    methods.into_iter().flatten()
}

fn problem() -> Ref {
    Ref::from_schema_name("Problem")
}

fn set_problem_content_type(response: &mut Response) {
    let is_problem = |content: &RefOr<utoipa::openapi::Content>| match content {
        RefOr::T(content) => content.schema == Some(RefOr::Ref(problem())),
        RefOr::Ref(_) => false,
    };
    if response.content.values().any(is_problem) {
        let content = response.content.drain(..);
        response.content = content
            .map(|(_, it)| (PROBLEM_JSON.to_owned(), it))
            .collect();
    }
}
