//! `/healthz`, `/livez`, `/readyz`: each check by name, `?verbose` and `?exclude=`.

use std::fmt::Write as _;
use std::time::Duration;

use http::{Response, StatusCode};

use crate::core::Core;
use crate::handle::text;
use crate::http::Body;
use crate::http::query::Query;

const CHECKS: [&str; 4] = ["ping", "log", "etcd", "poststarthook/rbac/bootstrap-roles"];

/// Answers a health question: about everything, or about one check.
pub(crate) async fn check(core: &Core, which: &str, rest: &[&str], query: &Query) -> Response<Body> {
    let names: Vec<&str> = CHECKS
        .into_iter()
        .chain(core.at_rest.has_health_check().then_some("kms-providers"))
        .chain((which == "readyz").then_some("informer-sync"))
        .collect();
    if !rest.is_empty() {
        let name = rest.join("/");
        if !names.contains(&name.as_str()) {
            return text(StatusCode::NOT_FOUND, "404 page not found\n");
        }
        return match is_good(core, &name).await {
            true => text(StatusCode::OK, "ok"),
            false => text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal server error: reason withheld\n",
            ),
        };
    }
    let (mut report, mut bad) = (String::new(), false);
    for name in names {
        let line = if query.all("exclude").any(|excluded| excluded == name) {
            format!("[+]{name} excluded: ok")
        } else if is_good(core, name).await {
            format!("[+]{name} ok")
        } else {
            bad = true;
            format!("[-]{name} failed: reason withheld")
        };
        // Writing into a String can't fail.
        let _ = writeln!(report, "{line}");
    }
    if bad {
        return text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("{report}{which} check failed\n"),
        );
    }
    if query.has("verbose") {
        return text(StatusCode::OK, format!("{report}{which} check passed\n"));
    }
    text(StatusCode::OK, "ok")
}

/// Whether a check of this name succeeds.
pub(crate) async fn is_good(core: &Core, name: &str) -> bool {
    match name {
        // The name that monitoring knows; here it is whatever store there is.
        "etcd" => {
            let answer = tokio::time::timeout(Duration::from_secs(2), core.store.revision()).await;
            matches!(answer, Ok(Ok(_)))
        }
        "kms-providers" => core.at_rest.is_healthy().await,
        "informer-sync" => core.is_ready() && !core.stopping.is_cancelled(),
        "poststarthook/rbac/bootstrap-roles" => core.is_ready(),
        _ => true,
    }
}
