//! A whole stack for programs without an async runtime.
//!
//! ```no_run
//! let stack = embed::blocking::stack::from_file("embed.toml")?;
//! let vector = stack.encode_query("how high is Mount Fuji")?;
//! stack.finish()?;
//! # Ok::<(), embed::Error>(())
//! ```
//!
//! It brings a runtime of its own, with a thread that waits for servers and timers. What holds for
//! [`blocking`](crate::blocking) holds here.

use std::path::Path;

use embed_core::{
    Coverage, EmbedRequest, EmbedResponse, Embedder, EmbedderExt, Embedding, Error, ErrorKind, Result, Role,
};
use embed_router::Plan;
use pollster::block_on;
use tokio::runtime::{Builder, Runtime};

use crate::stack::{self, StackBuilder};

/// A stack, loaded and ready. Its methods are those of [`stack::Stack`], with the same results to the bit.
#[derive(Debug)]
pub struct Stack {
    stack: stack::Stack,
    runtime: Background,
}

/// A runtime that may end on a thread of another one, where it must not wait for its tasks.
#[derive(Debug)]
struct Background(Option<Runtime>);

/// As [`stack::from_file`].
///
/// # Errors
///
/// As [`StackBuilder::load`].
pub fn from_file(path: impl AsRef<Path>) -> Result<Stack> {
    from_settings(stack::file(path))
}

/// As [`stack::from_env`].
///
/// # Errors
///
/// As [`StackBuilder::load`].
pub fn from_env() -> Result<Stack> {
    from_settings(stack::env())
}

/// As [`stack::from_settings`]; for other settings than the defaults it takes a [`StackBuilder`].
///
/// # Errors
///
/// As [`StackBuilder::load`].
pub fn from_settings(settings: impl Into<StackBuilder>) -> Result<Stack> {
    let runtime =
        Builder::new_multi_thread().worker_threads(1).thread_name("embed-stack").enable_all().build();
    let runtime = Background(Some(runtime.map_err(|error| {
        Error::new(ErrorKind::Unavailable, "the system gives no thread to wait for servers")
            .with_source(error)
    })?));
    let stack = runtime.wait(settings.into().load())?;
    Ok(Stack { stack, runtime })
}

impl Background {
    /// The calling thread does the work; that of the runtime only says when to go on.
    fn wait<F: Future>(&self, work: F) -> F::Output {
        let _context = self.0.as_ref().map(Runtime::enter);
        block_on(work)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Stack {
    /// Embeds every text of the request: [`Embedder::embed`].
    ///
    /// # Errors
    ///
    /// The error of the call; each row has its own.
    pub fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse> {
        self.runtime.wait(self.stack.embed(request))
    }

    /// Embeds one text.
    ///
    /// # Errors
    ///
    /// The error of the call, or of the row.
    pub fn encode(&self, text: &str, role: Role) -> Result<Embedding> {
        self.runtime.wait(self.stack.encode(text, role))
    }

    /// Embeds one text as a query, to search with.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn encode_query(&self, text: &str) -> Result<Embedding> {
        self.encode(text, Role::Query)
    }

    /// Embeds one text as a document, to be found.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn encode_document(&self, text: &str) -> Result<Embedding> {
        self.encode(text, Role::Document)
    }

    /// Embeds several texts, all or nothing; the response has a vector for each of them, in order.
    ///
    /// # Errors
    ///
    /// The error of the call, or the first error among the rows.
    pub fn encode_batch<T: AsRef<str> + Sync>(&self, texts: &[T], role: Role) -> Result<EmbedResponse> {
        self.runtime.wait(self.stack.encode_batch(texts, role))
    }

    /// The vectors of each text in the spaces in use: [`Router::plan`](embed_router::Router::plan).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn plan(&self, request: EmbedRequest, coverage: Coverage) -> Result<Vec<Plan>> {
        self.runtime.wait(self.stack.router().plan(request, coverage))
    }

    /// Waits for what the cache still has to store: [`stack::Stack::finish`].
    ///
    /// # Errors
    ///
    /// What couldn't be stored.
    pub fn finish(&self) -> Result<()> {
        self.runtime.wait(self.stack.finish())
    }

    /// The stack itself, for its router, its cache and what it is. Its async methods need another runtime than this one.
    #[must_use]
    pub fn stack(&self) -> &stack::Stack {
        &self.stack
    }
}
