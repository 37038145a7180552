//! Several hosts on one machine: namespaces with a name and a network of their own, on a switch of 1 Gbit/s a port.
//!
//! Guarantee: hosts share the disk, as over a network file system, and nothing else: each has its own network, host
//! name, System V memory and `/dev/shm`. No address or interface of theirs shows outside the cluster, so clusters never
//! get in each other's way. All processes of a cluster live in one process namespace, which the kernel ends as soon as
//! the test lets go of it or ends itself, however it does: nothing is left behind.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::lab::Lab;
use crate::process::{Outcome, Running};
use crate::{binary, skip};

/// After this a run counts as hung.
const LIMIT: Duration = Duration::from_mins(4);
/// The kernel has ended all processes well before; only a parent elsewhere that does not reap them takes longer.
const LETTING_GO: Duration = Duration::from_secs(10);
const GLANCE: Duration = Duration::from_millis(20);

const SUBNET: &str = "10.0.0";

/// Both ends of a cable send no faster than this.
const SHAPE: &str = "root tbf rate 1gbit burst 256kb latency 100ms";

/// The first process of a cluster, which is the switch. It ends with its input.
const SWITCH: &str = "ip link add bridge type bridge && ip link set bridge up && echo ready && exec cat";

/// The first process of host `$2` with name `$1`, address `$3` and cable `$4`. It tells its process number and its network.
///
/// Linux tries to reach a lost host for a quarter of an hour, and mpirun waits for as long; here it is seconds.
const HOST: &str = r#"set -e
hostname "$1"
mount -t tmpfs tmpfs /dev/shm
echo 3 > /proc/sys/net/ipv4/tcp_retries2
ip link add eth0 type veth peer name "port$2" netns 1
ip address add "$3/24" dev eth0
ip link set lo up
ip link set eth0 up
tc qdisc add dev eth0 $4
nsenter --target 1 --net tc qdisc add dev "port$2" $4
nsenter --target 1 --net ip link set "port$2" master bridge up
echo $$ "$(readlink /proc/$$/ns/net)"
exec sleep infinity"#;

/// What ssh does for mpirun: runs a command on a host, with an environment that knows nothing of the caller's.
const AGENT: &str = r#"#!/bin/sh
pid=$(cat "$(dirname "$0")/$1")
shift
exec nsenter --target "$pid" --net --uts --ipc --mount -- env -i HOME="$HOME" PATH="$PATH" sh -c "$*"
"#;

/// Everything in which a machine may refuse to carry a cluster.
const PROBE: &str = "hostname probe && mount -t tmpfs tmpfs /dev/shm && ip link add bridge type bridge && \
     ip link add eth0 type veth peer name port1 && tc qdisc add dev eth0 $1";

/// Hosts on a switch. To be dropped after the runs on it and before their [`Lab`].
#[derive(Debug)]
pub struct Cluster {
    folder: TempDir,
    hosts: Vec<Host>,
    switch: Child,
}

#[derive(Debug)]
struct Host {
    name: String,
    address: String,
    /// Its first process, as seen inside the cluster.
    inner: u32,
    /// Its first process, as seen by the test.
    outer: u32,
    /// What the kernel calls its network.
    network: String,
    child: Child,
}

impl Cluster {
    /// Makes a cluster. Where that is impossible, says that `what` is skipped.
    ///
    /// # Panics
    /// When a machine that could carry a cluster does not.
    pub fn new(hosts: usize, what: &str) -> Option<Self> {
        static OBSTACLE: OnceLock<Option<String>> = OnceLock::new();
        if let Some(obstacle) = OBSTACLE.get_or_init(obstacle) {
            skip(&format!("{what}: no network namespaces here ({obstacle})"));
            return None;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let agent = folder.path().join("agent");
        fs::write(&agent, AGENT).expect("the agent to be written");
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).expect("the agent to be made executable");
        let mut switch = namespaces(&["--mount-proc", "--pid", "--fork"]);
        let mut switch = spawn(switch.args(["sh", "-c", SWITCH]).stdin(Stdio::piped()));
        assert_eq!(first_line(&mut switch), "ready", "the switch did not start");
        let mut cluster = Self { folder, hosts: Vec::new(), switch };
        for number in 1..=hosts {
            cluster.add(number);
        }
        Some(cluster)
    }

    fn add(&mut self, number: usize) {
        let name = format!("node{number}-{}", std::process::id());
        let address = format!("{SUBNET}.{number}");
        let mut command = self.inside();
        command.args(["unshare", "--mount", "--net", "--uts", "--ipc", "sh", "-c", HOST, "sh"]);
        let mut child = spawn(command.args([&name, &number.to_string(), &address, SHAPE]));
        let told = first_line(&mut child);
        let (inner, network) = told.split_once(' ').unwrap_or_else(|| panic!("host {number} did not start"));
        fs::write(self.folder.path().join(&address), inner).expect("the process of a host to be written");
        let outer = *processes(network).first().expect("the process of a host");
        let inner = inner.parse().expect("a process number");
        self.hosts.push(Host { name, address, inner, outer, network: network.to_owned(), child });
    }

    /// A command in the process namespace of the cluster, to be given its words.
    fn inside(&self) -> Command {
        let switch = self.switch.id();
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={switch}"))
            .arg("--mount")
            .arg(format!("--pid=/proc/{switch}/ns/pid_for_children"));
        command.arg("--");
        command
    }

    /// Name of a host, counted from 0.
    pub fn name(&self, host: usize) -> &str {
        &self.hosts[host].name
    }

    /// Ids and names of the processes that run on a host.
    pub fn processes(&self, host: usize) -> Vec<(u32, String)> {
        let Host { outer, network, .. } = &self.hosts[host];
        let ids = processes(network).into_iter().filter(|id| id != outer);
        ids.map(|id| (id, fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default().trim().into())).collect()
    }

    /// Ranks of a parallel run whose processes are on a host.
    pub fn ranks(&self, host: usize) -> BTreeSet<usize> {
        self.processes(host).into_iter().filter_map(|(id, _)| rank_of(id)).collect()
    }

    /// Starts `command` with `placement[h]` ranks on host `h`, from the first host; else as [`Lab::start`].
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(&self, lab: &Lab, placement: &[usize], command: &str, name: &str, settings: &[&str]) -> Running {
        let hosts = self.hosts.iter().zip(placement);
        let lines: Vec<_> = hosts.map(|(host, slots)| format!("{} slots={slots}\n", host.address)).collect();
        let file = self.folder.path().join("hosts");
        fs::write(&file, lines.concat()).expect("a host file to be written");
        let mut run = self.inside();
        run.args(["nsenter", &format!("--target={}", self.hosts[0].inner), "--net", "--uts", "--ipc", "--mount", "--"]);
        run.arg(binary()).arg("launch").arg("--hosts").arg(file);
        run.args(["-n", &placement.iter().sum::<usize>().to_string(), "--", "syncyte"]);
        run.args(lab.words(command, name, settings)).envs(self.open_mpi());
        run.env_remove("RUST_LOG").env_remove("OMP_NUM_THREADS");
        Running::of(run)
    }

    /// Parameters of Open MPI on this cluster. Its files go to the folder of the cluster.
    fn open_mpi(&self) -> [(&'static str, PathBuf); 7] {
        let folder = self.folder.path();
        let subnet = || format!("{SUBNET}.0/24").into();
        [
            ("OMPI_MCA_plm", "rsh".into()),
            ("OMPI_MCA_plm_rsh_agent", folder.join("agent")),
            ("OMPI_MCA_pml", "ob1".into()),
            ("OMPI_MCA_btl", "tcp,self,vader".into()),
            ("OMPI_MCA_btl_tcp_if_include", subnet()),
            ("OMPI_MCA_oob_tcp_if_include", subnet()),
            ("OMPI_MCA_orte_tmpdir_base", folder.to_owned()),
        ]
    }

    /// As [`Cluster::start`], to the end. The ranks of a run that succeeds were seen on the hosts where they belong.
    ///
    /// # Panics
    /// When they were not.
    pub fn train(&self, lab: &Lab, placement: &[usize], command: &str, name: &str, settings: &[&str]) -> Outcome {
        let began = Instant::now();
        let mut running = self.start(lab, placement, command, name, settings);
        let expected = ranks_on(placement);
        let mut seen = vec![BTreeSet::new(); placement.len()];
        while seen != expected && running.is_running() && began.elapsed() < LIMIT {
            for (host, ranks) in seen.iter_mut().enumerate() {
                ranks.extend(self.ranks(host));
            }
            std::thread::sleep(GLANCE);
        }
        let outcome = running.wait(LIMIT);
        if outcome.code == Some(0) {
            assert_eq!(seen, expected, "ranks that were seen on each host");
        }
        outcome
    }

    /// Cuts a host off: nothing passes its port of the switch any more.
    ///
    /// # Panics
    /// When the port cannot be closed.
    pub fn cut_off(&self, host: usize) {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.switch.id())).arg("--net");
        let status = command.args(["ip", "link", "set", &format!("port{}", host + 1), "down"]).status();
        assert!(status.is_ok_and(|status| status.success()), "cannot close the port of host {host}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.switch.stdin.take());
        let began = Instant::now();
        for child in self.hosts.iter_mut().map(|host| &mut host.child).chain([&mut self.switch]) {
            while child.try_wait().is_ok_and(|status| status.is_none()) && began.elapsed() < LETTING_GO {
                std::thread::sleep(GLANCE);
            }
        }
    }
}

/// Why there can be no cluster here.
fn obstacle() -> Option<String> {
    let output = namespaces(&["--pid", "--fork"]).args(["sh", "-c", PROBE, "sh", SHAPE]).output();
    match output {
        Err(error) => Some(format!("unshare: {error}")),
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ")),
    }
}

/// A command in new namespaces, to be given its words.
fn namespaces(further: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--uts", "--ipc"]).args(further);
    command
}

/// Starts a command whose output can be read.
fn spawn(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"))
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    if let Some(output) = &mut child.stdout {
        BufReader::new(output).read_line(&mut line).ok();
    }
    line.trim().to_owned()
}

/// Processes of a network, ended ones that were not reaped left out.
fn processes(network: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let of = |id: &u32| fs::read_link(format!("/proc/{id}/ns/net")).is_ok_and(|link| link.as_os_str() == network);
    ids.filter(of).collect()
}

fn rank_of(process: u32) -> Option<usize> {
    let environment = fs::read(format!("/proc/{process}/environ")).ok()?;
    let mut variables = environment.split(|&byte| byte == 0);
    let value = variables.find_map(|variable| variable.strip_prefix(b"OMPI_COMM_WORLD_RANK="))?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The ranks of each host: consecutive ones, host by host.
fn ranks_on(placement: &[usize]) -> Vec<BTreeSet<usize>> {
    let mut next = 0;
    let mut take = |n: usize| {
        let ranks = (next..next + n).collect();
        next += n;
        ranks
    };
    placement.iter().map(|&n| take(n)).collect()
}
