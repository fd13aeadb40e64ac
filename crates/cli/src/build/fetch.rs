//! Downloads for ADD: HTTP and HTTPS, redirects followed, straight to a file.

use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// As browsers have it.
const REDIRECTS: usize = 10;
/// How long a server may think before it answers or goes on.
const PATIENCE: Duration = Duration::from_secs(60);

/// Downloads a file; answers when it was last changed, in seconds.
pub(super) async fn fetch(url: &str, to: &mut File) -> anyhow::Result<Option<i64>> {
    let mut uri: Uri = url.parse().with_context(|| format!("{url} is no URL"))?;
    for _ in 0..REDIRECTS {
        let answer = get(&uri).await.with_context(|| format!("asking for {uri}"))?;
        let status = answer.status();
        if status.is_redirection()
            && let Some(place) = answer.headers().get(header::LOCATION)
        {
            uri = target(&uri, place.to_str().context("a redirect that is no text")?)?;
            continue;
        }
        if !status.is_success() {
            bail!("{uri} answers {status}");
        }
        let changed = answer
            .headers()
            .get(header::LAST_MODIFIED)
            .and_then(|value| value.to_str().ok());
        let changed = changed.and_then(|text| jiff::fmt::rfc2822::parse(text).ok());
        let mut body = answer.into_body();
        loop {
            let frame = tokio::time::timeout(PATIENCE, body.frame()).await;
            let Some(frame) = frame.with_context(|| format!("{uri} has stopped sending"))? else {
                break;
            };
            if let Ok(data) = frame.with_context(|| format!("reading from {uri}"))?.into_data() {
                to.write_all(&data).context("writing a download")?;
            }
        }
        return Ok(changed.map(|time| time.timestamp().as_second()));
    }
    bail!("{url} redirects more than {REDIRECTS} times")
}

async fn get(uri: &Uri) -> anyhow::Result<Response<Incoming>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = rustls::crypto::aws_lc_rs::default_provider().into();
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_connect_timeout(Some(Duration::from_secs(15)));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(http);
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let request = Request::get(uri)
        .header(header::USER_AGENT, "gantry")
        .body(Empty::new())?;
    Ok(tokio::time::timeout(PATIENCE, client.request(request))
        .await
        .context("no answer")??)
}

/// Where a redirect leads.
fn target(from: &Uri, place: &str) -> anyhow::Result<Uri> {
    let absolute = if place.contains("://") {
        place.to_string()
    } else {
        let (scheme, authority) = (
            from.scheme_str().unwrap_or("http"),
            from.authority().map_or("", |a| a.as_str()),
        );
        let path = match place.starts_with('/') {
            true => place.to_string(),
            false => format!("{}/{place}", from.path().rsplit_once('/').map_or("", |(dir, _)| dir)),
        };
        format!("{scheme}://{authority}{path}")
    };
    absolute.parse().with_context(|| format!("a redirect to {place:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects() {
        let from: Uri = "https://host:1/a/b?c".parse().unwrap();
        for (place, expected) in [
            ("http://other/x", "http://other/x"),
            ("/y", "https://host:1/y"),
            ("z", "https://host:1/a/z"),
        ] {
            assert_eq!(target(&from, place).unwrap().to_string(), expected);
        }
    }
}
