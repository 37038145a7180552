//! What this machine offers, read from the system; nothing is changed and no GPU is touched.

mod finding;
mod hardware;
mod library;
mod software;

pub(crate) use finding::Finding;

/// Everything that Syncyte can use, found or not.
pub(crate) fn survey() -> Vec<Finding> {
    let torch = software::torch();
    let mut findings = vec![hardware::processor(), hardware::memory(), torch.finding];
    findings.extend([hardware::cuda(), software::nccl(torch.folder.as_deref())]);
    findings.extend([software::mpi(), software::slurm(), software::hdf5()]);
    findings
}
