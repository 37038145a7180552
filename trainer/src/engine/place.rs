//! Where a training state lies, and who sums it over ranks.
//!
//! Guarantee: all ranks come to the same way of summing, from what all of them said.

use tch::Device;

use crate::config::{DeviceChoice, DeviceCollectives, EngineConfig};
use crate::device::{self, DeviceError};
use crate::shim::{NoCuda, cuda_devices};
use syncyte_fabric::collective::{AgreeError, Collective, agree, nccl};

/// How the buffers of a state are reduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sums {
    /// In the memory that ranks share; on a GPU, by one rank alone.
    Direct,
    /// Through copies in the host's memory.
    Host,
    /// By NCCL, on the GPUs.
    Nccl,
}

/// Place of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where this rank's tensors are.
    pub device: Device,
    /// How they are reduced.
    pub sums: Sums,
}

impl Default for Place {
    /// In the memory of the processor.
    fn default() -> Self {
        Self { device: Device::Cpu, sums: Sums::Direct }
    }
}

impl Place {
    /// The place of this rank's state in a run. The first rank logs it. Collective.
    ///
    /// # Errors
    /// On all ranks, when one of them cannot have what the configuration asks for.
    pub fn of(config: &EngineConfig, collective: &dyn Collective) -> Result<Self, AgreeError> {
        let device = agree(collective, || device::own(config.device))?;
        // A single rank that `mpirun` started can use NCCL, if only to try it; one that is not started so cannot.
        let several = collective.size() > 1
            || (config.device_collectives == DeviceCollectives::Nccl && collective.recorder().is_some());
        let report = Report::of(device, several, collective);
        let reports: Vec<Report> =
            collective.all_gather_text(&report.encode())?.iter().map(|text| Report::decode(text)).collect();
        let (sums, why) =
            agree(collective, || choose(config.device_collectives, config.deterministic, several, &reports))?;
        if collective.rank() == 0 {
            let means = match sums {
                _ if !several => String::new(),
                Sums::Direct => "; sums over ranks in shared memory and over MPI".into(),
                Sums::Host => format!("; sums over ranks in the host's memory, since {why}"),
                Sums::Nccl => "; sums over ranks by NCCL".into(),
            };
            tracing::info!("computing on {}{means}", device::describe(device));
            // A machine without a driver is meant to have none; one with a driver is not.
            if let (DeviceChoice::Auto, Err(reason @ (NoCuda::Library(_) | NoCuda::Device))) =
                (config.device, cuda_devices())
            {
                tracing::warn!("no GPU is used: {reason}");
            }
        }
        Ok(Self { device, sums })
    }
}

/// What a rank tells the others.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Report {
    /// Which GPU it has; none for a processor.
    gpu: Option<String>,
    /// Why it cannot use NCCL, where it cannot.
    obstacle: String,
}

impl Report {
    fn of(device: Device, several: bool, collective: &dyn Collective) -> Self {
        let gpu = device.is_cuda().then(|| {
            let known = device::identity(device);
            // One that NCCL shares, or the driver does not identify, is as good as this rank's own.
            known.filter(|_| !nccl_shares_gpus()).unwrap_or_else(|| format!("of rank {}", collective.rank()))
        });
        let needed = gpu.is_some() && several;
        let obstacle = if needed { nccl::Library::open(None).err().map(|error| error.to_string()) } else { None };
        Self { gpu, obstacle: obstacle.unwrap_or_default() }
    }

    fn encode(&self) -> String {
        format!("{}\n{}", self.gpu.as_deref().unwrap_or_default(), self.obstacle)
    }

    fn decode(text: &str) -> Self {
        let (gpu, obstacle) = text.split_once('\n').unwrap_or((text, ""));
        Self { gpu: Some(gpu.to_owned()).filter(|gpu| !gpu.is_empty()), obstacle: obstacle.to_owned() }
    }
}

/// Whether the user has told NCCL to let ranks share a GPU, which it can from release 2.30 on.
fn nccl_shares_gpus() -> bool {
    std::env::var("NCCL_MULTI_RANK_GPU_ENABLE").is_ok_and(|value| value == "1")
}

/// How ranks sum, and why not by NCCL where they do not. Without `several` there is nobody to sum with.
fn choose(
    asked: DeviceCollectives,
    deterministic: bool,
    several: bool,
    reports: &[Report],
) -> Result<(Sums, String), DeviceError> {
    let with = reports.iter().position(|report| report.gpu.is_some());
    let without = reports.iter().position(|report| report.gpu.is_none());
    match (with, without) {
        (Some(with), Some(without)) => return Err(DeviceError::Mixed { with, without }),
        (None, _) => return Ok((Sums::Direct, String::new())),
        (Some(_), None) if !several => return Ok((Sums::Direct, String::new())),
        (Some(_), None) => {}
    }
    if asked == DeviceCollectives::Host {
        return Ok((Sums::Host, "engine.device_collectives = \"host\"".into()));
    }
    if deterministic {
        return Ok((Sums::Host, "engine.deterministic sums in a fixed order".into()));
    }
    match obstacle(reports) {
        None => Ok((Sums::Nccl, String::new())),
        Some(reason) if asked == DeviceCollectives::Nccl => Err(DeviceError::NoNccl(reason)),
        Some(reason) => Ok((Sums::Host, reason)),
    }
}

/// What keeps the ranks from using NCCL.
fn obstacle(reports: &[Report]) -> Option<String> {
    for (rank, report) in reports.iter().enumerate() {
        if let Some(other) = reports[..rank].iter().position(|other| other.gpu == report.gpu) {
            return Some(format!("ranks {other} and {rank} share one GPU, which NCCL refuses"));
        }
        if !report.obstacle.is_empty() {
            return Some(format!("rank {rank} cannot use NCCL ({})", report.obstacle));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use syncyte_fabric::collective::{Blame, Fault, Solo};

    fn reports(gpus: &[&str]) -> Vec<Report> {
        gpus.iter().map(|gpu| Report::decode(gpu)).collect()
    }

    fn chosen(asked: DeviceCollectives, deterministic: bool, gpus: &[&str]) -> Result<Sums, String> {
        let several = gpus.len() > 1;
        choose(asked, deterministic, several, &reports(gpus)).map(|(sums, _)| sums).map_err(|error| error.to_string())
    }

    #[test]
    fn processors_and_single_ranks_need_no_other_way() {
        for asked in [DeviceCollectives::Auto, DeviceCollectives::Nccl, DeviceCollectives::Host] {
            assert_eq!(chosen(asked, false, &["", "", ""]), Ok(Sums::Direct));
            assert_eq!(chosen(asked, true, &["a"]), Ok(Sums::Direct));
        }
    }

    #[test]
    fn a_single_rank_tries_nccl_where_it_can_and_was_asked_to() {
        let sums = |asked| choose(asked, false, true, &reports(&["a"])).unwrap().0;
        assert_eq!(sums(DeviceCollectives::Nccl), Sums::Nccl);
        assert_eq!(choose(DeviceCollectives::Nccl, false, false, &reports(&["a"])).unwrap().0, Sums::Direct);
    }

    #[test]
    fn gpus_sum_by_nccl_unless_asked_otherwise_or_in_a_fixed_order() {
        assert_eq!(chosen(DeviceCollectives::Auto, false, &["a", "b"]), Ok(Sums::Nccl));
        assert_eq!(chosen(DeviceCollectives::Nccl, false, &["a", "b"]), Ok(Sums::Nccl));
        assert_eq!(chosen(DeviceCollectives::Host, false, &["a", "b"]), Ok(Sums::Host));
        assert_eq!(chosen(DeviceCollectives::Auto, true, &["a", "b"]), Ok(Sums::Host));
    }

    #[test]
    fn what_keeps_ranks_from_nccl_is_told_and_an_error_where_it_was_asked_for() {
        for (gpus, said) in
            [(["a", "b", "a"], "ranks 0 and 2 share"), (["a", "b\nno file", "c"], "rank 1 cannot use NCCL (no file)")]
        {
            let (sums, why) = choose(DeviceCollectives::Auto, false, true, &reports(&gpus)).unwrap();
            assert_eq!(sums, Sums::Host);
            assert!(why.contains(said), "{why}");
            let error = chosen(DeviceCollectives::Nccl, false, &gpus).unwrap_err();
            assert!(error.contains(said) && error.contains("\"host\""), "{error}");
        }
    }

    #[test]
    fn ranks_with_and_without_a_gpu_do_not_train_together() {
        let error = chosen(DeviceCollectives::Auto, false, &["a", "", "b"]).unwrap_err();
        assert!(error.contains("rank 0 has a GPU and rank 1 has none"), "{error}");
    }

    #[test]
    fn reports_survive_their_way_as_text() {
        for (gpu, obstacle) in [(None, ""), (Some("a1"), ""), (Some("a1"), "no libnccl.so.2;\ntwo lines")] {
            let report = Report { gpu: gpu.map(str::to_owned), obstacle: obstacle.into() };
            assert_eq!(Report::decode(&report.encode()), report);
        }
    }

    #[test]
    fn the_processor_can_always_be_had() {
        let config = EngineConfig { device: DeviceChoice::Cpu, ..EngineConfig::default() };
        assert_eq!(Place::of(&config, &Solo).unwrap(), Place::default());
        assert_eq!(DeviceError::NoNccl(String::new()).fault(), Fault::Usage);
    }
}
