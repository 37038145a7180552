//! Processes that a launcher started as ranks of one run and that do not see each other.
//!
//! Guarantee: they are refused before anything is read or written. Each would be a run by itself, and all of them would
//! write into one folder.

use anyhow::Result;

use crate::exit::usage;

/// A launcher that tells a process how many there are.
struct Launcher {
    /// Its name.
    name: &'static str,
    /// Variables of which one is set in processes that it started.
    sign: &'static [&'static str],
    /// Variables that hold the number of processes, the first that is set counts.
    count: &'static [&'static str],
    /// How to start the processes so that they see each other.
    fix: &'static str,
}

const LAUNCHERS: [Launcher; 3] = [
    Launcher {
        name: "srun",
        // The script of a batch job has its rank too, and is no task of a step.
        sign: &["SLURM_STEP_ID", "SLURM_STEPID", "SLURM_STEP_NUM_TASKS"],
        count: &["SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_NPROCS"],
        fix: "start them with `srun --mpi=pmix` (`srun --mpi=list` shows whether it is there)",
    },
    Launcher {
        name: "mpirun",
        sign: &["OMPI_COMM_WORLD_SIZE"],
        count: &["OMPI_COMM_WORLD_SIZE"],
        fix: "start them with the `mpirun` of the Open MPI that this binary was built with (`syncyte doctor` shows it)",
    },
    Launcher {
        name: "a launcher that speaks PMI",
        sign: &["PMI_SIZE"],
        count: &["PMI_SIZE"],
        fix: "start them with Open MPI's `mpirun`, or with one that speaks PMIx",
    },
];

/// Refuses a world of one rank where a launcher says that there are several processes.
pub(crate) fn refuse(size: usize, variable: impl Fn(&str) -> Option<String>) -> Result<()> {
    if size > 1 {
        return Ok(());
    }
    for launcher in &LAUNCHERS {
        let later_rank = launcher.name == "srun" && number(&variable, "SLURM_PROCID").is_some_and(|rank| rank > 0);
        let started = later_rank || launcher.sign.iter().any(|name| variable(name).is_some());
        let count = launcher.count.iter().find_map(|name| number(&variable, name)).unwrap_or(1);
        if started && count > 1 {
            return Err(usage(format!(
                "{} started {count} processes, but they do not see each other as ranks of one MPI run: each would be a \
                 run by itself, and all would write into the same folder; {}, or start them from one process with \
                 `syncyte launch -n {count}`; for a run of one process, start one",
                launcher.name, launcher.fix
            )));
        }
    }
    Ok(())
}

fn number(variable: &impl Fn(&str) -> Option<String>, name: &str) -> Option<usize> {
    variable(name)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(size: usize, set: &[(&str, &str)]) -> Option<String> {
        let variable = |name: &str| set.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned());
        refuse(size, variable).err().map(|error| error.to_string())
    }

    #[test]
    fn tasks_of_srun_without_pmix_are_refused_with_the_fix() {
        let step = [("SLURM_STEP_ID", "0"), ("SLURM_PROCID", "0"), ("SLURM_NTASKS", "4")];
        let message = refused(1, &step).unwrap();
        assert!(message.contains("4 processes") && message.contains("srun --mpi=pmix"), "{message}");
        assert!(refused(1, &[("SLURM_PROCID", "1"), ("SLURM_NTASKS", "2")]).is_some());
        assert_eq!(refused(4, &step), None, "they see each other");
    }

    #[test]
    fn single_tasks_and_scripts_of_jobs_are_not() {
        assert_eq!(refused(1, &[]), None);
        assert_eq!(refused(1, &[("SLURM_STEP_ID", "0"), ("SLURM_PROCID", "0"), ("SLURM_NTASKS", "1")]), None);
        // A batch script of a job with room for four tasks.
        assert_eq!(refused(1, &[("SLURM_JOB_ID", "7"), ("SLURM_PROCID", "0"), ("SLURM_NTASKS", "4")]), None);
        // A step of one task in it.
        let step =
            [("SLURM_STEP_ID", "1"), ("SLURM_NTASKS", "4"), ("SLURM_STEP_NUM_TASKS", "1"), ("SLURM_PROCID", "0")];
        assert_eq!(refused(1, &step), None);
    }

    #[test]
    fn other_launchers_are_believed_too() {
        for name in ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"] {
            let message = refused(1, &[(name, "3")]).unwrap();
            assert!(message.contains("3 processes") && message.contains("mpirun"), "{message}");
            assert_eq!(refused(3, &[(name, "3")]), None);
            assert_eq!(refused(1, &[(name, "1")]), None);
        }
    }
}
