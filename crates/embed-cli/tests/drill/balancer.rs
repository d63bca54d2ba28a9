//! A balancer that obeys `/readyz`: a request goes to an instance whose last probe was a 200, and to nobody if there is
//! none. It only sends probes itself, as balancers of clouds and clusters do.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::http::{Connection, Error, request};

const BETWEEN_PROBES: Duration = Duration::from_millis(100);
/// A probe that takes longer has failed.
const PROBE_LIMIT: Duration = Duration::from_secs(1);

/// A place behind the balancer, at which one process after the other may serve.
#[derive(Debug)]
pub(crate) struct Instance {
    url: Mutex<String>,
    ready: AtomicBool,
}

#[derive(Debug)]
pub(crate) struct Balancer {
    instances: Vec<Arc<Instance>>,
    next: AtomicUsize,
    /// Ends with the balancer.
    _probing: JoinSet<()>,
}

impl Balancer {
    pub(crate) fn new(urls: &[&str]) -> Arc<Self> {
        let instance = |url: &&str| {
            Arc::new(Instance { url: Mutex::new((*url).to_owned()), ready: AtomicBool::new(false) })
        };
        let instances: Vec<_> = urls.iter().map(instance).collect();
        let mut probing = JoinSet::new();
        for instance in &instances {
            let instance = Arc::clone(instance);
            probing.spawn(async move {
                let mut turns = interval(BETWEEN_PROBES);
                turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    turns.tick().await;
                    instance.probe().await;
                }
            });
        }
        Arc::new(Self { instances, next: AtomicUsize::new(0), _probing: probing })
    }

    /// An instance that is ready, in turn.
    pub(crate) fn choose(&self) -> Option<Arc<Instance>> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let count = self.instances.len();
        (first..first + count).map(|at| &self.instances[at % count]).find(|found| found.is_ready()).cloned()
    }

    pub(crate) fn instance(&self, at: usize) -> &Instance {
        &self.instances[at]
    }

    /// Whether every instance is ready.
    pub(crate) fn all_ready(&self) -> bool {
        self.instances.iter().all(|instance| instance.is_ready())
    }
}

impl Instance {
    pub(crate) fn url(&self) -> String {
        self.url.lock().unwrap().clone()
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Another process serves here from now on, which the next probe will find.
    pub(crate) fn moves_to(&self, url: &str) {
        self.ready.store(false, Ordering::Relaxed);
        url.clone_into(&mut self.url.lock().unwrap());
    }

    /// A connection to it broke: the next probe decides.
    pub(crate) fn broke(&self) {
        self.ready.store(false, Ordering::Relaxed);
    }

    async fn probe(&self) {
        let url = self.url();
        let asked = async {
            Ok::<_, Error>(Connection::open(&url).await?.send(request("GET", "/readyz", "")).await?.status)
        };
        let well = matches!(timeout(PROBE_LIMIT, asked).await, Ok(Ok(status)) if status == 200);
        // What an earlier process at this place said says nothing about the one that is there now.
        if self.url() == url {
            self.ready.store(well, Ordering::Relaxed);
        }
    }
}
