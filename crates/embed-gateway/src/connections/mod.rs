//! Connections: their phases and their limits.

mod connection;
mod slots;

pub(crate) use connection::{Busy, Connection};
pub(crate) use slots::{NoSlot, Slot, Slots};
