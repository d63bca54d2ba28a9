//! The middleware around every handler.

mod access_log;
mod cors;
mod redirect;
mod request;

pub(crate) use cors::with_cors;
pub(crate) use redirect::without_slash;
pub(crate) use request::handle;
