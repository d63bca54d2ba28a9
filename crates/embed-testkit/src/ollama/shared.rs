//! The state that a double and its routes share.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use tokio::sync::watch;

use super::fault::Fault;
use super::recorded::Recorded;
use super::runner::Runner;
use super::script::Script;
use crate::lock::lock;

pub(super) struct Shared {
    pub(super) script: Mutex<Script>,
    pub(super) faults: Mutex<VecDeque<Fault>>,
    pub(super) requests: Mutex<Vec<Recorded>>,
    pub(super) count: watch::Sender<usize>,
    pub(super) runner: Runner,
    pub(super) in_flight: AtomicUsize,
    pub(super) most_in_flight: AtomicUsize,
    pub(super) texts: AtomicUsize,
}

impl Shared {
    pub(super) fn new(script: Script) -> Self {
        Self {
            script: Mutex::new(script),
            faults: Mutex::default(),
            requests: Mutex::default(),
            count: watch::Sender::new(0),
            runner: Runner::default(),
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
            texts: AtomicUsize::new(0),
        }
    }

    pub(super) fn script(&self) -> Script {
        lock(&self.script).clone()
    }
}
