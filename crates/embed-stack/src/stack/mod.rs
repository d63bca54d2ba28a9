//! What embeds, built from the document of the settings: back ends, the router over them, the cache in front of each.

mod backend;
pub mod cache;
mod follower;
mod identity;
mod load;
mod notice;
mod router;
mod same_space;
mod unloaded;
mod whole;

pub use backend::{Backend, Loader, RemoteConfig, max_text_bytes, servers};
pub use follower::Follower;
pub use load::load;
pub use notice::Notice;
pub use router::{decider, join, route, router, server_route};
pub use same_space::Members;
pub use whole::Stack;
