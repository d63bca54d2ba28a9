//! Which setting of a contender is its best: looked for on texts that are not measured.

use anyhow::{Context, Result, ensure};
use embed_rivals_worker::{Order, Texts};

use crate::bench::Bench;
use crate::field::Entrant;
use crate::workloads::Taken;

/// One of so many choices goes on to more texts.
const KEPT: usize = 3;

/// Tries all choices of a contender on the first texts, the best third of them on the next, and so on; the best one
/// is in use afterwards.
pub(crate) fn search(bench: &Bench, entrant: &mut Entrant, rungs: &[Taken]) -> Result<String> {
    let choices = entrant.choices.clone();
    let try_one = |choice: &str, taken: &Taken| {
        entrant.choose(choice)?;
        let order = Order::Batch(Texts { texts: taken.path.clone(), role: taken.role });
        // The first time some make kernels for these lengths, which is no part of their speed.
        entrant.order(&order)?;
        bench.undisturbed(|| entrant.order(&order))?.seconds.context("no time was taken")
    };
    let best = halve(choices, rungs, try_one)?;
    entrant.choose(&best)?;
    Ok(best)
}

fn halve<T>(
    mut choices: Vec<String>,
    rungs: &[T],
    mut seconds: impl FnMut(&str, &T) -> Result<f64>,
) -> Result<String> {
    for (at, rung) in rungs.iter().enumerate() {
        let mut times = Vec::new();
        for choice in &choices {
            times.push((seconds(choice, rung)?, choice.clone()));
        }
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
        let last = at + 1 == rungs.len();
        times.truncate(if last { 1 } else { times.len().div_ceil(KEPT).max(2) });
        // In their old order: neighbours share what is costly to change.
        choices.retain(|choice| times.iter().any(|(_, kept)| kept == choice));
    }
    ensure!(choices.len() == 1, "{} choices are left", choices.len());
    Ok(choices.remove(0))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_best_choice_is_found_with_few_trials_of_many_texts() {
        let choices: Vec<String> = (1..=12).map(|number: i32| number.to_string()).collect();
        let mut tried = BTreeMap::new();
        // On few texts its neighbour looks a little better.
        let seconds = |choice: &str, texts: &usize| {
            *tried.entry(*texts).or_insert(0) += 1;
            let far = (choice.parse::<f64>()? - 7.0).abs();
            Ok(if *texts < 10 && choice == "8" { -1.0 } else { far })
        };
        assert_eq!(halve(choices, &[4, 40], seconds).unwrap(), "7");
        assert_eq!(tried, BTreeMap::from([(4, 12), (40, 4)]));
    }
}
