//! A scene from its beginning to its line in the table.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::load::Load;
use crate::serving::Serving;

/// A file to which each scene appends its line, with tabs between the columns.
const TABLE_VARIABLE: &str = "EMBED_DRILL_TABLE";
/// Seconds for which each scene is repeated; without it, a scene is played once.
const SECONDS_VARIABLE: &str = "EMBED_DRILL_SECONDS";
/// From the end of the cause until all is well. It is a promise about outages, that they end without help, and no
/// measure of speed: what is well is so within a second or two, and what isn't waits for a human.
const WELL_WITHIN: Duration = Duration::from_secs(10);
/// Rounds after which a process has what it needs: threads, connections, a filled cache.
const WARM: u32 = 3;

/// Scenes are played one after the other: each has the machine for itself.
static STAGE: Mutex<()> = Mutex::const_new(());

/// A scene that is being played.
pub(crate) struct Drill {
    name: &'static str,
    end: Option<Instant>,
    rounds: u32,
    right: u64,
    refusals: BTreeMap<String, u64>,
    worst: Duration,
    /// By process, what it had when it was warm.
    warm: BTreeMap<u32, Usage>,
    most: Usage,
    _stage: MutexGuard<'static, ()>,
}

/// What a process takes.
#[derive(Debug, Clone, Copy, Default)]
struct Usage {
    resident_kib: u64,
    descriptors: u64,
    threads: u64,
}

impl Drill {
    pub(crate) async fn begin(name: &'static str) -> Self {
        let stage = STAGE.lock().await;
        let seconds = env::var(SECONDS_VARIABLE).ok().filter(|seconds| !seconds.is_empty());
        let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds.parse().unwrap()));
        Self {
            name,
            end,
            rounds: 0,
            right: 0,
            refusals: BTreeMap::new(),
            worst: Duration::ZERO,
            warm: BTreeMap::new(),
            most: Usage::default(),
            _stage: stage,
        }
    }

    /// Whether the outage is played once more.
    pub(crate) fn goes_on(&mut self) -> bool {
        let goes_on = self.rounds == 0 || self.end.is_some_and(|end| Instant::now() < end);
        self.rounds += u32::from(goes_on);
        goes_on
    }

    /// The cause has ended: waits until all instances are ready, this is so, and a row came that is right.
    pub(crate) async fn well(&mut self, load: &Load, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        let cause_ended = Instant::now();
        let right = load.tally.right();
        let mut turns = interval(Duration::from_millis(20));
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !(load.balancer.all_ready() && load.tally.right() > right && is_so().await) {
            let refusals = load.tally.refusals();
            assert!(
                cause_ended + WELL_WITHIN > Instant::now(),
                "{}: {} s after the cause ended it isn't so that {what}; ready: {}, rows since: {}, refused: {refusals:?}",
                self.name,
                WELL_WITHIN.as_secs(),
                load.balancer.all_ready(),
                load.tally.right() - right,
            );
            turns.tick().await;
        }
        self.worst = self.worst.max(cause_ended.elapsed());
    }

    /// Notes what the gateways take, and holds it against what they took when they were warm.
    pub(crate) fn weigh(&mut self, gateways: &[&Serving]) {
        for gateway in gateways {
            let now = Usage::of(gateway.process());
            self.most = self.most.and(now);
            if self.rounds < WARM {
                continue;
            }
            let warm = *self.warm.entry(gateway.process()).or_insert(now);
            // Memory is what the cache may take, and what an allocator keeps of the worst moment.
            let bound = Usage {
                resident_kib: warm.resident_kib + 128 * 1024,
                descriptors: warm.descriptors + 64,
                threads: warm.threads + 16,
            };
            assert!(now.is_within(bound), "{}: it grows: {warm:?}, and now {now:?}", self.name);
        }
    }

    /// Ends the load. Every row was right, and nobody was refused but as the scene says.
    pub(crate) fn take(&mut self, load: Load, may_refuse: &[&str]) {
        let tally = &load.tally;
        assert_eq!(tally.wrong(), 0, "{}: a wrong row: {:?}", self.name, tally.first_wrong());
        self.right += tally.right();
        for (status, count) in tally.refusals() {
            let excused = may_refuse.contains(&status.as_str());
            assert!(excused, "{}: {count} refusals that the outage doesn't excuse: {status}", self.name);
            *self.refusals.entry(status).or_default() += count;
        }
    }

    /// Writes the line of the table.
    pub(crate) fn write(self) {
        let refusals: Vec<_> =
            self.refusals.iter().map(|(status, count)| format!("{count} × {status}")).collect();
        let line = [
            self.name.to_owned(),
            self.rounds.to_string(),
            self.right.to_string(),
            if refusals.is_empty() { "none".to_owned() } else { refusals.join(", ") },
            // A wrong one would have ended the scene.
            "0".to_owned(),
            format!("{:.1}", self.worst.as_secs_f64()),
            (self.most.resident_kib / 1024).to_string(),
            self.most.descriptors.to_string(),
            self.most.threads.to_string(),
        ];
        let line = line.join("\t") + "\n";
        if let Some(file) = env::var_os(TABLE_VARIABLE).filter(|file| !file.is_empty()) {
            let file = OpenOptions::new().create(true).append(true).open(file);
            file.unwrap().write_all(line.as_bytes()).unwrap();
        }
    }
}

impl Usage {
    fn of(process: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_end_matches("kB").trim().parse().unwrap()
        };
        Self {
            resident_kib: value("VmRSS:"),
            descriptors: fs::read_dir(format!("/proc/{process}/fd")).unwrap().count() as u64,
            threads: value("Threads:"),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            resident_kib: self.resident_kib.max(other.resident_kib),
            descriptors: self.descriptors.max(other.descriptors),
            threads: self.threads.max(other.threads),
        }
    }

    fn is_within(self, bound: Self) -> bool {
        self.resident_kib <= bound.resident_kib
            && self.descriptors <= bound.descriptors
            && self.threads <= bound.threads
    }
}
