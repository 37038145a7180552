//! The event file is what TensorBoard reads: framed records with check sums, one scalar each.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use syncyte_tests::{Lab, losses, signal, turn};

/// A field of a protobuf message.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// CRC-32C bit by bit (reflected polynomial 0x82F63B78), masked as the record format wants.
fn masked_crc(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (head, rest) = bytes.split_at(length);
    *bytes = rest;
    head
}

/// Splits a file into the contents of its records.
fn records(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let length = take(&mut bytes, 8);
        assert_eq!(take(&mut bytes, 4), masked_crc(length).to_le_bytes(), "check sum of a length");
        let data = take(&mut bytes, u64::from_le_bytes(length.try_into().unwrap()) as usize);
        assert_eq!(take(&mut bytes, 4), masked_crc(data).to_le_bytes(), "check sum of a record");
        found.push(data);
    }
    found
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = take(bytes, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return value;
        }
        shift += 7;
    }
}

/// Fields of a message by number; none repeats here.
fn fields(mut bytes: &[u8]) -> BTreeMap<u64, Field<'_>> {
    let mut found = BTreeMap::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => Field::Number(u64::from_le_bytes(take(&mut bytes, 8).try_into().unwrap())),
            5 => Field::Number(u64::from(u32::from_le_bytes(take(&mut bytes, 4).try_into().unwrap()))),
            wire => {
                assert_eq!(wire, 2, "wire type");
                let length = varint(&mut bytes) as usize;
                Field::Bytes(take(&mut bytes, length))
            }
        };
        assert!(found.insert(key >> 3, field).is_none(), "a repeated field");
    }
    found
}

fn bytes<'a>(message: &BTreeMap<u64, Field<'a>>, number: u64) -> &'a [u8] {
    match message.get(&number) {
        Some(Field::Bytes(bytes)) => bytes,
        _ => panic!("no bytes in field {number}"),
    }
}

fn number(message: &BTreeMap<u64, Field<'_>>, number: u64) -> u64 {
    match message.get(&number) {
        Some(Field::Number(value)) => *value,
        _ => panic!("no number in field {number}"),
    }
}

/// Tag, step and value of a record (`Event.step` = 2, `.summary` = 5, `.value` = 1, `.tag` = 1, `.simple_value` = 2).
fn scalar(record: &[u8]) -> (String, u64, f32) {
    let event = fields(record);
    let value = fields(bytes(&fields(bytes(&event, 5)), 1));
    let tag = String::from_utf8(bytes(&value, 1).to_vec()).unwrap();
    (tag, number(&event, 2), f32::from_bits(number(&value, 2) as u32))
}

/// Step from which a start event voids what earlier files say (`Event.session_log` = 7, `.status` = 1, `START` = 1).
fn start(record: &[u8]) -> u64 {
    let event = fields(record);
    assert_eq!(number(&fields(bytes(&event, 7)), 1), 1, "status of the session");
    number(&event, 2)
}

fn event_files(run: PathBuf) -> Vec<PathBuf> {
    let entries = fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().contains("events.out.tfevents.")).collect()
}

#[test]
fn the_event_file_has_the_losses_of_the_log_and_the_monitors() {
    let _turn = turn("the_event_file_has_the_losses_of_the_log_and_the_monitors");
    let lab = Lab::new();
    lab.train(1, "pretrain", "run", &["engine.steps=6", "engine.monitor_every=3"]).assert_code(0);
    let files = event_files(lab.path("run"));
    assert_eq!(files.len(), 1);
    let content = fs::read(&files[0]).unwrap();
    let records = records(&content);
    assert_eq!(bytes(&fields(records[0]), 3), b"brain.Event:2");
    assert_eq!(start(records[1]), 1);

    let scalars: Vec<_> = records[2..].iter().map(|record| scalar(record)).collect();
    let of = |wanted: &str| scalars.iter().filter(|(tag, ..)| tag == wanted).collect::<Vec<_>>();
    for (index, loss) in losses(&lab.path("run"), 6).into_iter().enumerate() {
        assert_eq!(of("loss")[index], &("loss".to_owned(), index as u64 + 1, loss as f32));
    }
    let steps: Vec<_> = of("monitors/student/effective_rank").iter().map(|(_, step, _)| *step).collect();
    assert_eq!(steps, [3, 6]);
}

#[test]
fn a_resumed_run_draws_one_line() {
    let _turn = turn("a_resumed_run_draws_one_line");
    let lab = Lab::new();
    let settings = ["engine.steps=60", "checkpoint.every=20"];
    let mut running = lab.start(1, "pretrain", "run", &settings);
    // Killed behind its checkpoint: the steps in between are done, and written, twice.
    while lab.checkpoints("run").iter().all(|path| !path.ends_with("step-00000020")) {
        assert!(running.is_running(), "{}", running.stderr());
        std::thread::sleep(Duration::from_millis(2));
    }
    lab.wait_for_step(&mut running, "run", 26);
    signal(&[running.id()], "KILL");
    running.to_end();
    // A name of its own: names hold the second in which a file was begun.
    std::thread::sleep(Duration::from_millis(1100));
    let resumed = lab.train(1, "pretrain --resume", "run", &settings);
    resumed.assert_code(0);
    let (_, after) = resumed.stderr.split_once("resuming after step ").unwrap();
    let step: u64 = after.split(' ').next().unwrap().parse().unwrap();

    let mut files = event_files(lab.path("run"));
    files.sort();
    assert_eq!(files.len(), 2, "{files:?}");
    let mut line = BTreeMap::new();
    for (file, from) in files.iter().zip([1, step + 1]) {
        let content = fs::read(file).unwrap();
        let records = records(&content);
        assert_eq!(start(records[1]), from);
        // What TensorBoard does: events from the step of a start event on are dropped.
        line.retain(|step, _| *step < from);
        let scalars = records[2..].iter().map(|record| scalar(record)).filter(|(tag, ..)| tag == "loss");
        for (_, step, loss) in scalars {
            assert_eq!(line.insert(step, loss), None, "step {step} twice");
        }
    }
    let expected: Vec<f32> = losses(&lab.path("run"), 60).into_iter().map(|loss| loss as f32).collect();
    assert_eq!(line.into_values().collect::<Vec<_>>(), expected);
}
