//! The settings of the Hugging Face hub, under the hub's own names.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use embed_core::{Error, ErrorKind};
use reqwest::header::HeaderValue;

/// Where the hub is and how to talk to it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HubOptions {
    /// The address of the hub or of a mirror, without a slash at the end.
    pub endpoint: String,
    /// The folder of the hub's own cache. A file that lies there is used and not fetched.
    pub cache: Option<PathBuf>,
    /// Identifies the user. It is sent to the endpoint and to no other host.
    pub token: Option<HubToken>,
    /// Whether to fetch nothing and use only what the hub's own cache holds.
    pub offline: bool,
    /// Which proxy is used.
    pub proxy: Proxy,
    /// How long to wait and how often to try.
    pub patience: Patience,
}

/// Which proxy is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Proxy {
    /// What the environment says (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`), on macOS and
    /// Windows also the system's settings.
    #[default]
    System,
    /// None.
    Direct,
}

/// How long to wait and how often to try.
///
/// A host that has not answered yet gets one attempt, so that its absence is known within
/// [`first_response`](Self::first_response). A host that has answered gets more.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Patience {
    /// For a connection, the look-up of the name included.
    pub connect: Duration,
    /// For the first answer of a host, the connection included.
    pub first_response: Duration,
    /// For an answer of a host that has answered before.
    pub response: Duration,
    /// For the next bytes of a file.
    pub idle: Duration,
    /// How often to try again after a failure, as long as no try gets a megabyte further.
    pub retries: usize,
    /// The first pause between two tries; each one after it is twice as long.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// The longest pause that the hub may ask for; if it asks for more, that is an error.
    pub longest_asked: Duration,
}

/// A secret that never appears in `Debug`, in an error or in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct HubToken(String);

impl Default for HubOptions {
    /// The public hub, without a token. The environment is ignored, except for proxies.
    fn default() -> Self {
        Self {
            endpoint: "https://huggingface.co".to_owned(),
            cache: None,
            token: None,
            offline: false,
            proxy: Proxy::System,
            patience: Patience::default(),
        }
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(4),
            first_response: Duration::from_secs(8),
            response: Duration::from_secs(30),
            idle: Duration::from_secs(30),
            retries: 4,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(10),
            longest_asked: Duration::from_secs(60),
        }
    }
}

impl HubOptions {
    /// What the hub's own tools would take from the environment: `HF_ENDPOINT`, `HF_HUB_CACHE`, `HF_HOME`,
    /// `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_DISABLE_IMPLICIT_TOKEN`, `HF_HUB_OFFLINE`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if one of them makes no sense.
    pub fn from_env() -> Result<Self, Error> {
        Self::from_variables(&|name| env::var_os(name).filter(|value| !value.is_empty()))
    }

    fn from_variables(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, Error> {
        let text = |name: &str| match variable(name) {
            None => Ok(None),
            Some(value) => value.into_string().map(Some).map_err(|_| {
                Error::new(ErrorKind::Config, format!("{name} is not valid Unicode; set it anew"))
            }),
        };
        let flag = |name: &str| {
            let value = text(name)?.unwrap_or_default().to_ascii_uppercase();
            Ok::<_, Error>(matches!(value.as_str(), "1" | "ON" | "YES" | "TRUE"))
        };
        let mut options = Self::default();
        if let Some(endpoint) = text("HF_ENDPOINT")? {
            options.endpoint = endpoint.trim_end_matches('/').to_owned();
        }
        let home = variable("HF_HOME").map(PathBuf::from).or_else(|| {
            let cache = variable("XDG_CACHE_HOME").map(PathBuf::from);
            cache
                .or_else(|| env::home_dir().map(|home| home.join(".cache")))
                .map(|cache| cache.join("huggingface"))
        });
        options.cache = variable("HF_HUB_CACHE")
            .or_else(|| variable("HUGGINGFACE_HUB_CACHE"))
            .map(PathBuf::from)
            .or_else(|| home.as_ref().map(|home| home.join("hub")));
        options.offline = flag("HF_HUB_OFFLINE")?;
        options.token = match text("HF_TOKEN")? {
            Some(token) => HubToken::new(&token)?,
            None if flag("HF_HUB_DISABLE_IMPLICIT_TOKEN")? => None,
            None => {
                let path = variable("HF_TOKEN_PATH").map(PathBuf::from);
                let path = path.or_else(|| home.as_ref().map(|home| home.join("token")));
                // A token that can't be read counts as none: the files that this crate fetches don't need one.
                let text = path.and_then(|path| fs::read_to_string(path).ok());
                text.map(|text| HubToken::new(&text)).transpose()?.flatten()
            }
        };
        Ok(options)
    }
}

impl HubToken {
    /// A token without surrounding spaces; `None` if nothing is left.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if it can't be sent in a header.
    pub fn new(text: &str) -> Result<Option<Self>, Error> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::new(
                ErrorKind::Config,
                "the token of the Hugging Face hub holds characters that no token has; set HF_TOKEN anew",
            ));
        }
        Ok(Some(Self(text.to_owned())))
    }

    pub(super) fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::try_from(format!("Bearer {}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for HubToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<HubOptions, Error> {
        HubOptions::from_variables(&|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into())
        })
    }

    #[test]
    fn the_cache_is_where_the_hub_puts_it() {
        let cache = |variables: &[(&str, &str)]| of(variables).unwrap().cache.unwrap();
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/x")]), PathBuf::from("/x/huggingface/hub"));
        assert_eq!(cache(&[("HF_HOME", "/h"), ("XDG_CACHE_HOME", "/x")]), PathBuf::from("/h/hub"));
        assert_eq!(cache(&[("HF_HUB_CACHE", "/c"), ("HF_HOME", "/h")]), PathBuf::from("/c"));
    }

    #[test]
    fn switches_and_the_endpoint() {
        let options = of(&[("HF_ENDPOINT", "http://mirror/hf/"), ("HF_HUB_OFFLINE", "true")]).unwrap();
        assert_eq!(options.endpoint, "http://mirror/hf");
        assert!(options.offline);
        assert!(!of(&[("HF_HUB_OFFLINE", "0")]).unwrap().offline);
    }

    #[test]
    fn the_token_comes_from_the_variable_or_the_file_and_is_never_shown() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("token"), "hf_file\n").unwrap();
        let home = home.path().to_str().unwrap();
        assert_eq!(of(&[("HF_HOME", home)]).unwrap().token, HubToken::new("hf_file").unwrap());
        let options = of(&[("HF_HOME", home), ("HF_TOKEN", " hf_variable ")]).unwrap();
        assert_eq!(options.token, HubToken::new("hf_variable").unwrap());
        assert!(!format!("{options:?}").contains("hf_variable"));
        let implicit = [("HF_HOME", home), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")];
        assert_eq!(of(&implicit).unwrap().token, None);
        let error = of(&[("HF_TOKEN", "hf_ü")]).unwrap_err();
        assert!(!error.to_string().contains("hf_ü"), "{error}");
    }
}
