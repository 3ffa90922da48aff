//! The routes of operation in the OpenAPI document: health, metrics, and the document.
//! Others serve them.

#![expect(dead_code, reason = "describes the routes")]

use std::collections::BTreeMap;

use utoipa::ToSchema;

use super::error::Problem;

/// Whether a process, or a part of it, is ready.
#[derive(ToSchema)]
pub(super) struct HealthBody {
    /// `live`, `ready` or `not_ready`.
    status: HealthState,
    /// By condition, why it does not hold; left out where all hold.
    failures: Option<BTreeMap<String, String>>,
}

/// Whether it is.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum HealthState {
    Live,
    Ready,
    NotReady,
}

/// Whether the process lives.
#[utoipa::path(
    get,
    path = "/health/live",
    operation_id = "get_liveness",
    tag = "operation",
    security(()),
    responses((status = 200, description = "It lives", body = HealthBody)),
)]
pub(super) fn health_live() {}

/// Whether the process is ready: API and loader.
#[utoipa::path(
    get,
    path = "/health/ready",
    operation_id = "get_readiness",
    tag = "operation",
    security(()),
    responses(
        (status = 200, description = "It is ready", body = HealthBody),
        (status = 503, description = "It waits", body = HealthBody),
    ),
)]
pub(super) fn health_ready() {}

/// Whether the API is ready.
#[utoipa::path(
    get,
    path = "/health/ready/api",
    operation_id = "get_api_readiness",
    tag = "operation",
    security(()),
    responses(
        (status = 200, description = "It is ready", body = HealthBody),
        (status = 503, description = "It waits", body = HealthBody),
    ),
)]
pub(super) fn health_ready_api() {}

/// Whether records are loaded into ClickHouse.
#[utoipa::path(
    get,
    path = "/health/ready/loader",
    operation_id = "get_loader_readiness",
    tag = "operation",
    security(()),
    responses(
        (status = 200, description = "They are", body = HealthBody),
        (status = 503, description = "Loading waits", body = HealthBody),
    ),
)]
pub(super) fn health_ready_loader() {}

/// Metrics for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "get_metrics",
    tag = "operation",
    responses(
        (status = 200, description = "The metrics", body = String, content_type = "text/plain"),
        (status = 503, description = "The service is starting", body = Problem),
    ),
)]
pub(super) fn metrics() {}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "get_openapi",
    tag = "operation",
    responses(
        (status = 200, description = "The document", body = serde_json::Value),
        (status = 503, description = "The service is starting", body = Problem),
    ),
)]
pub(super) fn openapi() {}
