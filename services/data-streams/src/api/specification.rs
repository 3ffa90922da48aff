//! The parts of the OpenAPI document that do not belong to one route: title,
//! tags, the token, and the answers of the layers around every route.

use utoipa::{
    Modify, OpenApi,
    openapi::{
        PathItem, Ref, RefOr, Required, Response, ResponseBuilder, SecurityRequirement,
        content::ContentBuilder,
        header::HeaderBuilder,
        path::{Operation, ParameterBuilder, ParameterIn},
        schema::{AnyOfBuilder, ObjectBuilder, Schema, Type},
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::{
    body,
    error::{self, ApiError, PROBLEM_JSON},
    operation, sql,
    terms::{IDEMPOTENCY_KEY, LONGEST_KEY},
};
use crate::control::KEYS_KEPT;

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
                       application/problem+json with a stable code. Answers are compressed for \
                       callers that accept gzip or zstd.",
    ),
    tags(
        (name = "connections", description = "HubSpot accounts to sync"),
        (name = "records", description = "Stored records"),
        (name = "dead letters", description = "Messages that could not be stored"),
        (name = "warehouse", description = "ClickHouse as a whole"),
        (name = "operation", description = "Health and metrics"),
    ),
    paths(
        operation::health_live,
        operation::health_ready,
        operation::health_ready_api,
        operation::health_ready_loader,
        operation::metrics,
        operation::openapi,
    ),
    components(schemas(error::Problem)),
    modifiers(&Secured),
)]
pub(super) struct Specification;

struct Secured;

impl Modify for Secured {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        for (name, description) in [
            (TOKEN, "API_TOKEN: for every request"),
            (
                READ_TOKEN,
                "API_READ_TOKEN: for GET, HEAD and questions in SQL",
            ),
        ] {
            let scheme = HttpBuilder::new()
                .scheme(HttpAuthScheme::Bearer)
                .description(Some(description))
                .build();
            components.add_security_scheme(name, SecurityScheme::Http(scheme));
        }
        openapi.security = Some(requirements(&[TOKEN]));
    }
}

const TOKEN: &str = "token";
const READ_TOKEN: &str = "read_token";

/// One of these tokens; none, where the service is run without.
fn requirements(schemes: &[&str]) -> Vec<SecurityRequirement> {
    let tokens = schemes
        .iter()
        .map(|it| SecurityRequirement::new(*it, std::iter::empty::<String>()));
    std::iter::once(SecurityRequirement::default())
        .chain(tokens)
        .collect()
}

/// Adds what the layers do to every route: failures, security and headers; and gives all
/// failures the content type that they are sent with.
pub(super) fn complete(openapi: &mut utoipa::openapi::OpenApi) {
    let failures = common_failures().map(|error| (error.status_and_code(), error.to_string()));
    for (path, item) in &mut openapi.paths.paths {
        let question = Some(&mut item.post).filter(|_| path == sql::PATH);
        let reading = [Some(&mut item.get), Some(&mut item.head), question];
        for operation in reading.into_iter().flatten().flatten() {
            if !path.starts_with("/health/") {
                operation.security = Some(requirements(&[TOKEN, READ_TOKEN]));
            }
        }
        for operation in operations(item) {
            let is_health = path.starts_with("/health/");
            if let Some(RefOr::T(body)) = &mut operation.request_body {
                // An empty one is an object without fields.
                body.required = Some(Required::False);
            }
            let responses = &mut operation.responses.responses;
            for ((status, code), _) in failures.iter().filter(|_| !is_health) {
                responses
                    .entry(status.as_str().to_owned())
                    .or_insert_with(|| Ref::from_response_name(*code).into());
            }
            // Only commands can fail a condition.
            if responses.contains_key("412") {
                add_terms(operation);
            }
            for (status, response) in &mut operation.responses.responses {
                if let RefOr::T(response) = response {
                    set_problem_content_type(response);
                    add_headers(status, response);
                }
            }
        }
    }
    let components = openapi.components.get_or_insert_default();
    for ((status, code), detail) in failures {
        let content = ContentBuilder::new().schema(Some(problem())).build();
        let mut response = ResponseBuilder::new()
            .description(detail)
            .content(PROBLEM_JSON, content)
            .build();
        add_headers(status.as_str(), &mut response);
        components
            .responses
            .insert(code.to_owned(), response.into());
    }
}

/// The headers of a request that put a command under terms.
fn add_terms(operation: &mut Operation) {
    let any = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(["*"]))
        .build();
    let tags = text_type(r#"^(W/)?"[-!#-+.-~]*"( *, *(W/)?"[-!#-+.-~]*")*$"#);
    let tags = AnyOfBuilder::new().item(tags).item(any.clone()).build();
    let mut key = text_type("^[!-~]+$");
    key.max_length = Some(LONGEST_KEY);
    let mut headers = vec![
        (
            "If-Match",
            "ETags of the connection, or *: refused with 412 if it has another one".to_owned(),
            Schema::from(tags),
        ),
        (
            IDEMPOTENCY_KEY,
            format!(
                "Names the request: a repeated one changes nothing and gets the answer of the \
                 first. The last {KEYS_KEPT} of each connection are known"
            ),
            key.into(),
        ),
    ];
    // The other commands need a connection.
    if operation.responses.responses.contains_key("201") {
        headers.push((
            "If-None-Match",
            "*: refused with 412 if there is the connection".to_owned(),
            any.into(),
        ));
    }
    for (name, description, schema) in headers {
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Header)
            .description(Some(description))
            .schema(Some(schema))
            .build();
        let parameters = operation.parameters.get_or_insert_default();
        parameters.push(parameter.into());
    }
}

/// The headers of an answer, by its status and body.
fn add_headers(status: &str, response: &mut Response) {
    let is_health = has_body(response, "HealthBody");
    let is_connection = has_body(response, "ConnectionBody");
    let headers = [
        (
            "ETag",
            is_connection,
            "Names the settings, for If-Match",
            text_type(r#"^"[0-9a-f]{16}"$"#),
        ),
        (
            "Location",
            status == "202",
            "Path that shows what becomes of it",
            text_type("^/v1/"),
        ),
        (
            "Retry-After",
            matches!(status, "429" | "503") && !is_health,
            "Seconds to wait before a repetition",
            ObjectBuilder::new().schema_type(Type::Integer).build(),
        ),
        (
            "WWW-Authenticate",
            status == "401",
            "How to send the token",
            text_type("^(Bearer|Basic )"),
        ),
        (
            "X-Request-Id",
            true,
            "Names the request in the log of the service: the id that was sent, or a new one",
            text_type("^[A-Za-z0-9._-]{1,64}$"),
        ),
    ];
    for (name, is_sent, description, schema) in headers {
        if is_sent {
            let header = HeaderBuilder::new()
                .schema(Some(schema))
                .description(Some(description))
                .build();
            response.headers.insert(name.to_owned(), header.into());
        }
    }
}

fn has_body(response: &Response, schema: &str) -> bool {
    let schema = RefOr::Ref(Ref::from_schema_name(schema));
    response.content.values().any(|content| match content {
        RefOr::T(content) => content.schema.as_ref() == Some(&schema),
        RefOr::Ref(_) => false,
    })
}

fn text_type(pattern: &str) -> utoipa::openapi::Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(pattern))
        .build()
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
    if has_body(response, "Problem") {
        let content = response.content.drain(..);
        response.content = content
            .map(|(_, it)| (PROBLEM_JSON.to_owned(), it))
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    #[test]
    fn every_operation_has_an_id_of_its_own_and_every_202_a_location() {
        let document = serde_json::to_value(crate::api::specification()).unwrap();
        let mut ids = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap();
                assert!(ids.insert(id.to_owned()), "{id}: {method} {path}");
                let accepted = &operation["responses"]["202"];
                let location = &accepted["headers"]["Location"];
                assert!(*accepted == Value::Null || location.is_object(), "{id}");
                let headers = accepted["headers"].as_object().into_iter().flatten();
                let names: Vec<_> = headers.map(|(it, _)| it.to_lowercase()).collect();
                let distinct: BTreeSet<_> = names.iter().collect();
                assert_eq!(distinct.len(), names.len(), "{id}: {names:?}");
            }
        }
        assert!(ids.contains("get_readiness") && ids.contains("get_metrics"));
    }

    /// A generated client would send it for a field that is left out, and so change it.
    #[test]
    fn no_field_that_stays_as_it_is_when_left_out_has_a_default() {
        let document = serde_json::to_value(crate::api::specification()).unwrap();
        let schemas = &document["components"]["schemas"];
        for name in ["SettingsBody", "PassIntervalsRequest", "SyncRequestBody"] {
            let fields = schemas[name]["properties"].as_object().unwrap();
            for (field, schema) in fields {
                assert_eq!(schema.get("default"), None, "{name}.{field}");
            }
        }
        let stream = &schemas["SettingsBody"]["properties"]["streams"]["items"];
        assert_eq!(stream["pattern"], crate::api::STREAM);
    }
}
