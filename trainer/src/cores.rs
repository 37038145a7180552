//! How many threads a rank may keep busy.
//!
//! Guarantee: every core of a node is given out once: one that only this rank may use (it is *bound* to it, by `mpirun`,
//! `srun`, `taskset` or a cpuset) wholly, one that several ranks may use in equal parts. What a cgroup grants to all of
//! them together is shared in equal parts too. The ranks ask each other; no launcher's variables are needed.

use rustix::thread::{CpuSet, sched_getaffinity};
use serde::{Deserialize, Serialize};

use syncyte_fabric::collective::{Collective, CollectiveError};

/// What a rank may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Grant {
    /// Tells the nodes apart.
    node: String,
    /// The cores that this process may run on.
    cores: Vec<usize>,
    /// What the system lets it use at once of them, which may be less.
    at_once: usize,
}

/// Threads that this rank may keep busy, at least 1. All ranks call it together.
///
/// # Errors
/// When the ranks cannot exchange what they may use.
pub fn share(collective: &dyn Collective) -> Result<usize, CollectiveError> {
    let own = Grant::own();
    let text = serde_json::to_string(&own).unwrap_or_default();
    let all = collective.all_gather_text(&text)?;
    let all: Vec<Grant> = all.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
    Ok(own.share(&all))
}

impl Grant {
    fn own() -> Self {
        let at_once = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let set = sched_getaffinity(None);
        let cores = set.map_or_else(
            // A machine with more cores than the set holds.
            |_| (0..at_once).collect(),
            |set| (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect(),
        );
        Self { node: node(), cores, at_once }
    }

    /// Its share where `all` ranks, itself among them, may use so much.
    fn share(&self, all: &[Self]) -> usize {
        let here: Vec<&Self> = all.iter().filter(|rank| rank.node == self.node).collect();
        let users = |core: usize| here.iter().filter(|rank| rank.cores.binary_search(&core).is_ok()).count().max(1);
        let cores: f64 = self.cores.iter().map(|&core| 1.0 / users(core) as f64).sum();
        // Less than there are cores is what a group of processes may use together.
        let limited = self.at_once < self.cores.len();
        let granted = if limited { self.at_once as f64 / here.len().max(1) as f64 } else { f64::INFINITY };
        // Thirds do not add up to quite one.
        ((cores.min(granted) + 1e-6) as usize).max(1)
    }
}

/// The name of the machine, and what tells it from others of that name.
fn node() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let (host, boot) = (read("/proc/sys/kernel/hostname"), read("/proc/sys/kernel/random/boot_id"));
    format!("{} {}", host.trim(), boot.trim())
}

#[cfg(test)]
mod tests {
    use rustix::thread::sched_setaffinity;

    use super::*;
    use syncyte_fabric::collective::Solo;

    fn grant(node: &str, cores: std::ops::Range<usize>, at_once: usize) -> Grant {
        Grant { node: node.to_owned(), cores: cores.collect(), at_once }
    }

    #[test]
    fn unbound_ranks_share_what_the_node_grants() {
        let ranks = vec![grant("a", 0..16, 16); 3];
        assert_eq!(ranks[0].share(&ranks), 5);
        // A quota of six cores on sixteen.
        let ranks = vec![grant("a", 0..16, 6); 3];
        assert_eq!(ranks[0].share(&ranks), 2);
        let crowded = vec![grant("a", 0..2, 2); 4];
        assert_eq!(crowded[0].share(&crowded), 1);
    }

    #[test]
    fn a_bound_rank_takes_its_own_cores_and_those_of_other_nodes_do_not_count() {
        let ranks = [grant("a", 0..4, 4), grant("a", 4..8, 4), grant("b", 0..4, 4), grant("b", 0..4, 4)];
        let shares: Vec<_> = ranks.iter().map(|rank| rank.share(&ranks)).collect();
        assert_eq!(shares, [4, 4, 2, 2]);
    }

    #[test]
    fn cores_that_overlap_are_given_out_once() {
        let ranks = [grant("a", 0..6, 6), grant("a", 2..8, 6)];
        assert_eq!(ranks.each_ref().map(|rank| rank.share(&ranks)), [4, 4]);
    }

    #[test]
    fn the_mask_of_the_process_is_what_counts() {
        // On a thread of its own, whose mask nobody inherits.
        let share = std::thread::spawn(|| {
            let mut one = CpuSet::new();
            let all = sched_getaffinity(None).unwrap();
            one.set((0..CpuSet::MAX_CPU).find(|&core| all.is_set(core)).unwrap());
            sched_setaffinity(None, &one).unwrap();
            share(&Solo).unwrap()
        });
        assert_eq!(share.join().unwrap(), 1);
    }
}
