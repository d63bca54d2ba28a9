#![doc = include_str!("../README.md")]

pub mod address;
pub mod truncate;

mod answer;
mod backend;
mod batch;
mod call;
mod endpoint;
mod failure;
mod http;
mod pool;
mod probes;
mod rows;
mod secret;
mod seen;
mod setters;
mod settings;
mod stats;
mod tls;

pub use address::shown_url;
pub use answer::embed;
pub use backend::{Answered, Attempt, Backend, Counting, Facts, Patience, Sending};
pub use batch::{Distinct, pieces};
pub use call::{Call, Row};
pub use endpoint::{Endpoint, Member};
pub use failure::{Again, Blame, Failure, Pause, Reason, Refusal};
pub use http::{Http, HttpSettings, Limit, read, rows_limit, transport};
pub use pool::{InFlight, Pool, health, try_again};
pub use probes::{Drift, PROBES, SAME_NUMBERS, Upgrade, drift};
pub use rows::{Norms, Numbers, Reply, Rows, check_rows};
pub use secret::Secret;
pub use seen::{Body, RowFault, Seen, Trouble};
pub use settings::CallSettings;
pub use stats::{Counters, RemoteStats, add};
