//! A checkpoint is whole or absent, and one that does not fit is refused by name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use syncyte_tests::{Lab, losses, skip, turn};

const SETTINGS: [&str; 3] = ["engine.steps=30", "checkpoint.every=10", "checkpoint.keep=3"];

/// A lab with a run on one rank that has three checkpoints.
fn trained() -> Lab {
    let lab = Lab::new();
    lab.train(1, "pretrain", "run", &SETTINGS).assert_code(0);
    assert_eq!(lab.checkpoints("run").len(), 3);
    lab
}

/// Flips all bits of the byte in the middle of a file.
fn damage(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] = !bytes[middle];
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_is_used() {
    let _turn = turn("a_damaged_checkpoint_is_named_and_the_one_before_is_used");
    let lab = trained();
    let before = losses(&lab.path("run"), 30);
    damage(&lab.checkpoints("run")[2].join("model.safetensors"));
    let manifest = lab.checkpoints("run")[1].join("MANIFEST.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, &text[..text.len() / 2]).unwrap();

    let outcome = lab.train(1, "pretrain --resume", "run", &SETTINGS);
    outcome.assert_code(0);
    for part in
        ["step-00000030 is damaged: model.safetensors", "step-00000020 is damaged: MANIFEST.json", "after step 10"]
    {
        assert!(outcome.stderr.contains(part), "`{part}` is not in the log:\n{}", outcome.stderr);
    }
    assert_eq!(losses(&lab.path("run"), 30), before);
}

#[test]
fn nothing_starts_from_damaged_checkpoints() {
    let _turn = turn("nothing_starts_from_damaged_checkpoints");
    let lab = trained();
    let folders = lab.checkpoints("run");
    damage(&folders[0].join("optimizer-0-of-1.safetensors"));
    damage(&folders[1].join("state.json"));
    fs::remove_file(folders[2].join("teacher.safetensors")).unwrap();
    let named =
        ["step-00000010", "step-00000020", "step-00000030", "teacher.safetensors", "state.json", "optimizer-0-of-1"];
    lab.train(1, "pretrain --resume", "run", &SETTINGS).assert_refused(3, &named);
    lab.train(2, "pretrain --resume", "run", &SETTINGS).assert_refused(3, &named);

    // One that is asked for by name is not replaced by another, whole or not.
    let from = format!("finetune --from {}", folders[2].display());
    lab.train(1, &from, "run", &[]).assert_refused(3, &["step-00000030 is damaged: ", "teacher.safetensors"]);
    assert!(!lab.path("run/finetune").exists());
}

#[test]
fn a_checkpoint_of_other_genes_is_refused_by_the_name_of_a_gene() {
    let _turn = turn("a_checkpoint_of_other_genes_is_refused_by_the_name_of_a_gene");
    let lab = trained();
    lab.synth("other.zarr", &["--cells", "600", "--genes", "100", "--perturbations", "12"]).assert_code(0);
    lab.split("other.zarr", "cells", "other.json").assert_code(0);
    let (store, split) = (lab.path("other.zarr"), lab.path("other.json"));
    let settings = [format!("data.store={}", store.display()), format!("data.split={}", split.display())];
    let settings = settings.each_ref().map(String::as_str);
    for command in ["finetune", "diffuse"] {
        let from = format!("{command} --from {}", lab.path("run").display());
        lab.train(1, &from, "next", &settings).assert_refused(3, &["120 genes", "100", "`SYN0101`"]);
        lab.assert_nothing_in("next");
    }
}

/// A file system of its own with a size in KiB.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where mounting is not permitted.
    pub(crate) fn mount(path: PathBuf, kib: u64) -> Option<Self> {
        fs::create_dir_all(&path).unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"]).arg(&path).stderr(Stdio::null());
        let mounted = command.status().is_ok_and(|status| status.success());
        if !mounted {
            skip("full disks: mounting a small tmpfs is not permitted");
        }
        mounted.then_some(Self(path))
    }

    /// Gives it another size.
    pub(crate) fn resize(&self, kib: u64) {
        let mut command = Command::new("mount");
        let status = command.args(["-o", &format!("remount,size={kib}k")]).arg(&self.0).status();
        assert!(status.is_ok_and(|status| status.success()), "{} cannot be resized", self.0.display());
    }

    /// Paths of everything on the disk.
    fn content(&self) -> Vec<PathBuf> {
        let (mut found, mut pending) = (Vec::new(), vec![self.0.clone()]);
        while let Some(folder) = pending.pop() {
            for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    pending.push(path.clone());
                }
                found.push(path);
            }
        }
        found
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

#[test]
fn a_full_disk_ends_a_run_with_its_name_and_without_half_a_checkpoint() {
    let _turn = turn("a_full_disk_ends_a_run_with_its_name_and_without_half_a_checkpoint");
    let lab = Lab::new();
    // The three sizes fill up at the start, in a first checkpoint and in a later one.
    for (kib, ranks) in [(4, 1), (200, 1), (200, 2), (360, 2)] {
        let Some(disk) = SmallDisk::mount(lab.path("disk"), kib) else { return };
        let outcome = lab.train(ranks, "pretrain", "disk/run", &SETTINGS);
        outcome.assert_refused(4, &["o space left", "disk/run"]);
        for path in disk.content() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            assert!(!name.ends_with(".partial"), "{} was left on {kib} KiB", path.display());
            assert!(!name.starts_with("step-") || path.join("MANIFEST.json").is_file(), "{}", path.display());
        }
    }
}

#[test]
fn a_full_disk_leaves_nothing_of_a_store() {
    let _turn = turn("a_full_disk_leaves_nothing_of_a_store");
    let lab = Lab::new();
    let Some(disk) = SmallDisk::mount(lab.path("disk"), 150) else { return };
    let import = [lab.path("cells.zarr"), lab.path("disk/again.zarr")].map(PathBuf::into_os_string);
    let outcomes = [
        lab.synth("disk/planted.zarr", &["--cells", "5000", "--genes", "200", "--perturbations", "12"]),
        syncyte_tests::run(["store".into(), "import".into()].into_iter().chain(import)),
    ];
    for outcome in outcomes {
        outcome.assert_refused(3, &["no space is left"]);
        assert!(disk.content().is_empty(), "{:?}", disk.content());
    }
}
