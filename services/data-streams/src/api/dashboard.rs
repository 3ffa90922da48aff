//! The dashboard: one page, which answers at the address of each of its views, and the
//! files that it loads.
//!
//! They need the token as all else does: a browser asks for it, as a password, and sends it
//! with the requests of the page.

use axum::{
    Router,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
    routing,
};
use twox_hash::XxHash3_64;

use super::error::{ApiError, Missing};

/// Where the views of the page are.
const ADDRESSES: [&str; 6] = ["/", "/runs", "/data", "/data/{*rest}", "/sql", "/problems"];

/// Before the name of a file in its address.
const FOLDER: &str = "/static/";

/// A file that is part of the program.
#[derive(Debug)]
struct File {
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
}

impl File {
    const fn module(name: &'static str, text: &'static str) -> Self {
        Self {
            name,
            content_type: "text/javascript; charset=utf-8",
            text,
        }
    }

    /// Names what the file holds, so that a browser that has it need not load it again.
    /// Weak, as the answer may be compressed.
    fn entity_tag(&self) -> String {
        let hash = XxHash3_64::oneshot(self.text.as_bytes());
        format!("W/\"{hash:016x}\"")
    }

    fn answer(&self, asked: &HeaderMap) -> Response {
        let tag = self.entity_tag();
        let known = asked.get(header::IF_NONE_MATCH);
        let is_known = known
            .and_then(|it| it.to_str().ok())
            .is_some_and(|tags| tags.split(',').any(|it| it.trim() == tag));
        let headers = [
            (header::CONTENT_TYPE, self.content_type.to_owned()),
            // It is asked for each time, so that the page is never of two versions.
            (header::CACHE_CONTROL, "no-cache".to_owned()),
            (header::ETAG, tag),
        ];
        if is_known {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        (headers, self.text).into_response()
    }
}

static PAGE: File = File {
    name: "index.html",
    content_type: "text/html; charset=utf-8",
    text: include_str!("../../static/index.html"),
};

static FILES: &[File] = &[
    File {
        name: "icon.svg",
        content_type: "image/svg+xml",
        text: include_str!("../../static/icon.svg"),
    },
    File {
        name: "style.css",
        content_type: "text/css; charset=utf-8",
        text: include_str!("../../static/style.css"),
    },
    File::module("actions.js", include_str!("../../static/actions.js")),
    File::module("api.js", include_str!("../../static/api.js")),
    File::module("app.js", include_str!("../../static/app.js")),
    File::module(
        "associations.js",
        include_str!("../../static/associations.js"),
    ),
    File::module("chart.js", include_str!("../../static/chart.js")),
    File::module("check.js", include_str!("../../static/check.js")),
    File::module("columns.js", include_str!("../../static/columns.js")),
    File::module(
        "connection_card.js",
        include_str!("../../static/connection_card.js"),
    ),
    File::module(
        "connection_form.js",
        include_str!("../../static/connection_form.js"),
    ),
    File::module("data.js", include_str!("../../static/data.js")),
    File::module("dom.js", include_str!("../../static/dom.js")),
    File::module("live.js", include_str!("../../static/live.js")),
    File::module("loading.js", include_str!("../../static/loading.js")),
    File::module("overview.js", include_str!("../../static/overview.js")),
    File::module("parts.js", include_str!("../../static/parts.js")),
    File::module("problems.js", include_str!("../../static/problems.js")),
    File::module("record.js", include_str!("../../static/record.js")),
    File::module("runs.js", include_str!("../../static/runs.js")),
    File::module("selections.js", include_str!("../../static/selections.js")),
    File::module(
        "settings_form.js",
        include_str!("../../static/settings_form.js"),
    ),
    File::module("sql.js", include_str!("../../static/sql.js")),
    File::module(
        "sql_examples.js",
        include_str!("../../static/sql_examples.js"),
    ),
    File::module(
        "sql_programs.js",
        include_str!("../../static/sql_programs.js"),
    ),
    File::module("words.js", include_str!("../../static/words.js")),
    File::module("wrong.js", include_str!("../../static/wrong.js")),
];

/// The routes of the page and its files.
pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let files = Router::new().route("/static/{name}", routing::get(file));
    ADDRESSES.into_iter().fold(files, |routes, address| {
        routes.route(address, routing::get(page))
    })
}

async fn page(headers: HeaderMap) -> Response {
    PAGE.answer(&headers)
}

async fn file(uri: Uri, headers: HeaderMap) -> Response {
    let name = uri.path().strip_prefix(FOLDER).unwrap_or_default();
    match FILES.iter().find(|it| it.name == name) {
        Some(file) => file.answer(&headers),
        None => ApiError::not_found(Missing::Route, uri.path()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::{
        body::Body,
        http::{HeaderValue, Request},
    };
    use tower::ServiceExt as _;

    use super::*;

    async fn get(address: &str, tag: Option<&HeaderValue>) -> Response {
        let mut request = Request::get(address).body(Body::empty()).unwrap();
        if let Some(tag) = tag {
            request
                .headers_mut()
                .insert(header::IF_NONE_MATCH, tag.clone());
        }
        router::<()>().oneshot(request).await.unwrap()
    }

    #[test]
    fn every_file_of_the_folder_is_served() {
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/static")).unwrap();
        let there: BTreeSet<_> = folder
            .map(|it| it.unwrap().file_name().into_string().unwrap())
            .collect();
        let served = FILES.iter().chain([&PAGE]).map(|it| it.name.to_owned());
        assert_eq!(served.collect::<BTreeSet<_>>(), there);
    }

    #[test]
    fn a_module_imports_only_what_is_served() {
        for file in FILES {
            let imports = file.text.split("from \"./").skip(1);
            for name in imports.filter_map(|it| it.split('"').next()) {
                assert!(
                    FILES.iter().any(|it| it.name == name),
                    "{}: {name}",
                    file.name
                );
            }
        }
    }

    #[tokio::test]
    async fn each_view_has_its_address() {
        for address in [
            "/",
            "/runs",
            "/data?type=contacts",
            "/data/default/contacts/1",
            "/sql",
            "/problems",
        ] {
            let response = get(address, None).await;
            assert_eq!(response.status(), StatusCode::OK, "{address}");
            let kind = &response.headers()[header::CONTENT_TYPE];
            assert_eq!(kind, "text/html; charset=utf-8", "{address}");
        }
        let missing = get("/static/nothing.js", None).await;
        assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn a_file_that_the_browser_has_is_not_sent_again() {
        let first = get("/static/app.js", None).await;
        assert_eq!(first.status(), StatusCode::OK);
        let tag = &first.headers()[header::ETAG];
        let again = get("/static/app.js", Some(tag)).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        let other = HeaderValue::from_static("W/\"0\"");
        let changed = get("/static/app.js", Some(&other)).await;
        assert_eq!(changed.status(), StatusCode::OK);
    }
}
