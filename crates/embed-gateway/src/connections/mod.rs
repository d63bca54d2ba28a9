//! Connections: what each is doing, and how many there may be.

mod connection;
mod slots;

pub(crate) use connection::{Busy, Connection};
pub(crate) use slots::{NoSlot, Slot, Slots};
