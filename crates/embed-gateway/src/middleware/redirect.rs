//! Redirects from a path with a trailing slash to the path without, as Ollama does.

use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

/// The redirect to the path without the slash, if there is one for this method. Clients may turn redirected methods other
/// than `GET` into a `GET`, so these get a status that preserves the method.
pub(crate) fn without_slash(method: &Method, uri: &Uri, routes: &[(Method, String)]) -> Option<Response> {
    let path = uri.path().strip_suffix('/').filter(|path| !path.is_empty())?;
    let asked = if *method == Method::HEAD { Method::GET } else { method.clone() };
    if !routes.iter().any(|(method, route)| *method == asked && route == path) {
        return None;
    }
    let target = uri.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let html = |status: StatusCode| {
        let name = status.canonical_reason().unwrap_or_default();
        // A query may contain anything.
        let link = target.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&#34;");
        ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], format!("<a href=\"{link}\">{name}</a>.\n\n"))
    };
    let mut response = match *method {
        Method::GET => (StatusCode::MOVED_PERMANENTLY, html(StatusCode::MOVED_PERMANENTLY)).into_response(),
        Method::HEAD => {
            (StatusCode::TEMPORARY_REDIRECT, html(StatusCode::TEMPORARY_REDIRECT)).into_response()
        }
        _ => StatusCode::TEMPORARY_REDIRECT.into_response(),
    };
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_str(&target).ok()?);
    Some(response)
}
