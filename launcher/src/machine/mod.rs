//! What this machine offers, read from the system; nothing is changed and nothing is made on a GPU.

mod finding;
mod gpu;
mod hardware;
mod library;
mod software;

pub(crate) use finding::Finding;

/// Everything that Syncyte can use, found or not.
pub(crate) fn survey() -> Vec<Finding> {
    let torch = software::torch();
    let mut findings = vec![hardware::processor(), hardware::memory(), torch.finding];
    let folder = torch.folder.as_deref();
    findings.extend([gpu::driver(), gpu::torch_cuda(folder), gpu::nvrtc(folder), gpu::nccl(folder)]);
    findings.extend([software::mpi(), software::slurm(), software::hdf5()]);
    findings
}
