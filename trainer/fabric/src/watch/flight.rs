//! `flight-rank-R.json`: the flight recorder on disk.
//!
//! Guarantee: the file is there whole or not at all; an earlier one of the same rank is replaced in one move.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::heartbeat::Peer;
use super::progress::Member;
use super::recorder::{Record, Recorder};

/// Version of the file's format.
const VERSION: u32 = 1;

/// Where the record of a rank goes.
pub(crate) fn path(folder: &Path, rank: usize) -> PathBuf {
    folder.join(format!("flight-rank-{rank}.json"))
}

/// Writes `flight-rank-R.json` into `folder`, which is made where it is missing: the reason, the rank, where it was,
/// its last operations and what it knew of its peers. Returns the file's path.
///
/// # Errors
/// When the folder cannot be made or the file cannot be written.
pub fn dump(folder: &Path, recorder: &Recorder, own: &Member, reason: &str, peers: &[Peer]) -> io::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let path = path(folder, own.rank);
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut file = builder.prefix(".flight-").tempfile_in(folder)?;
    writeln!(file, "{:#}", content(recorder, own, reason, peers))?;
    // Not synced: the process is about to end, not the machine, and a sync may wait for the very storage that hangs.
    file.persist(&path).map_err(|error| error.error)?;
    Ok(path)
}

fn content(recorder: &Recorder, own: &Member, reason: &str, peers: &[Peer]) -> Value {
    let now = recorder.now_us();
    json!({
        "version": VERSION,
        "reason": reason,
        "rank": own.rank,
        "host": own.host,
        "time": time(recorder, now),
        "progress": recorder.progress(),
        "operations": recorder.records().iter().map(|record| operation(recorder, record)).collect::<Vec<_>>(),
        "peers": peers.iter().map(peer).collect::<Vec<_>>(),
    })
}

fn operation(recorder: &Recorder, record: &Record) -> Value {
    json!({
        "sequence": record.sequence,
        "operation": record.operation,
        "label": &*record.label,
        "step": record.step,
        "phase": record.phase,
        "bytes": record.bytes,
        "queued": time(recorder, record.queued_us),
        "started": record.started_us.map(|us| time(recorder, us)),
        "ended": record.ended_us.map(|us| time(recorder, us)),
    })
}

/// Microseconds since the rank's recorder was made, and seconds since 1970 to compare ranks.
fn time(recorder: &Recorder, us: u64) -> Value {
    json!({ "us": us, "unix": recorder.unix_seconds(us) })
}

fn peer(peer: &Peer) -> Value {
    json!({
        "rank": peer.member.rank,
        "host": peer.member.host,
        "heard": peer.heard.as_ref().map(|heard| json!({
            "seconds_ago": heard.ago.as_secs_f64(),
            "unchanged_seconds": heard.unchanged.as_secs_f64(),
            "progress": heard.progress,
        })),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::heartbeat::Heard;
    use super::super::progress::{Operation, Phase, Progress};
    use super::*;

    fn member(rank: usize) -> Member {
        Member { rank, host: format!("n\"{rank}") }
    }

    #[test]
    fn the_file_is_whole_json_and_replaces_an_earlier_one() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("flight");
        let recorder = Recorder::new(2);
        recorder.at(17, Phase::Backward);
        for bucket in 0..3 {
            drop(recorder.enter(Operation::AllReduce, format!("gradients \"bucket\" {bucket}\n"), 1 << 20));
        }
        let _open = recorder.enter(Operation::Barrier, "agreement", 0);
        let progress = Progress { step: 16, phase: Phase::Data, ..Progress::default() };
        let heard = Heard { ago: Duration::from_secs(12), unchanged: Duration::from_secs(15), progress };
        let peers = [Peer { member: member(3), heard: Some(heard) }, Peer { member: member(1), heard: None }];
        dump(&inner, &recorder, &member(2), "first", &[]).unwrap();
        let path = dump(&inner, &recorder, &member(2), "stuck", &peers).unwrap();
        assert_eq!(path, inner.join("flight-rank-2.json"));
        let file: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!((&file["reason"], &file["rank"], &file["host"]), (&json!("stuck"), &json!(2), &json!("n\"2")));
        assert_eq!((&file["progress"]["step"], &file["progress"]["phase"]), (&json!(17), &json!("backward")));
        let labels: Vec<_> = file["operations"].as_array().unwrap().iter().map(|value| &value["label"]).collect();
        assert_eq!(labels, ["gradients \"bucket\" 1\n", "gradients \"bucket\" 2\n", "agreement"]);
        let (ended, open) = (&file["operations"][0], &file["operations"][2]);
        assert!(ended["ended"]["us"].as_u64() >= ended["started"]["us"].as_u64());
        assert!(open["ended"].is_null() && open["started"]["unix"].as_f64().unwrap() > 1.6e9);
        assert_eq!(file["peers"][0]["heard"]["seconds_ago"], json!(12.0));
        assert_eq!(file["peers"][0]["heard"]["progress"]["phase"], json!("data"));
        assert!(file["peers"][1]["heard"].is_null());
        assert_eq!(std::fs::read_dir(&inner).unwrap().count(), 1, "nothing but the file is left");
    }
}
