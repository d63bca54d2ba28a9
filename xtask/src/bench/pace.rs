//! How long each part may take. A quick run gives each part its share of three minutes. The part knows its share; which
//! of its functions are measured is chosen here.

use std::time::Duration;

/// What criterion does with each function in a quick run. 10 is the smallest number of samples that it takes.
const QUICK_CRITERION: &[&str] =
    &["--warm-up-time=0.1", "--measurement-time=0.3", "--sample-size=10", "--nresamples=1000"];

/// The same in a full run: a third of criterion's default, since there are some 150 functions.
const WHOLE_CRITERION: &[&str] = &["--warm-up-time=0.5", "--measurement-time=2"];

/// What a part may do in a quick run.
#[derive(Debug)]
struct TimeShare {
    part: &'static str,
    seconds: u64,
    /// The functions that criterion measures, as a regular expression over `group/function`; `None` is all of them.
    only: Option<&'static str>,
}

const fn all(part: &'static str, seconds: u64) -> TimeShare {
    TimeShare { part, seconds, only: None }
}

const fn only(part: &'static str, seconds: u64, functions: &'static str) -> TimeShare {
    TimeShare { part, seconds, only: Some(functions) }
}

/// The functions that are left out measure other sizes of those that are in.
const SHARES: &[TimeShare] = &[
    only("cache/memory", 14, "cache/(lookup of 1|hit of 1|hit of 32|request of 1)/"),
    only("cache/redis", 5, "cache/redis, (32 rows|32 rows written|64 callers of 32 rows/[18] connections)"),
    all("cli/serve", 22),
    all("e5/engine", 9),
    all("gateway/load", 8),
    only("gemm/sums", 2, "e5/gemm, 384x1536/.*/48"),
    only("kernels/kernels", 1, "e5/layer, 5 times 40 tokens/"),
    all("metrics/overhead", 4),
    all("ollama/client", 4),
    all("ollama/load", 9),
    only("router/detect", 9, "detection/(.* query|(English|French|Japanese|Thai), 2,000 characters)/"),
    only("router/router", 7, "router/(one text|300 texts|a server of 5 ms/(no trials|trials of every call))"),
    all("rivals/e5", 56),
    all("rivals/start", 8),
    all("rivals/detect", 2),
    all("rivals/ollama", 15),
    all("rivals/redis", 2),
];

/// The share of a part that isn't in the table.
const OTHER: TimeShare = all("", 5);

fn share(part: &str) -> &'static TimeShare {
    SHARES.iter().find(|share| share.part == part).unwrap_or(&OTHER)
}

/// How long a part may take in a quick run.
pub(super) fn quick_share(part: &str) -> Duration {
    Duration::from_secs(share(part).seconds)
}

/// Criterion's arguments for a part. Criterion takes no option twice and only one choice of functions, so what a person
/// passes comes first.
pub(super) fn criterion<'a>(part: &str, quick: bool, said: &'a [String]) -> Vec<&'a str> {
    let pace: &[&str] = match (quick, said) {
        (true, _) => QUICK_CRITERION,
        (false, []) => WHOLE_CRITERION,
        (false, _) => &[],
    };
    let only = share(part).only.filter(|_| quick && said.is_empty());
    pace.iter().copied().chain(only).chain(said.iter().map(String::as_str)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a quick run takes at most, its report included.
    const QUICK: Duration = Duration::from_secs(180);

    #[test]
    fn the_shares_leave_time_for_the_report() {
        let shares: Duration = SHARES.iter().map(|share| quick_share(share.part)).sum();
        assert!(shares <= QUICK - Duration::from_secs(3), "{shares:?}");
    }

    #[test]
    fn a_quick_run_measures_the_functions_that_were_chosen() {
        let chosen = share("router/detect").only.unwrap();
        assert_eq!(criterion("router/detect", true, &[]).last(), Some(&chosen));
        assert_eq!(criterion("gateway/load", true, &[]), QUICK_CRITERION);
        assert_eq!(criterion("router/detect", false, &[]), WHOLE_CRITERION);
        let said = ["Thai".to_owned()];
        assert_eq!(criterion("router/detect", false, &said), ["Thai"]);
        assert!(!criterion("router/detect", true, &said).contains(&chosen));
    }
}
