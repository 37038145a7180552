//! What a GPU needs: driver, libtorch's CUDA half, the compiler of kernels, NCCL.
//!
//! libtorch's half is only looked for, since opening it takes a second and memory; the others are opened, because a
//! file that is there may still not be found by the loader.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use syncyte_fabric::collective::nccl::Library;
use syncyte_kernels::cuda::{self, CudaError, Driver, Gpu};

use super::finding::Finding;
use super::library;

/// Folders of NVIDIA's wheels, from libtorch's own: those for CUDA 13 share one, earlier ones have one each.
const WHEELS: &str = "../../nvidia";

/// The driver and the GPUs it knows.
pub(crate) fn driver() -> Finding {
    const REMEDY: &str =
        "training runs on the CPU; with an NVIDIA GPU, install its driver, then scripts/setup.sh --gpu";
    const HIDDEN: &str = "nvidia-smi shows what the driver sees; CUDA_VISIBLE_DEVICES may hide GPUs, and a container \
        must be given them (--gpus all)";
    match cuda::driver() {
        Ok(driver) if !driver.gpus.is_empty() => found(&driver),
        Ok(_) => Finding::missing("cuda", "a driver, but no GPU", HIDDEN),
        Err(CudaError::NoDriver) => Finding::missing("cuda", "no driver library (libcuda.so.1)", REMEDY),
        Err(error) => Finding::missing("cuda", format!("a driver that finds no GPU: {error}"), HIDDEN),
    }
}

fn found(driver: &Driver) -> Finding {
    let gpus: Vec<String> = driver.gpus.iter().map(describe).collect();
    let (major, minor) = driver.cuda;
    let runs = format!("{major}.{minor}");
    Finding::found("cuda", format!("{}; a driver for CUDA {runs}", gpus.join("; ")))
        .with("driver_cuda", runs)
        .with("gpus", driver.gpus.iter().map(facts).collect::<Vec<Value>>())
}

fn describe(gpu: &Gpu) -> String {
    let gib = gpu.memory_bytes as f64 / f64::from(1 << 30);
    format!("{}, {gib:.0} GiB, sm_{}{}", gpu.name, gpu.capability.0, gpu.capability.1)
}

fn facts(gpu: &Gpu) -> Value {
    json!({
        "name": gpu.name,
        "memory_bytes": gpu.memory_bytes,
        "capability": format!("{}.{}", gpu.capability.0, gpu.capability.1),
        "memory_gb_s": gpu.bandwidth.map(|bandwidth| bandwidth / 1e9),
    })
}

/// The half of libtorch that computes on GPUs.
pub(crate) fn torch_cuda(torch: Option<&Path>) -> Finding {
    let folders: Vec<PathBuf> = torch.map(Path::to_owned).into_iter().collect();
    torch_cuda_in(library::find("libtorch_cuda.so", &folders))
}

fn torch_cuda_in(file: Option<PathBuf>) -> Finding {
    match file {
        Some(file) => {
            let path = file.canonicalize().unwrap_or(file).display().to_string();
            Finding::found("torch_cuda", path.clone()).with("path", path)
        }
        None => Finding::missing(
            "torch_cuda",
            "no libtorch_cuda.so beside libtorch",
            "only needed on a GPU: scripts/setup.sh --gpu, or LD_LIBRARY_PATH with torch/lib of a CUDA build of torch",
        ),
    }
}

/// The compiler of our own kernels.
pub(crate) fn nvrtc(torch: Option<&Path>) -> Finding {
    const REMEDY: &str = "only needed on a GPU: scripts/setup.sh --gpu, or LD_LIBRARY_PATH with the folder of \
        libnvrtc.so.13 (wheel nvidia-cuda-nvrtc)";
    let file = library::find("libnvrtc.so.13", &wheels(torch, "cuda_nvrtc"));
    match (cuda::has_compiler(), file) {
        (true, file) => {
            let path = file.map_or_else(|| "on the loader's path".to_owned(), |file| file.display().to_string());
            Finding::found("nvrtc", path.clone()).with("path", path)
        }
        (false, Some(file)) => {
            let detail = format!("{} is there, but the loader does not find it", file.display());
            Finding::missing("nvrtc", detail, REMEDY)
        }
        (false, None) => Finding::missing("nvrtc", "no libnvrtc.so.13", REMEDY),
    }
}

/// The collectives library for GPUs.
pub(crate) fn nccl(torch: Option<&Path>) -> Finding {
    const REMEDY: &str = "only needed on GPUs: scripts/setup.sh --gpu, or SYNCYTE_NCCL with the path of a libnccl.so.2";
    // What the variable names goes first, as it does in training.
    let named = std::env::var_os("SYNCYTE_NCCL").is_some_and(|name| !name.is_empty());
    let beside = if named { None } else { library::find("libnccl.so.2", &wheels(torch, "nccl")) };
    if !named && beside.is_none() {
        return Finding::missing("nccl", "no libnccl.so.2", REMEDY);
    }
    match Library::open(beside.as_deref()) {
        Ok(library) => {
            let (version, path) = (library.version().to_string(), library.path().display().to_string());
            Finding::found("nccl", format!("{version}, {path}")).with("version", version).with("path", path)
        }
        Err(error) => Finding::missing("nccl", error.to_string(), REMEDY),
    }
}

/// Where the wheels keep the libraries of `part`.
fn wheels(torch: Option<&Path>, part: &str) -> Vec<PathBuf> {
    let folders = |torch: &Path| [part, "cu13"].map(|name| torch.join(WHEELS).join(name).join("lib"));
    torch.map(folders).into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_named_with_memory_and_architecture() {
        let gpu = |bandwidth| Gpu {
            name: "NVIDIA X".into(),
            uuid: [0; 16],
            memory_bytes: 80 << 30,
            capability: (9, 0),
            bandwidth,
        };
        let finding = found(&Driver { cuda: (13, 0), gpus: vec![gpu(Some(3.3e12)), gpu(None)] });
        assert_eq!(finding.detail, "NVIDIA X, 80 GiB, sm_90; NVIDIA X, 80 GiB, sm_90; a driver for CUDA 13.0");
        let json = finding.to_json();
        assert_eq!((&json["driver_cuda"], &json["gpus"][0]["memory_gb_s"]), (&json!("13.0"), &json!(3300.0)));
        assert_eq!((&json["gpus"][1]["memory_gb_s"], &json["found"]), (&Value::Null, &json!(true)));
    }

    #[test]
    fn libraries_are_looked_for_beside_libtorch() {
        let root = tempfile::tempdir().unwrap();
        assert!(torch_cuda_in(None).remedy.is_some_and(|remedy| remedy.contains("setup.sh --gpu")));
        std::fs::write(root.path().join("libtorch_cuda.so"), "").unwrap();
        // One on LD_LIBRARY_PATH would come first.
        let finding = torch_cuda(Some(root.path()));
        assert_eq!((finding.remedy, finding.detail.ends_with("/libtorch_cuda.so")), (None, true));
        assert_eq!(wheels(Some(Path::new("/t/lib")), "nccl")[0], Path::new("/t/lib/../../nvidia/nccl/lib"));
        assert!(wheels(None, "nccl").is_empty());
    }

    #[test]
    fn what_is_no_nccl_is_missing_with_a_remedy() {
        let root = tempfile::tempdir().unwrap();
        let (torch, folder) = (root.path().join("torch/lib"), root.path().join("nvidia/nccl/lib"));
        std::fs::create_dir_all(&torch).unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("libnccl.so.2"), "no library").unwrap();
        let finding = nccl(Some(&torch));
        // Another one may come first, by LD_LIBRARY_PATH or SYNCYTE_NCCL.
        assert!(finding.remedy.is_some_and(|remedy| remedy.contains("SYNCYTE_NCCL")) || finding.detail.contains(", /"));
    }
}
