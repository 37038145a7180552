//! Starting the ranks of a parallel run by Open MPI's `mpirun`.
//!
//! Guarantee: for one rank the process becomes the command itself, so signals, output and exit code are those of the run.
//! For several it looks after `mpirun` ([`Attended`]), which ends all ranks as soon as one ends badly, and which gets
//! SIGTERM when this process ends, however it does.

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use syncyte_fabric::watch::signal;

use super::attend::Attended;
use super::hosts::Hosts;
use super::{leash, openmp, program};
use crate::exit::usage;
use crate::relay::{self, Wanted};

/// Set for the process that is to become `mpirun`.
const ATTENDED: &str = "SYNCYTE_ATTENDED";

const MPIRUN_MISSING: &str = "mpirun is missing, which starts more than one rank; install Open MPI \
     (`apt-get install openmpi-bin`, or scripts/setup.sh), or run with one rank";

/// Variables that ranks on other machines need as they are here; local ranks inherit everything.
const EXPORTED: [&str; 3] = ["LD_LIBRARY_PATH", "RUST_LOG", "RUST_BACKTRACE"];
const EXPORTED_PREFIXES: [&str; 4] = ["SYNCYTE_", "NCCL_", "OMP_", "GOMP_"];

/// Where there are other hosts, `mpirun` ends the run by the name of one that gave no sign of life for two minutes. By
/// Open MPI's own defaults that is eight, later than ranks give up by theirs; and once they have, `mpirun` waits for the
/// lost host as long as TCP does, a quarter of an hour.
const SIGNS_OF_LIFE: [(&str, &str); 3] = [
    ("OMPI_MCA_oob_tcp_keepalive_time", "60"),
    ("OMPI_MCA_oob_tcp_keepalive_intvl", "10"),
    ("OMPI_MCA_oob_tcp_keepalive_probes", "6"),
];

/// A run to start.
#[derive(Debug)]
pub(crate) struct Launch {
    /// Number of processes.
    pub(crate) ranks: usize,
    /// Machines; this one where absent.
    pub(crate) hosts: Option<Hosts>,
    /// Program and arguments; `syncyte` means this very binary.
    pub(crate) command: Vec<OsString>,
}

impl Launch {
    /// Runs the ranks to their end and gives the exit code.
    pub(crate) fn run(&self) -> Result<i32> {
        if self.is_alone() || std::env::var_os(ATTENDED).is_some() {
            self.exec()?;
        }
        signal::install().context("cannot listen to signals")?;
        // This binary again, which follows this process and then becomes mpirun: nothing else may tie a process to us.
        let mut command = Command::new(std::env::current_exe().context("cannot find the path of this program")?);
        let wanted =
            if std::io::stderr().is_terminal() && !leash::is_tied() { Wanted::Progress } else { Wanted::Signals };
        command.args(std::env::args_os().skip(1)).env(ATTENDED, "1").env(relay::VARIABLE, wanted.name());
        // A group of its own: an interrupt at the terminal is for us to pass on.
        command.stderr(Stdio::piped()).process_group(0);
        if std::io::stdin().is_terminal() {
            command.stdin(Stdio::null());
        }
        leash::tie(&mut command);
        let child = command.spawn().context("cannot start mpirun")?;
        Attended::new(child, self.ranks).attend()
    }

    fn is_alone(&self) -> bool {
        self.ranks == 1 && self.hosts.is_none()
    }

    /// Turns this process into the run. Returns only when that fails.
    fn exec(&self) -> Result<()> {
        let mut command = self.plan(machine_cores())?;
        let name = command.get_program().to_string_lossy().into_owned();
        Err(command.exec()).with_context(|| format!("cannot start {name}"))
    }

    fn plan(&self, cores: usize) -> Result<Command> {
        let (first, arguments) = self.command.split_first().ok_or_else(|| usage("nothing to launch"))?;
        let program = resolve(first)?;
        let threads = self.threads_per_rank(cores);
        let mut command = if self.is_alone() {
            let mut command = Command::new(program);
            command.env_remove(relay::VARIABLE);
            command
        } else {
            let mut mpirun = Command::new(mpirun()?);
            mpirun.args(self.mpirun_arguments(cores)).arg(program);
            mpirun
        };
        command.args(arguments);
        leash::untie(&mut command);
        command.env_remove(ATTENDED);
        // Ranks that each start a thread per core trample on each other; the user's own choice stays.
        set_default(&mut command, "OMP_NUM_THREADS", &threads.to_string());
        if !openmp::is_settled() {
            command.envs(openmp::PATIENT);
        }
        if self.hosts.is_some() {
            for (name, value) in SIGNS_OF_LIFE {
                set_default(&mut command, name, value);
            }
        }
        if is_root() {
            set_default(&mut command, "OMPI_ALLOW_RUN_AS_ROOT", "1");
            set_default(&mut command, "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
        }
        Ok(command)
    }

    /// Most ranks that share one machine, taking hosts in their order as mpirun does.
    fn ranks_per_machine(&self) -> usize {
        let slots = self.hosts.as_ref().map_or(self.ranks, |hosts| hosts.slots.iter().copied().max().unwrap_or(1));
        slots.min(self.ranks).max(1)
    }

    /// Other machines are taken to have as many cores as this one.
    fn threads_per_rank(&self, cores: usize) -> usize {
        (cores / self.ranks_per_machine()).max(1)
    }

    fn mpirun_arguments(&self, cores: usize) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        let mut add = |words: &[&str]| arguments.extend(words.iter().map(OsString::from));
        add(&["-n", &self.ranks.to_string(), "--bind-to", "none"]);
        // Copying between processes by ptrace is forbidden in many containers, and mpirun complains at length.
        add(&["--mca", "btl_vader_single_copy_mechanism", "none"]);
        if self.ranks_per_machine() > cores {
            // A rank that waits must let the others compute.
            add(&["--mca", "mpi_yield_when_idle", "1"]);
        }
        match &self.hosts {
            // Open MPI counts whole cores, and refuses a second rank on one core with two threads; we count threads.
            None => add(&["--oversubscribe"]),
            Some(hosts) => {
                for name in exported_names() {
                    add(&["-x", &name]);
                }
                arguments.extend([OsString::from("--hostfile"), hosts.path.clone().into_os_string()]);
            }
        }
        arguments
    }
}

fn exported_names() -> Vec<String> {
    let set = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let mut names: Vec<String> = set
        .filter(|name| EXPORTED.contains(&name.as_str()) || EXPORTED_PREFIXES.iter().any(|p| name.starts_with(p)))
        // For processes on the way to the ranks.
        .filter(|name| ![ATTENDED, leash::PARENT].contains(&name.as_str()))
        .chain(std::iter::once("OMP_NUM_THREADS".to_owned()))
        .chain(openmp::PATIENT.map(|(name, _)| name.to_owned()).into_iter().filter(|_| !openmp::is_settled()))
        .collect();
    names.sort();
    names.dedup();
    names
}

fn mpirun() -> Result<std::path::PathBuf> {
    let path = program::find("mpirun").ok_or_else(|| anyhow::anyhow!(MPIRUN_MISSING))?;
    let version = program::version("mpirun").unwrap_or_default();
    anyhow::ensure!(
        version.contains("Open MPI") || version.contains("OpenRTE"),
        "{} is not Open MPI's (it says '{version}'); put Open MPI's first on PATH",
        path.display()
    );
    Ok(path)
}

fn resolve(name: &OsStr) -> Result<OsString> {
    if name == "syncyte" {
        return Ok(std::env::current_exe().context("cannot find the path of this program")?.into_os_string());
    }
    Ok(name.to_owned())
}

fn set_default(command: &mut Command, name: &str, value: &str) {
    if std::env::var_os(name).is_none() {
        command.env(name, value);
    }
}

/// Cores that this process may use.
pub(crate) fn machine_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(ranks: usize, hosts: Option<Hosts>) -> Launch {
        Launch { ranks, hosts, command: vec!["echo".into(), "-n".into()] }
    }

    fn words(launch: &Launch, cores: usize) -> String {
        let words = launch.mpirun_arguments(cores);
        words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn one_rank_runs_without_mpirun() {
        let command = launch(1, None).plan(8).unwrap();
        assert_eq!(command.get_program(), "echo");
        assert_eq!(command.get_args().collect::<Vec<_>>(), ["-n"]);
    }

    #[test]
    fn ranks_share_the_cores() {
        assert_eq!(launch(2, None).threads_per_rank(8), 4);
        assert_eq!(launch(4, None).threads_per_rank(2), 1);
        let hosts = Hosts { path: "/hosts".into(), slots: vec![2, 2] };
        assert_eq!(launch(4, Some(hosts)).threads_per_rank(8), 4);
    }

    #[test]
    fn threads_of_ranks_wait_asleep() {
        for ranks in [1, 2] {
            let command = launch(ranks, None).plan(8).unwrap();
            let set = |wanted: &str| command.get_envs().any(|(name, value)| name == wanted && value.is_some());
            assert!(openmp::is_settled() || openmp::PATIENT.iter().all(|(name, _)| set(name)));
        }
    }

    #[test]
    fn crowded_ranks_yield_to_each_other() {
        assert!(words(&launch(4, None), 2).contains("mpi_yield_when_idle 1"));
        assert!(!words(&launch(2, None), 2).contains("mpi_yield_when_idle"));
    }

    #[test]
    fn other_hosts_get_the_environment() {
        let text = words(&launch(4, Some(Hosts { path: "/hosts".into(), slots: vec![2, 2] })), 8);
        assert!(text.contains("-x OMP_NUM_THREADS"), "{text}");
        assert!(text.ends_with("--hostfile /hosts"), "{text}");
        assert!(!text.contains("--oversubscribe"), "{text}");
    }

    #[test]
    fn signs_of_life_are_asked_of_other_hosts_alone() {
        let hosts = Hosts { path: "/hosts".into(), slots: vec![1, 1] };
        let asked = |launch: Launch| {
            let command = launch.plan(8).unwrap();
            command.get_envs().filter(|(name, _)| name.to_string_lossy().contains("keepalive")).count()
        };
        assert_eq!((asked(launch(2, None)), asked(launch(2, Some(hosts)))), (0, SIGNS_OF_LIFE.len()));
    }

    #[test]
    fn our_own_name_means_this_binary() {
        assert_eq!(resolve(OsStr::new("syncyte")).unwrap(), std::env::current_exe().unwrap());
        assert_eq!(resolve(OsStr::new("python3")).unwrap(), "python3");
    }
}
