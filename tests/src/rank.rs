//! The processes of a run on this machine, one a rank, and signals to them.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::process::{GLANCE, Running};

/// The processes of a run that has ended are gone after a moment.
const PATIENCE: Duration = Duration::from_secs(30);

impl Running {
    /// Process ids of the ranks, in order of rank; that of the run itself where it has one rank.
    pub fn ranks(&self) -> Vec<u32> {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        // `launch` starts `mpirun`, which starts the ranks.
        let below = |id: u32| parent_of(id).and_then(parent_of) == Some(self.id());
        let mut ranks: Vec<_> = ids.filter(|id| below(*id)).filter_map(|id| Some((rank_of(id)?, id))).collect();
        ranks.sort_unstable();
        if ranks.is_empty() { vec![self.id()] } else { ranks.into_iter().map(|(_, id)| id).collect() }
    }
}

/// Third field of `/proc/PID/stat`, `Z` for a process that has ended and was not waited for.
fn state_of(id: u32) -> Option<char> {
    field_of(id, 0)?.chars().next()
}

fn parent_of(id: u32) -> Option<u32> {
    field_of(id, 1)?.parse().ok()
}

/// A field of `/proc/PID/stat` behind the second, which is a name in brackets that may hold anything.
fn field_of(id: u32, index: usize) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    text.rsplit_once(')')?.1.split_whitespace().nth(index).map(str::to_owned)
}

/// What `mpirun` tells a process that it starts.
fn rank_of(id: u32) -> Option<usize> {
    let environment = fs::read(format!("/proc/{id}/environ")).ok()?;
    let value = environment.split(|byte| *byte == 0).find_map(|word| word.strip_prefix(b"OMPI_COMM_WORLD_RANK="))?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Sends a signal, e.g. `KILL`, to processes.
///
/// # Panics
/// When one of them is not there.
pub fn signal(ids: &[u32], name: &str) {
    let ids = ids.iter().map(u32::to_string);
    let status = Command::new("kill").arg(format!("-{name}")).args(ids.clone()).status();
    assert!(status.is_ok_and(|status| status.success()), "cannot send {name} to {:?}", ids.collect::<Vec<_>>());
}

/// Waits until these processes have ended.
///
/// # Panics
/// When one of them stays.
pub fn wait_until_gone(ids: &[u32]) {
    let began = Instant::now();
    for id in ids {
        while state_of(*id).is_some_and(|state| state != 'Z') {
            assert!(began.elapsed() < PATIENCE, "process {id} outlives its run");
            std::thread::sleep(GLANCE);
        }
    }
}
